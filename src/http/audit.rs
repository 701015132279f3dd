//! `GET …/audit`: the books of one event, recomputed now from what every machine says.
//!
//! Blocks count their seats, order desks their orders, payment desks the money; here the three are held against each
//! other. A sale may be running, so machines are read at different moments: a contradiction between two of them counts
//! only if it is still there at a second look. It changes nothing.

mod look;

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actors::order::State as OrderState;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::ask::answer;
use super::caller::Seller;
use super::problem::Problem;
use super::shapes::{self, MoneyAnswer, time};
use crate::clock;
use look::{Contradiction, Look};

/// Time between the two looks: longer than messages between machines are on their way.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(500);
/// Most violations that are listed.
const VIOLATIONS_MAX: usize = 1000;

/// The books of one event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub(super) struct AuditAnswer<'a> {
    /// Which event.
    event: &'a str,
    /// When this was counted, RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    /// Places by state.
    seats: SeatsByState,
    /// Orders by state.
    orders: OrdersByState,
    /// Money taken for this event, as the payment desks have it.
    captured: MoneyAnswer<'a>,
    /// Of that, money given back.
    refunded: MoneyAnswer<'a>,
    /// What paid orders are worth.
    paid: MoneyAnswer<'a>,
    /// Payments whose outcome is not known yet.
    open_payments: u64,
    /// What is wrong: empty unless there is a bug.
    violations: Vec<String>,
}

/// Places by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct SeatsByState {
    /// All places.
    capacity: u64,
    /// Can be had.
    free: u64,
    /// Held, no order yet.
    held: u64,
    /// Bound to an order.
    bound: u64,
    /// Sold.
    sold: u64,
    /// House seats.
    blocked: u64,
}

/// Orders by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct OrdersByState {
    placed: u64,
    paying: u64,
    paid: u64,
    payment_failed: u64,
    expired: u64,
    cancelled: u64,
    refunding: u64,
    refunded: u64,
}

impl OrdersByState {
    fn add(&mut self, state: OrderState, orders: u64) {
        let count = match state {
            OrderState::Placed => &mut self.placed,
            OrderState::Paying | OrderState::Selling => &mut self.paying,
            OrderState::Paid => &mut self.paid,
            OrderState::PaymentFailed => &mut self.payment_failed,
            OrderState::Expired => &mut self.expired,
            OrderState::Cancelled => &mut self.cancelled,
            OrderState::Refunding => &mut self.refunding,
            OrderState::Refunded => &mut self.refunded,
        };
        *count += orders;
    }
}

/// Recompute the books of an event.
#[utoipa::path(
    get, path = "/v1/events/{event}/audit", tag = "Organizers", params(("event" = String, Path, description = "The event's id")),
    responses((status = 200, description = "The books; `violations` is empty unless there is a bug", body = AuditAnswer))
)]
pub(super) async fn show(state: Data<State>, event: Path<String>, _seller: Seller) -> Result<HttpResponse, Problem> {
    let event = state.event(&event)?;
    let mut look = Look::take(&state, &event).await?;
    if !look.contradictions.is_empty() {
        let first = look;
        tokio::time::sleep(SECOND_LOOK_AFTER).await;
        look = Look::take(&state, &event).await?;
        look.contradictions.retain(|contradiction| first.contradictions.contains(contradiction));
        look.drop_explained(&state).await?;
    }
    let mut violations = look.violations;
    violations.extend(look.contradictions.iter().map(Contradiction::to_string));
    violations.truncate(VIOLATIONS_MAX);
    if !violations.is_empty() {
        tracing::error!(event = %event.spec.id, violations = violations.len(), first = violations[0], "an audit found violations");
    }
    let money = |amount| actors::money::Money { amount, currency: event.spec.currency };
    let (captured, refunded, paid) = (money(look.captured), money(look.refunded), money(look.paid));
    let books = AuditAnswer {
        event: event.spec.id.as_str(),
        at: time(clock::now()),
        seats: look.seats,
        orders: look.orders,
        captured: (&captured).into(),
        refunded: (&refunded).into(),
        paid: (&paid).into(),
        open_payments: look.open_payments,
        violations,
    };
    Ok(answer(StatusCode::OK, false).body(shapes::json(&books)))
}
