//! What anybody may read: events, availability, layouts and seats, copied from the board's finished answers.
//!
//! Owns the HTTP side of reading: which encoding, `If-None-Match`, the headers for caches. It renders nothing; that is
//! [`crate::board`]. Live changes are in [`super::live`].

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, VARY,
};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use actors::ids::{BlockId, EventId};
use std::borrow::Cow;
use std::time::Duration;

use super::pages::Page;
use super::problem::{Code, Problem};
use crate::board::answers::{AvailabilityAnswer, EventAnswer, LayoutAnswer, ListAnswer, SeatsAnswer};
use crate::board::{Board, Missing, Rendered, Subject};
use crate::encoding::{Variant, negotiate};

/// The number of the last change that the seats contain, for readers of the bytes.
pub(super) const BLOCK_SEQ: HeaderName = HeaderName::from_static("x-block-seq");

/// When to look again for seats that are not known yet.
const SEATS_WAIT: Duration = Duration::from_secs(1);

/// Events, a page at a time, by id.
///
/// # Errors
/// [`Code::InvalidRequest`] for a bad page, [`Code::NotAcceptable`].
#[utoipa::path(get, path = "/v1/events", tag = "Public",
    params(
        ("limit" = Option<u32>, Query, description = "Most events of the page", minimum = 1, maximum = 1000, example = 100),
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an answer you have"),
    ),
    responses(
        (status = 200, description = "A page of events", body = ListAnswer<'static>,
            headers(("etag" = String), ("cache-control" = String), ("vary" = String))),
        (status = 304, description = "You have it"),
    ))]
pub(super) async fn list(board: Data<Board>, request: HttpRequest, page: Page) -> Result<HttpResponse, Problem> {
    let after = page.after.as_deref().map(EventId::from);
    answer(&request, &board.event_list(after, page.limit as usize))
}

/// One event: description, blocks, prices, rules, where its sale is.
///
/// # Errors
/// [`Code::UnknownEvent`], [`Code::NotAcceptable`].
#[utoipa::path(get, path = "/v1/events/{event}", tag = "Public",
    params(
        ("event" = String, Path, description = "The event's id", example = "aurora-night-1"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an answer you have"),
    ),
    responses(
        (status = 200, description = "The event", body = EventAnswer<'static>,
            headers(("etag" = String), ("cache-control" = String), ("vary" = String))),
        (status = 304, description = "You have it"),
    ))]
pub(super) async fn event(
    board: Data<Board>,
    request: HttpRequest,
    event: Path<String>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &*board.answer(Subject::Event(&EventId::from(event.as_str()))).map_err(missing)?)
}

/// Free places of an event, by block.
///
/// # Errors
/// [`Code::UnknownEvent`], [`Code::NotAcceptable`].
#[utoipa::path(get, path = "/v1/events/{event}/availability", tag = "Public",
    params(
        ("event" = String, Path, description = "The event's id", example = "aurora-night-1"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an answer you have"),
    ),
    responses(
        (status = 200, description = "Free places", body = AvailabilityAnswer<'static>,
            headers(("etag" = String), ("cache-control" = String), ("vary" = String))),
        (status = 304, description = "You have it"),
    ))]
pub(super) async fn availability(
    board: Data<Board>,
    request: HttpRequest,
    event: Path<String>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &*board.answer(Subject::Availability(&EventId::from(event.as_str()))).map_err(missing)?)
}

/// Where the places of a block are. Never changes.
///
/// # Errors
/// [`Code::UnknownEvent`], [`Code::UnknownBlock`], [`Code::NotAcceptable`].
#[utoipa::path(get, path = "/v1/events/{event}/blocks/{block}/layout", tag = "Public",
    params(
        ("event" = String, Path, description = "The event's id", example = "aurora-night-1"),
        ("block" = String, Path, description = "The block's id", example = "A"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an answer you have"),
    ),
    responses(
        (status = 200, description = "Rows, seat numbers and coordinates", body = LayoutAnswer<'static>,
            headers(("etag" = String), ("cache-control" = String), ("vary" = String))),
        (status = 304, description = "You have it"),
    ))]
pub(super) async fn layout(
    board: Data<Board>,
    request: HttpRequest,
    at: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (event, block) = ids(&at);
    answer(&request, &*board.layout(&event, &block).map_err(missing)?)
}

/// The state of every seat of a block; as bytes with `Accept: application/octet-stream`.
///
/// # Errors
/// [`Code::UnknownEvent`], [`Code::UnknownBlock`], [`Code::NotAcceptable`]; [`Code::Unavailable`] while this node has not
/// heard of the block's seats.
#[utoipa::path(get, path = "/v1/events/{event}/blocks/{block}/seats", tag = "Public",
    params(
        ("event" = String, Path, description = "The event's id", example = "aurora-night-1"),
        ("block" = String, Path, description = "The block's id", example = "A"),
        ("Accept" = Option<String>, Header, description = "`application/json` or `application/octet-stream`"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an answer you have"),
    ),
    responses(
        (status = 200, description = "The seats: 2 bits a seat, row-major, first seat lowest; 0 free, 1 held, 2 sold, 3 blocked",
            content((SeatsAnswer<'static> = "application/json"), (Vec<u8> = "application/octet-stream")),
            headers(("etag" = String), ("cache-control" = String), ("vary" = String),
                ("x-block-seq" = u64, description = "The number of the last change they contain"))),
        (status = 304, description = "You have them"),
    ))]
pub(super) async fn seats(
    board: Data<Board>,
    request: HttpRequest,
    at: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (event, block) = ids(&at);
    let subject = seats_as(joined(request.headers(), ACCEPT).as_deref(), &event, &block);
    let seats = board.answer(subject).map_err(missing)?;
    let mut response = answer(&request, &seats)?;
    response.headers_mut().insert(BLOCK_SEQ, HeaderValue::from(seats.version));
    Ok(response)
}

/// The finished answer in the encoding the client likes best, or 304 if it has it.
///
/// # Errors
/// [`Code::NotAcceptable`]: the client rules out every encoding.
pub(super) fn answer(request: &HttpRequest, rendered: &Rendered) -> Result<HttpResponse, Problem> {
    let headers = request.headers();
    let (accept_encoding, tags) = (joined(headers, ACCEPT_ENCODING), joined(headers, IF_NONE_MATCH));
    let form = Form::of(rendered, accept_encoding.as_deref(), tags.as_deref())?;
    let variant = form.variant;
    let mut response = HttpResponse::build(form.status());
    response
        .insert_header((ETAG, variant.etag.as_str()))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static(rendered.cache_control)))
        .insert_header((VARY, HeaderValue::from_static(rendered.vary)));
    if form.is_known {
        return Ok(response.finish());
    }
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static(rendered.content_type)));
    if let Some(encoding) = variant.encoding.header() {
        response.insert_header((CONTENT_ENCODING, HeaderValue::from_static(encoding)));
    }
    Ok(response.body(variant.body.clone()))
}

/// A finished answer in the encoding that a client likes best, or the word that the client has it.
pub(super) struct Form<'a> {
    pub(super) variant: &'a Variant,
    /// Whether the client has it.
    pub(super) is_known: bool,
}

impl<'a> Form<'a> {
    /// By what a request says in `Accept-Encoding` and `If-None-Match`.
    ///
    /// # Errors
    /// [`Code::NotAcceptable`]: the client rules out every encoding.
    pub(super) fn of(
        rendered: &'a Rendered,
        accept_encoding: Option<&str>,
        if_none_match: Option<&str>,
    ) -> Result<Self, Problem> {
        let encoding = negotiate(accept_encoding).ok_or(Code::NotAcceptable)?;
        let is_known = if_none_match.is_some_and(|tags| rendered.encoded.matches(tags));
        Ok(Self { variant: rendered.variant(encoding), is_known })
    }

    pub(super) fn status(&self) -> StatusCode {
        if self.is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK }
    }
}

/// The seats of a block as a request's `Accept` wants them.
pub(super) fn seats_as<'a>(accept: Option<&str>, event: &'a EventId, block: &'a BlockId) -> Subject<'a> {
    match wants_bytes(accept) {
        true => Subject::SeatsBytes(event, block),
        false => Subject::Seats(event, block),
    }
}

/// What is missing, as a problem.
pub(super) fn missing(what: Missing) -> Problem {
    match what {
        Missing::Event => Code::UnknownEvent.into(),
        Missing::Block => Code::UnknownBlock.into(),
        Missing::Seats => {
            Problem::new(Code::Unavailable, "this node has not heard of the block's seats yet").retry_after(SEATS_WAIT)
        }
    }
}

fn ids(at: &(String, String)) -> (EventId, BlockId) {
    (EventId::from(at.0.as_str()), BlockId::from(at.1.as_str()))
}

/// Whether the client asks for bytes more than for JSON. JSON is what everybody gets who does not say.
fn wants_bytes(accept: Option<&str>) -> bool {
    let Some(accept) = accept else { return false };
    let quality = |wanted: &str| {
        let items = accept.split(',').map(|item| item.split(';').map(str::trim));
        let named = items.filter_map(|mut parts| {
            let matches = parts.next().is_some_and(|range| range.eq_ignore_ascii_case(wanted));
            let quality =
                parts.find_map(|parameter| parameter.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            quality.filter(|_| matches)
        });
        named.fold(0.0_f32, f32::max)
    };
    quality("application/octet-stream") > quality("application/json")
}

/// All values of a header as one list; `None` if it is not there or not text.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<Cow<'_, str>> {
    let mut values = headers.get_all(&name);
    let first = values.next()?.to_str().ok()?;
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let rest = std::iter::once(second).chain(values).filter_map(|value| value.to_str().ok());
    Some(Cow::Owned(rest.fold(first.to_owned(), |all, value| all + ", " + value)))
}

#[cfg(test)]
mod tests;
