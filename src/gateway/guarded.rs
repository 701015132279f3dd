//! Deadline and circuit breaker around any gateway.
//!
//! Every call ends within the deadline; one that does not is `Unknown`, because the provider may still act on it. While
//! the breaker is open calls end at once as `Unavailable`. Nothing is retried here.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::breaker::{Breaker, BreakerLimits, BreakerState, Permit};
use super::{BoxFuture, ChargeRequest, ChargeResult, ChargeStatus, Gateway, GatewayError, RefundRequest, Refunded};

/// How a call ended, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// Answered: captured, refunded, or a status.
    Answered,
    /// Answered: declined.
    Declined,
    /// Not answered in time.
    Unknown,
    /// Not reached.
    Unavailable,
    /// Kept away by the open breaker.
    BreakerOpen,
    /// Refused as a request.
    Rejected,
}

impl CallOutcome {
    /// A stable word for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            CallOutcome::Answered => "answered",
            CallOutcome::Declined => "declined",
            CallOutcome::Unknown => "unknown",
            CallOutcome::Unavailable => "unavailable",
            CallOutcome::BreakerOpen => "breaker_open",
            CallOutcome::Rejected => "rejected",
        }
    }
}

/// Hears of every call: operation (`charge`, `refund`, `status`), how it ended, how long it took, and the breaker's
/// state afterwards.
pub type Observe = dyn Fn(&'static str, CallOutcome, Duration, BreakerState) + Send + Sync;

/// A gateway that always answers in time.
pub struct Guarded {
    inner: Arc<dyn Gateway>,
    breaker: Mutex<Breaker>,
    timeout: Duration,
    observe: Box<Observe>,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("breaker", &self.breaker)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Guarded {
    /// Guards `inner`: every call ends within `timeout`, and `observe` hears of it.
    #[must_use]
    pub fn new(inner: Arc<dyn Gateway>, timeout: Duration, limits: BreakerLimits, observe: Box<Observe>) -> Guarded {
        Guarded { inner, breaker: Mutex::new(Breaker::new(limits)), timeout, observe }
    }

    /// The breaker's state now.
    #[must_use]
    pub fn breaker_state(&self) -> BreakerState {
        self.with_breaker(|breaker| breaker.state(Instant::now()))
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        act(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `call` is made only once the breaker has given leave.
    async fn call<'g, T>(
        &'g self,
        operation: &'static str,
        call: impl FnOnce() -> BoxFuture<'g, Result<T, GatewayError>> + Send,
        outcome_of: fn(&T) -> CallOutcome,
    ) -> Result<T, GatewayError> {
        let started = Instant::now();
        let permit = match self.with_breaker(|breaker| breaker.permit(started)) {
            Ok(permit) => Held { guarded: self, permit: Some(permit) },
            Err(wait) => {
                (self.observe)(operation, CallOutcome::BreakerOpen, Duration::ZERO, self.breaker_state());
                return Err(GatewayError::Unavailable { retry_after: Some(wait) });
            }
        };
        let result = tokio::time::timeout(self.timeout, call()).await.unwrap_or(Err(GatewayError::Unknown));
        let outcome = match &result {
            Ok(answer) => outcome_of(answer),
            Err(GatewayError::Unknown) => CallOutcome::Unknown,
            Err(GatewayError::Unavailable { .. }) => CallOutcome::Unavailable,
            Err(GatewayError::Rejected { .. }) => CallOutcome::Rejected,
        };
        permit.settle(outcome);
        (self.observe)(operation, outcome, started.elapsed(), self.breaker_state());
        result
    }
}

/// A permit that is given up when the caller goes away before the outcome is known.
struct Held<'g> {
    guarded: &'g Guarded,
    permit: Option<Permit>,
}

impl Held<'_> {
    fn settle(mut self, outcome: CallOutcome) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        self.guarded.with_breaker(|breaker| match outcome {
            CallOutcome::Answered | CallOutcome::Declined | CallOutcome::Rejected => breaker.succeeded(permit),
            CallOutcome::Unknown | CallOutcome::Unavailable => breaker.failed(permit, Instant::now()),
            CallOutcome::BreakerOpen => breaker.abandoned(permit),
        });
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.guarded.with_breaker(|breaker| breaker.abandoned(permit));
        }
    }
}

impl Gateway for Guarded {
    fn charge(&self, request: ChargeRequest) -> BoxFuture<'_, Result<ChargeResult, GatewayError>> {
        let outcome_of = |result: &ChargeResult| match result {
            ChargeResult::Captured { .. } => CallOutcome::Answered,
            ChargeResult::Declined { .. } => CallOutcome::Declined,
        };
        self.call("charge", || self.inner.charge(request), outcome_of).boxed()
    }

    fn refund(&self, request: RefundRequest) -> BoxFuture<'_, Result<Refunded, GatewayError>> {
        self.call("refund", || self.inner.refund(request), |_| CallOutcome::Answered).boxed()
    }

    fn status(&self, key: String) -> BoxFuture<'_, Result<ChargeStatus, GatewayError>> {
        self.call("status", || self.inner.status(key), |_| CallOutcome::Answered).boxed()
    }
}
