//! The orphan rule: a choice may not leave a single free seat alone.
//!
//! A seat is left alone when it is free after the choice, neither of its neighbours in the row is, and one of them was
//! before; the ends of a row count as not free. Must never choose seats itself: that is [`super::best`]'s.

use super::SeatIx;
use super::seats::{Run, Seats, Spot};
use crate::refusal::SeatList;

/// The seats that `chosen` (free, in row-major order) would leave alone, in row-major order.
///
/// Only neighbours of chosen seats can be: for every other seat nothing changes.
pub(super) fn left_alone(seats: &Seats, chosen: &[SeatIx]) -> SeatList {
    let stays_free = |row: u32, column: Option<u32>| {
        let spot = column.filter(|column| *column < seats.width(row)).map(|column| Spot { row, column });
        spot.is_some_and(|spot| seats.is_free(spot) && chosen.binary_search(&seats.seat(spot)).is_err())
    };
    let mut alone = SeatList::new();
    for seat in chosen {
        let Some(Spot { row, column }) = seats.spot(*seat) else { continue };
        for (neighbour, beyond) in
            [(column.checked_sub(1), column.checked_sub(2)), (column.checked_add(1), column.checked_add(2))]
        {
            if let Some(column) = neighbour
                && stays_free(row, neighbour)
                && !stays_free(row, beyond)
            {
                alone.push(seats.seat(Spot { row, column }));
            }
        }
    }
    alone.sort_unstable();
    alone.dedup();
    alone
}

/// Whether `quantity` adjacent seats can be had somewhere without leaving a seat alone: then nobody may leave one.
/// Reads summaries, at most one row's seats where a run is exactly one seat too long.
pub(super) fn avoidable(seats: &Seats, quantity: u32) -> bool {
    (0..seats.rows()).any(|row| row_fits(seats, row, quantity))
}

/// Whether a row has `quantity` adjacent seats that leave no seat alone: of a free run of `n` seats exactly that holds when
/// `n` is `quantity`, or at least two more.
pub(super) fn row_fits(seats: &Seats, row: u32, quantity: u32) -> bool {
    let longest = seats.longest(row);
    longest == quantity || longest >= quantity + 2 || seats.has_run(row, quantity)
}

/// The starts of `quantity` seats in a run that leave no seat alone, as the run sees it.
pub(super) fn start_fits(run: Run, quantity: u32, start: u32) -> bool {
    let left = start - run.start;
    let right = run.length - quantity - left;
    left != 1 && right != 1
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::block::SeatState;

    fn row(picture: &str) -> Seats {
        let mut seats = Seats::new(&[picture.len() as u16]);
        let taken = picture.bytes().enumerate().filter(|(_, seat)| *seat == b'x').map(|(at, _)| SeatIx(at as u32));
        seats.set(taken, SeatState::Free, SeatState::Held);
        seats.settle();
        seats
    }

    fn alone(picture: &str, chosen: &[u32]) -> Vec<u32> {
        let chosen: SmallVec<[SeatIx; 4]> = chosen.iter().map(|seat| SeatIx(*seat)).collect();
        left_alone(&row(picture), &chosen).iter().map(|seat| seat.0).collect()
    }

    #[test]
    fn a_gap_of_one_is_left_alone_a_gap_of_two_is_not() {
        assert_eq!(alone("..........", &[1, 2]), [0]);
        assert_eq!(alone("..........", &[2, 3]), []);
        assert_eq!(alone("..........", &[7, 8]), [9]);
        assert_eq!(alone("..........", &[3, 5]), [4]);
        assert_eq!(alone("x.........", &[2]), [1]);
    }

    #[test]
    fn a_seat_that_was_alone_before_is_nobodys_fault() {
        assert_eq!(alone(".x........", &[2, 3]), []);
        assert_eq!(alone("...", &[0, 1, 2]), []);
    }

    #[test]
    fn a_row_of_one_seat_too_many_cannot_avoid_it() {
        assert!(!avoidable(&row("...x"), 2));
        assert!(avoidable(&row("...x.."), 2));
        assert!(avoidable(&row("....x"), 2));
    }
}
