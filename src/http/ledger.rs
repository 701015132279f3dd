//! `GET …/ledger`: who has which place, as a stream of lines. Asked block by block and page by page: the whole is never in
//! memory, so it may be larger than it.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Path};
use actors::address::BlockRef;
use actors::block::{Claim, Command, Line, LineState, Reply};
use actors::bytes::End;
use actors::ids::HoldId;
use actors::keyed::Asked;
use actors::message::Message;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use serde::Serialize;
use tracing::warn;
use utoipa::ToSchema;

use super::State;
use super::ask::answer;
use super::caller::Seller;
use super::problem::Problem;
use super::refused::wrong_reply;
use super::shapes::seat_name;
use crate::board::SeatNames;

/// Claims read from a block at once.
const CLAIMS_AT_ONCE: u32 = 1000;

/// One line: a seat that is not free, or one hold of standing places.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LedgerLine<'a> {
    /// In which block.
    block: &'a str,
    /// The seat; null for standing places.
    seat: Option<&'a str>,
    /// How many standing places; absent for a seat.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<u32>,
    /// `held`, `bound`, `sold` or `blocked`.
    #[schema(example = "sold")]
    state: &'static str,
    /// The hold that claims it; null for house seats.
    hold: Option<&'a str>,
    /// The order it belongs to.
    order: Option<&'a str>,
    /// Whose it is.
    customer: Option<&'a str>,
}

/// Every place that is not free, as newline-delimited JSON.
///
/// A ledger that cannot be read to its end is broken off: the transfer then ends with an error, never as if it were whole.
#[utoipa::path(
    get, path = "/v1/events/{event}/ledger", tag = "Organizers", params(("event" = String, Path, description = "The event's id")),
    responses((status = 200, description = "One JSON object a line", body = LedgerLine, content_type = "application/x-ndjson"))
)]
pub(super) async fn show(state: Data<State>, event: Path<String>, _seller: Seller) -> Result<HttpResponse, Problem> {
    let event = state.event(&event)?;
    let blocks = event.blocks().map(|(_, block)| block.at().clone()).collect();
    let cursor = Cursor { state: state.into_inner(), blocks, after: None };
    let mut response = answer(StatusCode::OK, false);
    response.insert_header((CONTENT_TYPE, "application/x-ndjson"));
    Ok(response.streaming(lines(cursor)))
}

struct Cursor {
    state: Arc<State>,
    /// The blocks that are not read to their end; the first is being read.
    blocks: VecDeque<BlockRef>,
    /// Where the first continues.
    after: Option<HoldId>,
}

fn lines(cursor: Cursor) -> impl Stream<Item = Result<Bytes, Problem>> {
    try_unfold(cursor, |mut cursor| async move {
        while let Some(at) = cursor.blocks.front().cloned() {
            let read = read(&cursor.state, &at, cursor.after).await;
            let (part, next) =
                read.inspect_err(|problem| warn!(%problem, block = %at.block, "a ledger is broken off"))?;
            cursor.after = next;
            if next.is_none() {
                cursor.blocks.pop_front();
            }
            if !part.is_empty() {
                return Ok(Some((part, cursor)));
            }
        }
        Ok(None)
    })
}

async fn read(state: &State, at: &BlockRef, after: Option<HoldId>) -> Result<(Bytes, Option<HoldId>), Problem> {
    let names = state.names(at)?;
    let command = Command::Ledger { after, limit: CLAIMS_AT_ONCE };
    let told = state.ask_block(at, &names, Asked::from(Message::from(command))).await?;
    let Reply::Ledger { lines, next } = told.reply else { return Err(wrong_reply("block")) };
    let mut text = Vec::new();
    for line in &lines {
        write(&mut text, at, line, &names);
    }
    Ok((text.into(), next))
}

fn write(text: &mut Vec<u8>, at: &BlockRef, line: &Line, names: &SeatNames) {
    let (hold, order) = (line.hold.map(|id| id.to_string()), line.order.map(|id| id.to_string()));
    let state = match line.state {
        LineState::Held => "held",
        LineState::Bound => "bound",
        LineState::Sold => "sold",
        LineState::Blocked => "blocked",
    };
    let mut put = |seat: Option<&str>, quantity: Option<u32>| {
        let line = LedgerLine {
            block: at.block.as_str(),
            seat,
            quantity,
            state,
            hold: hold.as_deref(),
            order: order.as_deref(),
            customer: line.customer.as_ref().map(|customer| customer.as_str()),
        };
        serde_json::to_writer(End(text), &line).expect("a line of texts and numbers is JSON");
        text.push(b'\n');
    };
    match &line.claim {
        Claim::Seats(seats) => seats.iter().for_each(|seat| put(Some(&seat_name(*seat, names)), None)),
        Claim::Standing(quantity) => put(None, Some(*quantity)),
    }
}
