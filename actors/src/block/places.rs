//! The places of a block, with or without seats, behind one set of moves.
//!
//! Owns counting and the states of places; panics when a move contradicts them. Must never know whose places they are.

use super::seats::Seats;
use super::{Claim, Counts, SeatIx, SeatState, Shape};

/// Seats, or a number of places to stand.
#[derive(Clone, Debug)]
pub(super) enum Places {
    Seated(Seats),
    Standing(Counts),
}

impl Places {
    /// All free.
    pub(super) fn new(shape: &Shape) -> Self {
        match shape {
            Shape::Seated(rows) => Places::Seated(Seats::new(rows)),
            Shape::Standing(places) => Places::Standing(Counts { free: *places, ..Counts::default() }),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self {
            Places::Seated(seats) => Shape::Seated((0..seats.rows()).map(|row| seats.width(row) as u16).collect()),
            Places::Standing(_) => Shape::Standing(self.capacity()),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        match self {
            Places::Seated(seats) => seats.counts(),
            Places::Standing(counts) => *counts,
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        match self {
            Places::Seated(seats) => seats.capacity(),
            Places::Standing(Counts { free, held, sold, blocked }) => free + held + sold + blocked,
        }
    }

    /// Moves the places of a claim from one state to another; panics when they are not in the state they are said to be
    /// in. Call [`Places::settle`] after the last move of a change.
    pub(super) fn set(&mut self, claim: &Spots, from: SeatState, to: SeatState) {
        match (self, claim) {
            (Places::Seated(seats), Spots::Run { .. } | Spots::Scattered(_)) => seats.set(claim.seats(), from, to),
            (Places::Standing(counts), Spots::Standing(quantity)) => {
                let left = counts.of(from).checked_sub(*quantity);
                *counts.of(from) = left.expect("only places that are there change their state");
                *counts.of(to) += quantity;
            }
            (Places::Seated(_) | Places::Standing(_), _) => {
                panic!("a claim of seats where people stand, or of none where they sit")
            }
        }
    }

    pub(super) fn settle(&mut self) {
        match self {
            Places::Seated(seats) => seats.settle(),
            Places::Standing(_) => {}
        }
    }

    /// House seats or places; `None` when there are none.
    pub(super) fn house(&self) -> Option<Claim> {
        if self.counts().blocked == 0 {
            return None;
        }
        Some(match self {
            Places::Seated(seats) => Claim::Seats(seats.house().collect()),
            Places::Standing(counts) => Claim::Standing(counts.blocked),
        })
    }
}

/// A claim as it is kept: most are neighbours, and those need no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spots {
    /// Seats with successive indices.
    Run {
        first: u32,
        count: u32,
    },
    /// Other seats, in row-major order.
    Scattered(Box<Box<[SeatIx]>>),
    Standing(u32),
}

impl Spots {
    /// Packs seats in row-major order.
    pub(super) fn of_seats(seats: &[SeatIx]) -> Self {
        let first = seats.first().map_or(0, |seat| seat.0);
        let together = seats.iter().zip(first..).all(|(seat, next)| seat.0 == next);
        if together {
            Spots::Run { first, count: seats.len() as u32 }
        } else {
            Spots::Scattered(Box::new(seats.into()))
        }
    }

    pub(super) fn quantity(&self) -> u32 {
        match self {
            Spots::Run { count, .. } => *count,
            Spots::Scattered(seats) => seats.len() as u32,
            Spots::Standing(quantity) => *quantity,
        }
    }

    /// The seats; none for standing places.
    pub(super) fn seats(&self) -> impl Iterator<Item = SeatIx> {
        let (run, list) = match self {
            Spots::Run { first, count } => (*first..first + count, &[][..]),
            Spots::Scattered(seats) => (0..0, &***seats),
            Spots::Standing(_) => (0..0, &[][..]),
        };
        run.map(SeatIx).chain(list.iter().copied())
    }
}

impl From<&Claim> for Spots {
    fn from(claim: &Claim) -> Self {
        match claim {
            Claim::Seats(seats) => Spots::of_seats(seats),
            Claim::Standing(quantity) => Spots::Standing(*quantity),
        }
    }
}

impl From<&Spots> for Claim {
    fn from(spots: &Spots) -> Self {
        match spots {
            Spots::Run { .. } | Spots::Scattered(_) => Claim::Seats(spots.seats().collect()),
            Spots::Standing(quantity) => Claim::Standing(*quantity),
        }
    }
}
