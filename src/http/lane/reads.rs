//! Public reads of the lane: the board's finished bytes, copied into the connection's buffer.
//!
//! What a reader gets is decided in [`super::super::public`] as well; both ways must send the same, and tests compare them.

use std::time::Instant;

use actix_web::ResponseError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use actors::ids::{BlockId, EventId};

use super::super::problem::{Code, Problem};
use super::super::public::{BLOCK_SEQ, missing, wants_bytes};
use super::super::request_id::{self, MADE_LENGTH, REQUEST_ID};
use super::head::{Head, Method};
use super::{Worker, write};
use crate::board::{Missing, Rendered};
use crate::encoding::negotiate;
use crate::telemetry::RouteMetrics;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    Event(&'a str),
    Availability(&'a str),
    Seats(&'a str, &'a str),
}

/// The counters of the reads of one worker.
pub(super) struct Counters {
    pub(super) event: RouteMetrics,
    pub(super) availability: RouteMetrics,
    pub(super) seats: RouteMetrics,
}

impl Counters {
    fn of(&self, what: Read<'_>) -> &RouteMetrics {
        match what {
            Read::Event(_) => &self.event,
            Read::Availability(_) => &self.availability,
            Read::Seats(..) => &self.seats,
        }
    }
}

/// Answers a read, and counts it.
pub(super) fn answer(worker: &Worker, what: Read<'_>, head: &Head<'_>, out: &mut Vec<u8>) {
    let started = Instant::now();
    let mut room = [0; MADE_LENGTH];
    let id = request_id::given_or_made(head.fields.request_id.map(str::as_bytes), &mut room);
    let answered = find(worker, what, head).map_err(missing).and_then(|rendered| {
        let seq = matches!(what, Read::Seats(..)).then_some(rendered.version);
        put(worker, &rendered, seq, head, id, out)
    });
    let status = answered.unwrap_or_else(|problem| {
        let status = problem.status_code();
        let mut answer = REQUEST_ID.sync_scope(request_id::value(id), || problem.error_response());
        if worker.tells_origins {
            answer.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
        }
        write::response(out, answer, head.method, &worker.date, id);
        status
    });
    worker.reads.of(what).observe(status.as_u16(), started.elapsed());
}

fn find(worker: &Worker, what: Read<'_>, head: &Head<'_>) -> Result<std::sync::Arc<Rendered>, Missing> {
    let board = &worker.state.board;
    match what {
        Read::Event(event) => board.event_answer(&EventId::from(event)),
        Read::Availability(event) => board.availability(&EventId::from(event)),
        Read::Seats(event, block) => {
            let (event, block) = (EventId::from(event), BlockId::from(block));
            match wants_bytes(head.fields.accept) {
                true => board.seats_bytes(&event, &block),
                false => board.seats(&event, &block),
            }
        }
    }
}

/// Copies a finished answer in the encoding that the client likes best, or says that it has it.
fn put(
    worker: &Worker,
    rendered: &Rendered,
    seq: Option<u64>,
    head: &Head<'_>,
    id: &[u8],
    out: &mut Vec<u8>,
) -> Result<StatusCode, Problem> {
    let encoding = negotiate(head.fields.accept_encoding).ok_or(Code::NotAcceptable)?;
    let variant = rendered.variant(encoding);
    let is_known = head.fields.if_none_match.is_some_and(|tags| rendered.encoded.matches(tags));
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    write::begin(out, status, &worker.date, id);
    write::header(out, ETAG.as_str(), variant.etag.as_bytes());
    write::header(out, CACHE_CONTROL.as_str(), rendered.cache_control.as_bytes());
    write::header(out, VARY.as_str(), rendered.vary.as_bytes());
    if worker.tells_origins {
        write::header(out, VARY.as_str(), b"Origin");
    }
    if let Some(seq) = seq {
        write::header(out, BLOCK_SEQ.as_str(), seq.to_string().as_bytes());
    }
    if is_known {
        out.extend_from_slice(b"\r\n");
        return Ok(status);
    }
    write::header(out, CONTENT_TYPE.as_str(), rendered.content_type.as_bytes());
    if let Some(encoding) = variant.encoding.header() {
        write::header(out, CONTENT_ENCODING.as_str(), encoding.as_bytes());
    }
    write::length(out, variant.body.len());
    if head.method == Method::Get {
        out.extend_from_slice(&variant.body);
    }
    Ok(status)
}
