//! The node: the one place that knows every part and puts them together.
//!
//! Owns the order in which a node comes up (lock, journal, state, test append, doors open) and goes down (doors closed,
//! drained, snapshots, journal sealed). It decides nothing and holds no data of its own.

mod backing;
mod meters;
mod policy;
mod ready;

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

use crate::auth::Auth;
use crate::board::{self, Board};
use crate::clock;
use crate::config::{Config, GatewayKind};
use crate::dispatch::Dispatch;
use crate::gateway::{BreakerLimits, BreakerState, Guarded, Simulated};
use crate::http::limits::Limits;
use crate::http::{self, Bound, Readiness, State};
use crate::journal::DataDir;
use crate::notices::Sinks;
use crate::outward::Outbound;
use crate::runtime::{Parts, Runtime};
use crate::telemetry::Metrics;
use crate::tickets::TicketKey;

use backing::{Backing, Kind};
use meters::Meters;

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
    backing: Backing,
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
        clock::shift(config.runtime.clock_offset.0);
        let lock = DataDir::lock(&config.data.dir).map_err(at("data directory"))?;
        check_dir(&config)?;
        let tickets = Arc::new(TicketKey::open(&config.ticket_key_path()).map_err(at("ticket key"))?);
        let auth = Auth::new(&config.auth).map_err(at("auth"))?;
        let metrics = Arc::new(Metrics::new());
        let meters = Meters::new(&metrics);
        let board = Arc::new(Board::new(board::Settings {
            observer: Arc::new(meters.clone()),
            ..board::Settings::new(config.cluster.shards)
        }));
        let backing = if config.cluster.seeds.is_empty() {
            Backing::embedded(&config, &meters)?
        } else {
            Backing::clustered(&config, &meters, &board, &tickets)?
        };
        let gateway = Arc::new(open_gateway(&config, &metrics)?);
        let sinks = Sinks::open(&config).map_err(at("notices"))?;
        let outward = Threads::start("outward", OUTWARD_THREADS).map_err(at("threads"))?;
        let inside = (Arc::clone(&board), Arc::clone(&tickets));
        let outbound = Outbound::new(outward.handle(), gateway.clone(), sinks, inside, Arc::clone(&metrics));

        let readiness = Arc::new(Readiness::default());
        let parts = Parts {
            journal: backing.journal.clone(),
            snapshots: backing.snapshots.clone(),
            policy: policy::of(&config),
            settings: policy::settings(&config),
            feed: Arc::new(meters.counting(backing.feed(&board))),
            outward: Arc::new(outbound.clone()),
            hooks: Arc::new(meters.clone()),
            beyond: backing.beyond(),
        };
        let runtime = Runtime::start(parts, &backing.shards(&config)).map_err(at("recovery"))?;
        let dispatch = backing.dispatch(&runtime);
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
                Box::new(move || meters.look(&dispatch))
            },
            board: Arc::clone(&board),
            dispatch: dispatch.clone(),
            config,
        });
        let door = http::bind(Arc::clone(&state)).map_err(at("http.listen"))?;
        let (address, name) = (door.address, state.config.node.name.clone());
        let health = backing.health();
        match &backing.kind {
            Kind::Embedded { tested, .. } => {
                actix_rt::spawn(ready::keep_embedded(health, tested.clone(), readiness, metrics));
            }
            Kind::Clustered(clustered) => {
                clustered.join(&runtime, address.to_string())?;
                let part = (clustered.cluster.clone(), clustered.nats.clone(), name);
                actix_rt::spawn(ready::keep_clustered(part, health, readiness, metrics));
            }
        }
        Ok(Node { address, dispatch, board, state, door, runtime, backing, outward, _lock: lock })
    }

    /// Serves until SIGTERM, SIGINT or a failure that must not be survived, then goes down in good order.
    ///
    /// # Errors
    /// Signals cannot be listened to, or the HTTP server broke.
    pub async fn serve(self) -> Result<ExitCode, NodeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(at("signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(at("signals"))?;
        let mut fatal = self.runtime.fatal();
        let mut expelled = self.backing.fatal();
        let mut server = actix_rt::spawn(self.door.server);
        let handle = self.door.handle;
        let code = tokio::select! {
            _ = terminate.recv() => ExitCode::SUCCESS,
            _ = interrupt.recv() => ExitCode::SUCCESS,
            reason = failed(&mut fatal) => {
                error!(reason, "the journal cannot be trusted any more, the node stops");
                ExitCode::FAILURE
            }
            reason = failed(&mut expelled) => {
                error!(reason, "the node cannot be part of the cluster, it stops");
                ExitCode::FAILURE
            }
            ended = &mut server => {
                ended.map_err(at("http server"))?.map_err(at("http server"))?;
                ExitCode::SUCCESS
            }
        };
        info!("stopping: no new requests, finishing those under way");
        self.state.readiness.stop();
        self.backing.leave(self.state.config.shutdown.drain).await;
        handle.stop(true).await;
        self.runtime.stop().await;
        drop(self.outward);
        self.backing.close();
        info!("stopped");
        Ok(code)
    }
}

/// Threads of tasks that wait more than they compute. They end without being waited for, wherever they are dropped: also where a
/// node does not come up, inside of an actix system.
struct Threads(Option<tokio::runtime::Runtime>);

impl Threads {
    fn start(name: &str, count: usize) -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(count).thread_name(name).enable_all().build().map(Some).map(Self)
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

/// A data directory belongs to one node, or to one deployment in NATS, and keeps the number of shards that it was made
/// with: where everything lives follows from that.
fn check_dir(config: &Config) -> Result<(), NodeError> {
    let dir = &config.data.dir;
    let clustered = !config.cluster.seeds.is_empty();
    if clustered && dir.join("journal").exists() {
        return Err(NodeError(format!(
            "`cluster.seeds` is set, but the data directory {} has the journal of an embedded node: set another `data.dir`",
            dir.display()
        )));
    }
    if !clustered && dir.join("deployment").exists() {
        return Err(NodeError(format!(
            "`cluster.seeds` is empty, but the data directory {} belongs to a deployment in NATS: set its servers, or another `data.dir`",
            dir.display()
        )));
    }
    keep_shards(config)
}

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

fn open_gateway(config: &Config, metrics: &Arc<Metrics>) -> Result<Guarded, NodeError> {
    let provider = match config.payments.gateway {
        GatewayKind::Simulated => {
            Simulated::open(&config.payments.simulated, &config.provider_ledger_path()).map_err(at("provider"))?
        }
    };
    let limits = BreakerLimits::from(&config.payments.breaker);
    Ok(Guarded::new(Arc::new(provider), config.payments.timeout, limits, meters::gateway(Arc::clone(metrics))))
}
