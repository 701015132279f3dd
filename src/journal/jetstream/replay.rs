//! Reading a shard's journal up to its end, and cutting off its beginning.
//!
//! A number is found among positions by bisection, because no index is kept: a look is one request to the leader, and a
//! million records are twenty looks away.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::append::{Position, Tail};
use super::carry::open;
use super::envelope::{Envelope, Kind};
use super::lanes::Lane;
use super::reader::{Entry, ReadError, Reader};
use super::{Seq, Shard, Shared};
use crate::journal::{ReplayError, Visit};
use crate::nats::Away;

/// Records that may wait for the visitor.
const AHEAD_MAX: usize = 256;

/// A replay that hears nothing for this long gives up; its caller tries again or says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks that got no answer.
const AGAIN: Duration = Duration::from_millis(50);

/// Visits the records of `shard` after `after`, up to those that were last when it began. Blocks.
pub(super) fn replay(
    shared: &Arc<Shared>,
    shard: Shard,
    after: Seq,
    visit: &mut Visit<'_>,
) -> Result<Seq, ReplayError> {
    let (sender, records) = sync_channel(AHEAD_MAX);
    std::thread::scope(|scope| {
        // A thread of its own may wait for the network; the visitor stays where it was called.
        let read = scope.spawn(|| shared.handle.block_on(read(shared, shard, after, sender)));
        let visited = visit_all(shard, records, visit);
        let last = read.join().unwrap_or_else(|_| Err(ReplayError::Io(io::Error::other("reader panicked"))));
        visited.and(last)
    })
}

fn visit_all(shard: Shard, records: Receiver<(Seq, Bytes)>, visit: &mut Visit<'_>) -> Result<(), ReplayError> {
    for (seq, record) in records {
        visit(shard, seq, &record).map_err(|source| ReplayError::Visit { shard, seq, source })?;
    }
    Ok(())
}

async fn read(
    shared: &Arc<Shared>,
    shard: Shard,
    after: Seq,
    records: SyncSender<(Seq, Bytes)>,
) -> Result<Seq, ReplayError> {
    let lane = shared.lane(shard);
    let tail = patiently(async || shared.tail(shard).await).await?;
    let last = tail.as_ref().map_or(Seq::NONE, |tail| tail.seq);
    if after > last {
        return Err(ReplayError::Ahead { shard, after, last });
    }
    let Some(tail) = tail else { return Ok(last) };
    let (first, floor) = patiently(async || first_message(shared, lane).await).await?;
    if after < floor {
        return Err(ReplayError::Cut { shard, after, first: floor.next() });
    }
    if after < tail.seq {
        let from = match after == floor {
            true => first,
            false => patiently(async || locate(shared, lane, (first, tail.position), after).await).await?,
        };
        let reader = Reader::new(Arc::clone(shared), shard, Position(from.0 - 1));
        read_on(reader, shard, after, &tail, &records).await?;
    }
    Ok(tail.seq)
}

async fn read_on(
    mut reader: Reader,
    shard: Shard,
    after: Seq,
    tail: &Tail,
    records: &SyncSender<(Seq, Bytes)>,
) -> Result<(), ReplayError> {
    let mut last = after;
    while last < tail.seq {
        let entry = match timeout(PATIENCE, next(&mut reader)).await {
            Ok(entry) => entry?,
            Err(_) => return Err(not_readable("no message of the journal came")),
        };
        let Kind::Record(record) = entry.envelope.kind else { continue };
        let seq = entry.envelope.seq;
        if seq <= after {
            continue;
        }
        if seq != last.next() {
            return Err(ReplayError::Cut { shard, after: last, first: seq });
        }
        last = seq;
        // The visitor gave up, and says why.
        if records.send((seq, record)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The next message, for as often as it has to be asked for.
async fn next(reader: &mut Reader) -> Result<Entry, ReplayError> {
    loop {
        match reader.next().await {
            Ok(entry) => return Ok(entry),
            Err(ReadError::Away(away)) => debug!(%away, "journal is asked again"),
            Err(error @ ReadError::Unreadable { .. }) => {
                return Err(ReplayError::Io(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }
}

/// The oldest message that is left: where it lies, and the last record before it.
async fn first_message(shared: &Shared, lane: &Lane) -> Result<(Position, Seq), Away> {
    let found = shared.nats.first_from(&lane.stream, &lane.subject, 1).await?;
    let stored = found.ok_or_else(|| Away::new(&lane.subject, "no message"))?;
    Ok((Position(stored.position), open(lane, &stored)?.before()))
}

/// A position behind `first` and up to `last` from which on all records come after `after`, and before which none does.
async fn locate(shared: &Shared, lane: &Lane, range: (Position, Position), after: Seq) -> Result<Position, Away> {
    let (mut low, mut high) = (range.0.0, range.1.0);
    while low < high {
        let middle = low + (high - low) / 2;
        match shared.nats.first_from(&lane.stream, &lane.subject, middle).await? {
            Some(stored) if !is_after(&open(lane, &stored)?, after) => low = stored.position + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(Position(low.min(range.1.0)))
}

fn is_after(envelope: &Envelope, after: Seq) -> bool {
    envelope.seq > after
}

/// Repeats a look until it is answered, or patience ends.
async fn patiently<T>(mut look: impl AsyncFnMut() -> Result<T, Away>) -> Result<T, ReplayError> {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(away) if started.elapsed() > PATIENCE => return Err(not_readable(&away.reason)),
            Err(away) => debug!(%away, "journal is asked again"),
        }
        sleep(AGAIN).await;
    }
}

fn not_readable(reason: &str) -> ReplayError {
    ReplayError::Io(io::Error::new(io::ErrorKind::TimedOut, reason.to_owned()))
}

/// Deletes what comes before the record behind `to`, except for the last message: the next append is conditional on it.
pub(super) async fn cut(shared: &Shared, shard: Shard, to: Seq) {
    let lane = shared.lane(shard);
    {
        let mut state = lane.state();
        if state.owned.is_none() || state.cutting {
            return;
        }
        state.cutting = true;
    }
    match try_cut(shared, lane, to).await {
        Ok(deleted) => debug!(%shard, %to, deleted, "journal was cut"),
        // A hint: the next round of snapshots says it again.
        Err(away) => debug!(%shard, %away, "journal was not cut"),
    }
    lane.state().cutting = false;
}

async fn try_cut(shared: &Shared, lane: &Lane, to: Seq) -> Result<u64, Away> {
    let Some(tail) = shared.tail(lane.shard).await? else { return Ok(0) };
    let (first, floor) = first_message(shared, lane).await?;
    if to <= floor {
        return Ok(0);
    }
    let keep = locate(shared, lane, (first, tail.position), to).await?;
    shared.nats.purge_before(&lane.stream, &lane.subject, keep.0).await
}
