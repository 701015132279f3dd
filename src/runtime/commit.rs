//! The shard log: from turns to records, and from durable records to what may be told.
//!
//! Owns the order of things within one shard: what cells changed is gathered into records, one append is in flight at
//! a time, everything that arrives meanwhile is the next record, and what a turn wants released comes back only when
//! its record, and with it all before, is durable. It does no I/O and knows no clock, thread or machine: the running
//! shard ([`super::shard`]) and the simulation drive the same code.
//!
//! ```text
//!  write ─▶ open record ─begin─▶ in flight ─durable─▶ releases, in order
//!  follow (nothing changed) ─▶ waits with the record of the cell's last change
//! ```

use std::collections::VecDeque;

use actors::address::Address;
use serde::Serialize;

use super::format::{self, FormatError};
use crate::journal::Seq;

/// How large one record may grow before the next is begun. A single turn always fits into one.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a record.
    pub record_bytes_max: usize,
    /// Turns in a record.
    pub record_turns_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { record_bytes_max: 1024 * 1024, record_turns_max: 4096 }
    }
}

/// A record to append.
#[derive(Debug, PartialEq, Eq)]
pub struct Append {
    /// The record before it.
    pub after: Seq,
    /// Its bytes, see [`super::format`].
    pub record: Vec<u8>,
    /// How many entries it carries.
    pub entries: usize,
}

#[derive(Debug)]
struct Record<R> {
    bytes: Vec<u8>,
    entries: usize,
    turns: usize,
    /// Takes no more turns: it is in flight, full, or a snapshot counts on its end.
    sealed: bool,
    releases: Vec<R>,
}

impl<R> Record<R> {
    /// With room for so many bytes.
    fn new(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), entries: 0, turns: 0, sealed: false, releases: Vec::new() }
    }
}

/// What waited when a shard left.
#[derive(Debug, PartialEq, Eq)]
pub struct Abandoned<R> {
    /// For a record that was handed to the journal: it may become durable yet.
    pub in_flight: Vec<R>,
    /// For records that the journal will never see.
    pub behind: Vec<R>,
}

/// See the module's charter. `R` is what waits for durability.
#[derive(Debug)]
pub struct ShardLog<R> {
    durable: Seq,
    /// Not durable yet: the first has the number after `durable`, and so on. Only the last may be open.
    records: VecDeque<Record<R>>,
    in_flight: bool,
    /// Bytes of the last record, and room for the next.
    usual: usize,
    limits: Limits,
}

impl<R> ShardLog<R> {
    /// A log whose shard's last durable record is `durable`.
    #[must_use]
    pub fn new(durable: Seq, limits: Limits) -> Self {
        Self { durable, records: VecDeque::new(), in_flight: false, usual: 0, limits }
    }

    /// The last durable record.
    #[must_use]
    pub fn durable_seq(&self) -> Seq {
        self.durable
    }

    /// Whether everything that was written is durable.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether an append is under way.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Takes what one turn changed, and what waits for it. Returns the number of the record that will carry it: the
    /// cell's last change from now on, see [`ShardLog::follow`].
    ///
    /// # Errors
    /// An entry that cannot be encoded, which is our bug: nothing was taken, the release comes back.
    pub fn write<E: Serialize>(
        &mut self,
        from: &Address,
        entries: &[E],
        release: R,
    ) -> Result<Seq, Box<(FormatError, R)>> {
        let seq = self.open();
        let record = self.records.back_mut().expect("a record was just opened");
        if let Err(error) = format::put_section(&mut record.bytes, from, entries) {
            if record.turns == 0 {
                self.records.pop_back();
            }
            return Err(Box::new((error, release)));
        }
        record.entries += entries.len();
        record.turns += 1;
        record.releases.push(release);
        record.sealed =
            record.bytes.len() >= self.limits.record_bytes_max || record.turns >= self.limits.record_turns_max;
        Ok(seq)
    }

    /// For a turn that changed nothing: waits behind the record of its cell's last change, so that no answer shows what
    /// is not durable. Gives the release back when that record is durable: release it now.
    pub fn follow(&mut self, last_change: Seq, release: R) -> Option<R> {
        if last_change <= self.durable {
            return Some(release);
        }
        let at = (last_change.0 - self.durable.0 - 1) as usize;
        self.records[at].releases.push(release);
        None
    }

    /// The number up to which a cell's present state is complete, given the record of its last change: nothing that the
    /// cell changes from now on will be in a record up to it.
    pub fn seal(&mut self, last_change: Seq) -> Seq {
        let end = self.end();
        match self.records.back_mut() {
            Some(open) if !open.sealed && last_change == end => {
                open.sealed = true;
                end
            }
            Some(open) if !open.sealed => Seq(end.0 - 1),
            Some(_) | None => end,
        }
    }

    /// The next record to append, unless one is in flight or there is nothing. It is in flight from now on.
    pub fn begin(&mut self) -> Option<Append> {
        if self.in_flight {
            return None;
        }
        let record = self.records.front_mut().filter(|record| record.turns > 0)?;
        record.sealed = true;
        self.in_flight = true;
        self.usual = record.bytes.len();
        Some(Append { after: self.durable, record: std::mem::take(&mut record.bytes), entries: record.entries })
    }

    /// The record in flight is durable: gives back what waited for it, in order.
    ///
    /// # Panics
    /// When the journal names another record than the one in flight: nothing may be released on such a word.
    pub fn durable(&mut self, seq: Seq) -> Vec<R> {
        assert!(self.in_flight && seq == self.durable.next(), "the journal acknowledges the record in flight");
        self.in_flight = false;
        self.durable = seq;
        self.records.pop_front().map(|record| record.releases).unwrap_or_default()
    }

    /// The record in flight was not acknowledged: it and all behind it are dropped, since they build on it. Gives back
    /// everything that waited. Every cell whose last change is after [`ShardLog::durable_seq`] is ahead of the journal
    /// and must be rebuilt before it is asked again.
    pub fn failed(&mut self) -> Vec<R> {
        self.in_flight = false;
        self.records.drain(..).flat_map(|record| record.releases).collect()
    }

    /// The shard leaves: nobody here will learn what became of the record in flight, and nothing is appended any more.
    /// Gives back everything that waited.
    pub fn abandon(&mut self) -> Abandoned<R> {
        let count = usize::from(std::mem::take(&mut self.in_flight));
        let in_flight = self.records.drain(..count).flat_map(|record| record.releases).collect();
        Abandoned { in_flight, behind: self.failed() }
    }

    /// What waits, oldest first; for a host that ends waits that have become too long.
    pub fn waiting_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.records.iter_mut().flat_map(|record| record.releases.iter_mut())
    }

    fn records_len(&self) -> u64 {
        self.records.len() as u64
    }

    /// The number of the last record, durable or not.
    #[must_use]
    pub fn end(&self) -> Seq {
        Seq(self.durable.0 + self.records_len())
    }

    /// Makes sure that the last record takes turns; its number.
    fn open(&mut self) -> Seq {
        if self.records.back().is_none_or(|record| record.sealed) {
            self.records.push_back(Record::new(self.usual));
        }
        self.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actors::ids::Shard;

    use super::*;

    fn log() -> ShardLog<&'static str> {
        ShardLog::new(Seq(10), Limits { record_bytes_max: 1000, record_turns_max: 3 })
    }

    fn ann() -> Address {
        Address::Orders(Shard(1))
    }

    #[test]
    fn what_arrives_during_an_append_is_the_next_record() {
        let mut log = log();
        assert_eq!(log.write(&ann(), &[1u8], "first").unwrap(), Seq(11));
        let append = log.begin().unwrap();
        assert_eq!((append.after, append.entries), (Seq(10), 1));
        assert_eq!(log.write(&ann(), &[2u8, 3], "second").unwrap(), Seq(12));
        assert_eq!(log.write(&ann(), &[4u8], "third").unwrap(), Seq(12));
        assert_eq!(log.begin(), None, "one append at a time");
        assert_eq!(log.durable(Seq(11)), ["first"]);
        assert_eq!(log.begin().unwrap().entries, 3);
        assert_eq!(log.durable(Seq(12)), ["second", "third"]);
        assert!(log.is_idle());
    }

    #[test]
    fn a_full_record_is_followed_by_another() {
        let mut log = log();
        for turn in ["a", "b", "c", "d"] {
            log.write(&ann(), &[0u8], turn).unwrap();
        }
        assert_eq!(log.begin().unwrap().entries, 3);
        assert_eq!(log.durable(Seq(11)), ["a", "b", "c"]);
        log.write(&ann(), &[vec![0u8; 2000]], "large").unwrap();
        assert_eq!(log.write(&ann(), &[0u8], "small").unwrap(), Seq(13));
    }

    #[test]
    fn a_read_waits_for_the_last_change_of_its_cell_and_no_other() {
        let mut log = log();
        assert_eq!(log.follow(Seq(10), "nothing open"), Some("nothing open"));
        let first = log.write(&ann(), &[1u8], "change").unwrap();
        log.begin().unwrap();
        let second = log.write(&Address::Payments(Shard(1)), &[1u8], "other's change").unwrap();
        assert_eq!(log.follow(first, "read"), None);
        assert_eq!(log.follow(second, "other's read"), None);
        assert_eq!(log.follow(Seq::NONE, "third's read"), Some("third's read"));
        assert_eq!(log.durable(Seq(11)), ["change", "read"]);
        log.begin().unwrap();
        assert_eq!(log.durable(Seq(12)), ["other's change", "other's read"]);
    }

    #[test]
    fn a_failed_append_takes_everything_behind_it_along() {
        let mut log = log();
        log.write(&ann(), &[1u8], "first").unwrap();
        log.begin().unwrap();
        log.write(&ann(), &[2u8], "second").unwrap();
        assert_eq!(log.failed(), ["first", "second"]);
        assert_eq!(log.durable_seq(), Seq(10));
        assert_eq!(log.write(&ann(), &[1u8], "again").unwrap(), Seq(11));
        assert_eq!(log.begin().unwrap().after, Seq(10));
    }

    #[test]
    fn a_shard_that_leaves_knows_what_the_journal_never_saw() {
        let mut log = log();
        log.write(&ann(), &[1u8], "first").unwrap();
        log.begin().unwrap();
        log.write(&ann(), &[2u8], "second").unwrap();
        assert_eq!(log.abandon(), Abandoned { in_flight: vec!["first"], behind: vec!["second"] });
        log.write(&ann(), &[3u8], "not begun").unwrap();
        assert_eq!(log.abandon(), Abandoned { in_flight: vec![], behind: vec!["not begun"] });
        assert!(log.is_idle() && !log.is_in_flight());
    }

    #[test]
    fn a_snapshot_names_the_last_record_that_cannot_grow_behind_its_back() {
        let mut log = log();
        assert_eq!(log.seal(Seq(4)), Seq(10), "nothing is open");
        let mine = log.write(&ann(), &[1u8], "mine").unwrap();
        assert_eq!(log.seal(Seq(4)), Seq(10), "the open record has nothing of that cell, and may get something");
        assert_eq!(log.seal(mine), Seq(11));
        assert_eq!(log.write(&ann(), &[2u8], "later").unwrap(), Seq(12), "the sealed record takes no more");
        assert_eq!(log.seal(mine), Seq(11));
    }

    #[test]
    #[should_panic(expected = "the journal acknowledges the record in flight")]
    fn nothing_is_released_on_the_word_of_another_record() {
        let mut log = log();
        log.write(&ann(), &[1u8], "first").unwrap();
        log.begin().unwrap();
        log.durable(Seq(12));
    }
}
