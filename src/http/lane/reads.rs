//! Public reads of the lane: the board's finished bytes, copied into the connection's buffer.
//!
//! What a reader gets is decided in [`super::super::public`] as well; both ways must send the same, and tests compare them.
//! All reads that are answered in one go are one batch, answered at one moment; that is their time in `/metrics`, without
//! what they waited for asks of their connection.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::ResponseError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use actors::ids::{BlockId, EventId};
use actors::time::Millis;
use bytes::Bytes;

use super::super::around;
use super::super::problem::Problem;
use super::super::public::{BLOCK_SEQ, Form, missing, seats_as};
use super::super::request_id::{self, MADE_LENGTH, REQUEST_ID};
use super::head::{Head, Method};
use super::memo::Answer;
use super::{Worker, write};
use crate::board::{Missing, Rendered, Source, Subject};
use crate::telemetry::RouteMetrics;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    Event(&'a str),
    Availability(&'a str),
    Seats(&'a str, &'a str),
}

/// The same without names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Availability,
    Seats,
}

impl Read<'_> {
    fn kind(self) -> Kind {
        match self {
            Read::Event(_) => Kind::Event,
            Read::Availability(_) => Kind::Availability,
            Read::Seats(..) => Kind::Seats,
        }
    }
}

/// The counters of the reads of one worker.
pub(super) struct Counters {
    pub(super) event: Tally,
    pub(super) availability: Tally,
    pub(super) seats: Tally,
}

impl Counters {
    /// The counters of this route.
    pub(super) fn route(&self, what: Read<'_>) -> &RouteMetrics {
        &self.of(what.kind()).route
    }

    fn of(&self, kind: Kind) -> &Tally {
        match kind {
            Kind::Event => &self.event,
            Kind::Availability => &self.availability,
            Kind::Seats => &self.seats,
        }
    }
}

/// The counters of one route, and what the batch under way adds to them.
pub(super) struct Tally {
    route: RouteMetrics,
    /// Answered by the whole.
    whole: Cell<u64>,
    /// Answered by 304.
    known: Cell<u64>,
}

impl Tally {
    pub(super) fn new(route: RouteMetrics) -> Self {
        Self { route, whole: Cell::new(0), known: Cell::new(0) }
    }

    fn add(&self, status: StatusCode) {
        let of = if status == StatusCode::NOT_MODIFIED { &self.known } else { &self.whole };
        of.set(of.get() + 1);
    }

    fn count(&self, took: Duration) {
        for (status, of) in [(StatusCode::OK, &self.whole), (StatusCode::NOT_MODIFIED, &self.known)] {
            let times = of.take();
            if times > 0 {
                self.route.observe_many(status.as_u16(), took, times);
            }
        }
    }
}

/// Reads that are answered at one moment. Counted when it ends.
pub(super) struct Batch<'w> {
    worker: &'w Worker,
    began: Option<(Instant, Millis)>,
    number: u64,
    /// Answers that were sent before and are sent again.
    again: u64,
}

impl<'w> Batch<'w> {
    pub(super) fn new(worker: &'w Worker) -> Self {
        Self { worker, began: None, number: 0, again: 0 }
    }

    fn moment(&mut self) -> (Instant, Millis) {
        *self.began.get_or_insert_with(|| {
            self.number = self.worker.batches.get() + 1;
            self.worker.batches.set(self.number);
            (Instant::now(), self.worker.state.board.now())
        })
    }

    /// Answers a read whose head came before, to which the board still says the same; the length of its head.
    pub(super) fn repeat(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut memo = self.worker.memo.borrow_mut();
        let (length, answer) = memo.find(bytes)?;
        let (_, now) = self.moment();
        if answer.batch != self.number {
            if !self.worker.state.board.still_gives(&answer.source, &answer.rendered, now) {
                return None;
            }
            answer.batch = self.number;
        }
        out.reserve(write::BEGIN_MAX + answer.headers.len() + answer.body.len());
        write::begin(out, answer.status, &self.worker.date, &request_id::made());
        out.extend_from_slice(&answer.headers);
        out.extend_from_slice(&answer.body);
        self.worker.reads.of(answer.kind).add(answer.status);
        self.again += 1;
        Some(length)
    }

    /// Answers a read. `bytes`: its head.
    pub(super) fn answer(&mut self, what: Read<'_>, head: &Head<'_>, bytes: &[u8], out: &mut Vec<u8>) {
        let worker = self.worker;
        let (began, _) = self.moment();
        let mut room = [0; MADE_LENGTH];
        let id = request_id::given_or_made(head.fields.request_id.map(str::as_bytes), &mut room);
        match found(worker, what, head, id, out) {
            Ok(sent) => {
                worker.reads.of(what.kind()).add(sent.status);
                if head.fields.request_id.is_none() {
                    worker.memo.borrow_mut().keep(bytes, || sent.again(what.kind(), self.number, out));
                }
            }
            Err(problem) => {
                let status = problem.status_code();
                let mut answer = REQUEST_ID.sync_scope(request_id::value(id), || problem.error_response());
                if worker.tells_origins {
                    answer.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
                }
                write::response(out, answer, head.method, &worker.date, id);
                worker.reads.route(what).observe(status.as_u16(), began.elapsed());
                let method = if head.method == Method::Head { "HEAD" } else { "GET" };
                around::note_failure(method, head.target, status, str::from_utf8(id).unwrap_or_default(), began);
            }
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let Some((began, _)) = self.began else { return };
        let took = began.elapsed();
        let Counters { event, availability, seats } = &self.worker.reads;
        [event, availability, seats].into_iter().for_each(|tally| tally.count(took));
        if self.again > 0 {
            self.worker.state.board.sent_again(self.again);
        }
    }
}

/// An answer that was written.
struct Sent {
    source: Source,
    rendered: Arc<Rendered>,
    status: StatusCode,
    /// Where its headers are, from the first that depends on it.
    headers: Range<usize>,
    body: Bytes,
}

impl Sent {
    fn again(self, kind: Kind, batch: u64, out: &[u8]) -> Answer {
        let Self { source, rendered, status, headers, body } = self;
        Answer { kind, source, rendered, status, headers: out[headers].into(), body, batch }
    }
}

/// Writes the board's answer.
fn found(worker: &Worker, what: Read<'_>, head: &Head<'_>, id: &[u8], out: &mut Vec<u8>) -> Result<Sent, Problem> {
    let (source, rendered) = find(worker, what, head).map_err(missing)?;
    let form = Form::of(&rendered, head.fields.accept_encoding, head.fields.if_none_match)?;
    let status = form.status();
    let has_body = !form.is_known && head.method == Method::Get;
    let body = if has_body { form.variant.body.clone() } else { Bytes::new() };
    write::begin(out, status, &worker.date, id);
    let begin = out.len();
    put_headers(worker, &rendered, &form, what.kind(), out);
    let headers = begin..out.len();
    out.extend_from_slice(&body);
    Ok(Sent { source, rendered, status, headers, body })
}

fn find(worker: &Worker, what: Read<'_>, head: &Head<'_>) -> Result<(Source, Arc<Rendered>), Missing> {
    let board = &worker.state.board;
    let source = match what {
        Read::Event(event) => board.source(Subject::Event(&EventId::from(event))),
        Read::Availability(event) => board.source(Subject::Availability(&EventId::from(event))),
        Read::Seats(event, block) => {
            let (event, block) = (EventId::from(event), BlockId::from(block));
            board.source(seats_as(head.fields.accept, &event, &block))
        }
    }?;
    let rendered = board.answer_of(&source)?;
    Ok((source, rendered))
}

/// The headers behind those of [`write::begin`], and their end.
fn put_headers(worker: &Worker, rendered: &Rendered, form: &Form<'_>, kind: Kind, out: &mut Vec<u8>) {
    let variant = form.variant;
    write::header(out, ETAG.as_str(), variant.etag.as_bytes());
    write::header(out, CACHE_CONTROL.as_str(), rendered.cache_control.as_bytes());
    write::header(out, VARY.as_str(), rendered.vary.as_bytes());
    if worker.tells_origins {
        write::header(out, VARY.as_str(), b"Origin");
    }
    if kind == Kind::Seats {
        write::header(out, BLOCK_SEQ.as_str(), rendered.version.to_string().as_bytes());
    }
    if form.is_known {
        return out.extend_from_slice(b"\r\n");
    }
    write::header(out, CONTENT_TYPE.as_str(), rendered.content_type.as_bytes());
    if let Some(encoding) = variant.encoding.header() {
        write::header(out, CONTENT_ENCODING.as_str(), encoding.as_bytes());
    }
    write::length(out, variant.body.len());
}
