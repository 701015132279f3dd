//! The runtime: runs the machines, so that nobody is told anything before the disk knows it.
//!
//! Owns threads, cells, batches, the order of journal and answers, restarts and snapshots. It decides no business (the
//! machines in [`actors`] do) and knows neither HTTP nor files. The life of one command:
//!
//! ```text
//!  Router::ask, Router::submit           any thread: is the node open, are too many asks under way?  router
//!    └▶ the shard's thread              finds the cell or makes it; pushes into its inbox; rings      host, shard
//!         └▶ Cell                       takes all that waits as one batch: `turn` = wake, then
//!              │                        decide and apply each, in memory, within catch_unwind         cell
//!              └▶ ShardLog              entries join the open record; answers, messages and public
//!                   │                   changes wait with it                                          commit
//!                   └▶ Journal          one append in flight a shard; meanwhile the next record fills shard
//!                        └▶ durable     board first, then answers, then messages to other machines    shard
//! ```
//!
//! A command that changed nothing is answered behind its cell's last change. When something breaks:
//!
//! - *A machine panics*: its state is thrown away and rebuilt from snapshot and journal ([`recovery`]); the asks of its batch
//!   hear `Unavailable`, since nothing of it was journaled.
//! - *The disk is full*: every cell that is ahead of the journal goes back to what is durable; reads go on, commands are
//!   refused until the journal takes records again.
//! - *The journal does not know* whether it wrote: those who wait hear `Unknown` and [`Runtime::fatal`] tells the node to stop.
//! - *Another node has written* to a shard: it leaves this one, and those who wait hear `Elsewhere`. A node that is alone stops.
//! - *The journal cannot be reached*: an append stays unresolved, reads go on, commands are refused until it answers.
//!
//! Which shards live on a node is said while it runs ([`Hosting::adopt`], [`Hosting::release`], [`Hosting::drop_shard`]); an
//! embedded node has all of them from start to stop. What is for a shard that lives elsewhere goes to [`Beyond`].
//!
//! Without I/O, and driven by the simulation as well: [`commit`] (order and release), [`recovery`] (state from bytes),
//! [`mod@format`] (the bytes), [`hosted`] (which machine lives at an address).

mod cell;
mod cells;
pub mod commit;
mod control;
mod failure;
pub mod follow;
pub mod format;
mod gauges;
mod host;
pub mod hosted;
mod hosting;
mod hub;
mod inbox;
mod load;
mod place;
mod rebuild;
pub mod recovery;
mod release;
mod router;
mod seams;
mod shard;
mod shelf;
mod snapshotting;
#[cfg(test)]
pub(crate) mod tests;
mod waiter;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_rt::Arbiter;
use actors::ids::Shard;
use actors::policy::Policy;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

pub use failure::Failure;
pub use gauges::{ByKind, ShardView, View};
pub use hosting::Hosting;
pub use hub::{Found, Overhearing};
pub use load::{Recovery, StartError, load};
pub use router::Router;
pub use seams::{Alone, Beyond, Committed, FeedSink, Hooks, NoHooks, Outward};
pub use shelf::{Shelf, Stored};
pub use waiter::{Answered, Answers, Ask, Outcome};

use crate::journal::Journal;
use control::Control;
use host::{Host, Node};
use recovery::Restored;
use router::{Lines, Post};
use snapshotting::Writer;

/// Limits and paces. From the configuration, see `config/default.toml`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads that run the machines, at least 1.
    pub arbiters: usize,
    /// Asks that may wait for one machine.
    pub mailbox_max: usize,
    /// Messages between machines that may wait for one machine beyond that.
    pub tells_max: usize,
    /// Asks under way in one shard.
    pub shard_asks_max: usize,
    /// Commands in one turn.
    pub batch_max: usize,
    /// How long an ask may take before its outcome is reported as unknown.
    pub deadline: Duration,
    /// Size of a journal record.
    pub limits: commit::Limits,
    /// Time between two rounds of snapshots of a shard that changes.
    pub snapshot_interval: Duration,
    /// Entries of a shard after which a round begins earlier.
    pub snapshot_changes_max: u64,
    /// How long a stopping runtime lets finish what was let in.
    pub drain: Duration,
    /// How long a shard that is released lets finish what was let in.
    pub handoff_drain: Duration,
    /// Whether machines can be made to panic, for tests of a running node.
    pub fault_injection: bool,
}

impl Default for Settings {
    /// The values of `config/default.toml`, for tests.
    fn default() -> Self {
        Self {
            arbiters: std::thread::available_parallelism().map_or(1, usize::from),
            mailbox_max: 4096,
            tells_max: 4096,
            shard_asks_max: 16384,
            batch_max: 1024,
            deadline: Duration::from_secs(5),
            limits: commit::Limits::default(),
            snapshot_interval: Duration::from_secs(30),
            snapshot_changes_max: 200_000,
            drain: Duration::from_secs(15),
            handoff_drain: Duration::from_millis(150),
            fault_injection: false,
        }
    }
}

/// What a runtime is made of.
pub struct Parts {
    /// Where changes become durable. The deployment's shards are `0..policy.shards`.
    pub journal: Arc<dyn Journal>,
    /// Where snapshots are kept.
    pub snapshots: Arc<dyn Shelf>,
    /// What decisions depend on.
    pub policy: Policy,
    /// Limits and paces.
    pub settings: Settings,
    /// Takes the public changes.
    pub feed: Arc<dyn FeedSink>,
    /// Carries out calls and letters.
    pub outward: Arc<dyn Outward>,
    /// Told what happens, for metrics.
    pub hooks: Arc<dyn Hooks>,
    /// Takes what is for shards that live on other nodes.
    pub beyond: Arc<dyn Beyond>,
}

/// The machines of the node, running. Dropping it without [`Runtime::stop`] leaves its threads to the end of the process.
pub struct Runtime {
    router: Router,
    recovery: Recovery,
    fatal: watch::Receiver<Option<String>>,
    arbiters: Vec<Arbiter>,
    threads: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Brings the named shards back, starts the cells, publishes their pictures, then lets them wake and asks come in.
    /// Blocks until then. Call it from a thread that has an actix system. An embedded node names all shards, a node of a
    /// cluster none: it adopts what it owns.
    ///
    /// # Errors
    /// State that cannot be brought back without guessing, or threads that cannot be started.
    pub fn start(parts: Parts, shards: &[Shard]) -> Result<Runtime, StartError> {
        let threads = parts.settings.arbiters.clamp(1, usize::from(parts.policy.shards).max(1));
        let (restored, recovery) = bring_back(&parts, shards, threads)?;

        let (lines, inboxes): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::unbounded_channel()).unzip();
        let router = Router::new(Lines {
            shards: parts.policy.shards,
            asks_max: parts.settings.shard_asks_max,
            fault_injection: parts.settings.fault_injection,
            lines,
            hooks: parts.hooks.clone(),
            beyond: parts.beyond.clone(),
        });
        let (fatal, told) = watch::channel(None);
        let (node, helpers) = node(parts, router.clone(), fatal)?;
        let arbiters = start_hosts(&node, restored, inboxes)?;
        (0..threads).for_each(|thread| router.control(thread, Control::Begin));
        router.set_open(true);
        Ok(Runtime { router, recovery, fatal: told, arbiters, threads: helpers })
    }

    /// The way to every machine.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// What the start brought back.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Becomes a reason when the node must stop: the journal cannot be trusted any more.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.clone()
    }

    /// The way to say which shards live here; cheap to clone, usable from any thread.
    #[must_use]
    pub fn hosting(&self) -> Hosting {
        Hosting::new(self.router.clone())
    }

    /// Lets nobody in any more, lets finish what was let in, takes the last snapshots and ends the threads. The journal is
    /// the caller's to close.
    pub async fn stop(self) {
        self.router.set_open(false);
        let stopping: Vec<_> = (0..self.arbiters.len())
            .map(|thread| {
                let (done, stopped) = oneshot::channel();
                self.router.control(thread, Control::Stop(done));
                stopped
            })
            .collect();
        for stopped in stopping {
            // A thread that is gone has stopped as well.
            let _ = stopped.await;
        }
        self.end();
    }

    /// Ends the threads as they are, as a crash would; what is durable is found by the next start.
    pub fn kill(self) {
        self.router.set_open(false);
        self.end();
    }

    fn end(self) {
        for arbiter in self.arbiters {
            arbiter.stop();
            let _ = arbiter.join();
        }
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// The state of shards that a node has from its start.
fn bring_back(parts: &Parts, shards: &[Shard], threads: usize) -> Result<(Vec<Restored>, Recovery), StartError> {
    if shards.is_empty() {
        return Ok((Vec::new(), Recovery::default()));
    }
    let (restored, recovery) = load(&*parts.journal, &*parts.snapshots, shards, threads)?;
    parts.hooks.recovered(&recovery);
    info!(took = ?recovery.took, cells = recovery.cells, records = recovery.records, entries = recovery.entries, "state is back");
    Ok((restored, recovery))
}

/// What all threads share, and the threads that help them.
fn node(
    parts: Parts,
    router: Router,
    fatal: watch::Sender<Option<String>>,
) -> Result<(Arc<Node>, Vec<JoinHandle<()>>), StartError> {
    // The router has `beyond`: whoever tells something goes through it.
    let Parts { journal, snapshots, policy, settings, feed, outward, hooks, beyond: _ } = parts;
    let (rebuilds, rebuilder) =
        rebuild::start(journal.clone(), snapshots.clone(), router.clone()).map_err(StartError::Thread)?;
    let (writer, [storing, cutting]) = Writer::start(snapshots, journal.clone()).map_err(StartError::Thread)?;
    let rebuilds = Mutex::new(rebuilds);
    let lives = AtomicU64::new(0);
    let node = Node { router, journal, policy, settings, feed, outward, hooks, fatal, rebuilds, writer, lives };
    Ok((Arc::new(node), vec![rebuilder, storing, cutting]))
}

/// One thread for each inbox, with those of the shards that are its own; returns when all cells are there.
fn start_hosts(
    node: &Arc<Node>,
    restored: Vec<Restored>,
    inboxes: Vec<mpsc::UnboundedReceiver<Post>>,
) -> Result<Vec<Arbiter>, StartError> {
    let mut shares: Vec<Vec<Restored>> = inboxes.iter().map(|_| Vec::new()).collect();
    for restored in restored {
        let thread = usize::from(restored.shard.0) % shares.len();
        shares[thread].push(restored);
    }
    let (ready, started) = std::sync::mpsc::channel();
    let mut arbiters = Vec::new();
    for (inbox, share) in inboxes.into_iter().zip(shares) {
        let (node, ready) = (node.clone(), ready.clone());
        let arbiter = Arbiter::try_new().map_err(StartError::Thread)?;
        arbiter.spawn_fn(move || {
            let host = Host::start(node, share);
            tokio::task::spawn_local(host.run(inbox));
            let _ = ready.send(());
        });
        arbiters.push(arbiter);
    }
    drop(ready);
    for _ in &arbiters {
        started.recv().map_err(|_| StartError::Ended("arbiter"))?;
    }
    Ok(arbiters)
}
