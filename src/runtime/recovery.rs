//! Recovery: from snapshots and the journal to the state that was acknowledged.
//!
//! Owns the pure part: [`Image`] is one shard's machines with the record up to which each is complete; records are
//! folded in, in order, without gaps. It reads nothing itself: [`super::load`] feeds it at a start,
//! [`super::rebuild`] after a panic or a full disk, and the simulation from its own disk. Bytes that do not fit are
//! refused with the place; nothing is skipped or guessed.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use actors::address::Address;
use actors::ids::Shard;
use foldhash::fast::RandomState;

use super::format::{self, FormatError};
use super::hosted::AnyMachine;
use crate::journal::Seq;
use crate::snapshots;

/// One machine and how far it has come.
#[derive(Debug)]
pub struct Recovered {
    /// The machine with its keys.
    pub machine: AnyMachine,
    /// It contains every change of its own up to this record.
    pub contains: Seq,
    /// The record up to which its snapshot was complete; `None`: it came from the journal alone.
    pub snapshot: Option<Seq>,
    /// Whether it has changed since that snapshot.
    pub changed: bool,
}

/// The machines of one shard. See the module's charter.
#[derive(Debug)]
pub struct Image {
    shard: Shard,
    /// The record before the first that will be folded in.
    base: Seq,
    /// The last record that was folded in.
    last: Seq,
    machines: HashMap<Address, Recovered, RandomState>,
    /// Only these are wanted; empty: all.
    only: Vec<Address>,
    folded: u64,
}

/// Why a shard cannot be brought back.
#[derive(Debug)]
pub enum RecoveryError {
    /// The journal begins behind the snapshot of a cell: changes in between are gone.
    Gap {
        /// Which shard.
        shard: Shard,
        /// Whose snapshot.
        address: Address,
        /// The snapshot is complete up to this record.
        snapshot: Seq,
        /// The first record that the journal still has.
        first: Seq,
    },
    /// The journal was cut, so there must be a snapshot, and there is none that can be verified.
    NoSnapshot {
        /// Which shard.
        shard: Shard,
        /// Of which cell.
        address: Address,
        /// The first record that the journal still has.
        first: Seq,
    },
    /// A record is missing or comes twice.
    Order {
        /// Which shard.
        shard: Shard,
        /// What must come.
        expected: Seq,
        /// What came.
        found: Seq,
    },
    /// A snapshot is ahead of the journal: acknowledged records are missing from it.
    Ahead {
        /// Which shard.
        shard: Shard,
        /// Whose snapshot.
        address: Address,
        /// The snapshot is complete up to this record.
        snapshot: Seq,
        /// The last record of the journal.
        last: Seq,
    },
    /// It cannot be seen now which snapshots there are.
    Shelf {
        /// Which shard.
        shard: Shard,
        /// What the shelf says.
        source: snapshots::Error,
    },
    /// A record or snapshot cannot be read.
    Format {
        /// Which shard.
        shard: Shard,
        /// Which record, or up to which record the snapshot is complete.
        seq: Seq,
        /// Whose, as far as that is known.
        address: Option<Address>,
        /// What is wrong.
        source: FormatError,
    },
    /// A change contradicts the state it is folded into.
    Contradiction {
        /// Which shard.
        shard: Shard,
        /// Which record.
        seq: Seq,
        /// Whose change.
        address: Address,
        /// What the machine said.
        what: String,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryError::Gap { shard, address, snapshot, first } => write!(
                f,
                "gap between snapshot and journal: shard={} cell={address:?} snapshot={snapshot} journal_first={first}",
                shard.0
            ),
            RecoveryError::NoSnapshot { shard, address, first } => write!(
                f,
                "journal was cut and no snapshot can be verified: shard={} cell={address:?} journal_first={first}",
                shard.0
            ),
            RecoveryError::Order { shard, expected, found } => {
                write!(f, "record out of order: shard={} expected={expected} found={found}", shard.0)
            }
            RecoveryError::Ahead { shard, address, snapshot, last } => write!(
                f,
                "journal lacks records that a snapshot contains: shard={} cell={address:?} snapshot={snapshot} journal_last={last}",
                shard.0
            ),
            RecoveryError::Shelf { shard, source } => {
                write!(f, "snapshots cannot be listed: shard={}: {source}", shard.0)
            }
            RecoveryError::Format { shard, seq, address, source } => {
                write!(f, "stored bytes refused: shard={} seq={seq} cell={address:?}: {source}", shard.0)
            }
            RecoveryError::Contradiction { shard, seq, address, what } => {
                write!(f, "change contradicts state: shard={} seq={seq} cell={address:?}: {what}", shard.0)
            }
        }
    }
}

impl std::error::Error for RecoveryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RecoveryError::Format { source, .. } => Some(source),
            RecoveryError::Shelf { source, .. } => Some(source),
            RecoveryError::Gap { .. }
            | RecoveryError::NoSnapshot { .. }
            | RecoveryError::Order { .. }
            | RecoveryError::Ahead { .. }
            | RecoveryError::Contradiction { .. } => None,
        }
    }
}

impl Image {
    /// An empty shard; the first record to fold in will be the one after `base`.
    #[must_use]
    pub fn new(shard: Shard, base: Seq) -> Self {
        Self { shard, base, last: base, machines: HashMap::default(), only: Vec::new(), folded: 0 }
    }

    /// Which shard this is.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// The last record that was folded in; before the first, the base.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Keeps only these cells and skips all others.
    #[must_use]
    pub fn only(mut self, cells: Vec<Address>) -> Self {
        self.only = cells;
        self
    }

    /// Puts a snapshot in, complete up to `seq`.
    ///
    /// # Errors
    /// Bytes that are no snapshot of that cell, or a gap between it and the journal.
    pub fn snapshot(&mut self, address: Address, seq: Seq, bytes: &[u8]) -> Result<(), RecoveryError> {
        let shard = self.shard;
        if seq < self.base {
            return Err(RecoveryError::Gap { shard, address, snapshot: seq, first: self.base.next() });
        }
        match AnyMachine::decode(&address, bytes) {
            Ok(machine) => {
                let recovered = Recovered { machine, contains: seq, snapshot: Some(seq), changed: false };
                self.machines.insert(address, recovered);
                Ok(())
            }
            Err(source) => Err(RecoveryError::Format { shard, seq, address: Some(address), source }),
        }
    }

    /// A cell has snapshots, but none can be verified. No harm as long as the journal has all of its changes.
    ///
    /// # Errors
    /// The journal was cut.
    pub fn without_snapshot(&self, address: &Address) -> Result<(), RecoveryError> {
        if self.base == Seq::NONE {
            return Ok(());
        }
        let (shard, first) = (self.shard, self.base.next());
        Err(RecoveryError::NoSnapshot { shard, address: address.clone(), first })
    }

    /// Refuses a cut journal without the snapshots that must be there: those of the cells that every shard has.
    ///
    /// # Errors
    /// The first that is missing.
    pub fn check_snapshots(&self) -> Result<(), RecoveryError> {
        let mut due = always(self.shard).into_iter().filter(|address| self.is_wanted(address));
        due.find(|address| !self.machines.contains_key(address))
            .map_or(Ok(()), |missing| self.without_snapshot(&missing))
    }

    /// Folds the next record in; cells whose snapshot contains it skip it.
    ///
    /// # Errors
    /// A record out of order, bytes that cannot be read, a change that contradicts the state.
    pub fn fold(&mut self, seq: Seq, record: &[u8]) -> Result<(), RecoveryError> {
        let shard = self.shard;
        if seq != self.last.next() {
            return Err(RecoveryError::Order { shard, expected: self.last.next(), found: seq });
        }
        let refuse = |address, source| RecoveryError::Format { shard, seq, address, source };
        for section in format::sections(record).map_err(|source| refuse(None, source))? {
            let section = section.map_err(|source| refuse(None, source))?;
            self.fold_section(seq, &section)?;
        }
        self.last = seq;
        Ok(())
    }

    fn fold_section(&mut self, seq: Seq, section: &format::Section<'_>) -> Result<(), RecoveryError> {
        let shard = self.shard;
        if !self.is_wanted(&section.address) {
            return Ok(());
        }
        if !self.machines.contains_key(&section.address) {
            self.machines.insert(section.address.clone(), fresh(&section.address));
        }
        let recovered = self.machines.get_mut(&section.address).expect("it was just put there");
        if recovered.snapshot.is_some_and(|contains| seq <= contains) {
            return Ok(());
        }
        self.folded += u64::from(section.entries);
        recovered.contains = seq;
        recovered.changed = true;
        match catch_unwind(AssertUnwindSafe(|| recovered.machine.fold(section))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => {
                Err(RecoveryError::Format { shard, seq, address: Some(section.address.clone()), source })
            }
            Err(panic) => Err(RecoveryError::Contradiction {
                shard,
                seq,
                address: section.address.clone(),
                what: panic_text(panic.as_ref()),
            }),
        }
    }

    /// Ends the recovery: the journal's last record is `last`. Cells that every shard has are there from now on.
    ///
    /// # Errors
    /// Records that did not come, or a snapshot ahead of the journal.
    pub fn finish(mut self, last: Seq) -> Result<Restored, RecoveryError> {
        let shard = self.shard;
        let ahead = self.machines.iter().find(|(_, recovered)| recovered.contains > last);
        if let Some((address, recovered)) = ahead {
            let (address, snapshot) = (address.clone(), recovered.contains);
            return Err(RecoveryError::Ahead { shard, address, snapshot, last });
        }
        if self.last != last {
            return Err(RecoveryError::Order { shard, expected: self.last.next(), found: last });
        }
        let due = if self.only.is_empty() { always(shard).to_vec() } else { std::mem::take(&mut self.only) };
        for address in due {
            self.machines.entry(address).or_insert_with_key(fresh);
        }
        Ok(Restored { shard, last, machines: self.machines, entries: self.folded })
    }

    fn is_wanted(&self, address: &Address) -> bool {
        self.only.is_empty() || self.only.contains(address)
    }
}

/// A shard brought back.
#[derive(Debug)]
pub struct Restored {
    /// Which.
    pub shard: Shard,
    /// Its last durable record.
    pub last: Seq,
    /// Its machines.
    pub machines: HashMap<Address, Recovered, RandomState>,
    /// How many entries were folded in.
    pub entries: u64,
}

/// The cells that every shard has.
#[must_use]
pub fn always(shard: Shard) -> [Address; 3] {
    [Address::Orders(shard), Address::Payments(shard), Address::Notifier(shard)]
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
}

fn fresh(address: &Address) -> Recovered {
    Recovered { machine: AnyMachine::new(address), contains: Seq::NONE, snapshot: None, changed: false }
}
