//! House seats: the organizer takes places out of the sale and puts them back.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actors::block::{Command, Counts, House, Reply};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;
use super::ask::answer;
use super::body::Posted;
use super::caller::Seller;
use super::problem::{Code, Problem};
use super::refused::wrong_reply;
use super::shapes;
use super::validate::Checks;
use super::venue::Place;

/// Most seats of one request: those of a whole block.
const SEATS_MAX: usize = 100_000;

/// Which places: `seats` of a seated block, or `quantity` of a standing one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"seats": ["1-1", "1-2"]}))]
pub(super) struct HouseRequest {
    /// Seats by name.
    seats: Option<Vec<String>>,
    /// How many standing places.
    quantity: Option<u32>,
}

/// The block's places after it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlockCounts)]
pub(super) struct CountsAnswer<'a> {
    /// Which event.
    event: &'a str,
    /// Which block.
    block: &'a str,
    /// Can be had.
    free: u32,
    /// Held or being bought.
    held: u32,
    /// Sold.
    sold: u32,
    /// House seats.
    blocked: u32,
}

fn house(body: HouseRequest, place: &Place) -> Result<House, Problem> {
    match body {
        HouseRequest { seats: Some(named), quantity: None } => {
            let mut checks = Checks::default();
            checks.must((1..=SEATS_MAX).contains(&named.len()), "seats", format!("must name 1 to {SEATS_MAX} seats"));
            place.seats(&checks.done(named)?).map(House::Seats)
        }
        HouseRequest { seats: None, quantity: Some(quantity) } => {
            let mut checks = Checks::default();
            checks.range("quantity", quantity, 1, place.names.capacity());
            let quantity = checks.done(quantity)?;
            if place.names.is_standing() { Ok(House::Standing(quantity)) } else { Err(Code::WrongKind.into()) }
        }
        HouseRequest { .. } => Err(Problem::invalid_field("body", "must have either seats or quantity")),
    }
}

/// Take free places out of the sale.
#[utoipa::path(
    post, path = "/v1/events/{event}/blocks/{block}/block-seats", tag = "Organizers",
    params(("event" = String, Path, description = "The event's id"), ("block" = String, Path, description = "The block's id")),
    request_body = HouseRequest, responses((status = 200, description = "The block's places after it", body = CountsAnswer))
)]
pub(super) async fn block(
    state: Data<State>,
    path: Path<(String, String)>,
    seller: Seller,
    posted: Posted<HouseRequest>,
) -> Result<HttpResponse, Problem> {
    change(&state, &path, seller, posted, Command::Block).await
}

/// Put house seats back on sale.
#[utoipa::path(
    post, path = "/v1/events/{event}/blocks/{block}/unblock-seats", tag = "Organizers",
    params(("event" = String, Path, description = "The event's id"), ("block" = String, Path, description = "The block's id")),
    request_body = HouseRequest, responses((status = 200, description = "The block's places after it", body = CountsAnswer))
)]
pub(super) async fn unblock(
    state: Data<State>,
    path: Path<(String, String)>,
    seller: Seller,
    posted: Posted<HouseRequest>,
) -> Result<HttpResponse, Problem> {
    change(&state, &path, seller, posted, Command::Unblock).await
}

async fn change(
    state: &State,
    (event, block): &(String, String),
    seller: Seller,
    posted: Posted<HouseRequest>,
    command: fn(House) -> Command,
) -> Result<HttpResponse, Problem> {
    let place = state.place(event, block)?;
    let command = command(house(posted.body, &place)?);
    let told = state.ask_block(&place.at, &place.names, posted.once.asked(&seller, command)).await?;
    let Reply::Counts(Counts { free, held, sold, blocked }) = told.reply else { return Err(wrong_reply("block")) };
    let counts = CountsAnswer { event, block, free, held, sold, blocked };
    Ok(answer(StatusCode::OK, told.replayed).body(shapes::json(&counts)))
}
