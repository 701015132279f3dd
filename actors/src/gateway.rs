//! What the payment desk asks of a payment provider, and what it may hear back. The provider itself is elsewhere.

use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, PaymentId};
use crate::money::Money;

/// A call of the provider. The payment's id is the idempotency key there: the same charge may be asked any number of
/// times and happens at most once.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Take the money.
    Charge {
        /// Which payment; the provider's idempotency key.
        payment: PaymentId,
        /// Of which order, for the provider's books.
        order: OrderId,
        /// How much.
        money: Money,
        /// The provider's name for the buyer's means of payment.
        token: String,
        /// Which try this is; comes back with the answer.
        attempt: u32,
    },
    /// What became of it?
    Status {
        /// Which payment.
        payment: PaymentId,
        /// Which try this is.
        attempt: u32,
    },
    /// Give all of it back; idempotent as well.
    Refund {
        /// Which payment.
        payment: PaymentId,
        /// How much: the whole payment.
        money: Money,
        /// Which try this is.
        attempt: u32,
    },
}

/// What is known after a call. Anything that is not sure is [`Heard::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// The money was taken (also the answer to a status call).
    Captured,
    /// The provider refused for good; its code, such as `card_declined`.
    Declined(String),
    /// The provider knows no such charge: it did not happen (answer to a status call).
    NotFound,
    /// The money was given back.
    Refunded,
    /// It may have happened: no answer, a broken connection, an answer that cannot be read.
    Unknown,
    /// It surely did not happen: not sent, refused at the door, or the breaker is open.
    Unavailable,
}
