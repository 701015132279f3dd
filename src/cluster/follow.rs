//! Following: reads a shard's journal as its owner writes it, so that taking over costs only the last few records.
//!
//! Owns the task that reads, one a followed shard. It begins with the newest snapshots, starts over when the journal was
//! cut under its feet, and goes on for as long as it takes while JetStream is out of reach. The state it builds answers
//! nobody; [`Follower::finish`] turns it into a shard that a runtime can adopt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actors::ids::Shard;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, error};

use crate::journal::jetstream::{Claimed, JetStream, Kind, Position, ReadError};
use crate::journal::{self, Seq};
use crate::runtime::Shelf;
use crate::runtime::follow::Following;
use crate::runtime::recovery::Restored;

/// Wait before a shard that could not be read is read again.
const AGAIN: Duration = Duration::from_millis(250);

/// Least time between two log lines about a shard that cannot be followed.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a follower reads from.
pub(super) struct Source {
    pub(super) shard: Shard,
    pub(super) journal: Arc<JetStream>,
    pub(super) shelf: Arc<dyn Shelf>,
    /// Shards that may be read from the beginning at the same time: the others wait, so that a node to which many fall at
    /// once goes on hearing and being heard.
    pub(super) cold: Arc<Semaphore>,
}

/// How far it has come.
#[derive(Default)]
struct Come {
    seq: AtomicU64,
    warm: AtomicBool,
}

/// Nothing more will be written: the claim at this position follows the record with this number.
struct Finish {
    position: Position,
    last: Seq,
    /// The claim's.
    epoch: u64,
    done: oneshot::Sender<Restored>,
}

/// A shard that is being followed. Dropping it ends that.
pub(super) struct Follower {
    finish: mpsc::Sender<Finish>,
    come: Arc<Come>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Begins to follow.
    pub(super) fn start(tasks: &Handle, source: Source) -> Self {
        let (finish, finishing) = mpsc::channel(1);
        let come = Arc::new(Come::default());
        Self { finish, come: come.clone(), task: tasks.spawn(run(source, come, finishing)) }
    }

    /// The last record folded in, and whether everything there was has been read.
    pub(super) fn come(&self) -> (Seq, bool) {
        (Seq(self.come.seq.load(Ordering::Relaxed)), self.come.warm.load(Ordering::Relaxed))
    }

    /// Reads up to this node's claim; the shard as it is then. `None`: another node has claimed it meanwhile, and what lies
    /// before this claim cannot be read any more.
    pub(super) async fn finish(self, claimed: &Claimed) -> Option<Restored> {
        let (done, restored) = oneshot::channel();
        let Claimed { position, seq: last, epoch, .. } = *claimed;
        self.finish.send(Finish { position, last, epoch, done }).await.ok()?;
        restored.await.ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads until it is finished, however often it has to start over.
async fn run(source: Source, come: Arc<Come>, mut finishing: mpsc::Receiver<Finish>) {
    let mut finish = None;
    let mut told: Option<Instant> = None;
    loop {
        match follow(&source, &come, &mut finishing, &mut finish).await {
            Ok(restored) => {
                if let Some(Finish { done, .. }) = finish {
                    let _ = done.send(restored);
                }
                return;
            }
            Err(reason) if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) => {
                told = Some(Instant::now());
                error!(shard = source.shard.0, reason, "shard cannot be followed, starting over");
            }
            Err(_) => {}
        }
        if is_overtaken(&source, finish.as_ref()).await {
            return;
        }
        come.warm.store(false, Ordering::Relaxed);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether another node has claimed the shard since: what lay before this node's claim may be cut away for ever.
async fn is_overtaken(source: &Source, finish: Option<&Finish>) -> bool {
    let Some(Finish { epoch, .. }) = finish else { return false };
    let tail = source.journal.tail(journal::Shard(source.shard.0)).await;
    tail.is_ok_and(|tail| tail.is_some_and(|tail| tail.epoch > *epoch))
}

/// Follows from the newest snapshots on, until it is told to finish.
async fn follow(
    source: &Source,
    come: &Come,
    finishing: &mut mpsc::Receiver<Finish>,
    finish: &mut Option<Finish>,
) -> Result<Restored, String> {
    let mut reader = source.journal.reader(journal::Shard(source.shard.0), None);
    let mut following: Option<Following> = None;
    let mut cold = source.cold.acquire().await.ok();
    loop {
        let position = reader.position();
        if let Some(Finish { position: claim, last, .. }) = finish
            && position >= *claim
        {
            return finished(source, *last, following).await;
        }
        come.seq.store(following.as_ref().map_or(Seq::NONE, Following::seq).0, Ordering::Relaxed);
        if !come.warm.load(Ordering::Relaxed) && reader.caught_up().await.unwrap_or(false) {
            come.warm.store(true, Ordering::Relaxed);
            drop(cold.take());
        }
        tokio::select! {
            biased;
            wanted = finishing.recv(), if finish.is_none() => match wanted {
                Some(wanted) => *finish = Some(wanted),
                None => std::future::pending().await,
            },
            entry = reader.next() => {
                let envelope = match entry {
                    Ok(entry) => entry.envelope,
                    Err(error @ ReadError::Unreadable { .. }) => return Err(error.to_string()),
                    Err(ReadError::Away(away)) => {
                        // The reader pauses and goes on behind what it has read.
                        debug!(shard = source.shard.0, %away, "shard cannot be followed at the moment");
                        continue;
                    }
                };
                let state = match &mut following {
                    Some(state) => state,
                    None => following.insert(begin(source, envelope.before()).await?),
                };
                if let Kind::Record(record) = &envelope.kind {
                    state.fold(envelope.seq, record).map_err(|error| error.to_string())?;
                }
            }
        }
    }
}

/// The newest snapshots, read where it may block.
async fn begin(source: &Source, base: Seq) -> Result<Following, String> {
    let (shard, shelf) = (source.shard, source.shelf.clone());
    let begun = tokio::task::spawn_blocking(move || Following::new(shard, base, &*shelf)).await;
    begun.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// The shard, with everything before the claim folded in.
async fn finished(source: &Source, last: Seq, following: Option<Following>) -> Result<Restored, String> {
    let state = match following {
        Some(state) => state,
        None => begin(source, last).await?,
    };
    debug!(shard = source.shard.0, seq = %last, "shard is read up to the claim");
    state.finish(last).map_err(|error| error.to_string())
}
