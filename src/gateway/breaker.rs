//! The circuit breaker: keeps calls away from a provider that is in trouble, and lets it recover.
//!
//! Plain state, no clock and no calls: times are handed in. Closed: everything passes; `failures` failed calls within
//! `window` open it. Open: nothing passes for `open_for`. Then half-open: up to `half_open_probes` calls pass; when all
//! of them succeed it closes, when one fails it opens again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When the breaker opens and closes.
#[derive(Debug, Clone, Copy)]
pub struct BreakerLimits {
    /// Failures within `window` that open it; at least 1.
    pub failures: u32,
    /// Time over which failures count.
    pub window: Duration,
    /// How long it stays open.
    pub open_for: Duration,
    /// Test calls that must all succeed; at least 1.
    pub half_open_probes: u32,
}

impl From<&crate::config::Breaker> for BreakerLimits {
    fn from(config: &crate::config::Breaker) -> BreakerLimits {
        BreakerLimits {
            failures: config.failures,
            window: config.window,
            open_for: config.open_for,
            half_open_probes: config.half_open_probes,
        }
    }
}

/// What the breaker does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// A few calls pass, to see.
    HalfOpen,
    /// No call passes.
    Open,
}

impl BreakerState {
    /// 0 closed, 1 half-open, 2 open: for a gauge.
    #[must_use]
    pub fn as_gauge(self) -> i64 {
        match self {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        }
    }
}

/// Leave to make one call; must be handed back with its outcome, or given up.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    /// Which opening and closing of the breaker it belongs to; later ones do not hear of it.
    era: u64,
}

#[derive(Debug)]
enum Phase {
    Closed { failures: VecDeque<Instant> },
    Open { until: Instant },
    HalfOpen { asked: u32, succeeded: u32 },
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    phase: Phase,
    era: u64,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(limits: BreakerLimits) -> Breaker {
        assert!(limits.failures > 0 && limits.half_open_probes > 0, "a breaker needs something to count");
        Breaker { limits, phase: Phase::Closed { failures: VecDeque::new() }, era: 0 }
    }

    /// The state at `now`.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match &self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until } if now < *until => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Leave for one call.
    ///
    /// # Errors
    /// The time to wait before asking again, when no call passes now.
    pub fn permit(&mut self, now: Instant) -> Result<Permit, Duration> {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Err(until - now);
            }
            self.enter(Phase::HalfOpen { asked: 0, succeeded: 0 });
        }
        if let Phase::HalfOpen { asked, .. } = &mut self.phase {
            if *asked >= self.limits.half_open_probes {
                return Err(self.limits.open_for);
            }
            *asked += 1;
        }
        Ok(Permit { era: self.era })
    }

    /// The call was answered, whatever the answer said.
    pub fn succeeded(&mut self, permit: Permit) {
        if permit.era != self.era {
            return;
        }
        if let Phase::HalfOpen { succeeded, .. } = &mut self.phase {
            *succeeded += 1;
            if *succeeded >= self.limits.half_open_probes {
                self.enter(Phase::Closed { failures: VecDeque::new() });
            }
        }
    }

    /// The call was not answered.
    pub fn failed(&mut self, permit: Permit, now: Instant) {
        if permit.era != self.era {
            return;
        }
        let opens = match &mut self.phase {
            Phase::Closed { failures } => {
                failures.retain(|at| now.saturating_duration_since(*at) < self.limits.window);
                failures.push_back(now);
                failures.len() >= self.limits.failures as usize
            }
            Phase::HalfOpen { .. } => true,
            Phase::Open { .. } => false,
        };
        if opens {
            self.enter(Phase::Open { until: now + self.limits.open_for });
        }
    }

    /// The caller gave up before there was an outcome; a test call may be made by somebody else.
    pub fn abandoned(&mut self, permit: Permit) {
        if permit.era == self.era
            && let Phase::HalfOpen { asked, .. } = &mut self.phase
        {
            *asked = asked.saturating_sub(1);
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.era += 1;
    }
}
