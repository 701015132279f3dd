//! The pipeline of one connection: what was received and is not answered, and the answers that wait to be sent together.
//!
//! Owns the order of answers, which is that of the requests. Asks that came together are under way together, and a public
//! read behind an ask is answered when that is: it shows what was asked before it, and may show what was asked behind it.
//! What one read brought is answered by one write: answers that are there wait for those of the asks among them, but not
//! longer than `http.gather`. It knows nothing of sockets and deadlines.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep};

use super::asks::{self, Ask, Desks, Exchange};
use super::head::{self, Head};
use super::reads::Batch;
use super::slow::Lent;
use super::{Hot, Worker, hot};
use crate::telemetry::RouteMetrics;

/// Asks of one connection under way at a time.
const EXCHANGES_MAX: usize = 16;
/// Largest body that the lane waits for itself.
const BODY_MAX: usize = 16 * 1024;
/// Bytes of answers after which they are sent before more is answered.
const OUT_MAX: usize = 256 * 1024;
/// Most bytes of answers that wait: a write of more is no cheaper.
const HELD_MAX: usize = 64 * 1024;

/// See the module's charter.
pub(super) struct Pipeline {
    worker: Rc<Worker>,
    address: IpAddr,
    /// Received and not answered yet.
    rest: Vec<u8>,
    /// Asks under way, in the order of their requests.
    exchanges: VecDeque<(Place, Exchange)>,
    /// Bytes of requests that the lane answered so far.
    answered: u64,
    /// The same of those among which every ask has begun; between two calls not less.
    begun: u64,
    /// Answers that wait for asks under way.
    held: Vec<u8>,
    /// Until when they wait; `None`: none has waited since answers were sent.
    patience: Option<Pin<Box<Sleep>>>,
}

/// Where the request of an ask lies.
#[derive(Clone, Copy)]
struct Place {
    /// Bytes of requests before it.
    at: u64,
    /// Its own bytes, body included.
    length: usize,
}

/// Why no further request was answered.
pub(super) enum Stop {
    /// What is left is not a whole request.
    Unread(Left),
    /// An ask is under way, or there is enough to send.
    Blocked,
    /// The next request is for the slow way.
    Slow(Lent),
}

/// What there is of the next request.
#[derive(Clone, Copy)]
pub(super) enum Left {
    Nothing,
    /// Some of its head.
    Head,
    /// Its head and some of its body.
    Body,
}

impl Pipeline {
    pub(super) fn new(worker: Rc<Worker>, address: IpAddr) -> Self {
        let (rest, held, exchanges) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { worker, address, rest, exchanges, answered: 0, begun: 0, held, patience: None }
    }

    /// Whether no ask is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// What was received and not answered goes elsewhere, or comes back from there.
    pub(super) fn rest(&mut self) -> &mut Vec<u8> {
        &mut self.rest
    }

    /// The counters of the request of which something was received: of its route, if its head is there and tells one.
    pub(super) fn counters_of_next(&self) -> &RouteMetrics {
        let head::Read::Ordinary(head) = head::read(&self.rest) else { return self.worker.meter.other() };
        match self.hot(&head) {
            Some(Hot::Read(what)) => self.worker.reads.route(what),
            Some(Hot::Ask(ask)) => self.worker.asks.of(ask),
            None => self.worker.meter.other(),
        }
    }

    /// Goes on with what is under way. Ready unless that is all that can be done for now.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut desks = Desks::Open;
        self.exchanges.iter_mut().for_each(|(_, exchange)| exchange.advance(&self.worker, cx, &mut desks));
        let first_ended = self.exchanges.front().is_some_and(|(_, exchange)| exchange.is_ended());
        let has_answers = first_ended || !self.held.is_empty();
        let gather = self.worker.limits().gather;
        if gather.is_zero() || !has_answers || self.exchanges.iter().all(|(_, exchange)| exchange.is_ended()) {
            return Poll::Ready(());
        }
        self.patience.get_or_insert_with(|| Box::pin(sleep(gather))).as_mut().poll(cx)
    }

    /// The answers that waited, if any: those of the next requests come behind them.
    pub(super) fn take_held(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.held)).filter(|held| !held.is_empty())
    }

    /// Writes the answers of as many of the next requests as can be answered now.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Stop {
        let mut rest = std::mem::take(&mut self.rest);
        let (used, stop) = self.answer_from(cx, &rest, out);
        if used < rest.len() {
            rest.drain(..used);
            self.rest = rest;
        }
        if self.exchanges.is_empty() {
            // A connection that waits for nothing keeps no room for it.
            self.exchanges = VecDeque::new();
        }
        stop
    }

    /// Takes what was received. What can be answered at once is answered without a copy.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>, bytes: &[u8], out: &mut Vec<u8>) {
        let used = if self.rest.is_empty() { self.answer_from(cx, bytes, out).0 } else { 0 };
        self.rest.extend_from_slice(&bytes[used..]);
    }

    /// Keeps answers for later, and the room that they are in, if asks that came with them are under way. None waits twice.
    pub(super) fn keeps_for_later(&mut self, answers: &mut Vec<u8>) -> bool {
        let may_wait = self.patience.take().is_none() && !self.worker.limits().gather.is_zero();
        let keeps = may_wait && !self.exchanges.is_empty() && answers.len() <= HELD_MAX;
        if keeps && !answers.is_empty() {
            self.held = std::mem::take(answers);
        }
        keeps
    }

    /// How many bytes the requests were that were answered, and what stands in the way of more.
    fn answer_from(&mut self, cx: &mut Context<'_>, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
        let worker = self.worker.clone();
        let mut batch = Batch::new(&worker);
        let mut used = 0;
        let stop = loop {
            match self.answer_next(cx, &mut batch, &bytes[used..], out) {
                Ok(length) => {
                    used += length;
                    self.answered += length as u64;
                }
                Err(stop) => break stop,
            }
        };
        self.begun = self.begun.max(self.answered);
        (used, stop)
    }

    /// Answers the request that these bytes begin with; its length.
    fn answer_next(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, Stop> {
        if out.len() > OUT_MAX {
            return Err(Stop::Blocked);
        }
        if let Some((place, exchange)) = self.exchanges.front()
            && place.at == self.answered
        {
            let length = place.length;
            if exchange.write(&self.worker, out).is_pending() {
                self.begin_all(cx, bytes);
                return Err(Stop::Blocked);
            }
            self.exchanges.pop_front();
            return Ok(length);
        }
        if bytes.is_empty() {
            return Err(Stop::Unread(Left::Nothing));
        }
        // Once open it stays open.
        let is_open = self.worker.state.readiness.is_open();
        if is_open && let Some(length) = batch.repeat(bytes, out) {
            return Ok(length);
        }
        let head = match head::read(bytes) {
            head::Read::Ordinary(head) => head,
            head::Read::Partial if bytes.len() <= self.worker.limits().head_max.as_usize() => {
                return Err(Stop::Unread(Left::Head));
            }
            head::Read::Upgrade(length) => return Err(Stop::Slow(Lent::Upgrade(length))),
            head::Read::Partial | head::Read::Unusual => return Err(Stop::Slow(Lent::Connection)),
        };
        let length = head.length + head.body;
        let Some(hot) = self.hot(&head).filter(|_| is_open) else {
            return Err(Stop::Slow(if head.is_last { Lent::Last(length) } else { Lent::Request(length) }));
        };
        let Some(request) = bytes.get(..length) else { return Err(Stop::Unread(Left::Body)) };
        match hot {
            Hot::Read(what) => {
                batch.answer(what, &head, request, out);
                Ok(length)
            }
            Hot::Ask(ask) => {
                self.begin(cx, self.answered, ask, &head, request);
                self.begun = self.answered + length as u64;
                Ok(0)
            }
        }
    }

    /// Begins every ask behind the one that these bytes begin with, up to a request that is not the lane's or not there yet.
    fn begin_all(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        while self.exchanges.len() < EXCHANGES_MAX
            && let Some(length) = self.begin_next(cx, &bytes[(self.begun - self.answered) as usize..])
        {
            self.begun += length as u64;
        }
    }

    /// Begins what these bytes begin with, if it is an ask; its length, if the lane will answer it.
    fn begin_next(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Option<usize> {
        let known = self.worker.memo.borrow_mut().find(bytes).map(|(length, _)| length);
        if known.is_some() {
            return known;
        }
        let head::Read::Ordinary(head) = head::read(bytes) else { return None };
        let hot = self.hot(&head)?;
        let request = bytes.get(..head.length + head.body)?;
        match hot {
            Hot::Read(_) => {}
            Hot::Ask(ask) => self.begin(cx, self.begun, ask, &head, request),
        }
        Some(request.len())
    }

    fn begin(&mut self, cx: &mut Context<'_>, at: u64, ask: Ask<'_>, head: &Head<'_>, request: &[u8]) {
        let mut exchange = asks::begin(&self.worker, self.address, ask, head, &request[head.length..]);
        let is_closed = self.exchanges.iter().any(|(_, exchange)| exchange.desks(&self.worker) == Desks::Closed);
        let mut desks = if is_closed { Desks::Closed } else { Desks::Open };
        exchange.advance(&self.worker, cx, &mut desks);
        self.exchanges.push_back((Place { at, length: request.len() }, exchange));
    }

    /// What the lane answers itself.
    fn hot<'a>(&self, head: &Head<'a>) -> Option<Hot<'a>> {
        let limits = self.worker.limits();
        let fits = head.length <= limits.head_max.as_usize() && head.body <= BODY_MAX.min(limits.body_max.as_usize());
        if fits && head.is_plain { hot(head) } else { None }
    }
}
