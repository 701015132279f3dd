//! The host: one thread with its shards.
//!
//! Owns the thread's inbox and its clocks: rounds of snapshots, waits that have become too long, the journal's health.
//! A message for a shard of the same thread never leaves it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actors::address::Address;
use actors::ids::Shard;
use actors::message::Message;
use actors::policy::Policy;
use actors::time::Millis;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::Settings;
use super::control::Control;
use super::failure::Failure;
use super::rebuild;
use super::recovery::Restored;
use super::router::{Parcel, Post, Router};
use super::seams::{FeedSink, Hooks, Outward};
use super::shard::ShardHost;
use super::snapshotting::{Writer, note_all_stored, round};
use crate::journal::Journal;

/// Messages taken from the inbox before the cells they are for get their turn.
const POSTS_MAX: usize = 1024;

/// How often the thread looks whether a round of snapshots is due, at most.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// How often a stopping thread looks whether everything is done.
const DRAIN_LOOK: Duration = Duration::from_millis(2);

/// What all threads share.
pub(super) struct Node {
    pub(super) router: Router,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) policy: Policy,
    pub(super) settings: Settings,
    pub(super) feed: Arc<dyn FeedSink>,
    pub(super) outward: Arc<dyn Outward>,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) fatal: watch::Sender<Option<String>>,
    pub(super) rebuilds: Mutex<std::sync::mpsc::Sender<rebuild::Request>>,
    pub(super) writer: Writer,
}

impl Node {
    /// Tells the node to stop; the first reason counts.
    pub(super) fn fatal(&self, reason: String) {
        self.fatal.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(reason);
            first
        });
    }

    /// Has cells of a shard brought back; they come with [`Control::Rebuilt`].
    pub(super) fn rebuild(&self, shard: Shard, cells: Vec<Address>) {
        let rebuilds = self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread ends after the last node is gone.
        let _ = rebuilds.send(rebuild::Request { shard, cells });
    }
}

/// See the module's charter.
pub(super) struct Host {
    node: Arc<Node>,
    /// By shard number; `None` where another thread has it.
    shards: RefCell<Vec<Option<Rc<ShardHost>>>>,
}

impl Host {
    /// Starts the cells of what was brought back, on the thread that calls.
    pub(super) fn start(node: Arc<Node>, restored: Vec<Restored>) -> Rc<Host> {
        let shards = (0..node.router.shards()).map(|_| None).collect();
        let host = Rc::new(Host { node, shards: RefCell::new(shards) });
        for restored in restored {
            let (id, last) = (restored.shard, restored.last);
            let shard = Rc::new(ShardHost::new(&host, id, last));
            let mut feed = Vec::new();
            shard.populate(restored, &mut feed);
            host.node.feed.publish(feed);
            host.shards.borrow_mut()[usize::from(id.0)] = Some(shard);
        }
        host
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Takes what is sent to this thread, for as long as there is anybody who could send.
    pub(super) async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Post>) {
        let mut posts = Vec::with_capacity(POSTS_MAX);
        while inbox.recv_many(&mut posts, POSTS_MAX).await > 0 {
            let now = crate::clock::now();
            for post in posts.drain(..) {
                match post {
                    Post::Parcel(parcel) => self.deliver(parcel, now),
                    Post::Control(control) => self.control(*control),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// From a machine of this thread to any machine.
    pub(super) fn tell(&self, to: Address, message: Message) {
        let shard = to.shard(self.node.router.shards());
        let parcel = Parcel { shard, to, key: None, message, waiter: None };
        if self.shard(shard).is_some() {
            self.deliver(parcel, crate::clock::now());
        } else {
            self.node.router.send(parcel);
        }
    }

    fn deliver(&self, parcel: Parcel, now: Millis) {
        match (self.shard(parcel.shard), parcel.waiter) {
            (Some(shard), waiter) => shard.deliver(Parcel { waiter, ..parcel }, now),
            // Only while this thread stops: whoever owes a message tells it again after the start.
            (None, Some(waiter)) => drop(waiter.send(Err(Failure::STOPPING))),
            (None, None) => {}
        }
    }

    fn shard(&self, id: Shard) -> Option<Rc<ShardHost>> {
        self.shards.borrow().get(usize::from(id.0)).cloned().flatten()
    }

    fn all(&self) -> Vec<Rc<ShardHost>> {
        self.shards.borrow().iter().flatten().cloned().collect()
    }

    fn control(self: &Rc<Self>, control: Control) {
        match control {
            Control::Begin => self.begin(),
            Control::Rebuilt(shard, cells, restored) => {
                if let Some(shard) = self.shard(shard) {
                    shard.brought_back(cells, restored);
                }
            }
            Control::Panic(address) => {
                if let Some(shard) = self.shard(address.shard(self.node.router.shards())) {
                    shard.panic_next(&address);
                }
            }
            Control::Stop(done) => {
                tokio::task::spawn_local(self.clone().stop(done));
            }
        }
    }

    fn begin(self: &Rc<Self>) {
        for shard in self.all() {
            shard.reopen();
            tokio::task::spawn_local(shard.clone().commit());
            shard.wake_all();
        }
        tokio::task::spawn_local(self.clone().follow_health());
        tokio::task::spawn_local(self.clone().watch_waits());
        tokio::task::spawn_local(self.clone().take_rounds());
    }

    async fn follow_health(self: Rc<Self>) {
        let mut health = self.node.journal.health();
        while health.changed().await.is_ok() {
            self.all().iter().for_each(|shard| shard.reopen());
        }
    }

    async fn watch_waits(self: Rc<Self>) {
        let mut ticks = ticks(self.node.settings.deadline / 8);
        loop {
            ticks.tick().await;
            let now = crate::clock::now();
            self.all().iter().for_each(|shard| shard.end_long_waits(now));
        }
    }

    /// Snapshots of one shard after the other, each when its time or its number of changes has come.
    ///
    /// The journal is cut behind the second newest snapshots. So a shard that has become quiet gets rounds until one
    /// finds nothing changed: without it, its last records would keep old segments for ever, and a journal that is full
    /// would stay full, because nothing can change any more.
    async fn take_rounds(self: Rc<Self>) {
        let settings = &self.node.settings;
        let mut ticks = ticks(settings.snapshot_interval.min(LOOK_MAX));
        let mut last: Vec<(Rc<ShardHost>, Instant, bool)> =
            self.all().into_iter().map(|shard| (shard, Instant::now(), false)).collect();
        loop {
            ticks.tick().await;
            for (shard, began, settled) in &mut last {
                let changed = shard.entries();
                let due = (changed > 0 || !*settled) && began.elapsed() >= settings.snapshot_interval;
                if due || changed >= settings.snapshot_changes_max {
                    *began = Instant::now();
                    *settled = round(shard, &self.node.writer, &*self.node.hooks).await && changed == 0;
                } else if changed == 0 && *settled {
                    note_all_stored(shard);
                }
            }
        }
    }

    /// Lets finish what was let in, at most for `drain`, then takes the last snapshots.
    async fn stop(self: Rc<Self>, done: oneshot::Sender<()>) {
        let (began, shards) = (Instant::now(), self.all());
        let mut ticks = ticks(DRAIN_LOOK);
        while began.elapsed() < self.node.settings.drain && !shards.iter().all(|shard| shard.is_quiet()) {
            ticks.tick().await;
        }
        for shard in &shards {
            round(shard, &self.node.writer, &*self.node.hooks).await;
            shard.stop();
        }
        self.shards.borrow_mut().clear();
        let _ = done.send(());
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
