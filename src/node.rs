//! The node: the one place that knows every part and puts them together.
//!
//! Owns the order in which a node comes up (lock, journal, state, test append, doors open) and goes down (doors closed,
//! drained, snapshots, journal sealed). It decides nothing and holds no data of its own.

mod meters;
mod policy;

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::auth::Auth;
use crate::board::{self, Board};
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::gateway::{BreakerLimits, BreakerState, Guarded, Simulated};
use crate::http::limits::Limits;
use crate::http::{self, Bound, Readiness, State};
use crate::journal::{AppendError, DataDir, Embedded, Health, Journal, Shard, Status, Unavailable};
use crate::notices::Sinks;
use crate::outward::Outbound;
use crate::runtime::{self, Alone, Parts, Runtime};
use crate::snapshots::Snapshots;
use crate::telemetry::Metrics;
use crate::tickets::TicketKey;

use meters::Meters;

/// How long the test append may take before the node calls itself not ready.
const TEST_APPEND_MAX: Duration = Duration::from_secs(10);

/// Threads for payment calls and letters: they wait, they do not compute.
const OUTWARD_THREADS: usize = 1;

/// Why a node does not come up.
#[derive(Debug)]
pub struct NodeError(String);

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NodeError {}

/// Says what was being done when it failed.
fn at<E: fmt::Display>(what: &'static str) -> impl Fn(E) -> NodeError {
    move |error| NodeError(format!("{what}: {error}"))
}

/// A node that serves.
pub struct Node {
    /// Where it listens.
    pub address: SocketAddr,
    /// The way to its machines.
    pub dispatch: Dispatch,
    /// What is public.
    pub board: Arc<Board>,
    state: Arc<State>,
    door: Bound,
    runtime: Runtime,
    journal: Arc<Embedded>,
    outward: Threads,
    _lock: DataDir,
}

impl Node {
    /// Brings a node up: when this returns, it has recovered and listens. Blocks while it recovers; call it in an actix
    /// system.
    ///
    /// # Errors
    /// The first thing that does not come up, with its reason.
    pub fn start(config: Config) -> Result<Node, NodeError> {
        let lock = DataDir::lock(&config.data.dir).map_err(at("data directory"))?;
        keep_shards(&config)?;
        let tickets = Arc::new(TicketKey::open(&config.ticket_key_path()).map_err(at("ticket key"))?);
        let auth = Auth::new(&config.auth).map_err(at("auth"))?;
        let metrics = Arc::new(Metrics::new());
        let meters = Meters::new(&metrics);
        let journal = open_journal(&config, &meters)?;
        let board = Arc::new(Board::new(board::Settings {
            observer: Arc::new(meters.clone()),
            ..board::Settings::new(config.cluster.shards)
        }));
        let gateway = Arc::new(open_gateway(&config, &metrics)?);
        let sinks = Sinks::open(&config).map_err(at("notices"))?;
        let outward = Threads::start().map_err(at("threads"))?;
        let inside = (Arc::clone(&board), Arc::clone(&tickets));
        let outbound = Outbound::new(outward.handle(), gateway.clone(), sinks, inside, Arc::clone(&metrics));

        let readiness = Arc::new(Readiness::default());
        let tested = test_append(journal.as_ref());
        let parts = Parts {
            journal: journal.clone(),
            snapshots: open_snapshots(&config)?,
            policy: policy::of(&config),
            settings: policy::settings(&config),
            feed: Arc::new(meters.counting(Arc::clone(&board))),
            outward: Arc::new(outbound.clone()),
            hooks: Arc::new(meters.clone()),
            beyond: Arc::new(Alone),
        };
        let runtime = Runtime::start(parts, &all_shards(&config)).map_err(at("recovery"))?;
        let dispatch = Dispatch::local(&runtime);
        outbound.connect(dispatch.clone());

        let state = Arc::new(State {
            limits: Limits::new(&config.limits),
            auth,
            tickets,
            readiness: Arc::clone(&readiness),
            payments_paused: Box::new(move || gateway.breaker_state() == BreakerState::Open),
            metrics: Arc::clone(&metrics),
            before_scrape: {
                let dispatch = dispatch.clone();
                Box::new(move || meters.look(&dispatch.view()))
            },
            board: Arc::clone(&board),
            dispatch: dispatch.clone(),
            config,
        });
        let door = http::bind(Arc::clone(&state)).map_err(at("http.listen"))?;
        actix_rt::spawn(keep_readiness(journal.health(), tested, readiness, Arc::clone(&metrics)));
        Ok(Node { address: door.address, dispatch, board, state, door, runtime, journal, outward, _lock: lock })
    }

    /// Serves until SIGTERM, SIGINT or a failure that must not be survived, then goes down in good order.
    ///
    /// # Errors
    /// Signals cannot be listened to, or the HTTP server broke.
    pub async fn serve(self) -> Result<ExitCode, NodeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(at("signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(at("signals"))?;
        let mut fatal = self.runtime.fatal();
        let mut server = actix_rt::spawn(self.door.server);
        let handle = self.door.handle;
        let code = tokio::select! {
            _ = terminate.recv() => ExitCode::SUCCESS,
            _ = interrupt.recv() => ExitCode::SUCCESS,
            reason = failed(&mut fatal) => {
                error!(reason, "the journal cannot be trusted any more, the node stops");
                ExitCode::FAILURE
            }
            ended = &mut server => {
                ended.map_err(at("http server"))?.map_err(at("http server"))?;
                ExitCode::SUCCESS
            }
        };
        info!("stopping: no new requests, finishing those under way");
        self.state.readiness.stop();
        handle.stop(true).await;
        self.runtime.stop().await;
        drop(self.outward);
        self.journal.close();
        info!("stopped");
        Ok(code)
    }
}

/// The threads of payment calls and letters. They end without being waited for, wherever they are dropped: also where a
/// node does not come up, inside of an actix system.
struct Threads(Option<tokio::runtime::Runtime>);

impl Threads {
    fn start() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(OUTWARD_THREADS).thread_name("outward").enable_all().build().map(Some).map(Self)
    }

    fn handle(&self) -> tokio::runtime::Handle {
        self.0.as_ref().expect("there until it is dropped").handle().clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

async fn failed(fatal: &mut watch::Receiver<Option<String>>) -> String {
    match fatal.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        // The runtime is gone without a word: nothing more will come.
        Err(_) => std::future::pending().await,
    }
}

/// Where everything lives follows from the number of shards, so a data directory keeps the one it was made with.
fn keep_shards(config: &Config) -> Result<(), NodeError> {
    let file = config.data.dir.join("shards");
    let wanted = config.cluster.shards.to_string();
    // An empty file is one that a power cut left behind before anything else was written.
    let made_with = if file.exists() { std::fs::read_to_string(&file) } else { Ok(String::new()) };
    match made_with {
        Ok(made_with) if made_with.trim() == wanted => Ok(()),
        Ok(made_with) if made_with.trim().is_empty() => std::fs::write(&file, wanted).map_err(at("data directory")),
        Ok(made_with) => Err(NodeError(format!(
            "`cluster.shards` is {wanted}, but this data directory was made with {}: keep that number ({})",
            made_with.trim(),
            file.display()
        ))),
        Err(error) => Err(at("data directory")(error)),
    }
}

/// An embedded node has every shard of the deployment.
fn all_shards(config: &Config) -> Vec<actors::ids::Shard> {
    (0..config.cluster.shards).map(actors::ids::Shard).collect()
}

fn open_journal(config: &Config, meters: &Meters) -> Result<Arc<Embedded>, NodeError> {
    let dir = config.data.dir.join("journal");
    let (journal, recovery) =
        Embedded::open(&dir, policy::journal(config), Arc::new(meters.clone())).map_err(at("journal"))?;
    info!(?recovery, "journal is open");
    Ok(Arc::new(journal))
}

fn open_snapshots(config: &Config) -> Result<Arc<dyn runtime::Shelf>, NodeError> {
    let dir = config.data.dir.join("snapshots");
    let (store, set_aside) = Snapshots::open(&dir, config.snapshots.cache_bytes.0).map_err(at("snapshots"))?;
    if let Some(set_aside) = set_aside {
        warn!(set_aside = %set_aside.display(), "the snapshots could not be read, the journal is replayed whole");
    }
    Ok(Arc::new(store))
}

fn open_gateway(config: &Config, metrics: &Arc<Metrics>) -> Result<Guarded, NodeError> {
    let provider =
        Simulated::open(&config.payments.simulated, &config.provider_ledger_path()).map_err(at("provider"))?;
    let limits = BreakerLimits::from(&config.payments.breaker);
    Ok(Guarded::new(Arc::new(provider), config.payments.timeout, limits, meters::gateway(Arc::clone(metrics))))
}

/// Appends an empty record, so that a node that cannot write does not call itself ready.
fn test_append(journal: &Embedded) -> Result<(), AppendError> {
    let shard = Shard(0);
    let append = journal.append(shard, journal.last(shard), runtime::format::EMPTY_RECORD.to_vec());
    let timed = async { tokio::time::timeout(TEST_APPEND_MAX, append).await };
    let threads = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let waited = std::thread::scope(|scope| scope.spawn(|| threads.map(|threads| threads.block_on(timed))).join());
    match waited {
        Ok(Ok(Ok(appended))) => appended.map(|_| ()),
        _ => Err(AppendError::Unknown { reason: "test append did not end in time".to_owned() }),
    }
}

/// Ready while the journal takes records.
async fn keep_readiness(
    mut health: watch::Receiver<Health>,
    tested: Result<(), AppendError>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
) {
    let mut blocked = match tested {
        Ok(()) => None,
        Err(AppendError::Unavailable { reason: Unavailable::DiskFull }) => Some("disk full".to_owned()),
        Err(other) => Some(other.to_string()),
    };
    loop {
        let reason = match &health.borrow_and_update().status {
            Status::Serving => blocked.take(),
            Status::DiskFull => Some("disk full".to_owned()),
            Status::Away { reason } | Status::Stopped { reason } => Some(reason.clone()),
            Status::Closed => return,
        };
        metrics.ready.set(i64::from(reason.is_none()));
        match reason {
            None => readiness.ready(),
            Some(reason) => {
                warn!(reason, "not ready");
                readiness.not_ready(reason);
            }
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}
