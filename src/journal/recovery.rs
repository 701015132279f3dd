//! Opening what is there: the survey that only reads, and the repair that cuts a torn end.
//!
//! The one rule that must never give: an end that was never acknowledged may be cut, anything in front of a later
//! group is refused by name and place, because acknowledged records would be lost with it. A single group is
//! unsynced at any time, so a crash can spoil the last group and nothing else.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::format::{self, Fault, GroupNo, HEADER_BYTES, JournalId};
use super::scan::{self, Damage, Position, Stop, Walk};
use super::tails::Tails;
use super::{Disk, SegmentNo};

/// Why a journal cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// A file does not say what was written to it.
    Damaged(Damage),
    /// A segment is not there.
    Missing {
        /// The file that should be there.
        file: PathBuf,
        /// The file that shows it.
        because_of: PathBuf,
    },
    /// An option is out of its range.
    Options {
        /// Its name and rule.
        rule: &'static str,
    },
    /// No space for the first segment.
    DiskFull {
        /// The file.
        file: PathBuf,
    },
    /// The files cannot be read or written.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Damaged(damage) => damage.fmt(f),
            OpenError::Missing { file, because_of } => {
                write!(f, "journal segment missing: file={} because_of={}", file.display(), because_of.display())
            }
            OpenError::Options { rule } => write!(f, "journal option out of range: {rule}"),
            OpenError::DiskFull { file } => write!(f, "no space for a journal segment: file={}", file.display()),
            OpenError::Io(source) => write!(f, "journal cannot be opened: {source}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io(source) => Some(source),
            OpenError::Damaged(damage) => Some(damage),
            OpenError::Missing { .. } | OpenError::Options { .. } | OpenError::DiskFull { .. } => None,
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(source: io::Error) -> Self {
        OpenError::Io(source)
    }
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that hold groups.
    pub segments: u64,
    /// Groups read.
    pub groups: u64,
    /// Records read.
    pub records: u64,
    /// The end that was cut, if one was torn.
    pub torn: Option<Torn>,
}

/// A group that was never finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How far something was written.
    pub bytes: u64,
    /// How it shows.
    pub fault: Fault,
}

/// A segment that holds groups.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: SegmentNo,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Where the next group would begin.
    pub(crate) end: u64,
    /// The last number of every shard when the segment began.
    pub(crate) before: Tails,
}

/// A journal as it lies on the disk.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) journal: Option<JournalId>,
    pub(crate) segments: Vec<Segment>,
    /// The preallocated segment and its length.
    pub(crate) spare: Option<(SegmentNo, u64)>,
    /// A segment whose preallocation was never finished.
    pub(crate) unfinished: Option<SegmentNo>,
    pub(crate) tails: Tails,
    pub(crate) next_group: Option<GroupNo>,
    /// The last good group's beginning in the last segment.
    pub(crate) last_start: u64,
    pub(crate) sealed: bool,
    pub(crate) report: Recovery,
}

/// Reads all of it, writes nothing.
pub(crate) fn survey(disk: &dyn Disk) -> Result<Survey, OpenError> {
    let numbers = disk.list()?;
    for pair in numbers.windows(2) {
        if pair[1].0 != pair[0].0 + 1 {
            return Err(missing(disk, SegmentNo(pair[0].0 + 1), pair[1]));
        }
    }
    let mut survey = Survey::default();
    let mut position = Position::default();
    for (index, number) in numbers.iter().enumerate() {
        survey.read(disk, *number, &numbers[index + 1..], &mut position)?;
    }
    survey.tails = position.tails.unwrap_or_default();
    survey.next_group = position.next_group;
    survey.report.segments = survey.segments.len() as u64;
    // A spare alone is a journal that never began, unless the files before it are gone.
    if let (true, Some(number)) = (survey.segments.is_empty(), numbers.first())
        && number.0 != 1
    {
        return Err(missing(disk, SegmentNo(number.0 - 1), *number));
    }
    Ok(survey)
}

impl Survey {
    fn read(
        &mut self,
        disk: &dyn Disk,
        number: SegmentNo,
        later: &[SegmentNo],
        position: &mut Position,
    ) -> Result<(), OpenError> {
        let length = disk.length(number)?;
        let bytes = disk.read_at(number, 0, usize::try_from(length).unwrap_or(usize::MAX))?;
        let damaged = |offset: usize, fault, later| {
            let (file, offset) = (disk.locate(number), offset as u64);
            OpenError::Damaged(Damage { file, offset, fault, later })
        };
        let journal = match self.header(&bytes, number) {
            Ok(journal) => journal,
            Err(_) if later.is_empty() && scan::is_zero(bytes.get(HEADER_BYTES..).unwrap_or_default()) => {
                self.unfinished = Some(number);
                return Ok(());
            }
            Err(fault) => return Err(damaged(0, fault, None)),
        };
        let before = position.tails.clone();
        let walk = walk_silently(&bytes, number, journal, position);
        match walk.stop {
            Stop::End => {}
            Stop::Wrong(fault) => return Err(damaged(walk.end, fault, None)),
            Stop::Bad(fault) => {
                if let Some(evidence) = written_later(disk, (number, &bytes), walk.end, later, journal)? {
                    return Err(damaged(walk.end, fault, Some(evidence)));
                }
                let bytes = (scan::used_length(&bytes) - walk.end) as u64;
                self.report.torn = Some(Torn { file: disk.locate(number), offset: walk.end as u64, bytes, fault });
            }
        }
        if walk.groups == 0 {
            if !later.is_empty() {
                return Err(damaged(walk.end, Fault::Empty, Some((disk.locate(later[0]), 0))));
            }
            self.spare = Some((number, length));
            return Ok(());
        }
        let before = before.or_else(|| first_tails(&bytes, number, journal)).unwrap_or_default();
        self.segments.push(Segment { number, length, end: walk.end as u64, before });
        self.report.groups += walk.groups;
        self.report.records += walk.records;
        self.last_start = walk.last_start.unwrap_or(HEADER_BYTES) as u64;
        self.sealed = walk.sealed;
        Ok(())
    }

    fn header(&mut self, bytes: &[u8], number: SegmentNo) -> Result<JournalId, Fault> {
        let found = format::decode_segment_header(bytes, number)?;
        match *self.journal.get_or_insert(found) {
            journal if journal == found => Ok(found),
            JournalId(_) => Err(Fault::JournalNumber { found: found.0 }),
        }
    }
}

fn walk_silently(bytes: &[u8], number: SegmentNo, journal: JournalId, position: &mut Position) -> Walk {
    let walked: Result<Walk, std::convert::Infallible> =
        scan::walk(bytes, number, journal, position, &mut |_, _, _| Ok(()));
    match walked {
        Ok(walk) => walk,
    }
}

fn first_tails(bytes: &[u8], number: SegmentNo, journal: JournalId) -> Option<Tails> {
    let group = format::decode_group(bytes, HEADER_BYTES, number, journal).ok()?;
    format::decode_tails(&group).ok()
}

/// Something that was written after the bad group at `offset`, which therefore was acknowledged.
fn written_later(
    disk: &dyn Disk,
    (number, bytes): (SegmentNo, &[u8]),
    offset: usize,
    later: &[SegmentNo],
    journal: JournalId,
) -> Result<Option<(PathBuf, u64)>, OpenError> {
    if let Some(found) = scan::find_group(bytes, offset + format::ALIGN, number, journal) {
        return Ok(Some((disk.locate(number), found as u64)));
    }
    // A segment is begun only when everything before it is durable, so one byte in it is evidence enough.
    for number in later {
        let length = usize::try_from(disk.length(*number)?).unwrap_or(usize::MAX);
        let bytes = disk.read_at(*number, 0, length)?;
        if let Some(found) = bytes.get(HEADER_BYTES..).and_then(|body| body.iter().position(|byte| *byte != 0)) {
            return Ok(Some((disk.locate(*number), (HEADER_BYTES + found) as u64)));
        }
    }
    Ok(None)
}

fn missing(disk: &dyn Disk, segment: SegmentNo, because_of: SegmentNo) -> OpenError {
    OpenError::Missing { file: disk.locate(segment), because_of: disk.locate(because_of) }
}

/// Cuts the torn end, removes an unfinished segment, and makes the last good group durable.
///
/// The last group may be known to the kernel alone: the process may have been killed before the sync, and after a
/// sync that failed the kernel even takes its pages for written. So it is written again before it is believed.
pub(crate) fn repair(disk: &dyn Disk, survey: &mut Survey, spare_min: u64) -> Result<(), OpenError> {
    if let (Some((number, length)), true) = (survey.spare, survey.spare.is_some_and(|(_, length)| length < spare_min)) {
        tracing::info!(file = %disk.locate(number).display(), length, "preallocated segment is too short, made anew");
        survey.spare = None;
        survey.unfinished = Some(number);
    }
    if let Some(number) = survey.unfinished.take() {
        disk.remove(number)?;
    }
    if let Some(torn) = &survey.report.torn {
        tracing::warn!(
            file = %torn.file.display(), offset = torn.offset, bytes = torn.bytes, reason = %torn.fault,
            "unfinished end of the journal cut"
        );
        let torn_in_spare = survey.spare.filter(|(number, _)| disk.locate(*number) == torn.file);
        let number = torn_in_spare.map(|(number, _)| number).or(survey.segments.last().map(|last| last.number));
        if let Some(number) = number {
            let zeros = vec![0; usize::try_from(torn.bytes).unwrap_or(usize::MAX)];
            disk.write_at(number, torn.offset, &zeros)?;
            disk.sync(number)?;
        }
    }
    if let (Some(last), Some(journal)) = (survey.segments.last(), survey.journal) {
        let length = usize::try_from(last.end - survey.last_start).unwrap_or(usize::MAX);
        let group = disk.read_at(last.number, survey.last_start, length)?;
        disk.write_at(last.number, 0, &format::encode_segment_header(last.number, journal))?;
        disk.write_at(last.number, survey.last_start, &group)?;
        disk.sync(last.number)?;
    }
    disk.sync_dir()?;
    Ok(())
}
