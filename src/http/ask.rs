//! Asking machines: an answer, a refusal or a failure becomes a reply or a problem, in one place.
//!
//! Owns the way from a command to a reply of the right kind, and the answer's headers. Which command is the handlers'.

use std::fmt;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpResponse, HttpResponseBuilder};
use actors::address::{Address, BlockRef};
use actors::ids::{EventId, HoldId, OrderId, Shard};
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use actors::{block, event, order, payment};

use super::State;
use super::problem::{Code, Problem};
use super::refused::{Names, refused, unnamed, wrong_reply};
use super::shapes::seat_name;
use crate::board::SeatNames;
use crate::dispatch::Outcome;

/// Says that an answer is the stored one of an earlier request with the same key.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A reply, and whether it is the stored one of an earlier request.
#[derive(Debug)]
pub(super) struct Told<R> {
    /// What the machine said.
    pub(super) reply: R,
    /// See [`Answer::replayed`].
    pub(super) replayed: bool,
}

impl State {
    /// Number of shards of the deployment.
    pub(super) fn shards(&self) -> u16 {
        self.config.cluster.shards
    }

    /// Asks a seat block.
    pub(super) async fn ask_block(
        &self,
        at: &BlockRef,
        names: &Arc<SeatNames>,
        asked: Asked<Message>,
    ) -> Result<Told<block::Reply>, Problem> {
        block_told(names, self.dispatch.ask(Address::Block(at.clone()), asked).await)
    }

    /// Asks an order desk. A shard that the deployment does not have owns nothing: 404.
    pub(super) async fn ask_orders(&self, desk: Shard, asked: Asked<Message>) -> Result<Told<order::Reply>, Problem> {
        let desk = self.order_desk(desk)?;
        orders_told(self.dispatch.ask(desk, asked).await)
    }

    /// The order desk of a shard. A shard that the deployment does not have owns nothing: 404.
    pub(super) fn order_desk(&self, desk: Shard) -> Result<Address, Problem> {
        if desk.0 < self.shards() { Ok(Address::Orders(desk)) } else { Err(Code::UnknownOrder.into()) }
    }

    /// Asks an event desk.
    pub(super) async fn ask_event(
        &self,
        event: &EventId,
        asked: Asked<Message>,
    ) -> Result<Told<event::Reply>, Problem> {
        let told = settle(self.dispatch.ask(Address::Event(event.clone()), asked).await?, &unnamed)?;
        match told.reply {
            Reply::Event(reply) => Ok(Told { reply, replayed: told.replayed }),
            Reply::Block(_) | Reply::Order(_) | Reply::Payment(_) | Reply::Notice(_) => Err(wrong_reply("event desk")),
        }
    }

    /// Asks a payment desk.
    pub(super) async fn ask_payments(&self, desk: Shard, command: payment::Command) -> Result<payment::Reply, Problem> {
        let asked = Asked::from(Message::from(command));
        match settle(self.dispatch.ask(Address::Payments(desk), asked).await?, &unnamed)?.reply {
            Reply::Payment(reply) => Ok(reply),
            Reply::Event(_) | Reply::Block(_) | Reply::Order(_) | Reply::Notice(_) => Err(wrong_reply("payment desk")),
        }
    }
}

/// The reply of an answer, or the problem that its refusal is; a stored refusal says that it is one.
pub(super) fn settle(answer: Answer<Reply>, names: Names<'_>) -> Result<Told<Reply>, Problem> {
    let Answer { result, replayed } = answer;
    match result {
        Ok(reply) => Ok(Told { reply, replayed }),
        Err(refusal) => Err(mark_replayed(refused(&refusal, names), replayed)),
    }
}

/// What a seat block said.
pub(super) fn block_told(names: &SeatNames, outcome: Outcome) -> Result<Told<block::Reply>, Problem> {
    let told = settle(outcome?, &|seat| seat_name(seat, names))?;
    match told.reply {
        Reply::Block(reply) => Ok(Told { reply, replayed: told.replayed }),
        Reply::Event(_) | Reply::Order(_) | Reply::Payment(_) | Reply::Notice(_) => Err(wrong_reply("block")),
    }
}

/// What an order desk said.
pub(super) fn orders_told(outcome: Outcome) -> Result<Told<order::Reply>, Problem> {
    let told = settle(outcome?, &unnamed)?;
    match told.reply {
        Reply::Order(reply) => Ok(Told { reply, replayed: told.replayed }),
        Reply::Event(_) | Reply::Block(_) | Reply::Payment(_) | Reply::Notice(_) => Err(wrong_reply("order desk")),
    }
}

/// Marks a problem as the stored answer of an earlier request.
pub(super) fn mark_replayed(problem: Problem, replayed: bool) -> Problem {
    if replayed { problem.header(REPLAYED, HeaderValue::from_static("true")) } else { problem }
}

/// An answer of JSON about something private or changing: no cache may keep it.
pub(super) fn answer(status: StatusCode, replayed: bool) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, "application/json")).insert_header((CACHE_CONTROL, "no-store"));
    if replayed {
        response.insert_header((REPLAYED, "true"));
    }
    response
}

/// Where what was made can be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Location {
    /// `/v1/holds/{hold}`
    Hold(HoldId),
    /// `/v1/orders/{order}`
    Order(OrderId),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Hold(hold) => write!(f, "/v1/holds/{hold}"),
            Location::Order(order) => write!(f, "/v1/orders/{order}"),
        }
    }
}

/// A good answer about something private or changing, before it has the form of the slow way, [`answer`], or of the
/// [lane](super::lane).
#[derive(Debug)]
pub(super) struct Success {
    /// Its status.
    pub(super) status: StatusCode,
    /// Whether it is the stored one of an earlier request.
    pub(super) replayed: bool,
    /// What was made.
    pub(super) location: Option<Location>,
    /// JSON.
    pub(super) body: Vec<u8>,
}

impl From<Success> for HttpResponse {
    fn from(success: Success) -> Self {
        let Success { status, replayed, location, body } = success;
        let mut response = answer(status, replayed);
        if let Some(location) = location {
            response.insert_header((LOCATION, location.to_string()));
        }
        response.body(body)
    }
}
