//! A journal seen from outside, for `stampede journal verify|dump DIR`: reads, never writes, needs no lock.
//!
//! The node may be running: an unfinished end is then nothing unusual, and what looks like damage has to look the same
//! twice before it is believed.

use std::path::{Path, PathBuf};

use super::disk::{Disk, FileDisk};
use super::log::View;
use super::recovery::{self, OpenError, Recovery, Survey};
use super::tails::Tails;
use super::{ReplayError, Seq, Shard, Visit};

/// How often a moving journal is read again.
const TRIES_MAX: usize = 5;

/// What a journal's files hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Totals, and the unfinished end if there is one: cut at the next start, or being written right now.
    pub recovery: Recovery,
    /// The files, in order.
    pub segments: Vec<SegmentReport>,
    /// For every shard the first record that is still there and the last one; first is last + 1 when all were deleted.
    pub shards: Vec<(Shard, Seq, Seq)>,
    /// The file preallocated for what comes next.
    pub spare: Option<PathBuf>,
    /// A file whose preallocation was never finished, or is under way.
    pub unfinished: Option<PathBuf>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its path.
    pub file: PathBuf,
    /// Bytes that hold groups.
    pub used_bytes: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Reads every byte of the journal in `dir` and checks it against every rule of the format.
///
/// # Errors
/// As opening it would fail, see [`OpenError`].
pub fn verify(dir: &Path) -> Result<Report, OpenError> {
    let disk = FileDisk::read_only(dir);
    let survey = survey(&disk)?;
    let base = survey.segments.first().map(|oldest| &oldest.before);
    let shards = survey
        .tails
        .iter()
        .map(|(shard, last)| (shard, base.map_or(Seq::NONE, |base| base.get(shard)).next(), last))
        .collect();
    let segments = survey.segments.iter().map(|segment| SegmentReport {
        file: disk.locate(segment.number),
        used_bytes: segment.end,
        bytes: segment.length,
    });
    Ok(Report {
        segments: segments.collect(),
        shards,
        spare: survey.spare.map(|(number, _)| disk.locate(number)),
        unfinished: survey.unfinished.map(|number| disk.locate(number)),
        recovery: survey.report,
    })
}

/// Visits every record of the journal in `dir`, in the order in which they were written.
///
/// # Errors
/// As [`verify`], or what `visit` returned.
pub fn dump(dir: &Path, visit: &mut Visit<'_>) -> Result<(), DumpError> {
    let disk = FileDisk::read_only(dir);
    let survey = survey(&disk).map_err(DumpError::Open)?;
    let base = survey.segments.first().map_or_else(Tails::default, |oldest| oldest.before.clone());
    let after: Vec<(Shard, Seq)> = survey.tails.iter().map(|(shard, _)| (shard, base.get(shard))).collect();
    let Some(journal) = survey.journal else { return Ok(()) };
    let view = View { journal, segments: survey.segments, tails: survey.tails };
    view.replay(&disk, &after, visit).map_err(DumpError::Replay)?;
    Ok(())
}

/// Why a dump ended early.
#[derive(Debug)]
pub enum DumpError {
    /// The journal is not in order; nothing was visited.
    Open(OpenError),
    /// Reading or visiting failed on the way.
    Replay(ReplayError),
}

impl std::fmt::Display for DumpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DumpError::Open(error) => error.fmt(f),
            DumpError::Replay(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DumpError {}

fn survey(disk: &FileDisk) -> Result<Survey, OpenError> {
    let mut before: Option<String> = None;
    let mut tries = 0;
    loop {
        let error = match recovery::survey(disk) {
            Ok(survey) => return Ok(survey),
            Err(error) => error,
        };
        tries += 1;
        let said = error.to_string();
        // A group written while the file was read may look bad in front of a good one; a segment may just be deleted.
        if tries == TRIES_MAX || before.as_ref() == Some(&said) {
            return Err(error);
        }
        before = Some(said);
    }
}

#[cfg(test)]
mod tests;
