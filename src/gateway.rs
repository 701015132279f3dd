//! The payment provider: what can be asked of it, and what may become of the asking.
//!
//! A gateway is called with an idempotency key and never charges one key twice. It does not retry: one layer retries,
//! the payment desk, always with the same key. When it cannot tell whether something happened it says
//! [`GatewayError::Unknown`], and only [`Gateway::status`] can settle that.
//!
//! Next: `guarded` for deadline and circuit breaker, `breaker` for its rules, `simulated` for the provider
//! that is built in, `books` for what it has written down, `ledger` for the file.

mod books;
mod breaker;
mod guarded;
mod ledger;
mod simulated;

use std::fmt;
use std::time::Duration;

pub use books::Totals;
pub use breaker::{Breaker, BreakerLimits, BreakerState, Permit};
pub use futures_util::future::BoxFuture;
pub use guarded::{CallOutcome, Guarded, Observe};
pub use ledger::LedgerError;
pub use simulated::Simulated;

/// Longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// A charge: take this much money once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeRequest {
    /// Idempotency key of the charge: the payment's id. The same key never charges twice.
    pub key: String,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217, three capital letters.
    pub currency: String,
    /// What the buyer's card was turned into by the provider's page.
    pub token: String,
}

/// A refund: give this much of a charge back once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// Idempotency key of the refund.
    pub key: String,
    /// Key of the charge that is refunded.
    pub charge: String,
    /// Minor units, at most what is left of the charge.
    pub amount: u64,
    /// ISO 4217, the charge's currency.
    pub currency: String,
}

/// The provider's final word on a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeResult {
    /// The money was taken.
    Captured {
        /// The provider's own name for it.
        reference: String,
    },
    /// The money was not and will not be taken under this key.
    Declined {
        /// Stable word, such as `card_declined`.
        code: String,
        /// For the buyer.
        message: String,
    },
}

/// The provider's final word on a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refunded {
    /// The provider's own name for it.
    pub reference: String,
}

/// What the provider knows about a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeStatus {
    /// Never heard of. Charging with the same key is safe.
    NotFound,
    /// Heard of, not decided yet: ask again.
    Pending,
    /// The money was taken.
    Captured {
        /// The provider's own name for it.
        reference: String,
    },
    /// The money was not and will not be taken under this key.
    Declined {
        /// Stable word.
        code: String,
        /// For the buyer.
        message: String,
    },
    /// The money was taken, and some or all given back.
    Refunded {
        /// The provider's own name for the charge.
        reference: String,
        /// Given back so far, in minor units.
        amount: u64,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayError {
    /// It may or may not have happened. Ask for the status; never conclude anything.
    Unknown,
    /// It surely did not happen. Try again, not before `retry_after` when there is one.
    Unavailable {
        /// Least time to wait.
        retry_after: Option<Duration>,
    },
    /// It surely did not happen, and asking the same again will not help.
    Rejected {
        /// Stable word, such as `idempotency_mismatch`.
        code: &'static str,
    },
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayError::Unknown => f.write_str("the provider did not answer in time; the outcome is unknown"),
            GatewayError::Unavailable { .. } => f.write_str("the provider cannot be reached"),
            GatewayError::Rejected { code } => {
                write!(f, "the provider refuses the request: {code}")
            }
        }
    }
}

impl std::error::Error for GatewayError {}

/// A payment provider.
pub trait Gateway: Send + Sync + 'static {
    /// Takes money once per key. Asked again with the same key, it gives the first outcome.
    ///
    /// # Errors
    /// Any [`GatewayError`].
    fn charge(&self, request: ChargeRequest) -> BoxFuture<'_, Result<ChargeResult, GatewayError>>;

    /// Gives money back once per key.
    ///
    /// # Errors
    /// Any [`GatewayError`]; after `Unknown`, asking again with the same key is safe.
    fn refund(&self, request: RefundRequest) -> BoxFuture<'_, Result<Refunded, GatewayError>>;

    /// What became of the charge with this key.
    ///
    /// # Errors
    /// Any [`GatewayError`].
    fn status(&self, key: String) -> BoxFuture<'_, Result<ChargeStatus, GatewayError>>;
}

#[cfg(test)]
mod tests;
