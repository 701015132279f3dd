//! What an answer means for the operation that asked. Pure.

use std::time::Duration;

use serde::Deserialize;

/// First pause before a repetition; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// Longest pause the generator chooses by itself.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// First look at a new order; each further look waits half as long again.
const FOLLOW_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between two looks at an order.
const FOLLOW_MAX: Duration = Duration::from_secs(1);

/// What becomes of an operation after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done as asked.
    Done,
    /// The business said no: an answer, not an error.
    Refused(String),
    /// The outcome is open or the server is busy: the same request again, later.
    Again { code: String, after: Option<Duration> },
    /// An answer that a correct server does not give to this request.
    Failed(String),
}

/// The fields of an error body that matter here.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    code: Option<String>,
    retry_after_ms: Option<u64>,
}

/// Judges the answer to a request that carries a key, or whose repetition is harmless.
pub(crate) fn judge(status: u16, retry_after_s: Option<u32>, body: &[u8]) -> Fate {
    if (200..300).contains(&status) {
        return Fate::Done;
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let code = problem.code.unwrap_or_else(|| format!("http_{status}"));
    let header = retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
    let after = problem.retry_after_ms.map(Duration::from_millis).or(header);
    match (status, code.as_str()) {
        (409, "idempotency_in_progress") | (429 | 500..=599, _) => Fate::Again { code, after },
        (409 | 410, _) | (403, "admission_required") | (422, "too_many_seats") => Fate::Refused(code),
        (_, _) => Fate::Failed(code),
    }
}

/// How long to wait before the next attempt. `chance` is from 0 to 1 and spreads the clients: half of a chosen pause, a
/// tenth on top of one that the server asked for.
pub(crate) fn backoff(attempts: u32, after: Option<Duration>, chance: f64) -> Duration {
    match after {
        Some(asked) => asked.mul_f64(1.0 + 0.1 * chance) + BACKOFF_FIRST.mul_f64(chance),
        None => BACKOFF_FIRST.saturating_mul(1 << attempts.min(10)).min(BACKOFF_MAX).mul_f64(0.5 + 0.5 * chance),
    }
}

/// How long to wait before the next look at an order that was looked at `looks` times.
pub(crate) fn next_look(looks: u32, chance: f64) -> Duration {
    FOLLOW_FIRST.mul_f64(1.5f64.powi(looks.min(20) as i32)).min(FOLLOW_MAX).mul_f64(0.75 + 0.5 * chance)
}

/// Whether an order that is in this state changes no more by itself.
pub(crate) fn is_terminal(state: &str) -> bool {
    !matches!(state, "placed" | "paying" | "refunding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(code: &str, after_ms: Option<u64>) -> Fate {
        Fate::Again { code: code.to_owned(), after: after_ms.map(Duration::from_millis) }
    }

    #[test]
    fn a_refusal_is_an_answer_and_an_open_outcome_is_asked_again() {
        assert_eq!(judge(201, None, b"{}"), Fate::Done);
        assert_eq!(judge(409, None, br#"{"code":"seat_taken"}"#), Fate::Refused("seat_taken".to_owned()));
        assert_eq!(judge(409, None, br#"{"code":"idempotency_in_progress"}"#), again("idempotency_in_progress", None));
        assert_eq!(judge(503, Some(2), br#"{"code":"overloaded"}"#), again("overloaded", Some(2000)));
        assert_eq!(
            judge(429, Some(1), br#"{"code":"rate_limited","retry_after_ms":40}"#),
            again("rate_limited", Some(40))
        );
        assert_eq!(judge(500, None, b"oops"), again("http_500", None));
        assert_eq!(
            judge(422, None, br#"{"code":"idempotency_key_reused"}"#),
            Fate::Failed("idempotency_key_reused".to_owned())
        );
        assert_eq!(judge(404, None, b""), Fate::Failed("http_404".to_owned()));
    }

    #[test]
    fn pauses_grow_are_spread_and_have_a_limit() {
        assert_eq!(backoff(0, None, 1.0), BACKOFF_FIRST);
        assert_eq!(backoff(2, None, 0.0), BACKOFF_FIRST * 2);
        assert_eq!(backoff(63, None, 1.0), BACKOFF_MAX);
        let asked = Duration::from_secs(3);
        assert!(backoff(0, Some(asked), 0.0) == asked && backoff(0, Some(asked), 1.0) > asked);
        assert!(next_look(0, 0.5) == FOLLOW_FIRST && next_look(50, 0.5) == FOLLOW_MAX);
    }
}
