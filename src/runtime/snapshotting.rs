//! Snapshots: how a shard's journal stays short.
//!
//! Owns the rounds. In a round each cell of a shard that has changed encodes itself between two turns, together with the
//! record up to which it is complete; only when that record is durable do the bytes go to the [`Writer`], which stores and
//! verifies them on one thread. When all cells of the round are stored, another thread asks the shelf what the journal may
//! cut and tells it: in a cluster that takes an upload, which must not keep other snapshots waiting. A round that misses a
//! cell cuts nothing; a cut for which there is no place is left to the next round. A shard that leaves the node has no rounds any more, and what of its last one has not
//! reached the shelf does not get there: the journal is its next owner's to cut. Where snapshots are kept is the [`Shelf`]'s business.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actors::address::Address;
use actors::ids::Shard;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error};

use super::cell::Taken;
use super::format;
use super::seams::Hooks;
use super::shard::ShardHost;
use super::shelf::{Shelf, Stored};
use crate::journal::{Journal, Seq};

/// Snapshots that may wait for the writer; a round pauses while it is behind.
const WAITING_MAX: usize = 2;

/// Bytes of snapshots that are stored, and made durable, together.
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;

/// Complete rounds after which the journal waits to be cut.
const CUTS_WAITING_MAX: usize = 16;

/// What the writer's thread is given, and whom it tells whether it was done.
struct Job {
    shard: Shard,
    /// Whether the shard still lives here.
    here: Arc<AtomicBool>,
    work: Work,
    done: oneshot::Sender<bool>,
}

enum Work {
    Put(Vec<Stored>),
    Touch(Vec<(Vec<u8>, Seq)>),
    /// Everything of the round was put.
    Complete,
}

/// A journal to be cut after a round.
struct Cut {
    shard: Shard,
    here: Arc<AtomicBool>,
    /// What the round is worth, see [`Shelf::completed`].
    completed: Seq,
}

/// The threads that store snapshots and cut the journal behind them.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// The threads end after the writer is dropped.
    pub(super) fn start(
        shelf: Arc<dyn Shelf>,
        journal: Arc<dyn Journal>,
    ) -> std::io::Result<(Writer, [JoinHandle<()>; 2])> {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let (cuts, complete) = mpsc::channel(CUTS_WAITING_MAX);
        let name = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let kept = shelf.clone();
        let storing = name("snapshots").spawn(move || store_all(waiting, &*kept, &cuts))?;
        let cutting = name("cuts").spawn(move || cut_all(complete, &*shelf, &*journal))?;
        Ok((Writer { jobs }, [storing, cutting]))
    }

    /// Hands work over, waiting while the writer is behind; the receiver says later whether it was done.
    async fn give(&self, shard: &ShardHost, work: Work) -> oneshot::Receiver<bool> {
        let (done, result) = oneshot::channel();
        // A writer that is gone drops the sender: the round sees that nothing was done.
        let _ = self.jobs.send(Job { shard: shard.id(), here: shard.here().clone(), work, done }).await;
        result
    }
}

fn store_all(mut jobs: mpsc::Receiver<Job>, shelf: &dyn Shelf, cuts: &mpsc::Sender<Cut>) {
    while let Some(Job { shard, here, work, done }) = jobs.blocking_recv() {
        if !here.load(Ordering::Acquire) {
            continue;
        }
        let result = match work {
            Work::Put(snapshots) => shelf.put(shard, &snapshots).map(|()| true),
            Work::Touch(cells) => shelf.touch(shard, &cells).map(|()| true),
            // What the round is worth is seen before anything of the next one is put.
            Work::Complete => Ok(match shelf.completed(shard).filter(|completed| *completed > Seq::NONE) {
                Some(completed) => cuts.try_send(Cut { shard, here, completed }).is_ok(),
                None => true,
            }),
        };
        if let Err(error) = &result {
            error!(shard = shard.0, %error, "snapshots not stored, the journal is kept");
        }
        let _ = done.send(result.unwrap_or(false));
    }
}

fn cut_all(mut cuts: mpsc::Receiver<Cut>, shelf: &dyn Shelf, journal: &dyn Journal) {
    while let Some(Cut { shard, here, completed }) = cuts.blocking_recv() {
        let is_here = || here.load(Ordering::Acquire);
        let safe = is_here().then(|| shelf.safe_to_cut(shard, completed)).flatten();
        if let Some(to) = safe.filter(|to| *to > Seq::NONE && is_here()) {
            debug!(shard = shard.0, %to, "journal may be cut");
            journal.truncate(crate::journal::Shard(shard.0), to);
        }
    }
}

/// One round of one shard.
struct Round<'a> {
    shard: &'a Rc<ShardHost>,
    writer: &'a Writer,
    /// Encoded and durable, not handed over yet.
    ready: Vec<Stored>,
    ready_bytes: usize,
    /// Handed over: the cells that must be taken again if it fails.
    given: Vec<(Vec<Address>, oneshot::Receiver<bool>)>,
    cells: Vec<Address>,
    bytes: usize,
}

/// Where a shard stands with its rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    began: Instant,
    /// From then until the next one is due.
    wait: Duration,
    /// The last round found nothing changed.
    settled: bool,
}

impl Rounds {
    /// The first rounds of a node's shards are spread over one interval, and so are all later ones: together they would take
    /// the node's processors for seconds.
    pub(super) fn begin(shard: Shard, shards: u16, interval: Duration) -> Self {
        let wait = interval / u32::from(shards) * (u32::from(shard.0) + 1);
        Self { began: Instant::now(), wait, settled: false }
    }
}

/// A round of the shard if its time or its number of changes has come.
///
/// The journal is cut behind the second newest snapshots. So a shard that has become quiet gets rounds until one finds
/// nothing changed: without it, its last records would keep old segments for ever, and a journal that is full would stay
/// full, because nothing can change any more.
pub(super) async fn round_if_due(shard: &Rc<ShardHost>, writer: &Writer, hooks: &dyn Hooks) {
    if shard.is_leaving() {
        return;
    }
    let (changed, settings) = (shard.entries(), shard.settings());
    let Rounds { began, wait, settled } = shard.rounds().get();
    let due = (changed > 0 || !settled) && began.elapsed() >= wait;
    if due || changed >= settings.snapshot_changes_max {
        let (began, wait) = (Instant::now(), settings.snapshot_interval);
        shard.rounds().set(Rounds { began, wait, settled });
        let settled = round(shard, writer, hooks).await && changed == 0;
        shard.rounds().set(Rounds { began, wait, settled });
    } else if changed == 0 && settled {
        note_all_stored(shard);
    }
}

/// Takes every cell of the shard that has changed; says whether all of the shard is stored and the journal will be cut.
pub(super) async fn round(shard: &Rc<ShardHost>, writer: &Writer, hooks: &dyn Hooks) -> bool {
    let began = Instant::now();
    shard.take_entries();
    let (ready, given, cells) = (Vec::new(), Vec::new(), Vec::new());
    let mut round = Round { shard, writer, ready, ready_bytes: 0, given, cells, bytes: 0 };
    let mut unchanged = Vec::new();
    let mut complete = true;
    let addresses = shard.addresses();
    let count = addresses.len();
    for cell in addresses {
        let Some(request) = shard.take_snapshot(&cell) else { continue };
        match request.taken().await {
            Taken::Away => complete = false,
            Taken::Unchanged(seq) => unchanged.push((cell, seq)),
            Taken::Snapshot(seq, state) => complete &= round.add(cell, seq, state).await,
        }
    }
    round.hand_over().await;
    if !unchanged.is_empty() {
        round.touch(unchanged).await;
    }
    complete &= round.all_done().await;
    if shard.is_leaving() {
        return false;
    }
    if !complete {
        hooks.snapshot_failed(shard.id());
        return false;
    }
    note_all_stored(shard);
    hooks.snapshotted(shard.id(), count, round.bytes, began.elapsed());
    writer.give(shard, Work::Complete).await.await == Ok(true)
}

/// Everything that the shard knows is in its snapshots at this moment: they are not old because nothing happens.
fn note_all_stored(shard: &ShardHost) {
    if shard.is_leaving() {
        return;
    }
    shard.gauges().snapshot_at.store(shard.now().0, Ordering::Relaxed);
}

impl Round<'_> {
    /// A state that the journal does not know yet must not be found by a restart: waits until it does.
    async fn add(&mut self, cell: Address, seq: Seq, state: Vec<u8>) -> bool {
        if self.shard.when_durable(seq).await.is_err() {
            self.shard.mark_changed(&cell);
            return false;
        }
        self.bytes += state.len();
        self.ready_bytes += state.len();
        self.ready.push(Stored { cell: format::encode_address(&cell), seq, bytes: state });
        self.cells.push(cell);
        if self.ready_bytes >= TOGETHER_BYTES {
            self.hand_over().await;
        }
        true
    }

    async fn hand_over(&mut self) {
        if !self.ready.is_empty() {
            self.ready_bytes = 0;
            let (snapshots, cells) = (std::mem::take(&mut self.ready), std::mem::take(&mut self.cells));
            self.given.push((cells, self.writer.give(self.shard, Work::Put(snapshots)).await));
        }
    }

    /// Cells that have not changed: if their snapshots cannot be confirmed, the next round takes them anew.
    async fn touch(&mut self, unchanged: Vec<(Address, Seq)>) {
        let names = unchanged.iter().map(|(cell, seq)| (format::encode_address(cell), *seq)).collect();
        let cells = unchanged.into_iter().map(|(cell, _)| cell).collect();
        self.given.push((cells, self.writer.give(self.shard, Work::Touch(names)).await));
    }

    async fn all_done(&mut self) -> bool {
        let mut all = true;
        for (cells, done) in self.given.drain(..) {
            if !done.await.unwrap_or(false) {
                all = false;
                cells.iter().for_each(|cell| self.shard.mark_changed(cell));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rounds_are_spread_over_one_interval() {
        let wait = |shard, shards| Rounds::begin(Shard(shard), shards, Duration::from_secs(8)).wait.as_secs();
        assert_eq!([0, 1, 2, 3].map(|shard| wait(shard, 4)), [2, 4, 6, 8]);
        assert_eq!(wait(0, 1), 8);
        // However long an operator makes it.
        assert!(Duration::MAX - Rounds::begin(Shard(63), 64, Duration::MAX).wait < Duration::from_micros(1));
    }
}
