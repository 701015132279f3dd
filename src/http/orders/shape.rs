//! How an order looks, to its customer and to the organizer; the same in every answer that has one.

use actors::address::BlockRef;
use actors::block::Claim;
use actors::order::{OrderView, State as OrderState, TicketView};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::State;
use super::super::problem::Problem;
use super::super::shapes::{MoneyAnswer, seat_name, seats, time};
use crate::tickets::TicketClaims;

/// Who reads it. Tickets open doors: their tokens are the customer's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Whose order it is.
    Customer,
    /// Who sells.
    Organizer,
}

/// Holds being bought, or bought.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(in crate::http) struct OrderAnswer<'a> {
    /// Its id.
    #[schema(example = "ord_01h8zk5w3j0000a4q0e5s2t7vx")]
    id: String,
    /// Of which event.
    #[schema(example = "aurora-night-1")]
    event: &'a str,
    /// Whose.
    customer: &'a str,
    /// Where the confirmation goes.
    email: &'a str,
    /// `placed`, `paying`, `paid`, `payment_failed`, `expired`, `cancelled`, `refunding` or `refunded`.
    #[schema(example = "paying")]
    state: &'static str,
    /// Why, when it failed: the payment provider's code such as `card_declined`, or `hold_expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The holds it buys.
    holds: Vec<String>,
    /// What they are.
    lines: Vec<LineAnswer<'a>>,
    /// The sum.
    total: MoneyAnswer<'a>,
    /// When it was placed, RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// Until when it must be paid, RFC 3339; absent once that is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pay_by: Option<String>,
    /// Its places, once paid.
    tickets: Vec<TicketAnswer<'a>>,
    /// What to know about a payment that takes long.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<PaymentNote>,
}

/// One hold of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderLine)]
struct LineAnswer<'a> {
    /// Which hold.
    hold: String,
    /// In which block.
    block: &'a str,
    /// The seats by name; empty for standing places.
    seats: Vec<String>,
    /// How many places.
    quantity: u32,
    /// Price of one place.
    price: MoneyAnswer<'a>,
}

/// One place of a paid order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ticket)]
struct TicketAnswer<'a> {
    /// Its id.
    #[schema(example = "tkt_01h8zk5w3j0000a4q0e5s2t7vx0000")]
    id: String,
    /// In which block.
    block: &'a str,
    /// The seat; null for a standing place.
    seat: Option<String>,
    /// The signed token to show at the door; verify it offline with `GET /v1/keys`. Only for the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// When it was used, RFC 3339.
    #[schema(format = DateTime)]
    checked_in_at: Option<String>,
}

/// Said while the payment provider cannot be reached.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentNote {
    /// `waiting`: the payment is tried again as soon as the provider answers.
    #[schema(example = "waiting")]
    state: &'static str,
    /// For the buyer.
    detail: &'static str,
}

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OrderPage<'a> {
    /// The orders of this page.
    items: Vec<OrderAnswer<'a>>,
    /// Ask with `after` this for the next page; null: this was the last.
    next: Option<String>,
}

/// How an order looks.
///
/// # Errors
/// One of its blocks is not known here yet.
pub(super) fn order<'a>(state: &State, view: &'a OrderView, audience: Audience) -> Result<OrderAnswer<'a>, Problem> {
    let lines = view.lines.iter().map(|line| line_of(state, view, line)).collect::<Result<_, _>>()?;
    let tickets =
        view.tickets.iter().map(|ticket| ticket_of(state, view, ticket, audience)).collect::<Result<_, _>>()?;
    Ok(OrderAnswer {
        id: view.order.to_string(),
        event: view.event.as_str(),
        customer: view.customer.as_str(),
        email: &view.email,
        state: view.state.as_str(),
        reason: view.reason.as_deref(),
        holds: view.lines.iter().map(|line| line.hold.to_string()).collect(),
        lines,
        total: (&view.total).into(),
        created_at: time(view.created_at),
        pay_by: view.pay_by.map(time),
        tickets,
        payment: None,
    })
}

impl OrderAnswer<'_> {
    /// Tells a buyer whose payment cannot be made at the moment that the seats are safe.
    pub(super) fn with_patience(mut self, state: &State, order: OrderState) -> Self {
        let paying = match order {
            OrderState::Placed | OrderState::Paying => true,
            OrderState::Selling
            | OrderState::Paid
            | OrderState::PaymentFailed
            | OrderState::Expired
            | OrderState::Cancelled
            | OrderState::Refunding
            | OrderState::Refunded => false,
        };
        if paying && (state.payments_paused)() {
            let detail = "the payment provider does not answer at the moment; your seats are safe, and the payment is made as soon as it does";
            self.payment = Some(PaymentNote { state: "waiting", detail });
        }
        self
    }
}

fn line_of<'a>(state: &State, view: &OrderView, line: &'a actors::order::Line) -> Result<LineAnswer<'a>, Problem> {
    let seats = match &line.claim {
        Claim::Standing(_) => Vec::new(),
        claim @ Claim::Seats(_) => {
            let at = BlockRef { event: view.event.clone(), block: line.block.clone() };
            seats(claim, state.names(&at)?.as_ref())
        }
    };
    Ok(LineAnswer {
        hold: line.hold.to_string(),
        block: line.block.as_str(),
        seats,
        quantity: line.claim.quantity(),
        price: (&line.price).into(),
    })
}

fn ticket_of<'a>(
    state: &State,
    view: &OrderView,
    ticket: &'a TicketView,
    audience: Audience,
) -> Result<TicketAnswer<'a>, Problem> {
    let at = BlockRef { event: view.event.clone(), block: ticket.block.clone() };
    let seat = match ticket.seat {
        Some(seat) => Some(seat_name(seat, state.names(&at)?.as_ref())),
        None => None,
    };
    let sign = || {
        state.tickets.sign(&TicketClaims {
            event: view.event.to_string(),
            block: ticket.block.to_string(),
            seat: seat.clone(),
            order: view.order.to_string(),
            ticket: ticket.ticket.to_string(),
            iat: None,
        })
    };
    let token = (audience == Audience::Customer).then(sign);
    let checked_in_at = ticket.checked_in_at.map(time);
    Ok(TicketAnswer { id: ticket.ticket.to_string(), block: ticket.block.as_str(), seat, token, checked_in_at })
}
