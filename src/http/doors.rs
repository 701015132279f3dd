//! At the doors: a ticket is used once, and anybody may verify one with the public keys.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use actors::address::BlockRef;
use actors::ids::{EventId, OrderId, TicketId};
use actors::order::{Command, Reply};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;
use super::ask::answer;
use super::body::Posted;
use super::caller::Seller;
use super::problem::{Code, Problem};
use super::refused::wrong_reply;
use super::shapes::{self, seat_name, time};
use crate::tickets::TicketError;

/// A ticket shown at a door.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckInRequest {
    /// The token, as in the order.
    token: String,
}

/// A ticket that was used just now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CheckIn)]
pub(super) struct CheckInAnswer {
    /// The ticket's id.
    ticket: String,
    /// Its order.
    order: String,
    /// The event it opens.
    event: String,
    /// The block.
    block: String,
    /// The seat; null for a standing place.
    seat: Option<String>,
    /// When it was used, RFC 3339.
    #[schema(format = DateTime)]
    checked_in_at: String,
}

impl From<TicketError> for Problem {
    fn from(error: TicketError) -> Self {
        Problem::new(Code::TicketInvalid, error.to_string())
    }
}

/// Let a ticket's holder in: once.
#[utoipa::path(
    post, path = "/v1/tickets/check-in", tag = "Organizers", request_body = CheckInRequest,
    responses((status = 200, description = "The ticket is good and was not used before", body = CheckInAnswer))
)]
pub(super) async fn check_in(
    state: Data<State>,
    seller: Seller,
    posted: Posted<CheckInRequest>,
) -> Result<HttpResponse, Problem> {
    let Posted { body, once } = posted;
    let claims = state.tickets.verify(body.token.trim())?;
    let ticket: TicketId = claims.ticket.parse().map_err(|_| Code::TicketInvalid)?;
    if claims.order.parse() != Ok::<OrderId, _>(ticket.order) {
        return Err(Code::TicketInvalid.into());
    }
    let event = EventId::from(claims.event.as_ref());
    let command = Command::CheckIn { ticket, event: event.clone() };
    let told = state.ask_orders(ticket.order.shard(), once.asked(&seller, command)).await?;
    let Reply::CheckedIn { ticket, at } = told.reply else { return Err(wrong_reply("order desk")) };
    let seat = match ticket.seat {
        Some(seat) => {
            let block = BlockRef { event: event.clone(), block: ticket.block.clone() };
            Some(seat_name(seat, state.names(&block)?.as_ref()))
        }
        None => None,
    };
    let used = CheckInAnswer {
        ticket: ticket.ticket.to_string(),
        order: ticket.ticket.order.to_string(),
        event: event.to_string(),
        block: ticket.block.to_string(),
        seat,
        checked_in_at: time(at),
    };
    Ok(answer(StatusCode::OK, told.replayed).body(shapes::json(&used)))
}

/// The public keys that tickets are signed with, as a JWK set (RFC 7517).
#[utoipa::path(
    get, path = "/v1/keys", tag = "Public",
    responses((status = 200, description = "JWK set: Ed25519 keys", body = KeySet))
)]
pub(super) async fn keys(state: Data<State>) -> HttpResponse {
    let mut response = answer(StatusCode::OK, false);
    response.insert_header((CACHE_CONTROL, "public, max-age=3600"));
    response.body(state.tickets.jwks().to_string())
}

/// Public keys (RFC 7517).
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what the ticket key itself renders")]
pub(super) struct KeySet {
    /// The keys.
    #[schema(value_type = Vec<Object>, example = json!([{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "…", "x": "…"}]))]
    keys: (),
}
