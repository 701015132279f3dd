//! Answers as bytes: status line, headers, body, straight into the buffer of a connection.
//!
//! Owns the form of what a lane sends, which is the form of actix-web: the same headers, each in lower case.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::SystemTime;

use actix_web::body::MessageBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, HeaderValue, HttpDate, VARY};
use actix_web::{HttpResponse, ResponseError};

use super::super::ask::{REPLAYED, Success};
use super::super::limits::{Left, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::super::problem::{Code, Problem};
use super::super::request_id::{self, REQUEST_ID};
use super::Worker;
use super::head::Method;

/// The `date` header, made anew a few times a second.
pub(super) struct Date(RefCell<[u8; DATE_LENGTH]>);

/// Bytes of the header: `date: Sun, 06 Nov 1994 08:49:37 GMT` and the line's end.
const DATE_LENGTH: usize = 37;

impl Date {
    pub(super) fn new() -> Self {
        let date = Self(RefCell::new([b' '; DATE_LENGTH]));
        date.refresh();
        date
    }

    /// Reads the clock.
    pub(super) fn refresh(&self) {
        let written = write!(&mut self.0.borrow_mut()[..], "date: {}\r\n", HttpDate::from(SystemTime::now()));
        assert!(written.is_ok(), "a date has its length");
    }
}

/// Most bytes that [`begin`] writes of an ordinary answer; more only makes it slower.
pub(super) const BEGIN_MAX: usize = 160;

/// Room for the headers of a good answer to an ask.
const HEADERS_ROOM: usize = 320;

/// The first lines of an answer: status, date, the request's id. In as few pieces as can be, most of a length that the
/// compiler knows, because this is half of what is done for a read that came before.
#[inline]
pub(super) fn begin(out: &mut Vec<u8>, status: StatusCode, date: &Date, id: &[u8]) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        begin_other(out, status);
    }
    out.extend_from_slice(&*date.0.borrow());
    out.extend_from_slice(b"x-request-id: ");
    out.extend_from_slice(id);
    out.extend_from_slice(b"\r\n");
}

fn begin_other(out: &mut Vec<u8>, status: StatusCode) {
    for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
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
    out.extend_from_slice(b"content-type: application/json\r\ncache-control: no-store\r\n");
    if let Some(location) = location {
        // Writing to memory cannot fail.
        let _ = write!(out, "location: {location}\r\n");
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_begins_with_status_date_and_id() {
        let date = Date(RefCell::new(*b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
        for (status, line) in [(StatusCode::OK, "200 OK"), (StatusCode::NOT_MODIFIED, "304 Not Modified")] {
            let mut out = Vec::new();
            begin(&mut out, status, &date, b"req_7");
            let name = request_id::HEADER;
            let expected = format!("HTTP/1.1 {line}\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{name}: req_7\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn the_date_is_read_anew() {
        let date = Date(RefCell::new(*b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
        date.refresh();
        let line = String::from_utf8(date.0.borrow().to_vec()).unwrap();
        let shown: SystemTime = line.trim().strip_prefix("date: ").unwrap().parse::<HttpDate>().unwrap().into();
        assert!(shown.elapsed().unwrap().as_secs() < 60, "{line}");
    }
}
