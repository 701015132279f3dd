//! The cluster: several nodes share the shards of one deployment, over NATS.
//!
//! Owns who is there and who owns what, the way of a command to the node that owns its shard, and the way of public
//! changes to every node's board. It decides no business and makes nothing durable: whoever may write a shard is decided
//! by the journal's conditional appends ([`crate::journal`]), and nothing here can make a seat be sold twice.
//!
//! ```text
//!  dispatch ─ask─▶ owners ──here──▶ runtime of this node
//!                    └───there──▶ bus ═packets═▶ bus of the owner ──▶ its runtime
//!  heartbeats ═▶ driver ─▶ keeper ─orders─▶ steps: follow, claim, release, verify
//!  runtime ─feed─▶ distribution ──▶ own board
//!                    └══numbered══▶ intake of every other node ──▶ its board
//! ```
//!
//! Pure, and driven by the simulation as well: [`keeper`] (roles, lease), [`placement`] (who should own what), [`feed`]
//! (numbers and gaps), [`presence`] (what nodes tell each other). With I/O: `driver`, `follow`, `bus`, `distribution`.
#![doc = include_str!("cluster/scale.md")]

mod bus;
mod distribution;
mod driver;
pub mod feed;
mod follow;
mod inbox;
pub mod keeper;
mod owners;
pub mod placement;
pub mod presence;
mod route;
mod sightings;
mod time;
mod view;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use actors::address::Address;
use actors::ids::Shard;
use actors::message::Message;
use actors::time::{Millis, Span};
use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::journal::jetstream::JetStream;
use crate::nats::{Answer, Away, Nats};
use crate::runtime::{Beyond, FeedSink, Hosting, Router, Shelf};
use bus::Bus;
use distribution::Distribution;
use driver::{Driver, Report};
use feed::Intake;
use keeper::Keeper;
use owners::Owners;
use presence::{Heartbeat, NodeId, Phase};
use sightings::Sightings;

pub use view::{Happened, Member, ShardOwner, View};

/// Shards that are read from the beginning at the same time.
const COLD_MAX: usize = 4;

/// How a node takes part. From `[cluster]` of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shards of the deployment.
    pub shards: u16,
    /// Silence after which a node counts as dead.
    pub lease: Duration,
    /// How long a request waits for a shard that is between two owners.
    pub owner_wait: Duration,
    /// How long an ask may take.
    pub deadline: Duration,
}

/// What a node's part in the cluster is made of.
pub struct Parts {
    /// This life of this node.
    pub me: NodeId,
    /// The connection.
    pub nats: Nats,
    /// The journal of all shards.
    pub journal: Arc<JetStream>,
    /// Where snapshots are found.
    pub shelf: Arc<dyn Shelf>,
    /// Takes what is public, of this node's shards and of all others.
    pub board: Arc<dyn FeedSink>,
    /// Told whether a shard has an owner who can be reached, whenever that may have changed.
    pub reachable: Box<dyn Fn(Shard, bool) + Send + Sync>,
    /// Runs the cluster's tasks.
    pub tasks: Handle,
    /// Paces and waits.
    pub settings: Settings,
}

/// How this node stands in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is doing.
    pub phase: Phase,
    /// Whether a quorum has stored one of its heartbeats within the lease.
    pub leased: bool,
    /// Whether every shard has once had an owner whose whole picture came: from then on this node knows what is public.
    pub whole: bool,
}

/// A node's part in the cluster. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Counters {
    claims: AtomicU64,
    handoffs: AtomicU64,
    fenced: AtomicU64,
}

/// What the tasks share.
struct Shared {
    me: NodeId,
    nats: Nats,
    journal: Arc<JetStream>,
    shelf: Arc<dyn Shelf>,
    distribution: Arc<Distribution>,
    intake: Mutex<Intake>,
    bus: Arc<Bus>,
    owners: Owners,
    reachable: Box<dyn Fn(Shard, bool) + Send + Sync>,
    settings: Settings,
    tasks: Handle,
    address: OnceLock<String>,
    local: OnceLock<(Router, Hosting)>,
    reports: mpsc::UnboundedSender<Report>,
    /// Taken by the driver when it starts.
    reported: Mutex<Option<mpsc::UnboundedReceiver<Report>>>,
    sightings: Mutex<Sightings>,
    /// Messages between machines that wait for a shard's owner.
    parked: Mutex<Vec<(Instant, Address, Message)>>,
    /// How many shards may be read from the beginning at once.
    cold: Arc<Semaphore>,
    counters: Counters,
    standing: watch::Sender<Standing>,
    fatal: watch::Sender<Option<String>>,
    view: ArcSwap<View>,
}

impl Cluster {
    /// A node's part, not taking part yet: see [`Cluster::join`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { me, nats, journal, shelf, board, reachable, tasks, settings } = parts;
        let (reports, reported) = mpsc::unbounded_channel();
        let lease = Span(u64::try_from(settings.lease.as_millis()).unwrap_or(u64::MAX));
        let bus = Bus::new(me.clone(), nats.name(), nats.client().clone(), tasks.clone(), settings.deadline);
        let shared = Shared {
            distribution: Arc::new(Distribution::new(board, settings.shards)),
            intake: Mutex::new(Intake::new(settings.shards)),
            bus: Arc::new(bus),
            owners: Owners::new(me.clone(), settings.shards),
            address: OnceLock::new(),
            local: OnceLock::new(),
            reported: Mutex::new(Some(reported)),
            sightings: Mutex::new(Sightings::new(settings.shards, lease)),
            parked: Mutex::default(),
            cold: Arc::new(Semaphore::new(COLD_MAX)),
            counters: Counters::default(),
            standing: watch::Sender::new(Standing { phase: Phase::Joining, leased: false, whole: false }),
            fatal: watch::Sender::new(None),
            view: ArcSwap::default(),
            me,
            nats,
            journal,
            shelf,
            reachable,
            settings,
            tasks,
            reports,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes the public changes of this node's shards.
    #[must_use]
    pub fn feed_sink(&self) -> Arc<dyn FeedSink> {
        self.shared.distribution.clone()
    }

    /// Takes what this node's machines tell those of other nodes.
    #[must_use]
    pub fn beyond(&self) -> Arc<dyn Beyond> {
        Arc::new(Others(Arc::downgrade(&self.shared)))
    }

    /// Begins to take part: is heard, hears, and takes its share of the shards once it knows who is there. `address` is where
    /// this node's API is reached.
    ///
    /// # Errors
    /// NATS does not take the subscriptions.
    pub async fn join(
        &self,
        router: Router,
        hosting: Hosting,
        address: String,
    ) -> Result<(), async_nats::SubscribeError> {
        let shared = &self.shared;
        assert!(shared.local.set((router, hosting)).is_ok(), "a node joins once");
        assert!(shared.address.set(address).is_ok(), "a node joins once");
        let client = shared.nats.client();
        let heartbeats = client.subscribe(shared.here("*")).await?;
        let feed = client.subscribe(format!("{}.feed.*", shared.nats.name())).await?;
        let packets = client.subscribe(bus::subject_of(shared.nats.name(), &shared.me)).await?;
        let own_feed = format!("{}.feed.{:x}", shared.nats.name(), shared.me.incarnation);
        let reported = shared.reported.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reported = reported.expect("a node joins once");
        shared.keep("feeds", inbox::feeds(shared.clone(), feed, own_feed.clone()));
        shared.keep("packets", inbox::packets(shared.clone(), packets));
        shared.keep("distribution", shared.distribution.clone().send(client.clone(), own_feed));
        shared.keep("driver", Driver::new(shared.clone()).run(heartbeats, reported));
        Ok(())
    }

    /// Hands every shard over to others; resolves when none is left, or nobody is there to take them. The node goes on to
    /// pass requests on.
    pub async fn leave(&self) {
        let (done, gone) = oneshot::channel();
        self.shared.report(Report::Leave(done));
        let _ = gone.await;
    }

    /// Gives every shard up, whether or not others are ready for them: they take them over cold.
    pub fn abandon(&self) {
        self.shared.report(Report::Abandon);
    }

    /// This life of this node.
    #[must_use]
    pub fn me(&self) -> &NodeId {
        &self.shared.me
    }

    /// The board misses something of a shard: its owner is asked for the pictures. Any thread; does not wait.
    pub fn doubt(&self, shard: Shard) {
        self.shared.report(Report::Doubt { shard });
    }

    /// How this node stands; changes can be awaited.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Becomes a reason when the node must stop.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.shared.fatal.subscribe()
    }

    /// The cluster as this node sees it.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// What happened here since the start.
    #[must_use]
    pub fn happened(&self) -> Happened {
        let (mine, bus) = (&self.shared.counters, &self.shared.bus.counters);
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Happened {
            claims: read(&mine.claims),
            handoffs: read(&mine.handoffs),
            fenced: read(&mine.fenced),
            packets: read(&bus.packets),
            items: read(&bus.items),
            bytes: read(&bus.bytes),
        }
    }
}

impl Shared {
    /// Runs a task that the node cannot do without: when it ends, the node stops.
    fn keep(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (shared, running) = (self.clone(), self.tasks.spawn(task));
        self.tasks.spawn(async move {
            let ended = running.await;
            shared.stop_node(format!("the cluster's task `{name}` ended: {ended:?}"));
        });
    }

    /// Where a node's heartbeats are told and stored; a dot in its name would be a level of the subject.
    fn here(&self, node: &str) -> String {
        format!("{}.meta.here.{}", self.nats.name(), node.replace('.', "="))
    }

    /// Tells a heartbeat; whether a quorum has stored it.
    async fn tell_heartbeat(&self, heartbeat: Vec<u8>) -> bool {
        let subject = self.here(&self.me.name);
        matches!(self.nats.append(subject.into(), None, heartbeat.into()).await, Answer::Stored(_))
    }

    /// The last heartbeat of a node that a quorum has stored, from the stream's leader.
    async fn stored_heartbeat(&self, node: &str) -> Result<Option<Heartbeat>, Away> {
        let stored = self.nats.last(&self.nats.meta_stream(), &self.here(node)).await?;
        Ok(stored.and_then(|stored| Heartbeat::decode(&stored.payload)))
    }

    fn sightings(&self) -> MutexGuard<'_, Sightings> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parked(&self) -> MutexGuard<'_, Vec<(Instant, Address, Message)>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> String {
        self.address.get().cloned().unwrap_or_default()
    }

    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosting(&self) -> Option<&Hosting> {
        self.local.get().map(|(_, hosting)| hosting)
    }

    fn router(&self) -> Option<&Router> {
        self.local.get().map(|(router, _)| router)
    }

    fn report(&self, report: Report) {
        // The driver ends with the process.
        let _ = self.reports.send(report);
    }

    /// The shard's cells are gone: nothing of it is written or told any more.
    fn give_up(&self, shard: Shard) {
        self.owners.set_trusted(shard, false);
        self.journal.disown(crate::journal::Shard(shard.0));
        self.distribution.end(shard);
    }

    fn drop_shard(&self, shard: Shard) {
        if let Some(hosting) = self.hosting() {
            hosting.drop_shard(shard);
        }
        self.give_up(shard);
    }

    fn stop_node(&self, reason: String) {
        self.fatal.send_replace(Some(reason));
    }

    fn set_reachable(&self, shard: Shard, reachable: bool) {
        (self.reachable)(shard, reachable);
    }

    fn set_standing(&self, phase: Phase, leased: bool) {
        let whole = self.standing.borrow().whole || self.is_board_whole();
        let standing = Standing { phase, leased, whole };
        self.standing.send_if_modified(|known| std::mem::replace(known, standing) != standing);
    }

    /// Whether every shard has an owner and the board its whole picture.
    fn is_board_whole(&self) -> bool {
        let intake = self.intake();
        (0..self.settings.shards).map(Shard).all(|shard| intake.is_whole(shard) && self.owners.owner(shard).is_some())
    }

    /// Whether the board has the whole picture of every shard that somebody owns.
    fn is_board_of_owned_whole(&self, now: Millis, keeper: &Keeper) -> bool {
        let intake = self.intake();
        (0..).map(Shard).zip(keeper.owners(now)).all(|(shard, owner)| owner.is_none() || intake.is_whole(shard))
    }

    /// Owners say how far their feeds have come.
    fn expect_feeds<'a>(&self, alive: impl Iterator<Item = &'a Heartbeat>, now: Millis) {
        let mut intake = self.intake();
        for owned in alive.flat_map(|peer| &peer.owned) {
            intake.expect(Shard(owned.shard), owned.epoch, owned.feed, now);
        }
    }
}

/// The other nodes, for the runtime; weak, because the cluster holds the way to the runtime.
struct Others(Weak<Shared>);

impl Beyond for Others {
    fn tell(&self, to: Address, message: Message) {
        if let Some(shared) = self.0.upgrade() {
            route::tell(&shared, to, message);
        }
    }

    fn fenced(&self, shard: Shard) {
        if let Some(shared) = self.0.upgrade() {
            shared.report(Report::Fenced { shard });
        }
    }

    fn is_sure_of(&self, shard: Shard) -> bool {
        self.0.upgrade().is_some_and(|shared| shared.owners.may_answer(shard, crate::clock::monotonic()))
    }
}
