//! The latest changes of one block, for readers who come back and for live sessions.
//!
//! Bounded twice: in changes and in the seats they name. What is too old is gone; the reader gets a whole board.

use std::collections::VecDeque;

use actors::block::{Counts, SeatIx, SeatState};
use actors::feed::SeatsChanged;
use smallvec::SmallVec;

/// Changes kept for `resume`. More lets readers stay away longer; each costs 4 bytes and 4 bytes a seat.
pub const CHANGES_MAX: usize = 1024;

/// Seats that the kept changes may name together. A change of more seats alone is not kept: a board is shorter.
pub const SEATS_MAX: usize = 16 * 1024;

/// A change as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) seq: u64,
    pub(super) seats: SmallVec<[(SeatIx, SeatState); 4]>,
    /// Of changes that name no seats: those of standing blocks.
    pub(super) counts: Option<Counts>,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    last: u64,
    /// How many seats each change names, oldest first.
    lengths: VecDeque<u32>,
    /// The seats of all changes: index and state in one number.
    seats: VecDeque<u32>,
    /// The places after each change that names no seats: those of standing blocks.
    counts: VecDeque<Counts>,
}

impl Ring {
    /// An empty ring; the next change is the one after `last`.
    pub(super) fn starting(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    pub(super) fn push(&mut self, change: &SeatsChanged) {
        assert_eq!(change.seq, self.last + 1, "changes are kept without gaps");
        self.last = change.seq;
        self.lengths.push_back(change.seats.len() as u32);
        self.seats.extend(change.seats.iter().map(|(seat, state)| seat.0 << 2 | *state as u32));
        if change.seats.is_empty() {
            self.counts.push_back(change.counts);
        }
        while self.lengths.len() > CHANGES_MAX || self.seats.len() > SEATS_MAX {
            let length = self.lengths.pop_front().unwrap_or_default();
            self.seats.drain(..length as usize);
            if length == 0 {
                self.counts.pop_front();
            }
        }
    }

    /// The changes after `seq`, oldest first; `None` when one of them is gone, or when `seq` is of the future.
    pub(super) fn after(&self, seq: u64) -> Option<Vec<Kept>> {
        let missing = self.last.checked_sub(seq)?;
        let skip = self.lengths.len().checked_sub(usize::try_from(missing).ok()?)?;
        let (named, bare) = self.lengths.range(skip..).fold((0, 0), |(named, bare), length| match length {
            0 => (named, bare + 1),
            length => (named + *length as usize, bare),
        });
        let mut seats = self.seats.range(self.seats.len() - named..);
        let mut counts = self.counts.range(self.counts.len() - bare..);
        let kept = self.lengths.range(skip..).zip(seq + 1..).map(|(length, seq)| Kept {
            seq,
            seats: seats.by_ref().take(*length as usize).map(|packed| unpack(*packed)).collect(),
            counts: if *length == 0 { counts.next().copied() } else { None },
        });
        Some(kept.collect())
    }
}

fn unpack(packed: u32) -> (SeatIx, SeatState) {
    let state = match packed & 3 {
        0 => SeatState::Free,
        1 => SeatState::Held,
        2 => SeatState::Sold,
        _ => SeatState::Blocked,
    };
    (SeatIx(packed >> 2), state)
}
