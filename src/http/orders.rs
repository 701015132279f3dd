//! Orders: buy holds, follow what becomes of it, pay again, give up, refund.
//!
//! An order lives at its customer's desk; the desk does everything that follows. Reading an order can wait for its next
//! state instead of being repeated (`Prefer: wait`). How an order looks is in [`shape`].

mod prefer;
mod shape;

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use actors::address::Address;
use actors::bytes::is_visible;
use actors::ids::{Customer, EventId, OrderId, PaymentId, Shard, Tag};
use actors::keyed::Asked;
use actors::message::Message;
use actors::order::{Command, OrderView, Reply};
use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;

use super::ask::{Location, Success, Told, answer, orders_told};
use super::body::{Bare, Posted};
use super::caller::{Buyer, Seller, Viewer};
use super::pages::{Page, PageAnswer};
use super::problem::{Code, Problem};
use super::refused::wrong_reply;
use super::validate::{Checks, is_email};
use super::{State, holds, shapes};
use crate::clock;
use crate::dispatch::Outcome;

pub(super) use shape::{OrderAnswer, OrderPage};

/// Pause before an order is looked at again that cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Most holds of one order.
const HOLDS_MAX: usize = 20;
/// Longest name of a means of payment, in characters.
const TOKEN_MAX: usize = 255;

/// Buy these holds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderRequest {
    /// The holds, 1 to 20, all of one event.
    #[schema(min_items = 1, max_items = 20)]
    holds: Vec<String>,
    /// Where the confirmation goes.
    #[schema(example = "ann@example.org")]
    email: String,
    /// How it is paid.
    payment: PaymentRequest,
}

/// How an order is paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PaymentRequest {
    /// The means of payment as the payment provider names it.
    #[schema(example = "tok_ok", min_length = 1, max_length = 255)]
    token: String,
}

/// Another attempt to pay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PayRequest {
    /// How it is paid this time.
    payment: PaymentRequest,
}

fn check_token(checks: &mut Checks, token: &str) {
    let fits = (1..=TOKEN_MAX).contains(&token.len()) && is_visible(token.as_bytes());
    checks.must(fits, "payment.token", format_args!("must be 1 to {TOKEN_MAX} visible characters"));
}

fn checked(body: OrderRequest) -> Result<OrderRequest, Problem> {
    let mut checks = Checks::default();
    let holds = &body.holds;
    checks.must((1..=HOLDS_MAX).contains(&holds.len()), "holds", format_args!("must be 1 to {HOLDS_MAX} holds"));
    for (at, hold) in holds.iter().enumerate().take(HOLDS_MAX) {
        checks.must(!holds[..at].contains(hold), format_args!("holds[{at}]"), "must not repeat an earlier one");
    }
    checks.must(is_email(&body.email), "email", "must be a mail address");
    check_token(&mut checks, &body.payment.token);
    checks.done(body)
}

fn home(state: &State, customer: &Customer) -> Shard {
    Address::home_of(customer, state.shards()).shard(state.shards())
}

/// Buy holds.
#[utoipa::path(
    post, path = "/v1/orders", tag = "Customers", request_body = OrderRequest,
    responses((status = 202, description = "The order is placed; payment happens behind the answer: follow the order", body = OrderAnswer,
        headers(("Location" = String, description = "The order"))))
)]
pub(super) async fn place(
    state: Data<State>,
    buyer: Buyer,
    posted: Posted<OrderRequest>,
) -> Result<HttpResponse, Problem> {
    let placing = gather(&state, &buyer, posted, |to, asked| state.dispatch.ask(to, asked)).await?;
    let outcome = state.dispatch.ask(placing.0, placing.1).await;
    placed(&state, outcome).map(HttpResponse::from)
}

/// An order as it is placed: what its desk is to be asked.
pub(super) struct Placing(pub(super) Address, pub(super) Asked<Message>);

/// Reads the holds that a buyer orders at their blocks, which are asked this way.
///
/// # Errors
/// The request does not fit, or a hold cannot be read.
pub(super) async fn gather<A: Future<Output = Outcome>>(
    state: &State,
    buyer: &Buyer,
    posted: Posted<OrderRequest>,
    ask: impl Fn(Address, Asked<Message>) -> A,
) -> Result<Placing, Problem> {
    let Posted { body, once } = posted;
    let OrderRequest { holds, email, payment } = checked(body)?;
    let holds = try_join_all(holds.iter().map(|hold| holds::read(state, hold, buyer, &ask))).await?;
    let desk = home(state, &buyer.0);
    let now = clock::now();
    let command = Command::Place {
        order: OrderId::new(now, desk, Tag(0), clock::unique()),
        customer: buyer.0.clone(),
        holds,
        email,
        token: payment.token,
        payment: PaymentId::new(now, desk, Tag(0), clock::unique()),
    };
    Ok(Placing(Address::Orders(desk), once.asked(buyer, command)))
}

/// What became of an order that its desk was asked to take.
///
/// # Errors
/// Whatever the order is refused with.
pub(super) fn placed(state: &State, outcome: Outcome) -> Result<Success, Problem> {
    accepted(state, orders_told(outcome)?)
}

/// An order whose next state is on its way.
fn accepted(state: &State, told: Told<Reply>) -> Result<Success, Problem> {
    let replayed = told.replayed;
    let view = order_of(told.reply)?;
    let body = shape::order(state, &view, shape::Audience::Customer)?.json();
    Ok(Success { status: StatusCode::ACCEPTED, replayed, location: Some(Location::Order(view.order)), body })
}

fn order_of(reply: Reply) -> Result<OrderView, Problem> {
    match reply {
        Reply::Order(view) => Ok(*view),
        Reply::Orders { .. } | Reply::CheckedIn { .. } | Reply::Summary(_) | Reply::Sought { .. } | Reply::Noted => {
            Err(wrong_reply("order desk"))
        }
    }
}

fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| Code::UnknownOrder.into())
}

async fn read(state: &State, order: OrderId, customer: Option<Customer>) -> Result<OrderView, Problem> {
    let command = Command::Show { order, customer };
    order_of(state.ask_orders(order.shard(), Asked::from(Message::from(command))).await?.reply)
}

/// Look at an order, or wait for its next state.
///
/// With `Prefer: wait=20` the answer comes when the order's state changes, at the latest after so many seconds. An order
/// that is settled (`paid`, `payment_failed`, `expired`, `cancelled`, `refunded`) is answered at once.
#[utoipa::path(
    get, path = "/v1/orders/{order}", tag = "Customers",
    params(("order" = String, Path, description = "The order's id"),
        ("Prefer" = Option<String>, Header, description = "`wait=` and seconds", example = "wait=20")),
    responses((status = 200, description = "The order as it is", body = OrderAnswer,
        headers(("Preference-Applied" = String, description = "The wait that was granted, in seconds"))))
)]
pub(super) async fn show(
    state: Data<State>,
    order: Path<String>,
    viewer: Viewer,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let wait = prefer::wait(request.headers(), state.config.http.wait_max);
    let Some(wait) = wait else {
        let (look, desk, asked) = look(&state, &order, &viewer)?;
        return look.shown(&state, state.dispatch.ask(desk, asked).await).map(HttpResponse::from);
    };
    let view = next_state(&state, order_id(&order)?, viewer.only(), Instant::now() + wait).await?;
    let mut response = HttpResponse::from(Look::of(&viewer).seen(&state, &view)?);
    response.headers_mut().insert(prefer::APPLIED, prefer::applied(wait));
    Ok(response)
}

/// A look at an order.
#[derive(Clone, Copy)]
pub(super) struct Look(shape::Audience);

/// What is to be asked, and of which desk, when somebody looks at an order; what it says is for [`Look::shown`].
///
/// # Errors
/// [`Code::UnknownOrder`]: there can be no such order.
pub(super) fn look(state: &State, order: &str, viewer: &Viewer) -> Result<(Look, Address, Asked<Message>), Problem> {
    let order = order_id(order)?;
    let command = Message::from(Command::Show { order, customer: viewer.only() });
    Ok((Look::of(viewer), state.order_desk(order.shard())?, command.into()))
}

impl Look {
    fn of(viewer: &Viewer) -> Self {
        match viewer {
            Viewer::Customer(_) => Self(shape::Audience::Customer),
            Viewer::Organizer(_) => Self(shape::Audience::Organizer),
        }
    }

    /// What there is to see.
    ///
    /// # Errors
    /// [`Code::UnknownOrder`], or its desk could not be asked.
    pub(super) fn shown(self, state: &State, outcome: Outcome) -> Result<Success, Problem> {
        self.seen(state, &order_of(orders_told(outcome)?.reply)?)
    }

    fn seen(self, state: &State, view: &OrderView) -> Result<Success, Problem> {
        let body = shape::order(state, view, self.0)?.with_patience(state, view.state).json();
        Ok(Success { status: StatusCode::OK, replayed: false, location: None, body })
    }
}

/// The order as soon as its public state is another than at arrival, at the latest at the deadline.
async fn next_state(
    state: &State,
    order: OrderId,
    customer: Option<Customer>,
    deadline: Instant,
) -> Result<OrderView, Problem> {
    // Listen before reading: a change between the two is not lost.
    let mut changed = state.dispatch.order_changed(order);
    let mut view = read(state, order, customer.clone()).await?;
    let at_arrival = view.state.as_str();
    while view.state.as_str() == at_arrival && !view.state.is_settled() {
        let word = tokio::select! {
            word = timeout_at(deadline, changed) => word,
            () = state.readiness.stopping() => return Ok(view),
        };
        match word {
            Ok(Ok(())) => {}
            // Too many were waiting: look again, but not at once.
            Ok(Err(_)) if Instant::now() + LOOK_AGAIN < deadline => sleep(LOOK_AGAIN).await,
            Ok(Err(_)) | Err(_) => return Ok(view),
        }
        changed = state.dispatch.order_changed(order);
        view = read(state, order, customer.clone()).await?;
    }
    Ok(view)
}

/// Pay again after a payment failed.
#[utoipa::path(
    post, path = "/v1/orders/{order}/payment", tag = "Customers", params(("order" = String, Path, description = "The order's id")),
    request_body = PayRequest, responses((status = 202, description = "Payment is tried again behind the answer", body = OrderAnswer,
        headers(("Location" = String, description = "The order"))))
)]
pub(super) async fn pay(
    state: Data<State>,
    order: Path<String>,
    buyer: Buyer,
    posted: Posted<PayRequest>,
) -> Result<HttpResponse, Problem> {
    let Posted { body: PayRequest { payment: PaymentRequest { token } }, once } = posted;
    let mut checks = Checks::default();
    check_token(&mut checks, &token);
    let token = checks.done(token)?;
    let order = order_id(&order)?;
    let payment = PaymentId::new(clock::now(), order.shard(), Tag(0), clock::unique());
    let command = Command::Pay { order, customer: buyer.0.clone(), payment, token };
    accepted(&state, state.ask_orders(order.shard(), once.asked(&buyer, command)).await?).map(HttpResponse::from)
}

/// Give an order up before it is paid.
#[utoipa::path(
    post, path = "/v1/orders/{order}/cancel", tag = "Customers", params(("order" = String, Path, description = "The order's id")),
    responses((status = 200, description = "The order is cancelled; cancelling it again is no error", body = OrderAnswer))
)]
pub(super) async fn cancel(
    state: Data<State>,
    order: Path<String>,
    buyer: Buyer,
    bare: Bare,
) -> Result<HttpResponse, Problem> {
    let order = order_id(&order)?;
    let command = Command::Cancel { order, customer: buyer.0.clone() };
    let told = state.ask_orders(order.shard(), bare.once.asked(&buyer, command)).await?;
    let view = order_of(told.reply)?;
    let body = shape::order(&state, &view, shape::Audience::Customer)?.json();
    Ok(answer(StatusCode::OK, told.replayed).body(body))
}

/// Give the money back and the seats free.
#[utoipa::path(
    post, path = "/v1/orders/{order}/refund", tag = "Organizers", params(("order" = String, Path, description = "The order's id")),
    responses((status = 202, description = "The refund happens behind the answer; asking again is no error", body = OrderAnswer,
        headers(("Location" = String, description = "The order"))))
)]
pub(super) async fn refund(
    state: Data<State>,
    order: Path<String>,
    seller: Seller,
    bare: Bare,
) -> Result<HttpResponse, Problem> {
    let order = order_id(&order)?;
    let told = state.ask_orders(order.shard(), bare.once.asked(&seller, Command::Refund { order })).await?;
    let view = order_of(told.reply)?;
    let body = shape::order(&state, &view, shape::Audience::Organizer)?.json();
    let location = Some(Location::Order(view.order));
    Ok(Success { status: StatusCode::ACCEPTED, replayed: told.replayed, location, body }.into())
}

/// The customer's own orders, newest first.
#[utoipa::path(
    get, path = "/v1/orders", tag = "Customers",
    params(("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 100 if not given"),
        ("after" = Option<String>, Query, description = "The `next` of the page before")),
    responses((status = 200, description = "A page of orders", body = OrderPage))
)]
pub(super) async fn list(state: Data<State>, buyer: Buyer, page: Page) -> Result<HttpResponse, Problem> {
    let command = Command::List { customer: buyer.0.clone(), before: page.after()?, limit: page.limit };
    let told = state.ask_orders(home(&state, &buyer.0), Asked::from(Message::from(command))).await?;
    let (orders, next) = orders_of(told.reply)?;
    rendered(&state, &orders, next, shape::Audience::Customer)
}

/// All orders of an event, desk by desk, oldest first within a desk.
#[utoipa::path(
    get, path = "/v1/events/{event}/orders", tag = "Organizers",
    params(("event" = String, Path, description = "The event's id"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1000; 100 if not given"),
        ("after" = Option<String>, Query, description = "The `next` of the page before")),
    responses((status = 200, description = "A page of orders", body = OrderPage))
)]
pub(super) async fn list_event(
    state: Data<State>,
    event: Path<String>,
    _seller: Seller,
    page: Page,
) -> Result<HttpResponse, Problem> {
    let event = state.event(&event)?.spec.id.clone();
    let after: Option<OrderId> = page.after()?;
    let (orders, more) = collect(&state, &event, after, page.limit).await?;
    let next = orders.last().map(|order| order.order).filter(|_| more);
    rendered(&state, &orders, next, shape::Audience::Organizer)
}

/// Up to `limit` orders of an event behind the cursor, and whether there may be more. An order's id names its desk, so the
/// cursor is an order: the desk continues behind it, then come the desks of the following shards.
async fn collect(
    state: &State,
    event: &EventId,
    after: Option<OrderId>,
    limit: u32,
) -> Result<(Vec<OrderView>, bool), Problem> {
    let mut orders = Vec::new();
    let first = after.map_or(0, |after| after.shard().0);
    for desk in first..state.shards() {
        let left = limit - orders.len() as u32;
        if left == 0 {
            return Ok((orders, true));
        }
        let after = after.filter(|after| after.shard().0 == desk);
        let command = Command::ListEvent { event: event.clone(), after, limit: left };
        let told = state.ask_orders(Shard(desk), Asked::from(Message::from(command))).await?;
        let (found, next) = orders_of(told.reply)?;
        orders.extend(found);
        if next.is_some() {
            return Ok((orders, true));
        }
    }
    Ok((orders, false))
}

fn orders_of(reply: Reply) -> Result<(Vec<OrderView>, Option<OrderId>), Problem> {
    match reply {
        Reply::Orders { orders, next } => Ok((orders, next)),
        Reply::Order(_) | Reply::CheckedIn { .. } | Reply::Summary(_) | Reply::Sought { .. } | Reply::Noted => {
            Err(wrong_reply("order desk"))
        }
    }
}

fn rendered(
    state: &State,
    orders: &[OrderView],
    next: Option<OrderId>,
    audience: shape::Audience,
) -> Result<HttpResponse, Problem> {
    let item = |view| shape::order(state, view, audience).map(|told| told.with_patience(state, view.state));
    let items = orders.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let page = PageAnswer { items, next: next.map(|next| next.to_string()) };
    Ok(answer(StatusCode::OK, false).body(shapes::json(&page)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::body::parse;
    use super::*;

    fn refused(body: &str) -> String {
        parse(body.as_bytes()).and_then(checked).unwrap_err().to_string()
    }

    #[test]
    fn an_order_is_read() {
        let body = r#"{"holds": ["hld_1", "hld_2"], "email": "ann@example.org", "payment": {"token": "tok_ok"}}"#;
        let read = parse(body.as_bytes()).and_then(checked).unwrap();
        assert_eq!((read.holds.len(), read.payment.token.as_str()), (2, "tok_ok"));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let all = refused(r#"{"holds": [], "email": "nobody", "payment": {"token": ""}}"#);
        assert_eq!(all, "invalid_request: holds must be 1 to 20 holds (and 2 more)");
        for (body, field) in [
            ("{}", "holds is required"),
            (r#"{"holds":["a","b","a"],"email":"a@b.example","payment":{"token":"t"}}"#, "holds[2] must not repeat"),
            (r#"{"holds":[7],"email":"a@b.example","payment":{"token":"t"}}"#, "holds[0] invalid type"),
            (r#"{"holds":["a"],"email":null,"payment":{"token":"t"}}"#, "email invalid type"),
            (r#"{"holds":["a"],"email":"a@b.example","payment":"t"}"#, "payment invalid type"),
            (r#"{"holds":["a"],"email":"a@b.example","payment":{"token":"a b"}}"#, "payment.token must be"),
            (r#"{"holds":["a"],"email":"a@b.example","payment":{"token":"t","cvc":1}}"#, "payment.cvc is not a field"),
            (r#"{"holds":["a"],"email":"a@b.example\r\nBcc: x@y.example","payment":{"token":"t"}}"#, "email must be"),
        ] {
            assert!(refused(body).contains(field), "{body}: {}", refused(body));
        }
    }
}
