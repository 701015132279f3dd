//! From what went wrong to what the client is told: refusals, failures and callers who are not recognised.
//!
//! The matches are exhaustive on purpose: a new refusal does not compile before it has a code.

use std::time::Duration;

use actix_web::http::header::{HeaderValue, WWW_AUTHENTICATE};
use actors::block::SeatIx;
use actors::refusal::{Refusal, SeatList};
use tracing::warn;

use super::problem::{Code, Problem};
use super::shapes::time;
use crate::auth::AuthError;
use crate::dispatch::Failure;

/// When to ask again for a request that is still running.
pub(super) const IN_PROGRESS_RETRY: Duration = Duration::from_secs(1);
/// When to ask again for an outcome that is not known.
const UNKNOWN_RETRY: Duration = Duration::from_secs(1);

/// How seats are called in the block that a refusal is about.
pub(super) type Names<'a> = &'a dyn Fn(SeatIx) -> String;

/// For refusals that name no seats.
pub(super) fn unnamed(seat: SeatIx) -> String {
    seat.0.to_string()
}

/// What the client is told about a refusal.
pub(super) fn refused(refusal: &Refusal, names: Names<'_>) -> Problem {
    let seats = |code: Code, seats: &SeatList| {
        let seats: Vec<String> = seats.iter().map(|seat| names(*seat)).collect();
        Problem::new(code, format!("{}: {}", code.title().to_lowercase(), seats.join(", "))).with("seats", seats)
    };
    match refusal {
        Refusal::UnknownEvent => Code::UnknownEvent.into(),
        Refusal::UnknownBlock => Code::UnknownBlock.into(),
        Refusal::UnknownSeat => Code::UnknownSeat.into(),
        Refusal::UnknownHold => Code::UnknownHold.into(),
        Refusal::UnknownOrder => Code::UnknownOrder.into(),
        Refusal::EventExists => Code::EventExists.into(),
        Refusal::EventClosed => Code::EventClosed.into(),
        Refusal::BadChange { field, rule } => Problem::invalid_field(field, rule),
        Refusal::SeatTaken(taken) => seats(Code::SeatTaken, taken),
        Refusal::SeatTwice(twice) => {
            let twice: Vec<String> = twice.iter().map(|seat| names(*seat)).collect();
            Problem::invalid_field("seats", format!("must name a seat only once: {}", twice.join(", ")))
        }
        Refusal::SoldOut => Code::SoldOut.into(),
        Refusal::OrphanSeat(alone) => seats(Code::OrphanSeat, alone),
        Refusal::TooManySeats { most } => {
            Problem::new(Code::TooManySeats, format!("a hold may have at most {most} places")).with("most", *most)
        }
        Refusal::CustomerLimit { most } => {
            let detail = format!("a customer may have at most {most} places in this event");
            Problem::new(Code::CustomerLimit, detail).with("most", *most)
        }
        Refusal::WrongKind => Code::WrongKind.into(),
        Refusal::NotOnSale { on_sale_at } => Problem::from(Code::NotOnSale).with("on_sale_at", on_sale_at.map(time)),
        Refusal::HoldExpired => Code::HoldExpired.into(),
        Refusal::HoldReleased => Code::HoldReleased.into(),
        Refusal::HoldInOrder => Code::HoldInOrder.into(),
        Refusal::MixedEvents => Code::MixedEvents.into(),
        Refusal::PaymentInProgress => Code::PaymentInProgress.into(),
        Refusal::OrderState(state) => {
            Problem::new(Code::OrderState, format!("the order is {}", state.as_str())).with("state", state.as_str())
        }
        Refusal::AlreadyCheckedIn { at } => Problem::from(Code::AlreadyCheckedIn).with("at", time(*at)),
        Refusal::TicketVoid => Code::TicketVoid.into(),
        Refusal::NotBlocked(not) => seats(Code::NotBlocked, not),
        Refusal::IdempotencyKeyReused => Code::IdempotencyKeyReused.into(),
    }
}

/// The first request with this key is still running.
pub(super) fn in_progress() -> Problem {
    Problem::from(Code::IdempotencyInProgress).retry_after(IN_PROGRESS_RETRY)
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Overloaded { retry_after } => Problem::from(Code::Overloaded).retry_after(retry_after),
            Failure::Unavailable { reason, retry_after } => {
                Problem::from(Code::Unavailable).with("reason", reason).retry_after(retry_after)
            }
            Failure::Elsewhere => Problem::from(Code::Unavailable)
                .with("reason", "owner is changing")
                .retry_after(Failure::ELSEWHERE_RETRY),
            Failure::Unknown => Problem::from(Code::OutcomeUnknown).retry_after(UNKNOWN_RETRY),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let challenge = match error {
            AuthError::Missing => HeaderValue::from_static("Bearer realm=\"stampede\""),
            AuthError::Malformed
            | AuthError::Expired
            | AuthError::NotYetValid
            | AuthError::BadSignature
            | AuthError::WrongAlgorithm
            | AuthError::UnknownKey
            | AuthError::WrongIssuer
            | AuthError::WrongAudience => {
                HeaderValue::from_static("Bearer realm=\"stampede\", error=\"invalid_token\"")
            }
        };
        Problem::new(Code::Unauthenticated, error.to_string())
            .with("reason", error.word())
            .header(WWW_AUTHENTICATE, challenge)
    }
}

/// A machine answered with a reply of another command: our bug, said as one.
pub(super) fn wrong_reply(asked: &'static str) -> Problem {
    warn!(asked, "a machine answered with a reply that does not fit");
    Code::Internal.into()
}

#[cfg(test)]
mod tests {
    use actors::order::State;
    use actors::time::Millis;
    use smallvec::smallvec;

    use super::super::docs::document;
    use super::*;

    /// One of each. What is missing here does not compile in [`refused`].
    fn all() -> Vec<(Refusal, u16, &'static str)> {
        let seats = || smallvec![SeatIx(3), SeatIx(4)];
        vec![
            (Refusal::UnknownEvent, 404, "unknown_event"),
            (Refusal::UnknownBlock, 404, "unknown_block"),
            (Refusal::UnknownSeat, 404, "unknown_seat"),
            (Refusal::UnknownHold, 404, "unknown_hold"),
            (Refusal::UnknownOrder, 404, "unknown_order"),
            (Refusal::EventExists, 409, "event_exists"),
            (Refusal::EventClosed, 409, "event_closed"),
            (Refusal::BadChange { field: "f".into(), rule: "r".into() }, 422, "invalid_request"),
            (Refusal::SeatTaken(seats()), 409, "seat_taken"),
            (Refusal::SeatTwice(seats()), 422, "invalid_request"),
            (Refusal::SoldOut, 409, "sold_out"),
            (Refusal::OrphanSeat(seats()), 409, "orphan_seat"),
            (Refusal::TooManySeats { most: 5 }, 422, "too_many_seats"),
            (Refusal::CustomerLimit { most: 5 }, 409, "customer_limit"),
            (Refusal::WrongKind, 422, "wrong_kind"),
            (Refusal::NotOnSale { on_sale_at: Some(Millis(0)) }, 409, "not_on_sale"),
            (Refusal::HoldExpired, 409, "hold_expired"),
            (Refusal::HoldReleased, 409, "hold_released"),
            (Refusal::HoldInOrder, 409, "hold_in_order"),
            (Refusal::MixedEvents, 422, "mixed_events"),
            (Refusal::PaymentInProgress, 409, "payment_in_progress"),
            (Refusal::OrderState(State::Paid), 409, "order_state"),
            (Refusal::AlreadyCheckedIn { at: Millis(0) }, 409, "already_checked_in"),
            (Refusal::TicketVoid, 409, "ticket_void"),
            (Refusal::NotBlocked(seats()), 409, "not_blocked"),
            (Refusal::IdempotencyKeyReused, 422, "idempotency_key_reused"),
        ]
    }

    #[test]
    fn every_refusal_has_a_stable_code_that_is_documented() {
        let documented = document()["paths"].to_string();
        for (refusal, status, name) in all() {
            let code = refused(&refusal, &unnamed).code();
            assert_eq!((code.status().as_u16(), code.name()), (status, name), "{refusal:?}");
            assert!(documented.contains(&format!("\"{name}\"")), "{name} is documented");
        }
    }

    #[test]
    fn seats_are_told_by_name() {
        let problem = refused(&Refusal::SeatTaken(smallvec![SeatIx(3)]), &|seat| format!("row-{}", seat.0));
        assert_eq!(problem.to_string(), "seat_taken: seat taken: row-3");
    }

    #[test]
    fn failures_say_what_a_client_may_conclude() {
        let retry_after = Duration::from_millis(1200);
        for (failure, code) in [
            (Failure::Overloaded { retry_after }, Code::Overloaded),
            (Failure::Unavailable { reason: "disk full".into(), retry_after }, Code::Unavailable),
            (Failure::Elsewhere, Code::Unavailable),
            (Failure::Unknown, Code::OutcomeUnknown),
        ] {
            assert_eq!(Problem::from(failure).code(), code);
        }
    }
}
