//! Asks of the lane: holds, orders and the look at an order, answered when their machine has answered.
//!
//! Owns the order of the checks, which is that of the slow way: address, caller, customer, body. What is asked and how the
//! answer looks is in [`super::super::holds`] and [`super::super::orders`].

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpResponse, ResponseError};
use futures_util::FutureExt;
use serde::de::DeserializeOwned;
use tracing::error;

use super::super::body::{Once, Posted, must_be_json, parse};
use super::super::caller::{Buyer, Viewer, caller, counted};
use super::super::limits::{Left, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::super::problem::{Code, Problem};
use super::super::request_id::{self, MADE_LENGTH, REQUEST_ID};
use super::super::{around, holds, keys, orders};
use super::head::{Fields, Head, Method};
use super::{Worker, write};
use crate::telemetry::RouteMetrics;

/// An answer that is on its way; the bytes to send.
pub(super) type Turn = Pin<Box<dyn Future<Output = Vec<u8>>>>;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// `POST /v1/events/{event}/holds`
    Hold(&'a str),
    /// `POST /v1/orders`
    Order,
    /// `GET /v1/orders/{order}`
    Show(&'a str),
}

/// The counters of the asks of one worker.
pub(super) struct Counters {
    pub(super) hold: RouteMetrics,
    pub(super) order: RouteMetrics,
    pub(super) show: RouteMetrics,
}

/// A request without its connection's buffer.
struct Sent {
    what: What,
    target: String,
    address: IpAddr,
    authorization: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    key: Option<String>,
    body: Vec<u8>,
}

enum What {
    Hold(String),
    Order,
    Show(String),
}

/// Begins to answer an ask: the machine is asked when the turn is polled first.
pub(super) fn begin(worker: &Rc<Worker>, address: IpAddr, ask: Ask<'_>, head: &Head<'_>, body: &[u8]) -> Turn {
    let worker = worker.clone();
    let Fields { authorization, content_type, content_encoding, idempotency_key, .. } = head.fields;
    let what = match ask {
        Ask::Hold(event) => What::Hold(event.to_owned()),
        Ask::Order => What::Order,
        Ask::Show(order) => What::Show(order.to_owned()),
    };
    let sent = Sent {
        what,
        target: head.target.to_owned(),
        address,
        authorization: authorization.map(str::to_owned),
        content_type: content_type.map(str::to_owned),
        content_encoding: content_encoding.map(str::to_owned),
        key: idempotency_key.map(str::to_owned),
        body: body.to_vec(),
    };
    let given = head.fields.request_id.map(str::as_bytes);
    let id = request_id::value(request_id::given_or_made(given, &mut [0; MADE_LENGTH]));
    Box::pin(async move {
        let started = Instant::now();
        let _in_flight = worker.meter.begin();
        let answer = REQUEST_ID.scope(id.clone(), answer(&worker, &sent)).await;
        let (status, name) = (answer.status(), sent.method());
        sent.counters(&worker.asks).observe(status.as_u16(), started.elapsed());
        around::note_failure(name, &sent.target, status, id.to_str().unwrap_or_default(), started);
        let mut out = Vec::with_capacity(512);
        write::response(&mut out, answer, Method::Post, &worker.date, id.as_bytes());
        out
    })
}

/// The answer, also to a handler that panics.
async fn answer(worker: &Worker, sent: &Sent) -> HttpResponse {
    let address_left = match sent.what {
        What::Hold(_) | What::Order => match around::counted(&worker.state, sent.address) {
            Ok(left) => left,
            Err(problem) => return problem.error_response(),
        },
        What::Show(_) => None,
    };
    let mut customer_left = None;
    let handled = AssertUnwindSafe(handle(worker, sent, &mut customer_left)).catch_unwind().await;
    let mut response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.error_response(),
        Err(_) => {
            error!(path = sent.target, "a handler panicked");
            Problem::from(Code::Internal).error_response()
        }
    };
    let headers = response.headers_mut();
    if let Some(Left { limit, policy }) = customer_left.or(address_left) {
        headers.insert(RATE_LIMIT, limit);
        headers.insert(RATE_LIMIT_POLICY, policy);
    }
    if worker.tells_origins {
        headers.append(actix_web::http::header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

async fn handle(worker: &Worker, sent: &Sent, left: &mut Option<Left>) -> Result<HttpResponse, Problem> {
    let state = &worker.state;
    let caller = caller(state, sent.authorization.as_deref())?;
    match &sent.what {
        What::Show(order) => orders::shown(state, order, &Viewer::from(caller), None).await,
        What::Hold(event) => {
            *left = counted(state, &caller)?;
            let buyer = Buyer::try_from(caller)?;
            holds::made(state, &worker.meter, event, &buyer, sent.posted()?).await
        }
        What::Order => {
            *left = counted(state, &caller)?;
            let buyer = Buyer::try_from(caller)?;
            orders::placed(state, &buyer, sent.posted()?).await
        }
    }
}

impl Sent {
    fn posted<T: DeserializeOwned>(&self) -> Result<Posted<T>, Problem> {
        must_be_json(self.content_type.as_deref(), self.content_encoding.as_deref().map(str::as_bytes))?;
        let key = self.key.as_deref().map(|key| keys::checked(key.as_bytes())).transpose()?;
        let once = Once::new(key, keys::fingerprint_of(self.method(), &self.target, &self.body));
        Ok(Posted { body: parse(&self.body)?, once })
    }

    fn method(&self) -> &'static str {
        match self.what {
            What::Hold(_) | What::Order => "POST",
            What::Show(_) => "GET",
        }
    }

    fn counters<'a>(&self, counters: &'a Counters) -> &'a RouteMetrics {
        match self.what {
            What::Hold(_) => &counters.hold,
            What::Order => &counters.order,
            What::Show(_) => &counters.show,
        }
    }
}
