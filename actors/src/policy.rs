//! Policy: the deployment's settings that decisions depend on. From the configuration, see `config/default.toml`.

use crate::time::Span;

/// Read by `decide` and `wake` only; what they decide is in the change.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Number of shards of the deployment.
    pub shards: u16,
    /// How long a key and its answer are kept.
    pub idempotency_ttl: Span,
    /// How long a hold that ended can still be asked for.
    pub ended_hold_ttl: Span,
    /// How long seats stay bound past their hold's time while a payment is running; granted once.
    pub payment_extension: Span,
    /// When an unanswered message is sent again at first; doubles up to `resend_max`.
    pub resend_min: Span,
    /// The longest wait between two sends of a message.
    pub resend_max: Span,
    /// How long the payment provider may take to answer before the outcome counts as unknown.
    pub gateway_timeout: Span,
    /// First wait before the provider is called again; doubles up to `gateway_backoff_max`, with jitter.
    pub gateway_backoff_min: Span,
    /// The longest wait before the provider is called again.
    pub gateway_backoff_max: Span,
    /// Charges of which the provider knows nothing although it was called, before a payment is given up.
    pub charge_attempts_max: u32,
    /// How long a letter may take before it is tried again.
    pub letter_timeout: Span,
    /// First wait before a letter is tried again; doubles up to `letter_backoff_max`.
    pub letter_backoff_min: Span,
    /// The longest wait before a letter is tried again.
    pub letter_backoff_max: Span,
    /// Tries before a letter is set aside as dead.
    pub letter_attempts_max: u32,
}

impl Default for Policy {
    /// The values of `config/default.toml`, for tests.
    fn default() -> Self {
        Self {
            shards: 64,
            idempotency_ttl: Span::seconds(24 * 3600),
            ended_hold_ttl: Span::seconds(24 * 3600),
            payment_extension: Span::seconds(300),
            resend_min: Span::seconds(2),
            resend_max: Span::seconds(60),
            gateway_timeout: Span::seconds(10),
            gateway_backoff_min: Span(250),
            gateway_backoff_max: Span::seconds(30),
            charge_attempts_max: 5,
            letter_timeout: Span::seconds(60),
            letter_backoff_min: Span::seconds(1),
            letter_backoff_max: Span::seconds(600),
            letter_attempts_max: 12,
        }
    }
}
