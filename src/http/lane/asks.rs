//! Asks of the lane: holds, orders and the look at an order, answered when their machine has answered.
//!
//! Owns the order of the checks, which is that of the slow way: address, caller, customer, body; and in which order what is
//! asked on one connection reaches the machines. What is asked and how the answer looks is in [`super::super::holds`] and
//! [`super::super::orders`]; how asks travel together is in [`crate::dispatch::Bundler`].

use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actors::address::Address;
use actors::keyed::Asked;
use actors::message::Message;
use compact_str::CompactString;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use tracing::error;

use super::super::ask::Success;
use super::super::body::{Once, Posted, must_be_json, parse};
use super::super::caller::{Buyer, Viewer, caller, counted};
use super::super::limits::Left;
use super::super::meter::InFlight;
use super::super::problem::{Code, Problem};
use super::super::request_id::{MADE_LENGTH, given_or_made};
use super::super::venue::Place;
use super::super::{around, holds, keys, orders};
use super::head::{Fields, Head};
use super::{Worker, write};
use crate::dispatch::Asking;
use crate::telemetry::RouteMetrics;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// `POST /v1/events/{event}/holds`
    Hold(&'a str),
    /// `POST /v1/orders`
    Order,
    /// `GET /v1/orders/{order}`
    Show(&'a str),
}

/// The counters of the asks of one worker.
pub(super) struct Counters {
    pub(super) hold: RouteMetrics,
    pub(super) order: RouteMetrics,
    pub(super) show: RouteMetrics,
}

impl Counters {
    pub(super) fn of(&self, ask: Ask<'_>) -> &RouteMetrics {
        match ask {
            Ask::Hold(_) => &self.hold,
            Ask::Order => &self.order,
            Ask::Show(_) => &self.show,
        }
    }
}

/// A request whose answer is on its way.
pub(super) struct Exchange {
    what: What,
    id: SmallVec<[u8; MADE_LENGTH]>,
    started: Instant,
    _in_flight: InFlight,
    /// What is left of the limit that the request was counted against.
    left: Option<Left>,
    stage: Stage,
}

/// What an exchange is about, without its connection's buffer.
enum What {
    Hold(CompactString),
    Order,
    Show(CompactString),
}

type Ended = Result<Success, Problem>;
type Under<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// How far it is.
enum Stage {
    /// A block was asked for a hold.
    Holding(Place, Asking),
    /// Likely blocks are asked for a hold, one after the other.
    Searching(holds::Search, Asking),
    /// A desk looks for a block.
    Seeking(Under<Success>),
    /// The holds of an order are read.
    Gathering(Under<orders::Placing>),
    /// What an order desk is to be asked as soon as it is this request's turn; `None` from then on.
    Due(AtDesk, Option<(Address, Asked<Message>)>),
    /// A desk was asked.
    AtDesk(AtDesk, Asking),
    Ended(Ended),
}

/// What a desk is asked about.
#[derive(Clone, Copy)]
enum AtDesk {
    Order,
    Look(orders::Look),
}

/// Whether order desks may be asked. What is sent later on a connection is judged later: what comes behind an order whose
/// holds are still being read waits until that has asked its desk, and where asks may pass each other until it is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Desks {
    Open,
    Closed,
}

/// A request and its body.
struct Sent<'a> {
    ask: Ask<'a>,
    head: &'a Head<'a>,
    body: &'a [u8],
}

/// Begins to answer an ask. [`Exchange::advance`] does the rest.
pub(super) fn begin(worker: &Rc<Worker>, address: IpAddr, ask: Ask<'_>, head: &Head<'_>, body: &[u8]) -> Exchange {
    let (started, in_flight) = (Instant::now(), worker.meter.begin());
    let what = match ask {
        Ask::Hold(event) => What::Hold(event.into()),
        Ask::Order => What::Order,
        Ask::Show(order) => What::Show(order.into()),
    };
    let given = head.fields.request_id.map(str::as_bytes);
    let id = SmallVec::from_slice(given_or_made(given, &mut [0; MADE_LENGTH]));
    let mut left = None;
    let begun = survive(&what, || first_stage(worker, address, &Sent { ask, head, body }, &mut left));
    let stage = begun.unwrap_or_else(|problem| Stage::Ended(Err(problem)));
    Exchange { what, id, started, _in_flight: in_flight, left, stage }
}

fn first_stage(
    worker: &Rc<Worker>,
    address: IpAddr,
    sent: &Sent<'_>,
    left: &mut Option<Left>,
) -> Result<Stage, Problem> {
    let state = &worker.state;
    let authorization = sent.head.fields.authorization;
    match sent.ask {
        Ask::Show(order) => {
            let viewer = Viewer::from(caller(state, authorization)?);
            let (look, desk, asked) = orders::look(state, order, &viewer)?;
            Ok(Stage::Due(AtDesk::Look(look), Some((desk, asked))))
        }
        Ask::Hold(event) => {
            let buyer = buyer(worker, address, authorization, left)?;
            match holds::plan(state, &worker.meter, event, &buyer, sent.posted()?)? {
                holds::Plan::In(place, asked) => {
                    let asking = worker.bundler.ask(Address::Block(place.at.clone()), asked);
                    Ok(Stage::Holding(place, asking))
                }
                holds::Plan::Over(search) => Ok(searching(worker, search)),
                holds::Plan::Under(seek) => {
                    let (worker, (desk, asked)) = (worker.clone(), seek.ask());
                    let asking = worker.bundler.ask(desk, asked);
                    Ok(Stage::Seeking(Box::pin(async move {
                        seek.follow(&worker.state, &worker.meter, asking.await).await
                    })))
                }
            }
        }
        Ask::Order => {
            let buyer = buyer(worker, address, authorization, left)?;
            let (worker, posted) = (worker.clone(), sent.posted()?);
            Ok(Stage::Gathering(Box::pin(async move {
                orders::gather(&worker.state, &buyer, posted, |to, asked| worker.bundler.ask(to, asked)).await
            })))
        }
    }
}

fn searching(worker: &Worker, mut search: holds::Search) -> Stage {
    match search.step(&worker.state, &worker.meter, None) {
        holds::Step::Ask(to, asked) => Stage::Searching(search, worker.bundler.ask(to, asked)),
        holds::Step::Ended(made) => Stage::Ended(made),
    }
}

/// Who buys, counted against the limits of the address and of the customer.
fn buyer(
    worker: &Worker,
    address: IpAddr,
    authorization: Option<&str>,
    left: &mut Option<Left>,
) -> Result<Buyer, Problem> {
    *left = around::counted(&worker.state, address)?;
    let caller = caller(&worker.state, authorization)?;
    if let Some(of_customer) = counted(&worker.state, &caller)? {
        *left = Some(of_customer);
    }
    Buyer::try_from(caller)
}

impl Sent<'_> {
    fn posted<T: DeserializeOwned>(&self) -> Result<Posted<T>, Problem> {
        let Fields { content_type, content_encoding, idempotency_key, .. } = self.head.fields;
        must_be_json(content_type, content_encoding.map(str::as_bytes))?;
        let key = idempotency_key.map(|key| keys::checked(key.as_bytes())).transpose()?;
        let once = Once::new(key, keys::fingerprint_of("POST", self.head.target, self.body));
        Ok(Posted { body: parse(self.body)?, once })
    }
}

impl Exchange {
    /// Goes on as far as is possible now. All of a connection are to be advanced in the order of its requests.
    pub(super) fn advance(&mut self, worker: &Worker, cx: &mut Context<'_>, desks: &mut Desks) {
        while let Poll::Ready(Some(stage)) = self.next(worker, cx, *desks) {
            self.stage = stage;
        }
        if self.desks(worker) == Desks::Closed {
            *desks = Desks::Closed;
        }
    }

    /// The next stage; `None` behind the last.
    fn next(&mut self, worker: &Worker, cx: &mut Context<'_>, desks: Desks) -> Poll<Option<Stage>> {
        let (state, what) = (&worker.state, &self.what);
        Poll::Ready(Some(match &mut self.stage {
            Stage::Holding(place, asking) => {
                let outcome = ready!(Pin::new(asking).poll(cx));
                Stage::Ended(survive(what, || holds::held(&worker.meter, place, outcome)))
            }
            Stage::Searching(search, asking) => {
                let outcome = ready!(Pin::new(&mut *asking).poll(cx));
                let step = || Ok(search.step(state, &worker.meter, Some(outcome)));
                match survive(what, step).unwrap_or_else(|problem| holds::Step::Ended(Err(problem))) {
                    holds::Step::Ask(to, asked) => {
                        *asking = worker.bundler.ask(to, asked);
                        return self.next(worker, cx, desks);
                    }
                    holds::Step::Ended(made) => Stage::Ended(made),
                }
            }
            Stage::Seeking(seeking) => Stage::Ended(ready!(survive_poll(what, seeking, cx))),
            Stage::Gathering(gathering) => match ready!(survive_poll(what, gathering, cx)) {
                Ok(orders::Placing(desk, asked)) => Stage::Due(AtDesk::Order, Some((desk, asked))),
                Err(problem) => Stage::Ended(Err(problem)),
            },
            Stage::Due(about, ask) => match ask.take_if(|_| desks == Desks::Open) {
                Some((desk, asked)) => Stage::AtDesk(*about, worker.bundler.ask(desk, asked)),
                None => return Poll::Pending,
            },
            Stage::AtDesk(about, asking) => {
                let outcome = ready!(Pin::new(asking).poll(cx));
                Stage::Ended(survive(what, || match about {
                    AtDesk::Order => orders::placed(state, outcome),
                    AtDesk::Look(look) => look.shown(state, outcome),
                }))
            }
            Stage::Ended(_) => return Poll::Ready(None),
        }))
    }

    /// Whether desks may be asked by what comes behind it.
    pub(super) fn desks(&self, worker: &Worker) -> Desks {
        match self.stage {
            Stage::Gathering(_) | Stage::Due(..) => Desks::Closed,
            Stage::AtDesk(..) if !worker.bundler.keeps_order() => Desks::Closed,
            Stage::Holding(..) | Stage::Searching(..) | Stage::Seeking(_) | Stage::AtDesk(..) | Stage::Ended(_) => {
                Desks::Open
            }
        }
    }

    /// Whether its answer is there.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// Writes the answer and counts it, if it is there.
    pub(super) fn write(&self, worker: &Worker, out: &mut Vec<u8>) -> Poll<()> {
        let Stage::Ended(ended) = &self.stage else { return Poll::Pending };
        let status = ended.as_ref().map_or_else(|problem| problem.code().status(), |success| success.status);
        worker.asks.of(self.what.ask()).observe(status.as_u16(), self.started.elapsed());
        if status.is_server_error() {
            let id = str::from_utf8(&self.id).unwrap_or_default();
            let method = match self.what {
                What::Hold(_) | What::Order => "POST",
                What::Show(_) => "GET",
            };
            around::note_failure(method, &self.what.to_string(), status, id, self.started);
        }
        match ended {
            Ok(success) => write::success(out, success, worker, self.left.as_ref(), &self.id),
            Err(problem) => write::problem(out, problem, worker, self.left.as_ref(), &self.id),
        }
        Poll::Ready(())
    }
}

/// What a handler does; a problem of its own when it panics.
fn survive<T>(what: &What, handle: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(handle)).unwrap_or_else(|_| {
        error!(path = %what, "a handler panicked");
        Err(Code::Internal.into())
    })
}

fn survive_poll<T>(what: &What, handler: &mut Under<T>, cx: &mut Context<'_>) -> Poll<Result<T, Problem>> {
    match survive(what, || Ok(handler.as_mut().poll(cx))) {
        Ok(polled) => polled,
        Err(problem) => Poll::Ready(Err(problem)),
    }
}

impl What {
    fn ask(&self) -> Ask<'_> {
        match self {
            What::Hold(event) => Ask::Hold(event),
            What::Order => Ask::Order,
            What::Show(order) => Ask::Show(order),
        }
    }
}

impl fmt::Display for What {
    /// The path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Hold(event) => write!(f, "/v1/events/{event}/holds"),
            What::Order => f.write_str("/v1/orders"),
            What::Show(order) => write!(f, "/v1/orders/{order}"),
        }
    }
}
