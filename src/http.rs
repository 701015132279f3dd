//! The HTTP edge: what the public contract says, turned into commands and back into JSON.
//!
//! Owns parsing, validation, who may call what, status codes, the shape of every answer and the documents that describe
//! them. It decides nothing about seats or money: a handler reads a request, asks the machine that owns the matter and
//! renders what it said. It keeps nothing that outlives a request, except counters of rate limits.
//!
//! Start at [`routes`] (every route on one screen), then [`holds`] for how a handler reads. A refusal becomes a status in
//! [`refused`]; every code is listed in [`problem`]. What surrounds each request (id, limits, metrics, panics) is
//! [`around`]. The hottest requests do not come that far: [`lane`] answers them from the connection.

mod around;
mod ask;
mod audit;
mod body;
mod caller;
mod cluster;
mod cors;
mod docs;
mod doors;
mod event_body;
mod events;
mod faults;
mod holds;
mod house;
mod keys;
pub mod lane;
mod ledger;
pub mod limits;
pub mod live;
mod meter;
mod ops;
mod orders;
mod pages;
pub mod problem;
mod public;
mod refused;
mod request_id;
pub mod routes;
mod shapes;
#[cfg(test)]
mod tests;
mod validate;
mod venue;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::auth::Auth;
use crate::board::Board;
use crate::config::{self, Config};
use crate::dispatch::Dispatch;
use crate::telemetry::Metrics;
use crate::tickets::TicketKey;

use limits::Limits;
use live::Live;
use meter::Meter;

pub use caller::{Buyer, Seller, Viewer};
pub use problem::{Code, Problem};

/// What every handler may use. One per node, shared by all workers as `web::Data<State>`.
pub struct State {
    /// The configuration in effect.
    pub config: Config,
    /// The way to every machine.
    pub dispatch: Dispatch,
    /// What is public.
    pub board: Arc<Board>,
    /// Who may call.
    pub auth: Auth,
    /// Signs and verifies tickets.
    pub tickets: Arc<TicketKey>,
    /// Rate limits of customers and addresses.
    pub limits: Limits,
    /// Whether this node may be sent requests.
    pub readiness: Arc<Readiness>,
    /// Whether payments are not attempted at the moment because the provider does not answer.
    pub payments_paused: Box<dyn Fn() -> bool + Send + Sync>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Brings up to date what is only looked at when metrics are read.
    pub before_scrape: Box<dyn Fn() + Send + Sync>,
}

/// Whether this node is ready to serve, and whether it has everything it needs to answer at all. Neither from the start,
/// until somebody says so.
#[derive(Debug)]
pub struct Readiness {
    open: AtomicBool,
    reason: ArcSwapOption<String>,
    stopping: watch::Sender<bool>,
}

impl Default for Readiness {
    fn default() -> Self {
        let reason = ArcSwapOption::from_pointee("starting".to_owned());
        Self { open: AtomicBool::new(false), reason, stopping: watch::Sender::new(false) }
    }
}

impl Readiness {
    /// From now on requests are answered: this node knows everything that is public. Until then it would deny what others
    /// know, so it answers 503.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Whether requests are answered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// From now on `/readyz` answers 200.
    pub fn ready(&self) {
        self.reason.store(None);
    }

    /// From now on `/readyz` answers 503 with this reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.reason.store(Some(Arc::new(reason.into())));
    }

    /// From now on the node is not ready because it stops, and requests that only wait are answered.
    pub fn stop(&self) {
        self.not_ready("stopping");
        self.stopping.send_replace(true);
    }

    /// Resolves when the node stops.
    pub async fn stopping(&self) {
        // An error would mean that the sender is gone, and it is in `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Why the node is not ready; `None` when it is.
    #[must_use]
    pub fn reason(&self) -> Option<Arc<String>> {
        self.reason.load_full()
    }
}

/// A bound server: await `server` in the actix system to run it, stop it with `handle`.
pub struct Bound {
    /// The address it listens at; with port 0 in the configuration, the one that was given.
    pub address: SocketAddr,
    /// Stops it: `handle.stop(true)` lets requests in progress finish, at most `shutdown.drain`.
    pub handle: ServerHandle,
    /// The server itself.
    pub server: Server,
}

/// Binds `http.listen`.
///
/// # Errors
/// The address cannot be bound.
pub fn bind(state: Arc<State>) -> io::Result<Bound> {
    let listener = TcpListener::bind(state.config.http.listen)?;
    serve(listener, state)
}

/// Serves the whole API on a listener that is bound already.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(listener: TcpListener, state: Arc<State>) -> io::Result<Bound> {
    let address = listener.local_addr()?;
    let Sizes { workers, connections, drain_s } = Sizes::of(&state.config);
    let config::Http { fast_lane, keep_alive, head_timeout, .. } = state.config.http;
    let live = Arc::new(Live::new(state.board.clone(), live::Settings::of(&state.config.live)));
    actix_web::rt::spawn(close_when_stopping(state.clone(), live.clone()));
    let data = Data::from(state);
    let of_app = data.clone();
    let app = move || {
        App::new()
            .app_data(Data::new(live.hub()))
            .configure(|app| mount(app, of_app.clone()))
            .wrap(from_fn(around::each_request))
    };
    if fast_lane {
        let server = lane::serve(listener, data, app)?;
        return Ok(Bound { address, handle: server.handle(), server });
    }
    let server = HttpServer::new(app)
        .workers(workers)
        .keep_alive(keep_alive)
        .client_request_timeout(head_timeout)
        .max_connections(connections)
        .tcp_nodelay(true)
        .on_connect(|connection, data| {
            live::limit_unread(connection, live::UNREAD_MAX);
            data.insert(around::Ended::default());
        })
        .shutdown_timeout(drain_s)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(Bound { address, handle: server.handle(), server })
}

/// How the server fits the machine and the configuration.
struct Sizes {
    /// Threads that read and answer requests.
    workers: usize,
    /// Open connections of one of them.
    connections: usize,
    /// Longest wait for requests in progress when the server stops, in seconds.
    drain_s: u64,
}

impl Sizes {
    fn of(config: &Config) -> Self {
        let workers = match config.http.workers {
            0 => available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        };
        let connections = config.http.connections_max.div_ceil(workers);
        Self { workers, connections, drain_s: config.shutdown.drain.as_secs().max(1) }
    }
}

async fn close_when_stopping(state: Arc<State>, live: Arc<Live>) {
    state.readiness.stopping().await;
    live.close();
}

/// Every route of the API and what answers when none fits. Wrap the app in what surrounds each request, as
/// [`serve`] does.
pub fn mount(app: &mut web::ServiceConfig, state: Data<State>) {
    let of_tests = state.clone();
    app.app_data(Data::from(state.board.clone()))
        .app_data(Rc::new(Meter::new(&state.metrics)))
        .app_data(state)
        .configure(routes::configure)
        .configure(docs::configure)
        .configure(|app| faults::configure(app, &of_tests))
        .default_service(web::to(ops::not_found));
}
