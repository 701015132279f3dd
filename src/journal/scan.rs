//! Reading a segment from group to group, and what is wrong where it ends.
//!
//! Works on bytes already read; no I/O. It says what it found and never decides whether that may be cut:
//! [`super::recovery`] does.

use std::fmt;
use std::path::PathBuf;

use super::format::{self, Fault, Group, GroupNo, JournalId, Kind};
use super::tails::Tails;
use super::{SegmentNo, Seq, Shard};

/// A place in a file that does not say what was written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Bytes from its beginning.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
    /// Why it cannot be a torn end: the file and offset of something written later.
    pub later: Option<(PathBuf, u64)>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "journal damaged: file={} offset={}: {}", self.file.display(), self.offset, self.fault)?;
        match &self.later {
            Some((file, offset)) => {
                write!(f, "; acknowledged records follow: file={} offset={offset}", file.display())
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Damage {}

/// Where a reader stands: what the segments read so far say must come next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position {
    /// The next group's number; unknown before the first.
    pub(crate) next_group: Option<GroupNo>,
    /// The last number of every shard; unknown before the first group.
    pub(crate) tails: Option<Tails>,
}

/// Why a walk through a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing but zeros, or the end of the bytes.
    End,
    /// No group that holds; it may never have been finished.
    Bad(Fault),
    /// A group that holds and contradicts what came before; it was finished, so something is wrong.
    Wrong(Fault),
}

/// What a walk found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// Where the last good group ends.
    pub(crate) end: usize,
    /// Where the last good group begins.
    pub(crate) last_start: Option<usize>,
    pub(crate) groups: u64,
    pub(crate) records: u64,
    /// Whether the last good group holds no records.
    pub(crate) sealed: bool,
    pub(crate) stop: Stop,
}

/// Called for every record.
pub(crate) type Visit<'a, E> = dyn FnMut(Shard, Seq, &[u8]) -> Result<(), E> + 'a;

/// Visits every record of a segment, of which `bytes` are the first, until the end or until something is wrong.
///
/// # Errors
/// Only what `visit` returns.
pub(crate) fn walk<E>(
    bytes: &[u8],
    segment: SegmentNo,
    journal: JournalId,
    position: &mut Position,
    visit: &mut Visit<'_, E>,
) -> Result<Walk, E> {
    let mut walk =
        Walk { end: format::HEADER_BYTES, last_start: None, groups: 0, records: 0, sealed: false, stop: Stop::End };
    while walk.end < bytes.len() {
        let group = match format::decode_group(bytes, walk.end, segment, journal) {
            Ok(group) => group,
            Err(_) if is_zero(&bytes[walk.end..]) => break,
            Err(fault) => {
                walk.stop = Stop::Bad(fault);
                break;
            }
        };
        if let Err(fault) = enter(&group, walk.groups == 0, position) {
            walk.stop = Stop::Wrong(fault);
            break;
        }
        if group.kind == Kind::Records
            && let Err(fault) = records(&group, position, visit)?
        {
            walk.stop = Stop::Wrong(fault);
            break;
        }
        walk.groups += 1;
        walk.records += if group.kind == Kind::Records { u64::from(group.count) } else { 0 };
        walk.sealed = group.kind == Kind::Records && group.count == 0;
        walk.last_start = Some(walk.end);
        walk.end = group.end;
    }
    Ok(walk)
}

/// Checks that this group may come here.
fn enter(group: &Group<'_>, first: bool, position: &mut Position) -> Result<(), Fault> {
    if let Some(expected) = position.next_group
        && group.number != expected
    {
        return Err(Fault::GroupNumber { found: group.number.0, expected: expected.0 });
    }
    match (first, group.kind) {
        (true, Kind::Tails) => same_tails(format::decode_tails(group)?, position)?,
        (true, Kind::Records) => return Err(Fault::NoTails),
        (false, Kind::Tails) => return Err(Fault::TailsMidway),
        (false, Kind::Records) => {}
    }
    position.next_group = Some(group.number.next());
    Ok(())
}

fn same_tails(found: Tails, position: &mut Position) -> Result<(), Fault> {
    let Some(expected) = &position.tails else {
        position.tails = Some(found);
        return Ok(());
    };
    let differs = found.iter().chain(expected.iter()).find(|(shard, _)| found.get(*shard) != expected.get(*shard));
    match differs {
        Some((shard, _)) => {
            Err(Fault::TailsDiffer { shard: shard.0, found: found.get(shard).0, expected: expected.get(shard).0 })
        }
        None => Ok(()),
    }
}

fn records<E>(group: &Group<'_>, position: &mut Position, visit: &mut Visit<'_, E>) -> Result<Result<(), Fault>, E> {
    let tails = position.tails.get_or_insert_default();
    let mut content = group.content;
    for _ in 0..group.count {
        let frame = match format::decode_frame(&mut content) {
            Ok(frame) => frame,
            Err(fault) => return Ok(Err(fault)),
        };
        let expected = tails.get(frame.shard).next();
        if frame.seq != expected {
            let fault = Fault::RecordNumber { shard: frame.shard.0, found: frame.seq.0, expected: expected.0 };
            return Ok(Err(fault));
        }
        tails.set(frame.shard, frame.seq);
        visit(frame.shard, frame.seq, frame.payload)?;
    }
    Ok(if content.is_empty() { Ok(()) } else { Err(Fault::FrameLength) })
}

/// The first whole group at or after `from`, wherever it begins.
pub(crate) fn find_group(bytes: &[u8], from: usize, segment: SegmentNo, journal: JournalId) -> Option<usize> {
    (from.next_multiple_of(format::ALIGN)..bytes.len()).step_by(format::ALIGN).find(|&offset| {
        format::kind_at(&bytes[offset..]).is_some() && format::decode_group(bytes, offset, segment, journal).is_ok()
    })
}

/// Whether there is nothing here.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Whole blocks first, which the compiler turns into wide compares.
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().all(|block| block.iter().fold(0, |any, byte| any | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// The length of `bytes` without the zeros at their end.
pub(crate) fn used_length(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}
