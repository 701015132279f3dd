//! The payment desk: every charge asked of the payment provider, and what became of it.
//!
//! Owns the retries, at this one layer: same idempotency key, backoff with jitter. An outcome that is not known is
//! resolved by asking, never by a second payment. It never decides about seats: it tells the [`crate::order`] desk.

use serde::{Deserialize, Serialize};

use crate::gateway::Heard;
use crate::ids::{EventId, OrderId, PaymentId};
use crate::money::Money;
use crate::time::Millis;

mod desk;

pub use desk::PaymentDesk;

/// What a payment desk can be asked or told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// From the order desk: take the money. The same payment again changes nothing, but is answered again when settled.
    Charge {
        /// Which payment.
        payment: PaymentId,
        /// Of which order.
        order: OrderId,
        /// Of which event, for audits.
        event: EventId,
        /// How much.
        money: Money,
        /// The buyer's means of payment at the provider.
        token: String,
        /// No new attempt after this moment: what surely did not happen by then has failed.
        give_up_at: Millis,
    },
    /// From the order desk: give the money back.
    Refund {
        /// Which payment.
        payment: PaymentId,
    },
    /// From the order desk: it knows what became of the payment.
    SettlementHeard {
        /// Which payment.
        payment: PaymentId,
    },
    /// From the order desk: it knows that the money was given back.
    RefundHeard {
        /// Which payment.
        payment: PaymentId,
    },
    /// From the gateway: what it heard of a call. Late and repeated answers are expected.
    Heard {
        /// Which payment.
        payment: PaymentId,
        /// The attempt that the call was.
        attempt: u32,
        /// What is known.
        heard: Heard,
    },
    /// Sum up the payments of an event.
    Audit {
        /// Which event.
        event: EventId,
    },
}

/// The payments of one event at one desk, summed up in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Money that was taken.
    pub captured: u64,
    /// Of that, money that was given back.
    pub refunded: u64,
    /// Payments and refunds whose outcome is not known yet.
    pub open: u64,
}

/// What a payment desk answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The sum.
    Summary(Summary),
    /// A message was dealt with.
    Noted,
}

/// What the journal stores of a payment desk. `due` is when the payment wants attention again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A charge was asked for and the provider is called.
    Asked {
        /// Which payment.
        payment: PaymentId,
        /// Of which order.
        order: OrderId,
        /// Of which event.
        event: EventId,
        /// How much.
        money: Money,
        /// The buyer's means of payment.
        token: String,
        /// No new attempt after this moment.
        give_up_at: Millis,
        /// See the enum.
        due: Millis,
    },
    /// The provider was called once more to take the money.
    Called {
        /// Which payment.
        payment: PaymentId,
        /// See the enum.
        due: Millis,
    },
    /// The charge surely did not happen; it will be tried again.
    Postponed {
        /// Which payment.
        payment: PaymentId,
        /// See the enum.
        due: Millis,
    },
    /// It is not known whether the charge happened; the provider will be asked.
    Doubted {
        /// Which payment.
        payment: PaymentId,
        /// See the enum.
        due: Millis,
    },
    /// The money was taken.
    Captured {
        /// Which payment.
        payment: PaymentId,
        /// See the enum.
        due: Millis,
    },
    /// The money was not and will not be taken.
    Failed {
        /// Which payment.
        payment: PaymentId,
        /// The reason's code.
        code: String,
        /// See the enum.
        due: Millis,
    },
    /// The money is to be given back; the provider is called, now or when it is due.
    Refunding {
        /// Which payment.
        payment: PaymentId,
        /// See the enum.
        due: Millis,
    },
    /// The money was given back.
    Refunded {
        /// Which payment.
        payment: PaymentId,
        /// See the enum.
        due: Millis,
    },
    /// The order desk knows how it ended.
    Heard {
        /// Which payment.
        payment: PaymentId,
    },
    /// The order desk was told again.
    Reminded {
        /// Which payment.
        payment: PaymentId,
        /// See the enum.
        due: Millis,
    },
}
