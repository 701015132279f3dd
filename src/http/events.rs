//! Events: create, change, open, pause, close. What the public reads of them is in `public`.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actors::event::{Command, Description, Reply};
use actors::ids::EventId;
use actors::time::{Millis, Span};
use tokio::time::{Instant, sleep};

use super::State;
use super::ask::answer;
use super::body::{Bare, Posted};
use super::caller::Seller;
use super::event_body::{EventRequest, PatchRequest};
use super::problem::Problem;
use super::refused::wrong_reply;
use super::shapes;
use crate::board::answers::EventAnswer;
use crate::clock;

/// How long a request that creates an event waits until all blocks have their seats.
const READY_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks at a new event; its blocks need a few milliseconds.
const READY_LOOK: Duration = Duration::from_millis(5);

/// Create an event.
#[utoipa::path(
    post, path = "/v1/events", tag = "Organizers", request_body = EventRequest,
    responses((status = 201, description = "The event is created and its seats are there", body = EventAnswer,
            headers(("Location" = String, description = "The event"))),
        (status = 200, description = "The same event was there already", body = EventAnswer))
)]
pub(super) async fn create(
    state: Data<State>,
    seller: Seller,
    posted: Posted<EventRequest>,
) -> Result<HttpResponse, Problem> {
    let Posted { body, once } = posted;
    let hold_ttl = Span(state.config.holds.ttl.as_millis() as u64);
    let made_up = || made_up_id(once.key(&seller).map(|key| key.digest.0));
    let spec = body.checked(made_up, hold_ttl)?;
    let id = spec.id.clone();
    let told = state.ask_event(&id, once.asked(&seller, Command::Create(Box::new(spec)))).await?;
    let location = format!("/v1/events/{id}");
    match told.reply {
        Reply::Created(mut described) => {
            // A repetition with the key must see the same: the event as created, once its blocks are ready.
            described.ready = until_ready(&state, &id).await?;
            let body = shapes::json(&EventAnswer::new(&described, described.created_at));
            Ok(answer(StatusCode::CREATED, told.replayed).insert_header((LOCATION, location)).body(body))
        }
        Reply::Event(described) => {
            until_ready(&state, &id).await?;
            let body = shapes::json(&EventAnswer::new(&described, clock::now()));
            Ok(answer(StatusCode::OK, told.replayed).insert_header((LOCATION, location)).body(body))
        }
        Reply::Noted => Err(wrong_reply("event desk")),
    }
}

/// An id for an event without one. With an idempotency key it follows from the key: the owner of the key must be the
/// same for a repeated request.
fn made_up_id(key: Option<u128>) -> String {
    let unique = key.unwrap_or_else(|| u128::from(clock::unique()) << 64 | u128::from(clock::unique()));
    format!("evt-{:024x}", unique >> 32)
}

/// Waits until the event's blocks have their seats and this node's board shows it; says whether that is so.
async fn until_ready(state: &State, id: &EventId) -> Result<bool, Problem> {
    let deadline = Instant::now() + READY_WAIT;
    loop {
        let on_board = state.board.event(id).is_some_and(|event| event.ready);
        if on_board {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(READY_LOOK).await;
    }
}

/// Change an event.
#[utoipa::path(
    patch, path = "/v1/events/{event}", tag = "Organizers", params(("event" = String, Path, description = "The event's id")),
    request_body = PatchRequest, responses((status = 200, description = "The event after the change", body = EventAnswer))
)]
pub(super) async fn change(
    state: Data<State>,
    event: Path<String>,
    seller: Seller,
    posted: Posted<PatchRequest>,
) -> Result<HttpResponse, Problem> {
    let Posted { body, once } = posted;
    let id = state.event(&event)?.spec.id.clone();
    let patch = body.checked()?;
    let told = state.ask_event(&id, once.asked(&seller, Command::Patch(Box::new(patch)))).await?;
    rendered(&*described(told.reply)?, told.replayed, clock::now())
}

/// Open the sale now, also before its time or after a pause.
#[utoipa::path(
    post, path = "/v1/events/{event}/open", tag = "Organizers", params(("event" = String, Path, description = "The event's id")),
    responses((status = 200, description = "The event with its sale open", body = EventAnswer))
)]
pub(super) async fn open(
    state: Data<State>,
    event: Path<String>,
    seller: Seller,
    bare: Bare,
) -> Result<HttpResponse, Problem> {
    decide(&state, &event, seller, bare, Command::Open).await
}

/// Interrupt the sale; what is held may still be bought.
#[utoipa::path(
    post, path = "/v1/events/{event}/pause", tag = "Organizers", params(("event" = String, Path, description = "The event's id")),
    responses((status = 200, description = "The event with its sale paused", body = EventAnswer))
)]
pub(super) async fn pause(
    state: Data<State>,
    event: Path<String>,
    seller: Seller,
    bare: Bare,
) -> Result<HttpResponse, Problem> {
    decide(&state, &event, seller, bare, Command::Pause).await
}

/// End the sale for good.
#[utoipa::path(
    post, path = "/v1/events/{event}/close", tag = "Organizers", params(("event" = String, Path, description = "The event's id")),
    responses((status = 200, description = "The event with its sale closed", body = EventAnswer))
)]
pub(super) async fn close(
    state: Data<State>,
    event: Path<String>,
    seller: Seller,
    bare: Bare,
) -> Result<HttpResponse, Problem> {
    decide(&state, &event, seller, bare, Command::Close).await
}

async fn decide(
    state: &State,
    event: &str,
    seller: Seller,
    bare: Bare,
    command: Command,
) -> Result<HttpResponse, Problem> {
    let id = state.event(event)?.spec.id.clone();
    let told = state.ask_event(&id, bare.once.asked(&seller, command)).await?;
    rendered(&*described(told.reply)?, told.replayed, clock::now())
}

fn described(reply: Reply) -> Result<Box<Description>, Problem> {
    match reply {
        Reply::Created(described) | Reply::Event(described) => Ok(described),
        Reply::Noted => Err(wrong_reply("event desk")),
    }
}

fn rendered(described: &Description, replayed: bool, now: Millis) -> Result<HttpResponse, Problem> {
    Ok(answer(StatusCode::OK, replayed).body(shapes::json(&EventAnswer::new(described, now))))
}
