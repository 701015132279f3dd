//! Loading: brings every shard back at the start, on several threads.
//!
//! One thread reads the journal once and deals its records out in bundles; workers, each for its own shards, read the
//! snapshots, decode and fold. What may be folded and what is refused is [`super::recovery`]'s.

use std::fmt;
use std::sync::mpsc;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use actors::ids::Shard;

use super::format;
use super::recovery::{Image, RecoveryError, Restored};
use super::shelf::Shelf;
use crate::journal::{self, Journal, ReplayError, Seq, VisitError};

/// Bytes of records that travel together to a worker.
const BUNDLE_BYTES: usize = 256 * 1024;

/// Bundles that may wait for a worker; the reader waits when there are more.
const BUNDLES_MAX: usize = 16;

/// Why the machines cannot be started.
#[derive(Debug)]
pub enum StartError {
    /// A shard cannot be brought back.
    Recovery(RecoveryError),
    /// The journal cannot be read.
    Replay(ReplayError),
    /// A thread cannot be started.
    Thread(std::io::Error),
    /// A thread ended before its time: our bug.
    Ended(&'static str),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Recovery(source) => source.fmt(f),
            StartError::Replay(source) => source.fmt(f),
            StartError::Thread(source) => write!(f, "thread cannot be started: {source}"),
            StartError::Ended(which) => write!(f, "thread ended before its time: {which}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Recovery(source) => Some(source),
            StartError::Replay(source) => Some(source),
            StartError::Thread(source) => Some(source),
            StartError::Ended(_) => None,
        }
    }
}

impl From<RecoveryError> for StartError {
    fn from(source: RecoveryError) -> Self {
        StartError::Recovery(source)
    }
}

impl From<ReplayError> for StartError {
    fn from(source: ReplayError) -> Self {
        StartError::Replay(source)
    }
}

/// What a start brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How long it took.
    pub took: Duration,
    /// Cells, all kinds together.
    pub cells: usize,
    /// Of them, those that came from a snapshot.
    pub snapshots: usize,
    /// Journal records read.
    pub records: u64,
    /// Entries folded in; those that a snapshot contained are not counted.
    pub entries: u64,
}

/// Brings the named shards back with so many workers.
///
/// # Errors
/// Anything that does not fit: see [`StartError`].
pub fn load(
    journal: &dyn Journal,
    shelf: &dyn Shelf,
    shards: &[Shard],
    workers: usize,
) -> Result<(Vec<Restored>, Recovery), StartError> {
    let began = Instant::now();
    let bases = bases(journal, shards)?;
    let (restored, records) = std::thread::scope(|scope| {
        let mut lines = Vec::new();
        let mut handles = Vec::new();
        for worker in 0..workers {
            let (line, bundles) = mpsc::sync_channel::<Bundle>(BUNDLES_MAX);
            let own = bases.iter().copied().filter(|(shard, _)| usize::from(shard.0) % workers == worker).collect();
            let run = move || work(shelf, own, bundles);
            let thread = std::thread::Builder::new().name(format!("load-{worker}"));
            handles.push(thread.spawn_scoped(scope, run).map_err(StartError::Thread)?);
            lines.push(line);
        }
        deal(journal, &bases, lines, handles)
    })?;
    let machines = || restored.iter().flat_map(|shard| shard.machines.values());
    let recovery = Recovery {
        took: began.elapsed(),
        cells: machines().count(),
        snapshots: machines().filter(|recovered| recovered.snapshot.is_some()).count(),
        records,
        entries: restored.iter().map(|shard| shard.entries).sum(),
    };
    Ok((restored, recovery))
}

/// For each shard, the record before the first that the journal still has.
pub(super) fn bases(journal: &dyn Journal, shards: &[Shard]) -> Result<Vec<(Shard, Seq)>, StartError> {
    let mut bases: Vec<(Shard, Seq)> = shards.iter().map(|shard| (*shard, Seq::NONE)).collect();
    loop {
        // The first record ends the look: only what was cut is of interest.
        match journal.replay(&names(&bases), &mut |_, _, _| Err("seen".into())) {
            Ok(_) | Err(ReplayError::Visit { .. }) => return Ok(bases),
            Err(ReplayError::Cut { shard, first, after }) if first.0 > after.0 + 1 => {
                let cut = bases.iter_mut().find(|(of, _)| of.0 == shard.0);
                cut.ok_or(StartError::Ended("journal names another shard"))?.1 = Seq(first.0 - 1);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The same in the journal's terms.
pub(super) fn names(bases: &[(Shard, Seq)]) -> Vec<(journal::Shard, Seq)> {
    bases.iter().map(|(shard, base)| (journal::Shard(shard.0), *base)).collect()
}

/// Records of several shards, end to end.
#[derive(Default)]
struct Bundle {
    /// Shard, number and end in `bytes`.
    records: Vec<(Shard, Seq, usize)>,
    bytes: Vec<u8>,
}

type Worker<'a> = ScopedJoinHandle<'a, Result<Vec<Image>, StartError>>;

/// Reads the journal once and gives every worker its records.
fn deal(
    journal: &dyn Journal,
    bases: &[(Shard, Seq)],
    lines: Vec<mpsc::SyncSender<Bundle>>,
    workers: Vec<Worker<'_>>,
) -> Result<(Vec<Restored>, u64), StartError> {
    let mut bundles: Vec<Bundle> = lines.iter().map(|_| Bundle::default()).collect();
    let mut records = 0;
    let replayed = journal.replay(&names(bases), &mut |shard, seq, record| {
        let worker = usize::from(shard.0) % lines.len();
        let bundle = &mut bundles[worker];
        bundle.bytes.extend_from_slice(record);
        bundle.records.push((Shard(shard.0), seq, bundle.bytes.len()));
        records += 1;
        if bundle.bytes.len() >= BUNDLE_BYTES {
            lines[worker].send(std::mem::take(bundle)).map_err(|_| VisitError::from("worker has given up"))?;
        }
        Ok(())
    });
    if replayed.is_ok() {
        for (line, bundle) in lines.iter().zip(bundles) {
            // A worker that has given up says why when it is joined.
            let _ = line.send(bundle);
        }
    }
    drop(lines);
    // A worker's own reason comes before the reader's, which may only be that the worker is gone.
    let mut images = Vec::new();
    for worker in workers {
        images.extend(worker.join().map_err(|_| StartError::Ended("load"))??);
    }
    let last = replayed?;
    let finish = |image: Image| {
        let last = last.iter().find(|(shard, _)| shard.0 == image.shard().0).map_or(Seq::NONE, |(_, last)| *last);
        image.finish(last)
    };
    Ok((images.into_iter().map(finish).collect::<Result<_, _>>()?, records))
}

/// A shard as its snapshots have it; the records after `base` are to be folded in.
pub(super) fn image(shelf: &dyn Shelf, shard: Shard, base: Seq) -> Result<Image, RecoveryError> {
    let mut image = Image::new(shard, base);
    for cell in shelf.cells(shard).map_err(|source| RecoveryError::Shelf { shard, source })? {
        let refuse = |source| RecoveryError::Format { shard, seq: Seq::NONE, address: None, source };
        let address = format::decode_address(&cell).map_err(refuse)?;
        match shelf.newest(shard, &cell) {
            Some((seq, bytes)) => image.snapshot(address, seq, &bytes)?,
            None => image.without_snapshot(&address)?,
        }
    }
    image.check_snapshots()?;
    Ok(image)
}

fn work(
    shelf: &dyn Shelf,
    shards: Vec<(Shard, Seq)>,
    bundles: mpsc::Receiver<Bundle>,
) -> Result<Vec<Image>, StartError> {
    let mut images = Vec::new();
    for (shard, base) in shards {
        images.push(image(shelf, shard, base)?);
    }
    for Bundle { records, bytes } in bundles {
        let mut start = 0;
        for (shard, seq, end) in records {
            let image = images.iter_mut().find(|image| image.shard() == shard);
            image.ok_or(StartError::Ended("deal"))?.fold(seq, &bytes[start..end])?;
            start = end;
        }
    }
    Ok(images)
}
