//! The order desk: the orders of the customers whose home is this shard, from placed to paid, failed or refunded.
//!
//! Owns what was bought, by whom, for how much, and what the order is still owed: binding its holds, charging, selling,
//! letting go, refunding, writing. Every debt follows from the order's state and is sent again until it is answered.
//! It never touches a seat ([`crate::block`] does) and never talks to a provider ([`crate::payment`] does).
//!
//! ```text
//!  Placed ──all bound──▶ Paying ──captured──▶ Selling ──all sold──▶ Paid ──refund──▶ Refunding ──▶ Refunded
//!    │                    │   ▲                  │                                       ▲
//!    │           declined │   │ paid again       └── refused (a bug) ────────────────────┘
//!    │                    ▼   │
//!    │                PaymentFailed
//!    │                    │
//!    ├──── cancel ────────┼──▶ Cancelled        (both let go of the holds; an order that is
//!    └──── time over ─────┴──▶ Expired           placed expires also when a hold is refused)
//! ```

use serde::{Deserialize, Serialize};

use crate::address::BlockRef;
use crate::block::{Claim, HoldView, SeatIx};
use crate::ids::{BlockId, Customer, EventId, HoldId, OrderId, PaymentId, TicketId};
use crate::keyed::{Key, KeyDigest};
use crate::money::Money;
use crate::refusal::Refusal;
use crate::time::Millis;

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Its holds are being bound.
    Placed,
    /// Its charge is running.
    Paying,
    /// Its money is there; its seats are being sold to it.
    Selling,
    /// Its seats are its customer's.
    Paid,
    /// Its charge did not go through; its seats stay bound until its time, for another attempt.
    PaymentFailed,
    /// Its time was over, or one of its holds was lost before it was bound.
    Expired,
    /// Its customer gave it up.
    Cancelled,
    /// Its money is being given back.
    Refunding,
    /// Its money was given back and its seats are free again.
    Refunded,
}

impl State {
    /// All states, in the order of the enum.
    pub const ALL: [State; 9] = [
        State::Placed,
        State::Paying,
        State::Selling,
        State::Paid,
        State::PaymentFailed,
        State::Expired,
        State::Cancelled,
        State::Refunding,
        State::Refunded,
    ];

    /// The state's public name. That seats are being sold is part of paying: `paid` means that they are.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Placed => "placed",
            State::Paying | State::Selling => "paying",
            State::Paid => "paid",
            State::PaymentFailed => "payment_failed",
            State::Expired => "expired",
            State::Cancelled => "cancelled",
            State::Refunding => "refunding",
            State::Refunded => "refunded",
        }
    }

    /// Whether nothing happens any more unless somebody asks.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            State::Paid | State::PaymentFailed | State::Expired | State::Cancelled | State::Refunded => true,
            State::Placed | State::Paying | State::Selling | State::Refunding => false,
        }
    }

    /// Whether its places count towards the customer's limit.
    #[must_use]
    pub fn counts(self) -> bool {
        match self {
            State::Placed | State::Paying | State::Selling | State::Paid | State::PaymentFailed | State::Refunding => {
                true
            }
            State::Expired | State::Cancelled | State::Refunded => false,
        }
    }
}

/// One hold of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Which hold.
    pub hold: HoldId,
    /// Where.
    pub block: BlockId,
    /// Its places.
    pub claim: Claim,
    /// Price of one place.
    pub price: Money,
}

/// A place of a paid order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TicketView {
    /// Its id.
    pub ticket: TicketId,
    /// Where.
    pub block: BlockId,
    /// The seat; `None` for a standing place.
    pub seat: Option<SeatIx>,
    /// When it was used.
    pub checked_in_at: Option<Millis>,
}

/// An order as its customer and the organizer see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its id.
    pub order: OrderId,
    /// Whose.
    pub customer: Customer,
    /// For which event.
    pub event: EventId,
    /// Where the confirmation goes.
    pub email: String,
    /// Where it is in its life.
    pub state: State,
    /// Why, when it failed: a provider's code such as `card_declined`, or `hold_expired`.
    pub reason: Option<String>,
    /// What is being bought.
    pub lines: Vec<Line>,
    /// The sum.
    pub total: Money,
    /// The running or last payment.
    pub payment: PaymentId,
    /// When it was placed.
    pub created_at: Millis,
    /// Until when it must be paid; `None` once that is settled.
    pub pay_by: Option<Millis>,
    /// Its places, once paid.
    pub tickets: Vec<TicketView>,
}

/// What became of a payment, from the payment desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// The money is there.
    Captured,
    /// It is not and will not be; the reason's code.
    Failed(String),
}

/// Why a block let an order down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindFailure {
    /// The hold's time was over.
    Expired,
    /// The hold was released, is unknown or belongs to another order or customer.
    Gone,
}

/// One block that a search under a key may ask, and the id a hold would have there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which block.
    pub block: BlockRef,
    /// Id of the hold there, made at the edge.
    pub hold: HoldId,
}

/// Most blocks that one search under a key asks.
pub const CANDIDATES_MAX: usize = 16;

/// What an order desk can be asked or told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Buy holds.
    Place {
        /// Id of the order, made at the edge.
        order: OrderId,
        /// Who buys.
        customer: Customer,
        /// The holds as the edge has just read them at their blocks; `None`: there is no such hold of this customer.
        holds: Vec<Option<HoldView>>,
        /// Where the confirmation goes.
        email: String,
        /// The buyer's means of payment at the provider.
        token: String,
        /// Id of the first payment, made at the edge.
        payment: PaymentId,
    },
    /// Read an order.
    Show {
        /// Which.
        order: OrderId,
        /// Whose it must be; `None`: the organizer asks.
        customer: Option<Customer>,
    },
    /// Read a customer's orders, newest first, older than `before`.
    List {
        /// Whose.
        customer: Customer,
        /// Continue with orders older than this one.
        before: Option<OrderId>,
        /// At most so many.
        limit: u32,
    },
    /// Read the orders of an event at this desk, oldest first, newer than `after`.
    ListEvent {
        /// Which event.
        event: EventId,
        /// Continue with orders newer than this one.
        after: Option<OrderId>,
        /// At most so many.
        limit: u32,
    },
    /// Pay again after a payment failed.
    Pay {
        /// Which order.
        order: OrderId,
        /// Whose it must be.
        customer: Customer,
        /// Id of the payment, made at the edge.
        payment: PaymentId,
        /// The buyer's means of payment at the provider.
        token: String,
    },
    /// Give the order up before it is paid.
    Cancel {
        /// Which order.
        order: OrderId,
        /// Whose it must be.
        customer: Customer,
    },
    /// Give the money back and the seats free; the organizer asks.
    Refund {
        /// Which order.
        order: OrderId,
    },
    /// Use a ticket; its token was verified at the edge.
    CheckIn {
        /// Which ticket.
        ticket: TicketId,
        /// The event the token names.
        event: EventId,
    },
    /// Sum up the orders of an event at this desk.
    Audit {
        /// Which event.
        event: EventId,
    },
    /// Best available over several blocks under an idempotency key: the desk journals which block it asks before it asks.
    Seek {
        /// The key; kept by the desk itself.
        key: Key,
        /// For whom.
        customer: Customer,
        /// How many places.
        quantity: u32,
        /// The blocks to ask, best first; at most [`CANDIDATES_MAX`].
        candidates: Vec<Candidate>,
    },
    /// From a block: the hold is part of the order.
    Bound {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
    },
    /// From a block: the hold cannot be part of the order.
    BindRefused {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
        /// Why.
        why: BindFailure,
    },
    /// From a block: the seats are sold to the order.
    Sold {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
    },
    /// From a block: the hold is not this order's. A bug somewhere; the money goes back.
    SellRefused {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
    },
    /// From a block: the order no longer claims the hold.
    Returned {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
    },
    /// From a block: what a search found.
    SeekAnswered {
        /// Under which key.
        key: KeyDigest,
        /// The hold that was asked for.
        hold: HoldId,
        /// The hold, or why not.
        answer: Result<Box<HoldView>, Refusal>,
    },
    /// From the payment desk: what became of a payment. Answered with [`crate::payment::Command::SettlementHeard`].
    Settled {
        /// Which order.
        order: OrderId,
        /// Which payment.
        payment: PaymentId,
        /// What became of it.
        settlement: Settlement,
    },
    /// From the payment desk: the money was given back. Answered with [`crate::payment::Command::RefundHeard`].
    RefundSettled {
        /// Which order.
        order: OrderId,
        /// Which payment.
        payment: PaymentId,
    },
    /// From the notifier: it has taken the letter over.
    LetterTaken {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: crate::notice::LetterKind,
    },
}

/// The orders of one event at one desk, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Orders by state, in the order of [`State::ALL`].
    pub orders: [u64; 9],
    /// Places of paid orders.
    pub paid_places: u64,
    /// Sum of paid orders, minor units.
    pub paid: u64,
    /// Money captured for orders of this event, minor units.
    pub captured: u64,
    /// Money given back, minor units.
    pub refunded: u64,
    /// Every hold that a paid order claims, with its order and places.
    pub claims: Vec<(HoldId, OrderId, u32)>,
}

/// What an order desk answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The order as it is now.
    Order(Box<OrderView>),
    /// Orders, and where to continue.
    Orders {
        /// The orders.
        orders: Vec<OrderView>,
        /// Continue behind this one; `None`: that was all.
        next: Option<OrderId>,
    },
    /// The ticket was used just now.
    CheckedIn {
        /// The ticket.
        ticket: Box<TicketView>,
        /// When.
        at: Millis,
    },
    /// The sum.
    Summary(Box<Summary>),
    /// What the search under the key has found so far: `None` while it is running. `replayed`: the key was known.
    Sought {
        /// The hold or the refusal.
        answer: Option<Box<Result<HoldView, Refusal>>>,
        /// Whether an earlier request with this key started the search.
        replayed: bool,
    },
    /// A message was dealt with.
    Noted,
}

mod book;
mod change;
mod desk;
mod reading;
mod seek;

pub use change::Change;
pub use desk::OrderDesk;
