//! The journal: what was acknowledged, in order, per shard, durable before anybody is told.
//!
//! Owns the contract that every journal keeps ([`Journal`]), its errors and its health. It deals in bytes and
//! must never know what a record means; the machines and the runtime are strangers here.
//!
//! - [`embedded`] is the journal of one node: preallocated segment files and one committer thread.
//! - [`jetstream`] is the journal of a cluster: conditional appends to NATS JetStream.
//! - [`log`] is the same journal without the thread: format, append, recover, replay, truncate on a [`Disk`].
//! - [`conformance`] is the suite that every implementation must pass, [`sim_disk`] the disk that breaks on purpose.
//! - [`copy`] is the owner's second copy of what JetStream holds.
//!   [`compare`] finds what differs between the two.
//! - [`inspect`] reads a journal from outside, for `stampede journal verify|dump`.

pub mod compare;
pub mod conformance;
pub mod copy;
mod data_dir;
mod disk;
pub mod embedded;
mod format;
pub mod inspect;
pub mod jetstream;
pub mod log;
mod observer;
mod recovery;
mod scan;
pub mod sim_disk;
mod tails;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;

use std::fmt;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub use data_dir::{DataDir, LockError};
pub use disk::{Disk, FileDisk};
pub use embedded::Embedded;
pub use format::Fault;
pub use log::Options;
pub use observer::{Commit, Observer, Silent};
pub use recovery::{OpenError, Recovery};
pub use scan::Damage;

/// A unit of placement and of journaling; `0..shards` of the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u16);

/// The number of a record within its shard: the first is 1, there are no gaps, 0 means "nothing yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// The number of a segment file: the first is 1, there are no gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNo(pub u64);

impl Seq {
    /// Nothing was appended yet.
    pub const NONE: Seq = Seq(0);

    /// The record after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SegmentNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What went wrong in the caller's own hands while it visited a record.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// What a replay calls for every record: shard, number, bytes.
pub type Visit<'a> = dyn FnMut(Shard, Seq, &[u8]) -> Result<(), VisitError> + 'a;

/// A durable, ordered list of records for each shard.
///
/// The caller keeps one append in flight per shard; the journal checks `after` and refuses whoever is behind.
pub trait Journal: Send + Sync + 'static {
    /// Appends one record to `shard`, whose last record must be `after`. Resolves with the record's number once
    /// it is durable. The append is under way when this returns, whether the future is polled or dropped.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] and [`AppendError::Unavailable`]: surely not written. [`AppendError::Unknown`]
    /// and [`AppendError::Unanswered`]: it may be found by a later replay or not; the caller must not report success or
    /// failure before it has looked.
    fn append(&self, shard: Shard, after: Seq, record: Vec<u8>) -> BoxFuture<'static, Result<Seq, AppendError>>;

    /// Visits every durable record of the named shards that comes after the given one, in order within each shard,
    /// in one pass over the files. Returns the last number of each named shard, in the order they were named.
    /// Blocks: call it from a thread that may wait.
    ///
    /// # Errors
    /// [`ReplayError::Cut`] when records asked for were truncated, [`ReplayError::Ahead`] when the caller knows of
    /// records that the journal does not have; both mean that state and journal do not belong together.
    fn replay(&self, after: &[(Shard, Seq)], visit: &mut Visit<'_>) -> Result<Vec<(Shard, Seq)>, ReplayError>;

    /// Records of `shard` up to and including `to` are no longer needed. A hint: space is returned when no shard needs
    /// a segment any more; after a restart it has to be said again.
    fn truncate(&self, shard: Shard, to: Seq);

    /// The number of the last durable record of `shard`, as far as this handle knows; [`Seq::NONE`] if there is none.
    fn last(&self, shard: Shard) -> Seq;

    /// Whether the journal takes appends, and how much space is left. Changes can be awaited, those of
    /// [`Journal::status_of`] too; on [`Status::Stopped`] the node must stop.
    fn health(&self) -> watch::Receiver<Health>;

    /// What the journal does with an append to this shard: the same as with any, unless shards can be away one by one.
    fn status_of(&self, _shard: Shard) -> Status {
        self.health().borrow().status.clone()
    }
}

/// Why a record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The shard's last record is not the one the caller named: somebody else wrote, or the caller is behind.
    /// Surely not written.
    Fenced {
        /// The shard appended to.
        shard: Shard,
        /// What the caller took for the last record.
        after: Seq,
        /// The last record, as far as the journal knows.
        last: Seq,
    },
    /// Surely not written; the reason says whether trying again can help.
    Unavailable {
        /// Why.
        reason: Unavailable,
    },
    /// The record may be durable or not, and only a replay can tell.
    Unknown {
        /// What failed.
        reason: String,
    },
    /// The journal was closed, or the process began to end, while the record was under way: it may be durable or not. That
    /// somebody else has written is not said by that.
    Unanswered,
}

/// Why a journal does not take a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No space for another segment; recovers by itself when there is.
    DiskFull,
    /// More is waiting than `queue_bytes_max` or `queue_records_max` allow.
    QueueFull,
    /// The record is larger than any group may be.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that fits.
        most: usize,
    },
    /// A write or sync failed earlier; nothing is taken until the process starts anew.
    Stopped,
    /// The journal was closed in good order.
    Closed,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::DiskFull => write!(f, "disk full"),
            Unavailable::QueueFull => write!(f, "too much is waiting to be written"),
            Unavailable::TooLarge { bytes, most } => write!(f, "record too large: bytes={bytes} most={most}"),
            Unavailable::Stopped => write!(f, "stopped after a failed write or sync"),
            Unavailable::Closed => write!(f, "closed"),
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Fenced { shard, after, last } => {
                write!(f, "journal has moved on: shard={shard} after={after} last={last}")
            }
            AppendError::Unavailable { reason } => write!(f, "journal unavailable: {reason}"),
            AppendError::Unknown { reason } => write!(f, "journal outcome unknown: {reason}"),
            AppendError::Unanswered => write!(f, "journal was closed before it answered"),
        }
    }
}

impl std::error::Error for AppendError {}

/// Why a replay ended early.
#[derive(Debug)]
pub enum ReplayError {
    /// Records after `after` were truncated: what the caller starts from is too old.
    Cut {
        /// The shard.
        shard: Shard,
        /// What the caller has.
        after: Seq,
        /// The oldest record that is still there would be this one.
        first: Seq,
    },
    /// The caller has more than the journal: acknowledged records are missing from it.
    Ahead {
        /// The shard.
        shard: Shard,
        /// What the caller has.
        after: Seq,
        /// The last record of the journal.
        last: Seq,
    },
    /// The files do not say what was written to them.
    Damaged(Damage),
    /// The files cannot be read.
    Io(std::io::Error),
    /// The visitor gave up.
    Visit {
        /// The shard of the record.
        shard: Shard,
        /// The record's number.
        seq: Seq,
        /// What the visitor said.
        source: VisitError,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Cut { shard, after, first } => {
                write!(f, "journal was cut behind what is asked for: shard={shard} after={after} first={first}")
            }
            ReplayError::Ahead { shard, after, last } => {
                write!(f, "journal lacks records that were acknowledged: shard={shard} after={after} last={last}")
            }
            ReplayError::Damaged(damage) => damage.fmt(f),
            ReplayError::Io(source) => write!(f, "journal cannot be read: {source}"),
            ReplayError::Visit { shard, seq, source } => {
                write!(f, "record refused by its reader: shard={shard} seq={seq}: {source}")
            }
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReplayError::Io(source) => Some(source),
            ReplayError::Visit { source, .. } => Some(source.as_ref()),
            ReplayError::Cut { .. } | ReplayError::Ahead { .. } | ReplayError::Damaged(_) => None,
        }
    }
}

/// Whether the journal takes appends, and its space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What it does with an append now.
    pub status: Status,
    /// Its files.
    pub space: Space,
}

/// What the journal does with an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Writes it.
    Serving,
    /// Refuses it with [`Unavailable::DiskFull`] until there is space; reads go on.
    DiskFull,
    /// Takes it, but cannot say when it will be durable: the servers that store it do not answer. It serves again by
    /// itself; until then callers should take in no more.
    Away {
        /// What does not answer.
        reason: String,
    },
    /// Refuses it for ever: the node must stop.
    Stopped {
        /// What failed.
        reason: String,
    },
    /// Refuses it, in good order.
    Closed,
}

/// The journal's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Number of segment files, the preallocated one included.
    pub segments: u64,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// Bytes that can be appended without creating a file: the rest of the active segment and the preallocated one.
    /// A caller may refuse work when this gets small while `spare` is false.
    pub ready_bytes: u64,
    /// Whether the next segment is preallocated.
    pub spare: bool,
}
