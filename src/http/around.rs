//! What surrounds every request: its id, the size of its head, the limit of its address, cross-origin rules, panics, and
//! what is counted and logged about it.
//!
//! Order matters: the id comes first so that everything below can name it; nothing below may end a request without an
//! answer in the form of [`super::problem`].

use std::cell::Cell;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::HttpMessage;
use actix_web::ResponseError;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HOST;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use futures_util::FutureExt;
use tracing::{error, warn};

use super::limits::{Left, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::meter::Meter;
use super::problem::{Code, Problem};
use super::request_id::{self, REQUEST_ID};
use super::{State, cors, ops};

/// What a node answers before it can answer anything else of the API.
const CLUSTER: &str = "/v1/cluster";

/// When a node that has just started is worth another try.
const NOT_OPEN_RETRY: Duration = Duration::from_secs(1);

/// Whether a request was the last of its connection: it said `connection: close`, or was HTTP/1.0. Kept with each
/// connection on which actix-http finds the requests itself: it takes whatever else it has read already for requests too and
/// has them answered, which RFC 9112, 9.6 forbids.
#[derive(Default)]
pub(super) struct Ended(Cell<bool>);

impl Ended {
    /// Whether this request comes too late. If it is the last one itself, all others will.
    fn before(request: &ServiceRequest) -> bool {
        request.conn_data::<Self>().is_some_and(|Self(ended)| ended.replace(ended.get() || is_last(request)))
    }
}

fn is_last(request: &ServiceRequest) -> bool {
    request.head().connection_type() == ConnectionType::Close
}

/// Answers one request.
///
/// # Errors
/// None of ours: what goes wrong inside has become an answer.
pub(super) async fn each_request(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let meter = request.app_data::<Rc<Meter>>().cloned();
    let _in_flight = meter.as_ref().map(|meter| meter.begin());
    let id = request_id::of(request.headers());
    let is_last = is_last(&request);
    let answering = REQUEST_ID.scope(id.clone(), answer(request, next));
    let mut response = answering.await?;
    response.headers_mut().insert(request_id::HEADER, id);
    if is_last {
        // Otherwise actix-http does as the last request wants that it has read.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if let Some(meter) = meter {
        meter.count(response.request(), response.status().as_u16(), started);
    }
    let request = response.request();
    let id = response.headers().get(request_id::HEADER).and_then(|id| id.to_str().ok());
    note_failure(request.method().as_str(), request.path(), response.status(), id.unwrap_or_default(), started);
    Ok(response)
}

async fn answer(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(state) = request.app_data::<Data<State>>().cloned() else {
        return Ok(request.into_response(Problem::from(Code::Internal).error_response()));
    };
    if Ended::before(&request) {
        let problem = Problem::new(Code::BadRequest, "an earlier request has ended this connection");
        return Ok(request.into_response(problem.error_response()));
    }
    if let Some(preflight) = cors::preflight(&request, &state.config.http.cors_origins) {
        return Ok(request.into_response(preflight));
    }
    let mut response = match admit(&request, &state) {
        Ok(address_left) => {
            let mut response = next.call(request).await?;
            let customer_left = response.request().extensions_mut().remove::<Left>();
            if let Some(left) = customer_left.or(address_left) {
                let headers = response.headers_mut();
                headers.insert(RATE_LIMIT, left.limit);
                headers.insert(RATE_LIMIT_POLICY, left.policy);
            }
            response
        }
        Err(problem) => request.into_response(problem.error_response()),
    };
    cors::decorate(&mut response, &state.config.http.cors_origins);
    Ok(response)
}

/// Answers 500 for a handler that panics; the worker goes on. Wraps each route: further out, the router still needs the
/// request for itself alone.
///
/// # Errors
/// Never: what goes wrong inside has become an answer.
pub(super) async fn survive(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let outer = request.request().clone();
    let response = match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => ServiceResponse::new(outer, as_problem(&error).error_response()),
        Err(_) => {
            error!(path = outer.path(), "a handler panicked");
            ServiceResponse::new(outer, Problem::from(Code::Internal).error_response())
        }
    };
    Ok(response)
}

/// Whether the request may go on: whether this node can answer it yet, the size of its head, the limit of its address.
fn admit(request: &ServiceRequest, state: &State) -> Result<Option<Left>, Problem> {
    if !state.readiness.is_open() && request.path().starts_with("/v1/") && request.path() != CLUSTER {
        return Err(ops::not_ready(state).retry_after(NOT_OPEN_RETRY));
    }
    if !request.headers().get(HOST).is_none_or(|host| is_host(host.as_bytes())) {
        return Err(Problem::new(Code::BadRequest, "the Host header does not name a host"));
    }
    let most = state.config.http.head_max.as_usize();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > most {
        return Err(Problem::from(Code::UriTooLong).with("most", most));
    }
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if request.method().as_str().len() + target + headers > most {
        return Err(Problem::from(Code::HeadTooLarge).with("most", most));
    }
    if request.method().is_safe() {
        return Ok(None);
    }
    request.peer_addr().map_or(Ok(None), |peer| counted(state, peer.ip()))
}

/// Counts a request that changes something against the limit of its address. `None`: there is no limit.
///
/// # Errors
/// [`Code::RateLimited`].
pub(super) fn counted(state: &State, address: IpAddr) -> Result<Option<Left>, Problem> {
    state.limits.address(address).inspect_err(|_| {
        state.metrics.rate_limited.of("address").inc();
    })
}

/// Whether this is a host and perhaps a port, or nothing: RFC 9112, 3.2 wants 400 for anything else, which a proxy may
/// have understood differently.
pub(super) fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !text[colon..].contains(&b']') => (&text[..colon], &text[colon + 1..]),
        Some(_) | None => (text, &b""[..]),
    };
    let is_named = |name: &[u8]| name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(b));
    let is_known = match name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(inner) => inner.iter().all(|b| b.is_ascii_alphanumeric() || b":.".contains(b)),
        None => is_named(name),
    };
    is_known && port.iter().all(u8::is_ascii_digit)
}

/// An error of the framework in our form.
fn as_problem(error: &actix_web::Error) -> Problem {
    if let Some(problem) = error.as_error::<Problem>() {
        return problem.clone();
    }
    match error.as_response_error().status_code().as_u16() {
        404 => Code::NotFound.into(),
        405 => Code::MethodNotAllowed.into(),
        413 => Code::BodyTooLarge.into(),
        400..500 => Problem::new(Code::BadRequest, "the request cannot be understood"),
        _ => Code::Internal.into(),
    }
}

/// Time between two log lines of a worker about answers that tell clients to come back: under overload there are
/// thousands a second, and the metrics count them all.
const UNAVAILABLE_LOG_PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    /// When such an answer was last logged, and how many were not since.
    static UNAVAILABLE_LOG: Cell<(Option<Instant>, u64)> = const { Cell::new((None, 0)) };
}

/// One line in the log for an answer that is our fault.
pub(super) fn note_failure(method: &str, path: &str, status: StatusCode, request_id: &str, started: Instant) {
    if !status.is_server_error() {
        return;
    }
    let micros = started.elapsed().as_micros() as u64;
    if status != StatusCode::SERVICE_UNAVAILABLE {
        error!(method, path, status = status.as_u16(), micros, request_id, "answered with a failure");
        return;
    }
    let (last, unlogged) = UNAVAILABLE_LOG.get();
    if last.is_some_and(|last| last.elapsed() < UNAVAILABLE_LOG_PAUSE) {
        UNAVAILABLE_LOG.set((last, unlogged + 1));
        return;
    }
    UNAVAILABLE_LOG.set((Some(Instant::now()), 0));
    warn!(method, path, micros, request_id, unlogged, "answered that this is not possible at the moment");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_and_read_body_json, init_service};
    use actix_web::{App, HttpResponse, web};

    use super::*;

    async fn broken() -> HttpResponse {
        panic!("a bug")
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in ["", "x", "a.example", "a.example:80", "127.0.0.1:8080", "[::1]", "[::1]:80", "x:", "a_b", "%61"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for rubbish in
            ["a b", "a, b", "a/b", "a@b", "a:http", "a:80:80", "::1", "[::1", "[::1]x", "a?b", "\u{e4}", "a\\b"]
        {
            assert!(!is_host(rubbish.as_bytes()), "{rubbish}");
        }
    }

    #[actix_web::test]
    async fn a_panic_is_answered_and_the_worker_goes_on() {
        let app = App::new()
            .route("/broken", web::get().to(broken).wrap(from_fn(survive)))
            .route("/whole", web::get().to(HttpResponse::Ok).wrap(from_fn(survive)));
        let app = init_service(app).await;
        for _ in 0..2 {
            let request = TestRequest::get().uri("/broken").to_request();
            let body: serde_json::Value = call_and_read_body_json(&app, request).await;
            assert_eq!((&body["status"], &body["code"]), (&500.into(), &"internal".into()));
        }
        let whole = actix_web::test::call_service(&app, TestRequest::get().uri("/whole").to_request()).await;
        assert_eq!(whole.status(), 200);
    }
}
