//! The backing of a node: where its changes become durable and who else is there.
//!
//! An embedded node has its own journal and snapshots and is alone. A node of a cluster has JetStream's, and takes part.
//! Everything above sees the same seams.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::ids::Shard;
use tokio::sync::watch;
use tracing::{info, warn};

use super::meters::Meters;
use super::{NodeError, Threads, at, policy};
use crate::board::Board;
use crate::clock;
use crate::cluster::presence::NodeId;
use crate::cluster::{self, Cluster};
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::journal::copy::{self, Copy};
use crate::journal::jetstream::{self, JetStream, Owner};
use crate::journal::{self, AppendError, Embedded, Health, Journal};
use crate::nats::{self, ConnectError, Nats};
use crate::runtime::{self, Alone, Beyond, FeedSink, Runtime, Shelf};
use crate::snapshots::Snapshots;
use crate::snapshots::bucket::JetStreamBucket;
use crate::snapshots::shared::Shared;
use crate::tickets::TicketKey;

/// Threads for the cluster's tasks: heartbeats, packets, followers.
const CLUSTER_THREADS: usize = 2;

/// How long a starting node tries to reach NATS.
const REACH_MAX: Duration = Duration::from_secs(60);

/// Wait between two tries.
const REACH_AGAIN: Duration = Duration::from_millis(500);

/// How long the test append may take before the node calls itself not ready.
const TEST_APPEND_MAX: Duration = Duration::from_secs(10);

/// See the module's charter.
pub(super) struct Backing {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) snapshots: Arc<dyn Shelf>,
    pub(super) kind: Kind,
}

/// What a node is.
pub(super) enum Kind {
    /// One embedded node.
    Embedded {
        journal: Arc<Embedded>,
        /// What the test append came to.
        tested: Result<(), AppendError>,
    },
    /// One of several.
    Clustered(Box<Clustered>),
}

/// A node's part in a cluster.
pub(super) struct Clustered {
    pub(super) cluster: Cluster,
    pub(super) nats: Nats,
    copy: Arc<Copy>,
    tasks: Threads,
}

impl Backing {
    /// An embedded node's. Blocks while the journal recovers.
    pub(super) fn embedded(config: &Config, meters: &Meters) -> Result<Self, NodeError> {
        let dir = config.data.dir.join("journal");
        let opened = Embedded::open(&dir, policy::journal(config), Arc::new(meters.clone()));
        let (journal, recovery) = opened.map_err(at("journal"))?;
        info!(?recovery, "journal is open");
        let journal = Arc::new(journal);
        let tested = test_append(&journal);
        let snapshots = Arc::new(open_snapshots(config)?);
        Ok(Self { journal: journal.clone(), snapshots, kind: Kind::Embedded { journal, tested } })
    }

    /// A cluster node's. Blocks until NATS was found fit and the deployment joined.
    pub(super) fn clustered(
        config: &Config,
        meters: &Meters,
        board: &Arc<Board>,
        tickets: &TicketKey,
    ) -> Result<Self, NodeError> {
        let tasks = Threads::start("cluster", CLUSTER_THREADS).map_err(at("threads"))?;
        let options = nats::Options::new(&config.cluster, &config.node.name).map_err(at("cluster.nats"))?;
        let nats = tasks.wait_for(patiently(|| Nats::connect(&options))).map_err(at("cluster.seeds"))?;
        let join = || nats.join(policy::shared_by_all(config, tickets), &config.data.dir);
        let deployment = tasks.wait_for(patiently(join)).map_err(at("cluster"))?;
        info!(deployment = deployment.id, "joined the deployment in NATS");
        let me = NodeId::new(&config.node.name, clock::now(), rand::random());
        let owner = Owner { name: me.name.to_string(), incarnation: me.incarnation };
        let copy = Copy::open(&copy::folder(&config.data.dir), config.cluster.copy_max_bytes.map(|bytes| bytes.0));
        let copy = Arc::new(copy.map_err(at("copy"))?);
        let settings = jetstream::Settings {
            shards: config.cluster.shards,
            clock: Arc::new(clock::now),
            copy: Some(copy.clone()),
        };
        let journal = JetStream::new(nats.clone(), tasks.handle(), owner, settings, Arc::new(meters.clone()));
        let local = open_snapshots(config)?;
        let bucket = Arc::new(JetStreamBucket::new(nats.clone(), tasks.handle()));
        let snapshots: Arc<dyn Shelf> = Arc::new(Shared::new(local, bucket, config.cluster.snapshot_interval));
        let reachable = {
            let board = Arc::clone(board);
            Box::new(move |shard, reachable| board.set_reachable(shard, reachable))
        };
        let cluster = Cluster::new(cluster::Parts {
            me,
            nats: nats.clone(),
            journal: journal.clone(),
            shelf: snapshots.clone(),
            board: board.clone(),
            reachable,
            tasks: tasks.handle(),
            settings: policy::cluster(config),
        });
        let doubting = cluster.clone();
        board.on_gap(move |shard| doubting.doubt(shard));
        Ok(Self { journal, snapshots, kind: Kind::Clustered(Box::new(Clustered { cluster, nats, copy, tasks })) })
    }

    /// The shards that are brought back at the start: a cluster node is given its own while it runs.
    pub(super) fn shards(&self, config: &Config) -> Vec<Shard> {
        match self.kind {
            Kind::Embedded { .. } => (0..config.cluster.shards).map(Shard).collect(),
            Kind::Clustered(_) => Vec::new(),
        }
    }

    /// Where public changes go.
    pub(super) fn feed(&self, board: &Arc<Board>) -> Arc<dyn FeedSink> {
        match &self.kind {
            Kind::Embedded { .. } => board.clone(),
            Kind::Clustered(clustered) => clustered.cluster.feed_sink(),
        }
    }

    /// Where messages for other nodes go.
    pub(super) fn beyond(&self) -> Arc<dyn Beyond> {
        match &self.kind {
            Kind::Embedded { .. } => Arc::new(Alone),
            Kind::Clustered(clustered) => clustered.cluster.beyond(),
        }
    }

    /// The way to every machine.
    pub(super) fn dispatch(&self, runtime: &Runtime) -> Dispatch {
        match &self.kind {
            Kind::Embedded { .. } => Dispatch::local(runtime),
            Kind::Clustered(clustered) => Dispatch::clustered(runtime, clustered.cluster.clone()),
        }
    }

    /// Becomes a reason when the node cannot be part of its cluster.
    pub(super) fn fatal(&self) -> watch::Receiver<Option<String>> {
        match &self.kind {
            // Nobody will ever say anything.
            Kind::Embedded { .. } => watch::channel(None).1,
            Kind::Clustered(clustered) => clustered.cluster.fatal(),
        }
    }

    /// Hands the shards over to other nodes, if there are any, at most for so long.
    pub(super) async fn leave(&self, drain: Duration) {
        match &self.kind {
            Kind::Embedded { .. } => {}
            Kind::Clustered(clustered) => {
                if tokio::time::timeout(drain, clustered.cluster.leave()).await.is_err() {
                    warn!("not all shards were handed over in time, others take over what is left");
                    clustered.cluster.abandon();
                }
            }
        }
    }

    /// Ends what the runtime no longer writes to. Blocks.
    pub(super) fn close(self) {
        match self.kind {
            Kind::Embedded { journal, .. } => journal.close(),
            Kind::Clustered(clustered) => clustered.copy.close(),
        }
    }

    /// Whether the journal takes records.
    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.journal.health()
    }
}

impl Clustered {
    /// Begins to take part.
    pub(super) fn join(&self, runtime: &Runtime, address: String) -> Result<(), NodeError> {
        let joined = self.cluster.join(runtime.router().clone(), runtime.hosting(), address);
        self.tasks.wait_for(joined).map_err(at("cluster"))
    }
}

impl Threads {
    /// Waits for something that these threads do, from a thread that may be part of an actix system.
    fn wait_for<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        let handle = self.handle();
        std::thread::scope(|scope| scope.spawn(|| handle.block_on(work)).join()).expect("joining does not panic")
    }
}

/// Tries again what could not be reached: servers and nodes are often started together. What is unsuitable stays so.
async fn patiently<T, W>(mut work: impl FnMut() -> W) -> Result<T, ConnectError>
where
    W: Future<Output = Result<T, ConnectError>>,
{
    let until = Instant::now() + REACH_MAX;
    loop {
        match work().await {
            Err(ConnectError::Unreachable(reason)) if Instant::now() < until => {
                warn!(reason, "NATS cannot be reached, trying again");
                tokio::time::sleep(REACH_AGAIN).await;
            }
            settled => return settled,
        }
    }
}

fn open_snapshots(config: &Config) -> Result<Snapshots, NodeError> {
    let dir = config.data.dir.join("snapshots");
    let (store, set_aside) = Snapshots::open(&dir, config.snapshots.cache_bytes.0).map_err(at("snapshots"))?;
    if let Some(set_aside) = set_aside {
        warn!(set_aside = %set_aside.display(), "the snapshots could not be read, the journal is replayed whole");
    }
    Ok(store)
}

/// Appends an empty record, so that a node that cannot write does not call itself ready.
fn test_append(journal: &Embedded) -> Result<(), AppendError> {
    let shard = journal::Shard(0);
    let append = journal.append(shard, journal.last(shard), runtime::format::EMPTY_RECORD.to_vec());
    let timed = async { tokio::time::timeout(TEST_APPEND_MAX, append).await };
    let threads = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let waited = std::thread::scope(|scope| scope.spawn(|| threads.map(|threads| threads.block_on(timed))).join());
    match waited {
        Ok(Ok(Ok(appended))) => appended.map(|_| ()),
        _ => Err(AppendError::Unknown { reason: "test append did not end in time".to_owned() }),
    }
}
