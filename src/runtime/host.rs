//! The host: one thread with its shards.
//!
//! Owns the thread's inbox and its clocks: rounds of snapshots, waits that have become too long, the journal's health.
//! A message for a shard of the same thread never leaves it. How shards come and go is in [`moving`].

mod moving;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
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
use super::control::{Control, Life};
use super::failure::Failure;
use super::place::Place;
use super::rebuild;
use super::recovery::Restored;
use super::router::{Parcel, Post, Router};
use super::seams::{FeedSink, Hooks, Outward};
use super::shard::ShardHost;
use super::snapshotting::{Writer, round, round_if_due};
use super::waiter::{Outgoing, Waiter};
use crate::journal::{Health, Journal};

/// Messages taken from the inbox before the cells they are for get their turn.
const POSTS_MAX: usize = 1024;

/// How often the thread looks whether a round of snapshots is due, at most.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// How often a stopping thread, or a shard that leaves, looks whether everything is done.
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
    /// The number of the next life of a shard.
    pub(super) lives: AtomicU64,
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
    pub(super) fn rebuild(&self, shard: Shard, life: Life, cells: Vec<Address>) {
        let rebuilds = self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread ends after the last node is gone.
        let _ = rebuilds.send(rebuild::Request { shard, life, cells });
    }

    pub(super) fn next_life(&self) -> Life {
        Life(self.lives.fetch_add(1, Ordering::Relaxed))
    }
}

/// See the module's charter.
pub(super) struct Host {
    node: Arc<Node>,
    /// By shard number; `None` where another thread or another node has it.
    shards: RefCell<Vec<Option<Rc<ShardHost>>>>,
    /// No shard comes any more.
    stopping: Cell<bool>,
    outgoing: Rc<Cell<Outgoing>>,
}

impl Host {
    /// Starts the cells of what was brought back, on the thread that calls.
    pub(super) fn start(node: Arc<Node>, restored: Vec<Restored>) -> Rc<Host> {
        let shards = (0..node.router.shards()).map(|_| None).collect();
        let host =
            Rc::new(Host { node, shards: RefCell::new(shards), stopping: Cell::new(false), outgoing: Rc::default() });
        for restored in restored {
            host.bring_in(restored, Millis(0));
        }
        host
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Room for answers on their way to who asked.
    pub(super) fn outgoing(&self) -> &Rc<Cell<Outgoing>> {
        &self.outgoing
    }

    /// Takes what is sent to this thread, for as long as there is anybody who could send.
    pub(super) async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Post>) {
        let mut posts = Vec::with_capacity(POSTS_MAX);
        while inbox.recv_many(&mut posts, POSTS_MAX).await > 0 {
            let now = crate::clock::now();
            posts.drain(..).for_each(|post| self.take(post, now));
            tokio::task::yield_now().await;
        }
    }

    fn take(self: &Rc<Self>, post: Post, now: Millis) {
        match post {
            Post::Tell(parcel) => self.deliver(parcel, None, now),
            Post::Ask(parcel, waiter) => self.deliver(parcel, Some(Waiter::One(waiter)), now),
            Post::Bundle(mut bundle) => {
                bundle.open().for_each(|(parcel, waiter)| self.deliver(parcel, Some(waiter), now));
            }
            Post::Control(control) => self.control(*control),
        }
    }

    /// From a machine of this thread to any machine.
    pub(super) fn tell(&self, to: Address, message: Message) {
        let (shard, to) = Place::of(to, self.node.router.shards());
        match self.staying(shard) {
            Some(here) => {
                here.deliver(Parcel { shard, to, key: None, message }, None, crate::clock::now());
            }
            None => self.node.router.tell(to.address, message),
        }
    }

    fn deliver(&self, parcel: Parcel, waiter: Option<Waiter>, now: Millis) {
        match (self.staying(parcel.shard), waiter) {
            (Some(shard), waiter) => shard.deliver(parcel, waiter, now),
            (None, Some(waiter)) => {
                let failure = if self.node.router.is_open() { Failure::Elsewhere } else { Failure::STOPPING };
                waiter.answer(Err(failure));
            }
            (None, None) => self.node.router.beyond().tell(parcel.to.address, parcel.message),
        }
    }

    /// A shard that lives here and does not leave.
    fn staying(&self, id: Shard) -> Option<Rc<ShardHost>> {
        self.shard(id).filter(|shard| !shard.is_leaving())
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
            Control::Rebuilt(rebuilt) => {
                if let Some(shard) = self.shard(rebuilt.shard).filter(|shard| shard.life() == rebuilt.life) {
                    shard.brought_back(rebuilt.cells, rebuilt.restored);
                }
            }
            Control::Adopt(restored, floor, done) => self.adopt(*restored, floor, done),
            Control::Release(shard, done) => self.release(shard, done),
            Control::Drop(shard) => self.drop_shard(shard),
            Control::Prove(shard, done) => self.prove(shard, done),
            Control::Pictures(shard, done) => self.pictures(shard, done),
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
        // Before the shards look for the first time, so that no change falls between.
        let health = self.node.journal.health();
        self.all().iter().for_each(ShardHost::serve);
        tokio::task::spawn_local(self.clone().follow_health(health));
        tokio::task::spawn_local(self.clone().watch_waits());
        tokio::task::spawn_local(self.clone().take_rounds());
    }

    async fn follow_health(self: Rc<Self>, mut health: watch::Receiver<Health>) {
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

    /// Snapshots of one shard after the other, of whichever live here at the moment.
    async fn take_rounds(self: Rc<Self>) {
        let mut ticks = ticks(self.node.settings.snapshot_interval.min(LOOK_MAX));
        loop {
            ticks.tick().await;
            for shard in self.all() {
                round_if_due(&shard, &self.node.writer, &*self.node.hooks).await;
            }
        }
    }

    /// Lets finish what was let in, at most for `drain`, then takes the last snapshots.
    async fn stop(self: Rc<Self>, done: oneshot::Sender<()>) {
        self.stopping.set(true);
        let (began, shards) = (Instant::now(), self.all());
        let mut ticks = ticks(DRAIN_LOOK);
        while began.elapsed() < self.node.settings.drain && !shards.iter().all(|shard| shard.is_quiet()) {
            ticks.tick().await;
        }
        for shard in &shards {
            if !shard.is_leaving() {
                round(shard, &self.node.writer, &*self.node.hooks).await;
            }
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
