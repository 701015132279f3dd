//! The embedded journal without its thread: stage records, write a group, sync it, replay, truncate.
//!
//! Owns the order of writes and syncs on which the promise rests: one unsynced group at a time, a new segment only
//! behind a synced one, numbers given only to what is durable. It has no clock, no chance and no thread of its own,
//! so the simulation drives it as it is; [`super::embedded`] drives it from the committer thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::format::{self, GROUP_HEADER_BYTES, GroupNo, JournalId, Kind};
use super::recovery::{self, OpenError, Recovery, Segment};
use super::tails::Tails;
use super::{Disk, ReplayError, SegmentNo, Seq, Shard, Unavailable, Visit};

mod segments;
mod view;

pub use segments::{Preparation, PrepareError};
pub(crate) use view::View;

/// The limits of an embedded journal.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a segment file. Larger: fewer files, coarser truncation, longer preallocation.
    pub segment_bytes: u64,
    /// The most bytes that are written and synced as one group, and so the most that one record may have.
    pub group_bytes_max: usize,
    /// The most bytes of all segments together; without it, the disk is the limit.
    pub max_bytes: Option<u64>,
    /// The most bytes that may wait for the committer.
    pub queue_bytes_max: usize,
    /// The most records that may wait for the committer.
    pub queue_records_max: usize,
    /// How long a group waits for more records to join it when the one before it had more than one: under load a few
    /// larger groups cost less than many small ones; alone nobody waits.
    pub gather: Duration,
    /// How long after a refusal for lack of space it is tried again.
    pub full_retry: Duration,
    /// How long without an append until the last group is sealed, so that damage to it shows at the next start.
    pub seal_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 64 << 20,
            group_bytes_max: 4 << 20,
            max_bytes: None,
            queue_bytes_max: 64 << 20,
            queue_records_max: 65_536,
            gather: Duration::ZERO,
            full_retry: Duration::from_secs(1),
            seal_after: Duration::from_secs(1),
        }
    }
}

/// Why a record was not staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageError {
    /// The shard's last record is this one.
    Fenced {
        /// Staged records count.
        last: Seq,
    },
    /// No group can hold it.
    TooLarge {
        /// The most bytes a record may have.
        most: usize,
    },
    /// It belongs to the next group.
    GroupFull,
}

/// Why a group was not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// No space; the group is surely not written, and the journal goes on.
    DiskFull,
    /// A write or sync failed; the group may be found by the next opening or not. The log takes nothing any more.
    Stopped {
        /// What failed.
        reason: String,
    },
}

/// The journal as a value. See the module.
pub struct Log {
    disk: Arc<dyn Disk>,
    options: Options,
    journal: JournalId,
    /// Segments that hold groups; the last is written to.
    segments: Vec<Segment>,
    spare: Option<(SegmentNo, u64)>,
    next_group: GroupNo,
    sealed: bool,
    tails: Tails,
    cuts: Tails,
    staged: Staged,
    stopped: Option<String>,
}

/// The group being gathered, its header space first.
#[derive(Default)]
struct Staged {
    bytes: Vec<u8>,
    count: u32,
    tails: Tails,
    touched: Vec<Shard>,
    written: bool,
}

impl Log {
    /// Recovers what is on the disk, or begins a new journal whose number is `fresh_id` (which should be random).
    ///
    /// # Errors
    /// See [`OpenError`]: a journal that is damaged in the middle is refused as it is, and nothing is changed.
    pub fn open(disk: Arc<dyn Disk>, options: Options, fresh_id: u64) -> Result<(Log, Recovery), OpenError> {
        check(&options)?;
        let mut survey = recovery::survey(disk.as_ref())?;
        recovery::repair(disk.as_ref(), &mut survey, segments::length_min(&options))?;
        let mut log = Log {
            disk,
            options,
            journal: survey.journal.filter(|_| !survey.segments.is_empty()).unwrap_or(JournalId(fresh_id)),
            segments: survey.segments,
            spare: survey.spare,
            next_group: survey.next_group.unwrap_or(GroupNo(1)),
            sealed: survey.sealed,
            tails: survey.tails.clone(),
            cuts: Tails::default(),
            staged: Staged { tails: survey.tails, ..Staged::default() },
            stopped: None,
        };
        log.clear_staged();
        if log.segments.is_empty() {
            log.begin()?;
        }
        Ok((log, survey.report))
    }

    fn begin(&mut self) -> Result<(), OpenError> {
        match self.activate_next() {
            Ok(()) => Ok(()),
            Err(CommitError::DiskFull) => Err(OpenError::DiskFull { file: self.disk.locate(SegmentNo(1)) }),
            Err(CommitError::Stopped { reason }) => Err(OpenError::Io(io::Error::other(reason))),
        }
    }

    /// Takes a record into the group being gathered and says which number it will have.
    ///
    /// # Errors
    /// See [`StageError`]; the group is as it was.
    pub fn stage(&mut self, shard: Shard, after: Seq, record: &[u8]) -> Result<Seq, StageError> {
        assert!(!self.staged.written, "a written group is synced before the next is gathered");
        let last = self.staged.tails.get(shard);
        if after != last {
            return Err(StageError::Fenced { last });
        }
        let most = record_bytes_max(&self.options);
        if record.len() > most {
            return Err(StageError::TooLarge { most });
        }
        let larger = self.staged.bytes.len() + format::FRAME_HEADER_BYTES + record.len();
        if larger > self.options.group_bytes_max {
            return Err(StageError::GroupFull);
        }
        let seq = after.next();
        format::encode_frame(shard, seq, record, &mut self.staged.bytes);
        self.staged.count += 1;
        self.staged.tails.set(shard, seq);
        self.staged.touched.push(shard);
        Ok(seq)
    }

    /// Number of records in the group being gathered.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.staged.touched.len()
    }

    /// Writes the staged group, which is not durable yet, and says how many bytes it has.
    ///
    /// # Errors
    /// See [`CommitError`]; the staged records are gone.
    pub fn write(&mut self) -> Result<usize, CommitError> {
        self.running()?;
        let segment = self.make_room(self.staged.bytes.len()).inspect_err(|_| self.discard())?;
        let place = (segment, self.next_group);
        format::finish_group(&mut self.staged.bytes, Kind::Records, self.staged.count, self.journal, place);
        let offset = self.active().end;
        match self.disk.write_at(segment, offset, &self.staged.bytes) {
            Ok(()) => {
                self.staged.written = true;
                Ok(self.staged.bytes.len())
            }
            Err(error) if no_space(&error) => {
                let length = self.staged.bytes.len();
                self.discard();
                self.cut_back(segment, offset, length)?;
                Err(CommitError::DiskFull)
            }
            Err(error) => Err(self.stop("write", segment, &error)),
        }
    }

    /// Makes the written group durable; its numbers count from now on.
    ///
    /// # Errors
    /// [`CommitError::Stopped`]: a failed sync is never tried again.
    pub fn sync(&mut self) -> Result<(), CommitError> {
        self.running()?;
        assert!(self.staged.written, "a group is written before it is synced");
        let segment = self.active().number;
        if let Err(error) = self.disk.sync(segment) {
            return Err(self.stop("sync", segment, &error));
        }
        let length = self.staged.bytes.len() as u64;
        self.active_mut().end += length;
        self.next_group = self.next_group.next();
        self.sealed = self.staged.count == 0;
        for shard in &self.staged.touched {
            self.tails.set(*shard, self.staged.tails.get(*shard));
        }
        self.clear_staged();
        Ok(())
    }

    /// One record as one group, written and synced.
    ///
    /// # Errors
    /// As [`super::Journal::append`].
    pub fn append(&mut self, shard: Shard, after: Seq, record: &[u8]) -> Result<Seq, super::AppendError> {
        let seq = self.stage(shard, after, record).map_err(|error| error.of(shard, after, record.len()))?;
        self.write().and_then(|_| self.sync()).map_err(super::AppendError::from)?;
        Ok(seq)
    }

    /// Drops the staged records.
    pub fn discard(&mut self) {
        for shard in &self.staged.touched {
            self.staged.tails.set(*shard, self.tails.get(*shard));
        }
        self.clear_staged();
    }

    /// Writes an empty group behind the last one, unless there is one: damage to the last group then shows as
    /// damage and cannot pass for a torn end.
    ///
    /// # Errors
    /// As [`Log::write`] and [`Log::sync`].
    pub fn seal(&mut self) -> Result<(), CommitError> {
        if self.sealed || self.staged() > 0 {
            return Ok(());
        }
        self.write().and_then(|_| self.sync())
    }

    /// The last durable record of `shard`.
    #[must_use]
    pub fn last(&self, shard: Shard) -> Seq {
        self.tails.get(shard)
    }

    /// See [`super::Journal::replay`].
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn replay(&self, after: &[(Shard, Seq)], visit: &mut Visit<'_>) -> Result<Vec<(Shard, Seq)>, ReplayError> {
        self.view().replay(self.disk.as_ref(), after, visit)
    }

    /// What can be replayed now.
    pub(crate) fn view(&self) -> View {
        View { journal: self.journal, segments: self.segments.clone(), tails: self.tails.clone() }
    }

    /// Brings an earlier view up to date, at a cost that depends on the last group alone unless a segment came or went.
    pub(crate) fn refresh(&self, view: &mut View) {
        let shape = |segments: &[Segment]| segments.first().zip(segments.last()).map(|(a, b)| (a.number, b.number));
        if shape(&view.segments) != shape(&self.segments) {
            *view = self.view();
        } else if let (Some(seen), Some(active)) = (view.segments.last_mut(), self.segments.last()) {
            seen.end = active.end;
            view.tails.clone_from(&self.tails);
        }
    }

    /// Whether the last group is an empty one.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Why the log takes nothing any more, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    fn running(&self) -> Result<(), CommitError> {
        match &self.stopped {
            Some(reason) => Err(CommitError::Stopped { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Takes back what a refused write may have left, so that nothing of it is ever found.
    fn cut_back(&mut self, segment: SegmentNo, offset: u64, length: usize) -> Result<(), CommitError> {
        let zeros = vec![0; length];
        match self.disk.write_at(segment, offset, &zeros).and_then(|()| self.disk.sync(segment)) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.stop("cut back", segment, &error)),
        }
    }

    fn stop(&mut self, action: &str, segment: SegmentNo, error: &io::Error) -> CommitError {
        let reason = format!("{action} failed: file={}: {error}", self.disk.locate(segment).display());
        tracing::error!(reason, "journal stopped");
        self.discard();
        self.stopped = Some(reason.clone());
        CommitError::Stopped { reason }
    }

    fn clear_staged(&mut self) {
        self.staged.bytes.clear();
        self.staged.bytes.resize(GROUP_HEADER_BYTES, 0);
        self.staged.count = 0;
        self.staged.touched.clear();
        self.staged.written = false;
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("an open log has an active segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("an open log has an active segment")
    }
}

impl std::fmt::Display for CommitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommitError::DiskFull => f.write_str("disk full"),
            CommitError::Stopped { reason } => f.write_str(reason),
        }
    }
}

impl StageError {
    /// What the caller of the journal is told.
    pub(crate) fn of(self, shard: Shard, after: Seq, bytes: usize) -> super::AppendError {
        match self {
            StageError::Fenced { last } => super::AppendError::Fenced { shard, after, last },
            StageError::TooLarge { most } => {
                super::AppendError::Unavailable { reason: Unavailable::TooLarge { bytes, most } }
            }
            StageError::GroupFull => super::AppendError::Unavailable { reason: Unavailable::QueueFull },
        }
    }
}

impl From<CommitError> for super::AppendError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::DiskFull => super::AppendError::Unavailable { reason: Unavailable::DiskFull },
            CommitError::Stopped { reason } => super::AppendError::Unknown { reason },
        }
    }
}

/// The most bytes that one record may have.
fn record_bytes_max(options: &Options) -> usize {
    options.group_bytes_max - GROUP_HEADER_BYTES - format::FRAME_HEADER_BYTES
}

fn check(options: &Options) -> Result<(), OpenError> {
    let rule = if !(1024..=1 << 30).contains(&options.group_bytes_max) {
        "group_bytes_max is 1 KiB to 1 GiB"
    } else if options.segment_bytes < segments::length_min(options) || options.segment_bytes > 1 << 32 {
        "segment_bytes holds a group, the tails of all shards and a header, and is at most 4 GiB"
    } else if options.max_bytes.is_some_and(|most| most < options.segment_bytes) {
        "max_bytes is at least segment_bytes"
    } else {
        return Ok(());
    };
    Err(OpenError::Options { rule })
}

/// Whether an error says that there is no space, and nothing worse.
fn no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
