//! Holds: promise seats, look at them, give them back.
//!
//! A hold in a named block is one ask of that block. Best available over the whole event without a key asks the board for
//! likely blocks and then block by block; with a key the customer's desk does that, so that a repeated request finds the
//! same search (see [`actors::order::Command::Seek`]).

use std::rc::Rc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use actors::address::{Address, BlockRef};
use actors::block::{Command, HoldView, Reply, Want};
use actors::ids::{Customer, HoldId};
use actors::keyed::{Answer, Asked, Key, KeyDigest};
use actors::message::Message;
use actors::order::{self, CANDIDATES_MAX, Candidate};
use actors::refusal::Refusal;
use compact_str::CompactString;
use serde::Deserialize;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;

use super::State;
use super::ask::{Location, Success, Told, answer, block_told, mark_replayed, orders_told};
use super::body::Posted;
use super::caller::Buyer;
use super::meter::Meter;
use super::problem::{Code, Problem};
use super::refused::{in_progress, refused, unnamed, wrong_reply};
use super::shapes::{self, HoldAnswer};
use super::validate::Checks;
use super::venue::{Place, new_hold, unheard_of};
use crate::board::{SeatNames, Wanted};
use crate::dispatch::{Found, Outcome};

/// How long a request with a key waits for its search before it is told to come back.
const SEEK_WAIT: Duration = Duration::from_secs(5);
/// Pause before a search is looked at again that cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Most seats that one request may name; what one hold may have is the event's rule.
const SEATS_NAMED_MAX: usize = 1000;
/// Most places one request may ask for; what one hold may have is the event's rule.
const QUANTITY_MAX: u32 = 1_000_000;

/// Names of seats as a request has them; of a hold's usual few none is allocated.
type Named = SmallVec<[CompactString; 4]>;

/// What is wanted: `block` with `seats`, `block` with `quantity` (standing), or `best_available`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"block": "A", "seats": ["12-7", "12-8"]}))]
pub(super) struct HoldRequest {
    /// Which block.
    #[schema(value_type = Option<String>)]
    block: Option<CompactString>,
    /// Seats by name, `row-number`.
    #[schema(value_type = Option<Vec<String>>)]
    seats: Option<Named>,
    /// How many places of a standing block.
    quantity: Option<u32>,
    /// Let the box office choose.
    best_available: Option<BestAvailable>,
}

/// The best places there are: side by side if at all possible, never leaving a single seat alone if that can be avoided.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BestAvailable {
    /// How many.
    #[schema(minimum = 1)]
    quantity: u32,
    /// Only in this block.
    #[schema(value_type = Option<String>)]
    block: Option<CompactString>,
    /// Only where a place costs at most this much, in minor units.
    max_price: Option<u64>,
}

/// What a request turned out to want.
#[derive(Debug, PartialEq)]
enum Wish {
    Seats { block: CompactString, named: Named },
    Standing { block: CompactString, quantity: u32 },
    Best { quantity: u32, block: Option<CompactString>, max_price: Option<u64> },
}

fn wish(body: HoldRequest) -> Result<Wish, Problem> {
    const FORMS: &str = "must be block and seats, or block and quantity, or best_available alone";
    let mut checks = Checks::default();
    match body {
        HoldRequest { block: None, seats: None, quantity: None, best_available: Some(best) } => {
            checks.range("best_available.quantity", best.quantity, 1, QUANTITY_MAX);
            checks.done(Wish::Best { quantity: best.quantity, block: best.block, max_price: best.max_price })
        }
        HoldRequest { block: Some(block), seats: Some(named), quantity: None, best_available: None } => {
            let fits = (1..=SEATS_NAMED_MAX).contains(&named.len());
            checks.must(fits, "seats", format_args!("must name 1 to {SEATS_NAMED_MAX} seats"));
            checks.done(Wish::Seats { block, named })
        }
        HoldRequest { block: Some(block), seats: None, quantity: Some(quantity), best_available: None } => {
            checks.range("quantity", quantity, 1, QUANTITY_MAX);
            checks.done(Wish::Standing { block, quantity })
        }
        HoldRequest { .. } => Err(Problem::invalid_field("body", FORMS)),
    }
}

/// Hold seats.
#[utoipa::path(
    post, path = "/v1/events/{event}/holds", tag = "Customers", params(("event" = String, Path, description = "The event's id")),
    request_body = HoldRequest, responses((status = 201, description = "The places are promised until `expires_at`", body = HoldAnswer,
        headers(("Location" = String, description = "The hold"))))
)]
pub(super) async fn create(
    state: Data<State>,
    event: Path<String>,
    buyer: Buyer,
    posted: Posted<HoldRequest>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let meter = request.app_data::<Rc<Meter>>().ok_or(Code::Internal)?;
    let made = match plan(&state, meter, &event, &buyer, posted)? {
        Plan::In(place, asked) => {
            let outcome = state.dispatch.ask(Address::Block(place.at.clone()), asked).await;
            held(meter, &place, outcome)
        }
        Plan::Over(search) => searched(&state, meter, search).await,
        Plan::Under(seek) => {
            let (desk, asked) = seek.ask();
            let outcome = state.dispatch.ask(desk, asked).await;
            seek.follow(&state, meter, outcome).await
        }
    };
    made.map(HttpResponse::from)
}

async fn searched(state: &State, meter: &Meter, mut search: Search) -> Result<Success, Problem> {
    let mut outcome = None;
    loop {
        match search.step(state, meter, outcome) {
            Step::Ask(to, asked) => outcome = Some(state.dispatch.ask(to, asked).await),
            Step::Ended(made) => return made,
        }
    }
}

/// How a hold is to be made.
pub(super) enum Plan {
    /// This is to be asked of this block; what it says is for [`held`].
    In(Place, Asked<Message>),
    /// The block is still to be found.
    Over(Search),
    /// The customer's desk is to find it: [`Seek::ask`], then [`Seek::follow`].
    Under(Seek),
}

/// Finds out what a buyer wants and of whom it is to be asked. A hold that is refused here is counted.
///
/// # Errors
/// Whatever the hold is refused with.
pub(super) fn plan(
    state: &State,
    meter: &Meter,
    event: &str,
    buyer: &Buyer,
    posted: Posted<HoldRequest>,
) -> Result<Plan, Problem> {
    let Posted { body, once } = posted;
    let wish = wish(body)?;
    planned(state, event, buyer, wish, once.key(buyer)).inspect_err(|problem| meter.hold(Err(problem.code())))
}

/// What became of a hold that a block was asked for, which is counted.
///
/// # Errors
/// Whatever the hold is refused with.
pub(super) fn held(meter: &Meter, place: &Place, outcome: Outcome) -> Result<Success, Problem> {
    counted(meter, made_in(&place.names, outcome))
}

fn made_in(names: &SeatNames, outcome: Outcome) -> Result<Success, Problem> {
    let told = block_told(names, outcome)?;
    Ok(created_in(names, &view_of(told.reply)?, told.replayed))
}

fn planned(state: &State, event: &str, buyer: &Buyer, wish: Wish, key: Option<Key>) -> Result<Plan, Problem> {
    let (place, want) = match wish {
        Wish::Seats { block, named } => {
            let place = state.place(event, &block)?;
            let want = Want::Seats(place.seats(&named)?);
            (place, want)
        }
        Wish::Standing { block, quantity } => (state.place(event, &block)?, Want::Standing { quantity }),
        Wish::Best { quantity, block: Some(block), max_price } => {
            (state.place(event, &block)?, Want::Best { quantity, max_price })
        }
        Wish::Best { quantity, block: None, max_price } => {
            let candidates = candidates(state, event, quantity, max_price)?;
            let buyer = buyer.clone();
            return Ok(match key {
                Some(key) => Plan::Under(Seek::new(state, buyer.0, quantity, candidates, key)),
                None => {
                    let want = Want::Best { quantity, max_price };
                    Plan::Over(Search { buyer, want, left: candidates.into_iter(), asked: None })
                }
            });
        }
    };
    let command = Command::Hold { hold: place.new_hold(state.shards()), customer: buyer.0.clone(), want };
    Ok(Plan::In(place, Asked { key, command: command.into() }))
}

/// The blocks worth asking, best first.
fn candidates(state: &State, event: &str, quantity: u32, max_price: Option<u64>) -> Result<Vec<Candidate>, Problem> {
    let event = state.event(event)?;
    // More than one hold may have is no question of what is free: whichever block is asked says so, and in its turn.
    let quantity = if quantity > event.spec.rules.max_per_hold { 0 } else { quantity };
    let blocks = state.board.candidates(&event, &Wanted { quantity, block: None, max_price }).ok_or_else(unheard_of)?;
    let candidate = |block| Candidate { hold: new_hold(&block, state.shards()), block };
    Ok(blocks.into_iter().take(CANDIDATES_MAX).map(candidate).collect())
}

/// Best available over a whole event: the likely blocks are asked one after the other.
pub(super) struct Search {
    buyer: Buyer,
    want: Want,
    left: std::vec::IntoIter<Candidate>,
    /// Who was asked last.
    asked: Option<BlockRef>,
}

/// What a search does next.
pub(super) enum Step {
    /// Asks this block.
    Ask(Address, Asked<Message>),
    /// It is over.
    Ended(Result<Success, Problem>),
}

impl Search {
    /// Goes on after the block that was asked last has said this; `None`: none was asked yet. How it ends is counted.
    pub(super) fn step(&mut self, state: &State, meter: &Meter, outcome: Option<Outcome>) -> Step {
        let made = match (outcome, self.asked.take()) {
            (Some(outcome), Some(block)) if !is_full(&outcome) => {
                state.names(&block).and_then(|names| made_in(&names, outcome))
            }
            (Some(_) | None, Some(_) | None) => match self.left.next() {
                Some(Candidate { block, hold }) => {
                    let (customer, want) = (self.buyer.0.clone(), self.want.clone());
                    let command = Message::from(Command::Hold { hold, customer, want });
                    self.asked = Some(block.clone());
                    return Step::Ask(Address::Block(block), command.into());
                }
                None => Err(Code::SoldOut.into()),
            },
        };
        Step::Ended(counted(meter, made))
    }
}

/// Whether the next block is to be asked.
fn is_full(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(Answer { result: Err(Refusal::SoldOut | Refusal::UnknownBlock | Refusal::WrongKind), .. }))
}

fn counted(meter: &Meter, made: Result<Success, Problem>) -> Result<Success, Problem> {
    meter.hold(made.as_ref().map(|_| ()).map_err(Problem::code));
    made
}

/// The same under a key: the search is the desk's, begun once and found again by every repetition.
pub(super) struct Seek {
    desk: Address,
    command: order::Command,
    key: KeyDigest,
    /// Heard before the desk is asked: the answer may come between its reply and a later subscription.
    sought: oneshot::Receiver<Found>,
    deadline: Instant,
}

impl Seek {
    fn new(state: &State, customer: Customer, quantity: u32, candidates: Vec<Candidate>, key: Key) -> Self {
        let desk = Address::home_of(&customer, state.shards());
        let sought = state.dispatch.sought(key.digest);
        let (deadline, digest) = (Instant::now() + SEEK_WAIT, key.digest);
        let command = order::Command::Seek { key, customer, quantity, candidates };
        Self { desk, command, key: digest, sought, deadline }
    }

    /// What is to be asked, and of which desk.
    pub(super) fn ask(&self) -> (Address, Asked<Message>) {
        (self.desk.clone(), Message::from(self.command.clone()).into())
    }

    /// Goes on after the desk has said this: has it find a block that has the places and hold them there, which is counted.
    ///
    /// # Errors
    /// Whatever the hold is refused with.
    pub(super) async fn follow(self, state: &State, meter: &Meter, outcome: Outcome) -> Result<Success, Problem> {
        counted(meter, self.found(state, outcome).await)
    }

    async fn found(mut self, state: &State, mut outcome: Outcome) -> Result<Success, Problem> {
        let mut first_replayed = None;
        loop {
            let told = orders_told(outcome)?;
            let order::Reply::Sought { answer, replayed } = told.reply else { return Err(wrong_reply("order desk")) };
            // Whoever began the search has heard all that was said of it since.
            let has_heard_all = first_replayed.is_none() && !replayed;
            let replayed = *first_replayed.get_or_insert(replayed);
            let answer = match answer {
                Some(answer) => Some(*answer),
                None => self.heard().await?.filter(|_| has_heard_all).map(|found| Ok(*found)),
            };
            match answer {
                Some(Ok(view)) => {
                    let names = state.names(&view.block)?;
                    return Ok(created_in(&names, &view, replayed));
                }
                Some(Err(refusal)) => return Err(mark_replayed(refused(&refusal, &unnamed), replayed)),
                None => {}
            }
            self.sought = state.dispatch.sought(self.key);
            let (desk, asked) = self.ask();
            outcome = state.dispatch.ask(desk, asked).await;
        }
    }

    /// Waits until something is known of the search. `None`: the desk knows more.
    async fn heard(&mut self) -> Result<Found, Problem> {
        match timeout_at(self.deadline, &mut self.sought).await {
            Ok(Ok(found)) => Ok(found),
            // Too many were waiting: look again, but not at once.
            Ok(Err(_)) if Instant::now() + LOOK_AGAIN < self.deadline => {
                sleep(LOOK_AGAIN).await;
                Ok(None)
            }
            Ok(Err(_)) | Err(_) => Err(in_progress()),
        }
    }
}

fn view_of(reply: Reply) -> Result<HoldView, Problem> {
    match reply {
        Reply::Held(view) | Reply::Hold(view) => Ok(*view),
        Reply::Counts(_) | Reply::Ledger { .. } | Reply::Census(_) | Reply::Noted => Err(wrong_reply("block")),
    }
}

fn created_in(names: &SeatNames, view: &HoldView, replayed: bool) -> Success {
    let (location, body) = (Some(Location::Hold(view.hold)), shapes::hold(view, names));
    Success { status: StatusCode::CREATED, replayed, location, body }
}

/// Look at a hold.
#[utoipa::path(
    get, path = "/v1/holds/{hold}", tag = "Customers", params(("hold" = String, Path, description = "The hold's id")),
    responses((status = 200, description = "The hold as it is", body = HoldAnswer))
)]
pub(super) async fn show(state: Data<State>, hold: Path<String>, buyer: Buyer) -> Result<HttpResponse, Problem> {
    let command = |hold| Command::Show { hold, customer: buyer.0.clone() };
    let told = at_its_block(&state, &hold, command, |to, asked| state.dispatch.ask(to, asked)).await?;
    found(&state, told)
}

/// Give a hold back.
#[utoipa::path(
    delete, path = "/v1/holds/{hold}", tag = "Customers", params(("hold" = String, Path, description = "The hold's id")),
    responses((status = 200, description = "The hold is released; releasing it again is no error", body = HoldAnswer))
)]
pub(super) async fn release(state: Data<State>, hold: Path<String>, buyer: Buyer) -> Result<HttpResponse, Problem> {
    let command = |hold| Command::Release { hold, customer: buyer.0.clone() };
    let told = at_its_block(&state, &hold, command, |to, asked| state.dispatch.ask(to, asked)).await?;
    found(&state, told)
}

fn found(state: &State, told: Told<Reply>) -> Result<HttpResponse, Problem> {
    let view = view_of(told.reply)?;
    let names = state.names(&view.block)?;
    Ok(answer(StatusCode::OK, told.replayed).body(shapes::hold(&view, &names)))
}

/// Asks the block that the hold's id names. Two blocks may share a tag: each is asked until one knows the hold.
async fn at_its_block<A: Future<Output = Outcome>>(
    state: &State,
    hold: &str,
    command: impl Fn(HoldId) -> Command,
    ask: impl Fn(Address, Asked<Message>) -> A,
) -> Result<Told<Reply>, Problem> {
    let hold: HoldId = hold.parse().map_err(|_| Code::UnknownHold)?;
    for Place { at, names, .. } in state.places_of(hold)? {
        match block_told(&names, ask(Address::Block(at), Message::from(command(hold)).into()).await) {
            Err(problem) if matches!(problem.code(), Code::UnknownHold | Code::UnknownBlock) => {}
            told => return told,
        }
    }
    Err(Code::UnknownHold.into())
}

/// A hold as its block, which is asked this way, has it; `None`: there is no such hold of this customer.
///
/// # Errors
/// The block could not be asked.
pub(super) async fn read<A: Future<Output = Outcome>>(
    state: &State,
    hold: &str,
    buyer: &Buyer,
    ask: impl Fn(Address, Asked<Message>) -> A,
) -> Result<Option<HoldView>, Problem> {
    let command = |hold| Command::Show { hold, customer: buyer.0.clone() };
    match at_its_block(state, hold, command, ask).await {
        Ok(told) => view_of(told.reply).map(Some),
        Err(problem) if problem.code() == Code::UnknownHold => Ok(None),
        Err(problem) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::body::parse;
    use super::*;

    fn read(body: &str) -> Result<Wish, Problem> {
        parse(body.as_bytes()).and_then(wish)
    }

    #[test]
    fn the_three_forms() {
        let seats = Wish::Seats { block: "A".into(), named: ["12-7", "12-8"].map(Into::into).into_iter().collect() };
        assert_eq!(read(r#"{"block": "A", "seats": ["12-7", "12-8"]}"#).unwrap(), seats);
        let best = Wish::Best { quantity: 2, block: Some("A".into()), max_price: Some(9000) };
        assert_eq!(read(r#"{"best_available": {"quantity": 2, "block": "A", "max_price": 9000}}"#).unwrap(), best);
        let standing = Wish::Standing { block: "FLOOR".into(), quantity: 2 };
        assert_eq!(read(r#"{"block": "FLOOR", "quantity": 2}"#).unwrap(), standing);
    }

    #[test]
    fn anything_else_is_refused_by_field() {
        for (body, field) in [
            ("{}", "body"),
            (r#"{"block":"A"}"#, "body"),
            (r#"{"seats":["1-1"]}"#, "body"),
            (r#"{"quantity":2}"#, "body"),
            (r#"{"block":"A","seats":["1-1"],"quantity":1}"#, "body"),
            (r#"{"block":"A","best_available":{"quantity":1}}"#, "body"),
            (r#"{"block":"A","seats":[]}"#, "seats"),
            (r#"{"block":"A","seats":[1]}"#, "seats[0]"),
            (r#"{"block":7,"seats":["1-1"]}"#, "block"),
            (r#"{"block":"A","quantity":0}"#, "quantity"),
            (r#"{"block":"A","quantity":-1}"#, "quantity"),
            (r#"{"block":"A","quantity":1.5}"#, "quantity"),
            (r#"{"best_available":{"quantity":0}}"#, "best_available.quantity"),
            (r#"{"best_available":{}}"#, "best_available.quantity"),
            (r#"{"best_available":{"quantity":1,"max_price":-1}}"#, "best_available.max_price"),
            (r#"{"best_available":{"quantity":1,"bloc":"A"}}"#, "best_available.bloc"),
            (r#"{"block":"A","seats":["1-1"],"extra":1}"#, "extra"),
        ] {
            let problem = read(body).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidRequest, "{body}");
            assert!(problem.to_string().starts_with(&format!("invalid_request: {field} ")), "{body}: {problem}");
        }
    }
}
