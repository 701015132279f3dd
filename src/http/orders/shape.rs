//! How an order looks, to its customer and to the organizer; the same in every answer that has one.

use std::borrow::Cow;
use std::sync::Arc;

use actors::address::BlockRef;
use actors::block::{Claim, SeatIx};
use actors::ids::{BlockId, HoldId, OrderId};
use actors::order::{Line, OrderView, State as OrderState, TicketView};
use actors::time::Millis;
use serde::Serialize;
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::super::State;
use super::super::problem::Problem;
use super::super::shapes::{MoneyAnswer, Shown, json_in, seat_name};
use crate::board::SeatNames;
use crate::clock::Rfc3339;
use crate::tickets::{TicketClaims, TicketKey};

/// Room for an order's answer without lines and tickets, in bytes.
const ANSWER_BYTES: usize = 512;
/// Room for one line.
const LINE_BYTES: usize = 160;
/// Room for one ticket with its token.
const TICKET_BYTES: usize = 640;

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
    #[schema(value_type = String, example = "ord_01h8zk5w3j0000a4q0e5s2t7vx")]
    id: Shown<OrderId>,
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
    #[schema(value_type = Vec<String>)]
    holds: Vec<Shown<HoldId>>,
    /// What they are.
    lines: Vec<LineAnswer<'a>>,
    /// The sum.
    total: MoneyAnswer<'a>,
    /// When it was placed, RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    created_at: Shown<Rfc3339>,
    /// Until when it must be paid, RFC 3339; absent once that is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pay_by: Option<Shown<Rfc3339>>,
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
    #[schema(value_type = String)]
    hold: Shown<HoldId>,
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
    #[schema(value_type = Option<String>, format = DateTime)]
    checked_in_at: Option<Shown<Rfc3339>>,
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
    let names = named(state, view)?;
    let id = view.order.to_string();
    let ticket = |ticket: &'a TicketView| {
        let seat = ticket.seat.map(|seat| names.of(seat, &ticket.block));
        let told = TicketAnswer {
            id: ticket.ticket.to_string(),
            block: ticket.block.as_str(),
            seat,
            token: None,
            checked_in_at: ticket.checked_in_at.map(moment),
        };
        match audience {
            Audience::Customer => told.signed(&state.tickets, view.event.as_str(), &id),
            Audience::Organizer => told,
        }
    };
    Ok(OrderAnswer {
        id: Shown(view.order),
        event: view.event.as_str(),
        customer: view.customer.as_str(),
        email: &view.email,
        state: view.state.as_str(),
        reason: view.reason.as_deref(),
        holds: view.lines.iter().map(|line| Shown(line.hold)).collect(),
        lines: view.lines.iter().map(|line| line_of(line, &names)).collect(),
        total: (&view.total).into(),
        created_at: moment(view.created_at),
        pay_by: view.pay_by.map(moment),
        tickets: view.tickets.iter().map(ticket).collect(),
        payment: None,
    })
}

fn moment(at: Millis) -> Shown<Rfc3339> {
    Shown(Rfc3339(at))
}

impl OrderAnswer<'_> {
    /// As JSON.
    pub(super) fn json(&self) -> Vec<u8> {
        json_in(ANSWER_BYTES + LINE_BYTES * self.lines.len() + TICKET_BYTES * self.tickets.len(), self)
    }

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

/// The names of an order's seats, looked up once a block.
struct Named<'a>(SmallVec<[(&'a BlockId, Arc<SeatNames>); 2]>);

impl Named<'_> {
    fn of(&self, seat: SeatIx, block: &BlockId) -> String {
        let names = self.0.iter().find(|(known, _)| *known == block).expect("a ticket is of a line of its order");
        seat_name(seat, &names.1)
    }
}

fn named<'a>(state: &State, view: &'a OrderView) -> Result<Named<'a>, Problem> {
    let mut names = SmallVec::<[(&BlockId, Arc<SeatNames>); 2]>::new();
    for line in &view.lines {
        let block = &line.block;
        if matches!(line.claim, Claim::Seats(_)) && !names.iter().any(|(known, _)| *known == block) {
            names.push((block, state.names(&BlockRef { event: view.event.clone(), block: block.clone() })?));
        }
    }
    Ok(Named(names))
}

fn line_of<'a>(line: &'a Line, names: &Named<'_>) -> LineAnswer<'a> {
    let seats = match &line.claim {
        Claim::Standing(_) => Vec::new(),
        Claim::Seats(seats) => seats.iter().map(|seat| names.of(*seat, &line.block)).collect(),
    };
    LineAnswer {
        hold: Shown(line.hold),
        block: line.block.as_str(),
        seats,
        quantity: line.claim.quantity(),
        price: (&line.price).into(),
    }
}

impl TicketAnswer<'_> {
    fn signed(mut self, key: &TicketKey, event: &str, order: &str) -> Self {
        let said = TicketClaims {
            event: event.into(),
            block: self.block.into(),
            seat: self.seat.as_deref().map(Cow::from),
            order: order.into(),
            ticket: self.id.as_str().into(),
            iat: None,
        };
        self.token = Some(key.sign(&said));
        self
    }
}
