//! The seats of a block as bits: one word holds 64 seats of one row, rows start at a word.
//!
//! Owns which seat is free, held, sold or blocked, and a summary of each row (free seats, lengths of its free runs), so that
//! a search skips full rows without reading their seats. A seat that is neither free nor sold nor blocked is held.
//! Must never know holds, customers or rules; choosing is [`super::best`]'s and [`super::orphans`]'.

use super::{Counts, SeatIx, SeatState};

const WORD: u32 = u64::BITS;

/// Row, seat within it and their bits.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    rows: Vec<RowBits>,
    free: Vec<u64>,
    sold: Vec<u64>,
    blocked: Vec<u64>,
    counts: Counts,
    /// Rows whose summary does not fit their bits yet: [`Seats::settle`] empties it.
    stale: Vec<u32>,
}

/// One row and its summary.
#[derive(Clone, Debug)]
struct RowBits {
    /// Index of its first seat.
    first: u32,
    /// Its first word.
    word: u32,
    seats: u16,
    /// Length of the longest free run.
    longest: u16,
    stale: bool,
    /// Bit `n - 1` is set when the row has a free run of exactly `n` seats; the last bit stands for all longer ones.
    lengths: u64,
}

/// A place in a row, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) row: u32,
    pub(super) column: u32,
}

/// Free seats side by side, as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Seats {
    /// Rows of so many free seats.
    pub(super) fn new(rows: &[u16]) -> Self {
        let (mut first, mut words) = (0, 0);
        let mut built = Vec::with_capacity(rows.len());
        for seats in rows {
            built.push(RowBits { first, word: words, seats: *seats, longest: 0, stale: false, lengths: 0 });
            first += u32::from(*seats);
            words += u32::from(*seats).div_ceil(WORD);
        }
        let empty = vec![0; words as usize];
        let mut seats = Self {
            rows: built,
            free: empty.clone(),
            sold: empty.clone(),
            blocked: empty,
            counts: Counts { free: first, ..Counts::default() },
            stale: Vec::new(),
        };
        for row in 0..seats.rows.len() as u32 {
            for column in 0..u32::from(seats.rows[row as usize].seats) {
                let (word, bit) = seats.bit(Spot { row, column });
                seats.free[word] |= bit;
            }
            seats.summarize(row);
        }
        seats
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn capacity(&self) -> u32 {
        self.rows.last().map_or(0, |row| row.first + u32::from(row.seats))
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    /// How many seats a row has.
    pub(super) fn width(&self, row: u32) -> u32 {
        u32::from(self.rows[row as usize].seats)
    }

    /// Length of the longest free run of a row.
    pub(super) fn longest(&self, row: u32) -> u32 {
        u32::from(self.rows[row as usize].longest)
    }

    /// Whether a row has a free run of exactly `length` seats.
    pub(super) fn has_run(&self, row: u32, length: u32) -> bool {
        if length == 0 || length > self.longest(row) {
            return false;
        }
        let present = self.rows[row as usize].lengths & length_bit(length) != 0;
        present && (length < WORD || self.runs(row).any(|run| run.length == length))
    }

    /// Where a seat is; `None` for a seat the block does not have.
    pub(super) fn spot(&self, seat: SeatIx) -> Option<Spot> {
        // As a rule all rows are as long as the first; otherwise it is searched for.
        let usual = u32::from(self.rows.first()?.seats.max(1));
        let guess = (seat.0 / usual) as usize;
        let row = if self.rows.get(guess).is_some_and(|row| row.holds(seat)) {
            guess
        } else {
            self.rows.partition_point(|row| row.first <= seat.0).checked_sub(1)?
        };
        let column = seat.0 - self.rows[row].first;
        (column < u32::from(self.rows[row].seats)).then_some(Spot { row: row as u32, column })
    }

    pub(super) fn seat(&self, spot: Spot) -> SeatIx {
        SeatIx(self.rows[spot.row as usize].first + spot.column)
    }

    pub(super) fn is_free(&self, spot: Spot) -> bool {
        let (word, bit) = self.bit(spot);
        self.free[word] & bit != 0
    }

    pub(super) fn state(&self, spot: Spot) -> SeatState {
        let (word, bit) = self.bit(spot);
        if self.free[word] & bit != 0 {
            SeatState::Free
        } else if self.sold[word] & bit != 0 {
            SeatState::Sold
        } else if self.blocked[word] & bit != 0 {
            SeatState::Blocked
        } else {
            SeatState::Held
        }
    }

    /// All states in row-major order.
    pub(super) fn states(&self) -> impl Iterator<Item = SeatState> {
        let spots = (0..self.rows()).flat_map(|row| (0..self.width(row)).map(move |column| Spot { row, column }));
        spots.map(|spot| self.state(spot))
    }

    /// House seats in row-major order.
    pub(super) fn house(&self) -> impl Iterator<Item = SeatIx> {
        self.rows
            .iter()
            .flat_map(|row| bits(self.words_of(row, &self.blocked)).map(|column| SeatIx(row.first + column)))
    }

    /// The free runs of a row from left to right.
    pub(super) fn runs(&self, row: u32) -> impl Iterator<Item = Run> {
        let words = self.words_of(&self.rows[row as usize], &self.free);
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = next_set(words, at)?;
            at = next_clear(words, start);
            Some(Run { start, length: at - start })
        })
    }

    /// Moves seats from one state to another; panics when one is not in the state it is said to be in, which would be a
    /// seat that is claimed twice. Call [`Seats::settle`] before the next search.
    pub(super) fn set(&mut self, seats: impl IntoIterator<Item = SeatIx>, from: SeatState, to: SeatState) {
        let mut moved = 0;
        let mut row = 0;
        for seat in seats {
            if !self.rows.get(row).is_some_and(|bits| bits.holds(seat)) {
                row = self.spot(seat).expect("a claimed seat is in the block").row as usize;
            }
            let spot = Spot { row: row as u32, column: seat.0 - self.rows[row].first };
            assert!(self.state(spot) == from, "seat {} is not {from:?}: it cannot become {to:?}", seat.0);
            let (word, bit) = self.bit(spot);
            if let Some(mask) = self.mask(from) {
                mask[word] &= !bit;
            }
            if let Some(mask) = self.mask(to) {
                mask[word] |= bit;
            }
            let touches_free = from == SeatState::Free || to == SeatState::Free;
            if touches_free && !std::mem::replace(&mut self.rows[row].stale, true) {
                self.stale.push(row as u32);
            }
            moved += 1;
        }
        *self.counts.of(from) -= moved;
        *self.counts.of(to) += moved;
    }

    /// The bits of the seats in one state; a held seat is in none.
    fn mask(&mut self, state: SeatState) -> Option<&mut [u64]> {
        match state {
            SeatState::Free => Some(&mut self.free),
            SeatState::Held => None,
            SeatState::Sold => Some(&mut self.sold),
            SeatState::Blocked => Some(&mut self.blocked),
        }
    }

    /// Makes the summaries of all touched rows fit their bits.
    pub(super) fn settle(&mut self) {
        while let Some(row) = self.stale.pop() {
            self.summarize(row);
        }
    }

    /// Rows whose summary does not fit their bits: none unless there is a bug.
    pub(super) fn wrong_summaries(&self) -> impl Iterator<Item = u32> {
        let kept = |row: u32| (self.rows[row as usize].longest, self.rows[row as usize].lengths);
        (0..self.rows()).filter(move |row| kept(*row) != self.summary(*row))
    }

    /// Length of a row's longest free run, and the set of all lengths.
    fn summary(&self, row: u32) -> (u16, u64) {
        let runs = self.runs(row);
        runs.fold((0, 0), |(longest, lengths), run| (longest.max(run.length as u16), lengths | length_bit(run.length)))
    }

    fn summarize(&mut self, row: u32) {
        let (longest, lengths) = self.summary(row);
        let bits = &mut self.rows[row as usize];
        (bits.longest, bits.lengths, bits.stale) = (longest, lengths, false);
    }

    fn bit(&self, spot: Spot) -> (usize, u64) {
        ((self.rows[spot.row as usize].word + spot.column / WORD) as usize, 1 << (spot.column % WORD))
    }

    fn words_of<'a>(&self, row: &RowBits, mask: &'a [u64]) -> &'a [u64] {
        let first = row.word as usize;
        &mask[first..first + u32::from(row.seats).div_ceil(WORD) as usize]
    }
}

impl RowBits {
    fn holds(&self, seat: SeatIx) -> bool {
        seat.0.checked_sub(self.first).is_some_and(|column| column < u32::from(self.seats))
    }
}

impl Counts {
    pub(super) fn of(&mut self, state: SeatState) -> &mut u32 {
        match state {
            SeatState::Free => &mut self.free,
            SeatState::Held => &mut self.held,
            SeatState::Sold => &mut self.sold,
            SeatState::Blocked => &mut self.blocked,
        }
    }
}

fn length_bit(length: u32) -> u64 {
    1 << (length.min(WORD) - 1)
}

fn next_set(words: &[u64], from: u32) -> Option<u32> {
    let mut word = (from / WORD) as usize;
    let mut bits = words.get(word)? & (u64::MAX << (from % WORD));
    while bits == 0 {
        word += 1;
        bits = *words.get(word)?;
    }
    Some(word as u32 * WORD + bits.trailing_zeros())
}

/// The first clear bit from `from` on; the end of the words when there is none. Bits behind a row's end are clear.
fn next_clear(words: &[u64], from: u32) -> u32 {
    let mut word = (from / WORD) as usize;
    let mut kept = u64::MAX << (from % WORD);
    while let Some(bits) = words.get(word) {
        let clear = !bits & kept;
        if clear != 0 {
            return word as u32 * WORD + clear.trailing_zeros();
        }
        kept = u64::MAX;
        word += 1;
    }
    words.len() as u32 * WORD
}

fn bits(words: &[u64]) -> impl Iterator<Item = u32> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = next_set(words, at)?;
        at = found + 1;
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of one length, and rows whose first is the longest, the shortest or of no seats.
    #[test]
    fn every_seat_is_found_in_its_row_and_none_beyond() {
        for rows in [&[7, 7, 7][..], &[9, 2, 1, 30], &[1, 70, 3], &[0, 5, 5], &[4, 0, 4], &[]] {
            let seats = Seats::new(rows);
            let columns = |row: usize| (0..u32::from(rows[row])).map(move |column| Spot { row: row as u32, column });
            let all: Vec<Spot> = (0..rows.len()).flat_map(columns).collect();
            for (seat, spot) in (0..).zip(&all) {
                assert_eq!(seats.spot(SeatIx(seat)), Some(*spot), "seat {seat} of {rows:?}");
            }
            assert_eq!((seats.spot(SeatIx(all.len() as u32)), seats.spot(SeatIx(u32::MAX))), (None, None), "{rows:?}");
        }
    }
}
