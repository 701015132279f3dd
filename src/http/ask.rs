//! Asking machines: an answer, a refusal or a failure becomes a reply or a problem, in one place.
//!
//! Owns the way from a command to a reply of the right kind, and the answer's headers. Which command is the handlers'.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use actors::address::{Address, BlockRef};
use actors::ids::{EventId, Shard};
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use actors::{block, event, order, payment};

use super::State;
use super::problem::{Code, Problem};
use super::refused::{Names, refused, unnamed, wrong_reply};
use super::shapes::seat_name;
use crate::board::SeatNames;

/// Says that an answer is the stored one of an earlier request with the same key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

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
        let answer = self.dispatch.ask(Address::Block(at.clone()), asked).await?;
        block_reply(settle(answer, &|seat| seat_name(seat, names))?)
    }

    /// Asks an order desk. A shard that the deployment does not have owns nothing: 404.
    pub(super) async fn ask_orders(&self, desk: Shard, asked: Asked<Message>) -> Result<Told<order::Reply>, Problem> {
        if desk.0 >= self.shards() {
            return Err(Code::UnknownOrder.into());
        }
        let told = settle(self.dispatch.ask(Address::Orders(desk), asked).await?, &unnamed)?;
        match told.reply {
            Reply::Order(reply) => Ok(Told { reply, replayed: told.replayed }),
            Reply::Event(_) | Reply::Block(_) | Reply::Payment(_) | Reply::Notice(_) => Err(wrong_reply("order desk")),
        }
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

/// The reply of a seat block.
pub(super) fn block_reply(told: Told<Reply>) -> Result<Told<block::Reply>, Problem> {
    match told.reply {
        Reply::Block(reply) => Ok(Told { reply, replayed: told.replayed }),
        Reply::Event(_) | Reply::Order(_) | Reply::Payment(_) | Reply::Notice(_) => Err(wrong_reply("block")),
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
