//! The payment provider that is built in: takes no money, and misbehaves exactly as much as it is told to.
//!
//! Tokens: `tok_ok` is captured, `tok_declined` declined, `tok_timeout` captured but not answered the first time,
//! `tok_slow` captured late but in time; any other is declined as `invalid_token`. On top of that come the shares of
//! the configuration, drawn from its seed. What was decided is in the ledger before anybody hears of it; several nodes of
//! a machine can have one ledger, and get the same answers.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::oneshot;

use super::books::{self, Decline, Entry};
use super::ledger::{Decision, Ledger, Recorded};
use super::{
    BoxFuture, ChargeRequest, ChargeResult, ChargeStatus, Gateway, GatewayError, KEY_BYTES_MAX, LedgerError,
    RefundRequest, Refunded, Totals,
};
use crate::config;

/// Standard deviations between the median and the 99th percentile of a normal distribution.
const SIGMAS_TO_P99: f64 = 2.326_347_874;

/// The simulated provider.
#[derive(Debug, Clone)]
pub struct Simulated {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: config::Simulated,
    state: Mutex<State>,
    round: Mutex<Round>,
}

/// Charges that are decided together.
#[derive(Debug, Default)]
struct Round {
    asked: Vec<Decision>,
    answers: Vec<oneshot::Sender<Result<Entry, GatewayError>>>,
}

impl Round {
    /// Whether it is the first, who has the round closed.
    fn join(&mut self, one: Decision, answer: oneshot::Sender<Result<Entry, GatewayError>>) -> bool {
        self.asked.push(one);
        self.answers.push(answer);
        self.asked.len() == 1
    }
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    rng: SmallRng,
}

/// What the network and the provider's mood do to one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Declined,
    LostOnTheWay,
    AnswerLost,
    Late,
}

/// Everything chance decides about one call, drawn at once so that a seed fixes it.
#[derive(Debug, Clone, Copy)]
struct Draw {
    fate: Fate,
    is_error: bool,
    is_delivered_twice: bool,
    latency: Duration,
}

impl Simulated {
    /// The provider with its books at `ledger`.
    ///
    /// # Errors
    /// The books cannot be opened or read back.
    pub fn open(config: &config::Simulated, ledger: &Path) -> Result<Simulated, LedgerError> {
        let state = State { ledger: Ledger::open(ledger)?, rng: SmallRng::seed_from_u64(config.seed) };
        let (config, state, round) = (config.clone(), Mutex::new(state), Mutex::default());
        Ok(Simulated { shared: Arc::new(Shared { config, state, round }) })
    }

    /// All money that went through, by currency: what an audit compares the orders with.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        self.shared.state().ledger.totals()
    }

    /// What the books say now, without network and misbehaviour.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn recorded(&self, key: &str) -> Result<ChargeStatus, GatewayError> {
        self.shared.recorded(key)
    }
}

impl Gateway for Simulated {
    fn charge(&self, request: ChargeRequest) -> BoxFuture<'_, Result<ChargeResult, GatewayError>> {
        Shared::charge(Arc::clone(&self.shared), request).boxed()
    }

    fn refund(&self, request: RefundRequest) -> BoxFuture<'_, Result<Refunded, GatewayError>> {
        self.shared.refund(request).boxed()
    }

    fn status(&self, key: String) -> BoxFuture<'_, Result<ChargeStatus, GatewayError>> {
        self.shared.status(key).boxed()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn charge(self: Arc<Self>, request: ChargeRequest) -> Result<ChargeResult, GatewayError> {
        let draw = self.draw();
        let is_first = misbehaves_once(&request, draw.fate) && self.is_new(&request.key)?;
        let is_slow = request.token == "tok_slow" && is_first;
        let latency = if is_slow { self.config.slow_latency } else { draw.latency };
        tokio::time::sleep(latency / 2).await;
        if draw.is_error {
            return Err(GatewayError::Unavailable { retry_after: None });
        }
        let fate = if request.token == "tok_timeout" && is_first { Fate::AnswerLost } else { draw.fate };
        let entry = match fate {
            Fate::LostOnTheWay => return pending().await,
            Fate::Late => {
                self.take_in(&request)?;
                return self.decide_late(request).await;
            }
            Fate::Answered | Fate::AnswerLost => self.decide(&request, None).await?,
            Fate::Declined => self.decide(&request, Some(Decline::CardDeclined)).await?,
        };
        if draw.is_delivered_twice {
            let again = self.decide(&request, None).await?;
            assert_eq!(entry, again, "one key was decided twice");
        }
        if fate == Fate::AnswerLost && is_first {
            return pending().await;
        }
        tokio::time::sleep(latency / 2).await;
        Ok(result(entry))
    }

    fn is_new(&self, key: &str) -> Result<bool, GatewayError> {
        Ok(self.recorded(key)? == ChargeStatus::NotFound)
    }

    async fn refund(&self, request: RefundRequest) -> Result<Refunded, GatewayError> {
        let draw = self.draw();
        tokio::time::sleep(draw.latency / 2).await;
        if draw.is_error {
            return Err(GatewayError::Unavailable { retry_after: None });
        }
        if request.key.is_empty() || request.key.len() > KEY_BYTES_MAX {
            return Err(GatewayError::Rejected { code: "bad_key" });
        }
        if draw.fate == Fate::LostOnTheWay {
            return pending().await;
        }
        let (number, is_first) = self.state().ledger.refund(&request.key, &request.charge, request.amount)?;
        if is_first && matches!(draw.fate, Fate::AnswerLost | Fate::Late) {
            return pending().await;
        }
        tokio::time::sleep(draw.latency / 2).await;
        Ok(Refunded { reference: format!("sim_re_{number}") })
    }

    async fn status(&self, key: String) -> Result<ChargeStatus, GatewayError> {
        let draw = self.draw();
        tokio::time::sleep(draw.latency).await;
        if draw.is_error { Err(GatewayError::Unavailable { retry_after: None }) } else { self.recorded(&key) }
    }

    fn recorded(&self, key: &str) -> Result<ChargeStatus, GatewayError> {
        Ok(match self.state().ledger.recorded(key, now())? {
            Recorded::Nothing => ChargeStatus::NotFound,
            Recorded::Undecided => ChargeStatus::Pending,
            Recorded::Decided(Entry { refunded, number, decline: None, .. }) if refunded > 0 => {
                ChargeStatus::Refunded { reference: reference(number), amount: refunded }
            }
            Recorded::Decided(entry) => match result(entry) {
                ChargeResult::Captured { reference } => ChargeStatus::Captured { reference },
                ChargeResult::Declined { code, message } => ChargeStatus::Declined { code, message },
            },
        })
    }

    /// Enters the decision on a charge; the first one for a key stands. Charges that are decided at the same moment, as timers
    /// bring them, are entered in one round; what was begun is entered also if whoever asked has gone.
    async fn decide(
        self: &Arc<Self>,
        request: &ChargeRequest,
        decline: Option<Decline>,
    ) -> Result<Entry, GatewayError> {
        check(request)?;
        let decline = match request.token.as_str() {
            "tok_ok" | "tok_timeout" | "tok_slow" => decline,
            "tok_declined" => Some(Decline::CardDeclined),
            _ => Some(Decline::InvalidToken),
        };
        let (key, amount, currency) = (request.key.clone(), request.amount, request.currency.clone());
        let (answer, answered) = oneshot::channel();
        if self.round().join(Decision { key, amount, currency, decline }, answer) {
            tokio::spawn(Arc::clone(self).close_round());
        }
        answered.await.unwrap_or(Err(GatewayError::Unknown))
    }

    /// Enters the decisions of the round, behind everybody who can join it now.
    async fn close_round(self: Arc<Self>) {
        tokio::task::yield_now().await;
        let Round { asked, answers } = std::mem::take(&mut *self.round());
        let entries = self.state().ledger.decide(&asked);
        for (answer, entry) in answers.into_iter().zip(entries) {
            // A caller that has gone away asks for the status.
            let _ = answer.send(entry);
        }
    }

    /// Notes a charge that will be decided later.
    fn take_in(&self, request: &ChargeRequest) -> Result<(), GatewayError> {
        check(request)?;
        let due = now() + self.config.late_delay.as_millis() as u64;
        self.state().ledger.take_in(&request.key, (request.amount, &request.currency), due)
    }

    /// Decides after `late_delay`, whether or not anybody still waits for the answer. If the server is killed meanwhile,
    /// whoever asks for the charge when it is due has it decided.
    async fn decide_late(self: Arc<Self>, request: ChargeRequest) -> Result<ChargeResult, GatewayError> {
        let decision = tokio::spawn(async move {
            tokio::time::sleep(self.config.late_delay).await;
            self.decide(&request, None).await
        });
        decision.await.unwrap_or(Err(GatewayError::Unknown)).map(result)
    }

    fn draw(&self) -> Draw {
        let c = &self.config;
        let mut state = self.state();
        let (chance, error, twice) = (state.rng.random::<f64>(), state.rng.random::<f64>(), state.rng.random::<f64>());
        // Box-Muller: two even numbers make one normal one
        let (radius, angle) = (1.0 - state.rng.random::<f64>(), state.rng.random::<f64>());
        drop(state);
        let mut left = chance;
        let mut fate = Fate::Answered;
        for (share, name) in [
            (c.decline_rate, Fate::Declined),
            (c.timeout_before_capture_rate, Fate::LostOnTheWay),
            (c.timeout_after_capture_rate, Fate::AnswerLost),
            (c.late_rate, Fate::Late),
        ] {
            if left >= 0.0 && left < share.0 {
                fate = name;
            }
            left -= share.0;
        }
        let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
        Draw {
            fate,
            is_error: error < c.error_rate.0,
            is_delivered_twice: twice < c.duplicate_rate.0,
            latency: log_normal(c.latency_p50, c.latency_p99, normal),
        }
    }
}

/// A time whose logarithm is normal, with this median and 99th percentile; at most ten times the latter.
fn log_normal(p50: Duration, p99: Duration, normal: f64) -> Duration {
    let sigma = (p99.as_secs_f64() / p50.as_secs_f64()).ln() / SIGMAS_TO_P99;
    let seconds = p50.as_secs_f64() * (sigma * normal).exp();
    Duration::try_from_secs_f64(seconds).unwrap_or(p99).min(10 * p99)
}

/// Whether the first try of this charge goes another way than a later one. Of any other it need not be known which it is:
/// looking into the books takes their lock, which is three system calls.
fn misbehaves_once(request: &ChargeRequest, fate: Fate) -> bool {
    matches!(request.token.as_str(), "tok_slow" | "tok_timeout") || fate == Fate::AnswerLost
}

fn check(request: &ChargeRequest) -> Result<(), GatewayError> {
    if request.key.is_empty() || request.key.len() > KEY_BYTES_MAX {
        return Err(GatewayError::Rejected { code: "bad_key" });
    }
    if books::code(&request.currency).is_none() {
        return Err(GatewayError::Rejected { code: "bad_currency" });
    }
    Ok(())
}

/// Milliseconds since the epoch: the provider's own clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn reference(number: u32) -> String {
    format!("sim_ch_{number}")
}

fn result(entry: Entry) -> ChargeResult {
    match entry.decline {
        None => ChargeResult::Captured { reference: reference(entry.number) },
        Some(decline) => {
            ChargeResult::Declined { code: decline.code().to_owned(), message: decline.message().to_owned() }
        }
    }
}
