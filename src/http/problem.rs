//! Problems: every answer that is not a success, as RFC 9457 `application/problem+json`.
//!
//! Owns the table of codes: a stable name, its status, a title and what it means. The table is the only source: responses,
//! `/openapi.json` and `/docs/errors` are made from it. Which refusal becomes which code is in [`super::refused`].

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::request_id;

/// Where a code is explained: `type` is this and the code's name.
pub const TYPE_PREFIX: &str = "/docs/errors#";

macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $title:literal $meaning:literal)+) => {
        /// A stable code, part of the public contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant),+
        }

        impl Code {
            /// All codes, by status and then by name.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),+ }
            }

            /// The status it is answered with.
            #[must_use]
            pub fn status(self) -> StatusCode {
                let number: u16 = match self { $(Code::$variant => $status),+ };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// A few words that never change.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),+ }
            }

            /// What it means and what a client should do.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning),+ }
            }
        }
    };
}

codes! {
    BadRequest "bad_request" 400 "Bad request" "The request is not HTTP that this API understands: a broken header, query or body."
    InvalidIdempotencyKey "invalid_idempotency_key" 400 "Invalid idempotency key" "`Idempotency-Key` must be 1 to 255 visible ASCII characters."
    MalformedJson "malformed_json" 400 "Malformed JSON" "The body is not JSON, or nested too deeply. `detail` says where it stops making sense."
    Unauthenticated "unauthenticated" 401 "Who are you?" "The bearer token or key is missing, unknown, expired or badly signed. `reason` says which; get a new token."
    AdmissionRequired "admission_required" 403 "Admission required" "Reserved for events with a waiting room: a hold would need the admission that it hands out. No event has one, so this is never answered."
    CustomerRequired "customer_required" 403 "Only for customers" "This is for customers' tokens, and an organizer's key was sent."
    OrganizerRequired "organizer_required" 403 "Only for organizers" "This is for organizers' keys, and a customer's token was sent."
    NotFound "not_found" 404 "Not found" "There is no such resource."
    UnknownBlock "unknown_block" 404 "Unknown block" "The event has no such block."
    UnknownEvent "unknown_event" 404 "Unknown event" "There is no such event."
    UnknownHold "unknown_hold" 404 "Unknown hold" "There is no such hold of this customer. Holds that ended are forgotten after a day, in a block where more than 100,000 ended sooner."
    UnknownOrder "unknown_order" 404 "Unknown order" "There is no such order of this customer."
    UnknownSeat "unknown_seat" 404 "Unknown seat" "The block has no such seats; `seats` names them."
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed" "The resource has no such method; `Allow` names those it has."
    NotAcceptable "not_acceptable" 406 "Not acceptable" "No representation fits `Accept` or `Accept-Encoding`."
    RequestTimeout "request_timeout" 408 "Request timeout" "The body did not arrive in time. Nothing was done."
    AlreadyCheckedIn "already_checked_in" 409 "Already checked in" "The ticket was used before; `at` says when."
    CustomerLimit "customer_limit" 409 "Customer limit" "The customer would have more places in this event than `most`."
    EventClosed "event_closed" 409 "Event closed" "The event's sale is closed for good and cannot be opened, paused or changed."
    EventExists "event_exists" 409 "Event exists" "The event's id is taken by another description."
    HoldExpired "hold_expired" 409 "Hold expired" "The hold's time is over; its seats may be somebody else's. Hold again."
    HoldInOrder "hold_in_order" 409 "Hold in an order" "The hold belongs to an order already."
    HoldReleased "hold_released" 409 "Hold released" "The hold was given back. Hold again."
    IdempotencyInProgress "idempotency_in_progress" 409 "Still in progress" "The first request with this key is still running. Send it again after `Retry-After`."
    NotBlocked "not_blocked" 409 "Not blocked" "These seats cannot be unblocked because they are not blocked; `seats` names them."
    NotOnSale "not_on_sale" 409 "Not on sale" "The sale is not open; `on_sale_at` says when it will be, if that is known."
    OrderState "order_state" 409 "Order state" "The order cannot do that in its present state; `state` names it."
    OrphanSeat "orphan_seat" 409 "Orphan seat" "The choice would leave single seats alone; `seats` names them. Take them too, or choose others."
    PaymentInProgress "payment_in_progress" 409 "Payment in progress" "A payment of this order is running. Its outcome comes first."
    SeatTaken "seat_taken" 409 "Seat taken" "Seats are held, sold or blocked; `seats` names them. Choose others."
    SoldOut "sold_out" 409 "Sold out" "Fewer places are free than were asked for, or none as cheap. Places come back when holds end."
    TicketVoid "ticket_void" 409 "Ticket void" "The ticket's order was refunded, or the order has no such ticket."
    BodyTooLarge "body_too_large" 413 "Body too large" "The body is larger than `most` bytes."
    UriTooLong "uri_too_long" 414 "URI too long" "The request line is too long."
    UnsupportedMediaType "unsupported_media_type" 415 "Unsupported media type" "Bodies must be `application/json`, not encoded."
    IdempotencyKeyReused "idempotency_key_reused" 422 "Idempotency key reused" "The key was used before for another request. Use a new key for a new request."
    InvalidRequest "invalid_request" 422 "Invalid request" "Fields break rules; `errors` names every field and its rule."
    MixedEvents "mixed_events" 422 "Mixed events" "The holds of one order must be of one event."
    TicketInvalid "ticket_invalid" 422 "Ticket invalid" "The token is not a ticket that this service signed."
    TooManySeats "too_many_seats" 422 "Too many seats" "One hold may have at most `most` places."
    WrongKind "wrong_kind" 422 "Wrong kind of block" "Named seats were asked of a standing block, or a bare quantity of a seated one."
    RateLimited "rate_limited" 429 "Too many requests" "The rate limit is used up; try again after `Retry-After`."
    HeadTooLarge "head_too_large" 431 "Request head too large" "Request line and headers together are larger than `most` bytes."
    Internal "internal" 500 "Internal error" "A bug. Whether something was done is not known: send the request again with its idempotency key, or look."
    NotReady "not_ready" 503 "Not ready" "The node is starting, stopping or cannot write; `reason` says which."
    OutcomeUnknown "outcome_unknown" 503 "Outcome unknown" "It may or may not have been done. Send the request again with the same idempotency key to find out."
    Overloaded "overloaded" 503 "Overloaded" "Too much is waiting. Nothing was done; try again after `Retry-After`."
    Unavailable "unavailable" 503 "Unavailable" "Writing is not possible at the moment. Nothing was done; try again after `Retry-After`."
}

/// A field of a request and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, such as `blocks[2].price`.
    #[schema(example = "blocks[2].price")]
    pub field: String,
    /// The rule, as words that continue the field's name.
    #[schema(example = "must be from 0 to 1000000000")]
    pub message: String,
}

/// An answer that is not a success. Return it from a handler.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    detail: String,
    fields: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Code> for Problem {
    /// A problem with the code's own meaning as its detail.
    fn from(code: Code) -> Self {
        Problem::new(code, code.meaning())
    }
}

impl Problem {
    /// A problem with a detail for people: what went wrong this time.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, detail: detail.into(), fields: Map::new(), headers: Vec::new() }))
    }

    /// The request breaks these rules. `errors` is not empty.
    #[must_use]
    pub fn invalid(errors: &[FieldError]) -> Self {
        let detail = match errors {
            [only] => format!("{} {}", only.field, only.message),
            [first, rest @ ..] => format!("{} {} (and {} more)", first.field, first.message, rest.len()),
            [] => String::new(),
        };
        Problem::new(Code::InvalidRequest, detail.trim())
            .with("errors", serde_json::to_value(errors).unwrap_or_default())
    }

    /// One field breaks a rule.
    #[must_use]
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Problem::invalid(&[FieldError { field: field.into(), message: message.into() }])
    }

    /// Adds a field of the code.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says when trying again makes sense: `Retry-After` in whole seconds, rounded up, and `retry_after_ms`.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.with("retry_after_ms", millis).header(header::RETRY_AFTER, number(seconds))
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }
}

fn number(value: u128) -> HeaderValue {
    HeaderValue::from_str(&value.to_string()).unwrap_or(HeaderValue::from_static("1"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.name(), self.0.detail)
    }
}

impl std::error::Error for Problem {}

/// The body of every answer that is not a success (RFC 9457). Which further fields there are depends on `code`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Where the code is explained, relative to the API.
    #[schema(example = "/docs/errors#seat_taken")]
    r#type: String,
    /// A few words that never change for a code.
    #[schema(example = "Seat taken")]
    title: &'a str,
    /// The HTTP status again.
    #[schema(example = 409)]
    status: u16,
    /// What went wrong this time, for people.
    detail: &'a str,
    /// The stable code: branch on this.
    #[schema(example = "seat_taken")]
    code: &'a str,
    /// The request's id, also in `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    fields: &'a Fields,
}

type Fields = Map<String, Value>;

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let Inner { code, detail, fields, headers } = &*self.0;
        let body = ProblemBody {
            r#type: format!("{TYPE_PREFIX}{}", code.name()),
            title: code.title(),
            status: code.status().as_u16(),
            detail,
            code: code.name(),
            request_id: request_id::current(),
            fields,
        };
        let mut response = HttpResponse::build(code.status());
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        for (name, value) in headers {
            response.append_header((name.clone(), value.clone()));
        }
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}
