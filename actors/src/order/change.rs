//! What the journal stores of an order desk.

use serde::{Deserialize, Serialize};

use super::{BindFailure, Candidate, Line, Settlement, State};
use crate::block::HoldView;
use crate::ids::{Customer, EventId, HoldId, OrderId, PaymentId};
use crate::keyed::{Key, KeyDigest};
use crate::notice::LetterKind;
use crate::refusal::Refusal;
use crate::time::Millis;

/// One fact about an order or a search. `due` is when what the order is owed is sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// An order was placed.
    Placed {
        /// Its id.
        order: OrderId,
        /// Who buys.
        customer: Customer,
        /// For which event.
        event: EventId,
        /// Where the confirmation goes.
        email: String,
        /// The buyer's means of payment.
        token: String,
        /// Its first payment.
        payment: PaymentId,
        /// What is being bought.
        lines: Vec<Line>,
        /// When.
        at: Millis,
        /// Until when it must be paid.
        pay_by: Millis,
        /// See the enum.
        due: Millis,
    },
    /// A hold is part of the order. With the last one the order goes on to pay.
    LineBound {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
        /// See the enum.
        due: Millis,
    },
    /// A hold could not be part of it: the order is over.
    BindRefused {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
        /// Why.
        why: BindFailure,
        /// See the enum.
        due: Millis,
    },
    /// What became of its payment.
    Settled {
        /// Which order.
        order: OrderId,
        /// What.
        settlement: Settlement,
        /// See the enum.
        due: Millis,
    },
    /// The seats of a hold are sold to it. With the last one the order is paid.
    LineSold {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
        /// See the enum.
        due: Millis,
    },
    /// The order no longer claims a hold.
    LineReturned {
        /// Which order.
        order: OrderId,
        /// Which hold.
        hold: HoldId,
        /// See the enum.
        due: Millis,
    },
    /// Another attempt to pay.
    PaidAgain {
        /// Which order.
        order: OrderId,
        /// The new payment.
        payment: PaymentId,
        /// The buyer's means of payment.
        token: String,
        /// See the enum.
        due: Millis,
    },
    /// The order is over without having been paid.
    Ended {
        /// Which order.
        order: OrderId,
        /// `Expired` or `Cancelled`.
        state: State,
        /// See the enum.
        due: Millis,
    },
    /// The money is to be given back.
    RefundBegun {
        /// Which order.
        order: OrderId,
        /// Why, when nobody asked for it.
        reason: Option<String>,
        /// See the enum.
        due: Millis,
    },
    /// The money was given back; the seats are next.
    MoneyReturned {
        /// Which order.
        order: OrderId,
        /// See the enum.
        due: Millis,
    },
    /// The notifier has taken a letter over.
    LetterTaken {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
    },
    /// A ticket was used.
    CheckedIn {
        /// Which order.
        order: OrderId,
        /// Position of the place among the order's places.
        place: u16,
        /// When.
        at: Millis,
    },
    /// What the order is owed was sent again.
    Reminded {
        /// Which order.
        order: OrderId,
        /// See the enum.
        due: Millis,
    },
    /// A search began; its first candidate is asked.
    SeekBegun {
        /// Its key.
        key: Key,
        /// For whom.
        customer: Customer,
        /// How many places.
        quantity: u32,
        /// The blocks to ask, best first.
        candidates: Vec<Candidate>,
        /// When the candidate is asked again.
        due: Millis,
        /// When the key may be forgotten.
        forget_at: Millis,
    },
    /// The next candidate is asked.
    SeekMoved {
        /// Under which key.
        key: KeyDigest,
        /// When the candidate is asked again.
        due: Millis,
    },
    /// The candidate was asked again.
    SeekReminded {
        /// Under which key.
        key: KeyDigest,
        /// When it is asked once more.
        due: Millis,
    },
    /// The search has its answer.
    SeekEnded {
        /// Under which key.
        key: KeyDigest,
        /// The hold, or why not.
        answer: Box<Result<HoldView, Refusal>>,
    },
    /// Searches whose time had come by then are forgotten.
    SeeksForgotten {
        /// Up to and including this moment.
        until: Millis,
    },
}
