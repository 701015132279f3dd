//! The fast lane: the few hottest requests, answered straight from the connection.
//!
//! In front of actix-web, on the same port and the same workers. A connection ([`connection`]) reads, parses strictly
//! ([`head`]), copies finished bytes ([`reads`]) or asks machines ([`asks`]), and answers everything that one read brought
//! with one write ([`pipeline`]). Whatever it does not recognise byte for byte is actix-web's ([`slow`]): one ordinary
//! request is lent there and the connection comes back behind its answer, to end there if it is HTTP/1.0 or says
//! `connection: close`; an unusual one (a coding of the body, an upgrade, two lengths) takes the connection there for good.
//! One that becomes a WebSocket comes back behind the 101. Same status codes, headers, limits and metrics as without the
//! lane, which `http.fast_lane = false` shows; only deadlines are stricter, as actix-http gives none to a head behind the first.

mod asks;
mod connection;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod head;
mod memo;
mod pipeline;
mod reads;
mod slow;
mod watch;
mod write;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use std::{fmt, io};

use actix_http::body::MessageBody;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config,
};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use tracing::debug;

use super::around::Ended;
use super::live;
use super::meter::Meter;
use super::{Sizes, State};
use crate::config;
use crate::dispatch::Bundler;
use asks::Ask;
use connection::Connection;
use head::{Head, Method};
use memo::Memo;
use reads::{Read, Tally};
use slow::Loan;
use watch::{SWEEP, Watches};
use write::Date;

/// Bytes that one read takes at most.
const READ_SIZE: usize = 64 * 1024;
/// Rooms for answers that a thread keeps while nothing is in them, and bytes of the largest of them.
const ROOMS_MAX: usize = 32;
const ROOM_MAX: usize = 128 * 1024;
/// Sweeps after which a head that did not come again is forgotten.
const MEMO_SWEEPS: u32 = 10;
/// How long a client may take to see the end of a connection that the slow way closes.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What all connections of one thread share.
struct Worker {
    state: Data<State>,
    meter: Meter,
    reads: reads::Counters,
    asks: asks::Counters,
    bundler: Rc<Bundler>,
    /// Whether answers differ by the origin of a page.
    tells_origins: bool,
    date: Date,
    memo: RefCell<Memo>,
    /// Batches of reads so far.
    batches: Cell<u64>,
    watches: Rc<Watches>,
    slow: Slow,
    /// Room for one read.
    received: Cell<Vec<u8>>,
    /// Room for answers, which goes from hand to hand: with them it waits on a connection, and comes back when they are sent.
    rooms: RefCell<Vec<Vec<u8>>>,
}

impl Worker {
    fn new(state: Data<State>, slow: Slow) -> Self {
        let of = |method, path| state.metrics.route(method, path);
        Self {
            meter: Meter::new(&state.metrics),
            reads: reads::Counters {
                event: Tally::new(of("get", "/v1/events/{event}")),
                availability: Tally::new(of("get", "/v1/events/{event}/availability")),
                seats: Tally::new(of("get", "/v1/events/{event}/blocks/{block}/seats")),
            },
            asks: asks::Counters {
                hold: of("post", "/v1/events/{event}/holds"),
                order: of("post", "/v1/orders"),
                show: of("get", "/v1/orders/{order}"),
            },
            bundler: Bundler::new(state.dispatch.clone()),
            tells_origins: !state.config.http.cors_origins.is_empty(),
            date: Date::new(),
            memo: RefCell::new(Memo::new()),
            batches: Cell::new(0),
            watches: Rc::new(Watches::new()),
            slow,
            received: Cell::new(vec![0; READ_SIZE]),
            rooms: RefCell::default(),
            state,
        }
    }

    fn limits(&self) -> &config::Http {
        &self.state.config.http
    }

    fn room(&self) -> Vec<u8> {
        self.rooms.borrow_mut().pop().unwrap_or_default()
    }

    fn take_back(&self, mut room: Vec<u8>) {
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < ROOMS_MAX && (1..=ROOM_MAX).contains(&room.capacity()) {
            room.clear();
            rooms.push(room);
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<(), BrokenOff>>>>;

/// The slow way ended before its answer did: the client must not take what follows for a part of it.
struct BrokenOff;

/// The slow way of one worker, whatever its services are called.
type Slow = Box<dyn Fn(Loan, SocketAddr) -> Answering>;

/// Serves an application on a listener, with the lane in front of it.
///
/// # Errors
/// The listener cannot be used.
pub(super) fn serve<F, I, S, B>(listener: TcpListener, state: Data<State>, app: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let Sizes { workers, connections, drain_s } = Sizes::of(&state.config);
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections)
        .shutdown_timeout(drain_s)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("http", listener, move || {
        let (state, app, stopping) = (state.clone(), app.clone(), stopping.clone());
        fn_factory(move || {
            let (state, app, stopping) = (state.clone(), app.clone(), stopping.clone());
            async move {
                let limits = &state.config.http;
                let signal = stopping.clone();
                let app = map_config(app().into_factory(), |()| AppConfig::default())
                    .map_err(|error| error.into().error_response());
                let service = HttpService::build()
                    .on_connect_ext(|loan: &Loan, data| {
                        if let Some(handover) = loan.handover() {
                            data.insert(handover.clone());
                        }
                        if loan.may_bring_more() {
                            data.insert(Ended::default());
                        }
                    })
                    .graceful_shutdown_signal(move || {
                        let signal = signal.clone();
                        async move { signal.notified().await }
                    })
                    .keep_alive(limits.keep_alive)
                    .client_request_timeout(limits.head_timeout)
                    .client_disconnect_timeout(DISCONNECT_TIMEOUT)
                    .finish(app)
                    .new_service(())
                    .await?;
                let worker = Rc::new(Worker::new(state, slow_way(Rc::new(service))));
                actix_web::rt::spawn(keep_time(worker.clone()));
                actix_web::rt::spawn(worker.bundler.clone().run());
                actix_web::rt::spawn({
                    let worker = worker.clone();
                    async move {
                        stopping.notified().await;
                        worker.watches.stop();
                    }
                });
                Ok::<_, ()>(fn_service(move |stream: TcpStream| accept(worker.clone(), stream)))
            }
        })
    })?;
    Ok(server.run())
}

fn slow_way<S>(service: Rc<S>) -> Slow
where
    S: Service<(Loan, Protocol, Option<SocketAddr>), Response = ()> + 'static,
    S::Error: fmt::Debug,
    S::Future: 'static,
{
    Box::new(move |loan, peer| {
        let service = service.clone();
        Box::pin(async move {
            let answered = match poll_fn(|cx| service.poll_ready(cx)).await {
                Ok(()) => service.call((loan, Protocol::Http1, Some(peer))).await,
                Err(error) => Err(error),
            };
            answered.map_err(|error| {
                debug!(?error, "a connection broke");
                BrokenOff
            })
        })
    })
}

async fn accept(worker: Rc<Worker>, stream: TcpStream) -> Result<(), Infallible> {
    // A connection that is gone already, or whose segments are gathered, is served all the same.
    if let Ok(peer) = stream.peer_addr() {
        let _ = stream.set_nodelay(true);
        live::limit_unread(&stream, live::UNREAD_MAX);
        Connection::new(worker, stream, peer).await;
    }
    Ok(())
}

/// Sweeps deadlines, reads the clock for `date` and forgets what nobody asks for, until the worker's thread ends.
async fn keep_time(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for sweep in 1_u32.. {
        ticks.tick().await;
        worker.date.refresh();
        worker.watches.sweep();
        if sweep.is_multiple_of(MEMO_SWEEPS) {
            worker.memo.borrow_mut().forget_unused();
        }
    }
}

/// A request that the lane answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hot<'a> {
    Read(Read<'a>),
    Ask(Ask<'a>),
}

/// Which of them this is. A name with anything but letters, digits, `-` and `_` is looked at by the slow way.
fn hot<'a>(head: &Head<'a>) -> Option<Hot<'a>> {
    let rest = head.target.strip_prefix("/v1/")?;
    if let Some(rest) = rest.strip_prefix("events/") {
        let (event, of_it) = rest.split_once('/').unwrap_or((rest, ""));
        let what = match (head.method, of_it) {
            (Method::Post, "holds") => Hot::Ask(Ask::Hold(event)),
            (Method::Get | Method::Head, "") if rest == event => Hot::Read(Read::Event(event)),
            (Method::Get | Method::Head, "availability") => Hot::Read(Read::Availability(event)),
            (Method::Get | Method::Head, of_it) => {
                let block = of_it.strip_prefix("blocks/")?.strip_suffix("/seats").filter(|block| is_name(block))?;
                Hot::Read(Read::Seats(event, block))
            }
            (Method::Post | Method::Other, _) => return None,
        };
        let is_empty = matches!(what, Hot::Ask(_)) || head.body == 0;
        return Some(what).filter(|_| is_name(event) && is_empty);
    }
    let rest = rest.strip_prefix("orders")?;
    match (head.method, rest.strip_prefix('/')) {
        (Method::Post, None) if rest.is_empty() => Some(Hot::Ask(Ask::Order)),
        (Method::Get, Some(order)) if head.body == 0 && is_name(order) => Some(Hot::Ask(Ask::Show(order))),
        (Method::Get | Method::Head | Method::Post | Method::Other, _) => None,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
