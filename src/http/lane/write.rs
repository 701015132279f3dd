//! Answers as bytes: status line, headers, body, straight into the buffer of a connection.
//!
//! Owns the form of what a lane sends, which is the form of actix-web: the same headers, each in lower case.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::time::SystemTime;

use actix_web::body::MessageBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, HttpDate, VARY};
use actix_web::{HttpResponse, ResponseError};

use super::super::ask::{REPLAYED, Success};
use super::super::limits::{Left, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::super::problem::{Code, Problem};
use super::super::request_id::{self, REQUEST_ID};
use super::Worker;
use super::head::Method;

/// The `date` header, made anew a few times a second.
pub(super) struct Date(RefCell<String>);

impl Date {
    pub(super) fn new() -> Self {
        let date = Self(RefCell::default());
        date.refresh();
        date
    }

    /// Reads the clock.
    pub(super) fn refresh(&self) {
        let mut line = self.0.borrow_mut();
        line.clear();
        // Writing to memory cannot fail.
        let _ = write!(line, "date: {}\r\n", HttpDate::from(SystemTime::now()));
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.borrow().as_bytes());
    }
}

/// Most bytes that [`begin`] writes of an ordinary answer; more only makes it slower.
pub(super) const BEGIN_MAX: usize = 160;

/// Room for the headers of a good answer to an ask.
const HEADERS_ROOM: usize = 320;

/// The first lines of an answer: status, date, the request's id.
pub(super) fn begin(out: &mut Vec<u8>, status: StatusCode, date: &Date, id: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    date.put(out);
    header(out, request_id::HEADER.as_str(), id);
}

/// One header.
pub(super) fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The length of the body, and the end of the headers.
pub(super) fn length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b"content-length: ");
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n\r\n");
}

/// A good answer to an ask, as [`HttpResponse`] would have it. `left`: of the limit that the request was counted against.
pub(super) fn success(out: &mut Vec<u8>, success: &Success, worker: &Worker, left: Option<&Left>, id: &[u8]) {
    let Success { status, replayed, location, body } = success;
    out.reserve(BEGIN_MAX + HEADERS_ROOM + body.len());
    begin(out, *status, &worker.date, id);
    header(out, CONTENT_TYPE.as_str(), b"application/json");
    header(out, CACHE_CONTROL.as_str(), b"no-store");
    if let Some(location) = location {
        // Writing to memory cannot fail.
        let _ = io::Write::write_fmt(out, format_args!("location: {location}\r\n"));
    }
    if *replayed {
        header(out, REPLAYED.as_str(), b"true");
    }
    if let Some(Left { limit, policy }) = left {
        header(out, RATE_LIMIT.as_str(), limit.as_bytes());
        header(out, RATE_LIMIT_POLICY.as_str(), policy.as_bytes());
    }
    if worker.tells_origins {
        header(out, VARY.as_str(), b"Origin");
    }
    length(out, body.len());
    out.extend_from_slice(body);
}

/// Any other answer to an ask.
pub(super) fn problem(out: &mut Vec<u8>, problem: &Problem, worker: &Worker, left: Option<&Left>, id: &[u8]) {
    let mut answer = REQUEST_ID.sync_scope(request_id::value(id), || problem.error_response());
    let headers = answer.headers_mut();
    if let Some(Left { limit, policy }) = left {
        headers.insert(RATE_LIMIT, limit.clone());
        headers.insert(RATE_LIMIT_POLICY, policy.clone());
    }
    if worker.tells_origins {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    response(out, answer, Method::Post, &worker.date, id);
}

/// A whole answer of a handler. Its body must be finished; one that streams is our bug, and answered as such.
pub(super) fn response(out: &mut Vec<u8>, answer: HttpResponse, method: Method, date: &Date, id: &[u8]) {
    let (head, body) = answer.into_parts();
    let Ok(body) = body.try_into_bytes() else {
        return response(out, Problem::from(Code::Internal).error_response(), method, date, id);
    };
    begin(out, head.status(), date, id);
    for (name, value) in head.headers() {
        if *name != CONTENT_LENGTH && *name != request_id::HEADER {
            header(out, name.as_str(), value.as_bytes());
        }
    }
    length(out, body.len());
    if method != Method::Head {
        out.extend_from_slice(&body);
    }
}
