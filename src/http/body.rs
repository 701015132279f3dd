//! Request bodies: read with a limit and a deadline, then parsed into the shape a route wants.
//!
//! Owns everything that can be wrong before a field's meaning is looked at: size, time, type, syntax, depth, unknown and
//! mistyped fields. What the fields mean is checked by the routes, with [`super::validate`].

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use actors::keyed::{Asked, Key};
use actors::message::Message;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::State;
use super::caller::Principal;
use super::keys;
use super::problem::{Code, Problem};

/// Longest part of a parser's message that is repeated to the client, in bytes.
const MESSAGE_MAX: usize = 200;

/// A parsed JSON body and the request's idempotency key. Extract it after the caller: who may not call learns only that.
#[derive(Debug)]
pub(super) struct Posted<T> {
    /// The body.
    pub(super) body: T,
    /// How the request may be repeated.
    pub(super) once: Once,
}

/// A request without a body (`{}` is accepted), and its idempotency key.
#[derive(Debug)]
pub(super) struct Bare {
    /// How the request may be repeated.
    pub(super) once: Once,
}

/// A request's idempotency key before it is known whose it is.
#[derive(Clone, Debug)]
pub(super) struct Once {
    key: Option<String>,
    fingerprint: u64,
}

impl Once {
    /// Of a request with this key, if any, that asked for what the fingerprint names.
    pub(super) fn new(key: Option<String>, fingerprint: u64) -> Self {
        Self { key, fingerprint }
    }

    /// The key as the owner of the answer knows it; `None` when the client sent none.
    pub(super) fn key(&self, caller: &impl Principal) -> Option<Key> {
        let (kind, name) = caller.principal();
        self.key.as_deref().map(|text| keys::key((kind, &name), text, self.fingerprint))
    }

    /// A command with this key.
    pub(super) fn asked(&self, caller: &impl Principal, command: impl Into<Message>) -> Asked<Message> {
        Asked { key: self.key(caller), command: command.into() }
    }
}

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

impl<T: DeserializeOwned + 'static> FromRequest for Posted<T> {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let headers = request.headers();
            let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            must_be_json(kind, headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes))?;
            let (bytes, once) = receive(&request, payload).await?;
            Ok(Posted { body: parse(&bytes)?, once })
        })
    }
}

impl FromRequest for Bare {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let (bytes, once) = receive(&request, payload).await?;
            match bytes.trim_ascii() {
                b"" | b"{}" => Ok(Bare { once }),
                _ => Err(Problem::invalid_field("body", "must be empty or {}")),
            }
        })
    }
}

async fn receive(request: &HttpRequest, payload: Payload) -> Result<(Bytes, Once), Problem> {
    let key = keys::header(request)?;
    let state = request.app_data::<Data<State>>().ok_or(Code::Internal)?;
    let http = &state.config.http;
    let reading = read(request, payload, http.body_max.as_usize());
    let bytes = tokio::time::timeout(http.body_timeout, reading).await.map_err(|_| Code::RequestTimeout)??;
    let fingerprint = keys::fingerprint(request, &bytes);
    Ok((bytes, Once { key, fingerprint }))
}

async fn read(request: &HttpRequest, mut payload: Payload, most: usize) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Code::BodyTooLarge, format!("the body is larger than {most} bytes")).with("most", most);
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Code::BadRequest, "the body ended early or is badly framed"))?;
        if bytes.len() + chunk.len() > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Holds `Content-Type` and `Content-Encoding` against what bodies must be.
///
/// # Errors
/// [`Code::UnsupportedMediaType`].
pub(super) fn must_be_json(kind: Option<&str>, encoding: Option<&[u8]>) -> Result<(), Problem> {
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_plain = encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"identity"));
    if essence.eq_ignore_ascii_case("application/json") && is_plain {
        return Ok(());
    }
    Err(Code::UnsupportedMediaType.into())
}

/// Reads JSON of one shape.
///
/// # Errors
/// [`Code::MalformedJson`] when it is not JSON, [`Code::InvalidRequest`] with the field that does not fit.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The parser would also take a list as a struct's fields in order, which no client should rely on.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
        return Err(Problem::invalid_field("body", "must be a JSON object"));
    }
    // Where something does not fit is looked for only then: keeping account of it costs as much as the reading.
    serde_json::from_slice(bytes).or_else(|_| parse_tracked(bytes))
}

/// The same, and says which field does not fit.
fn parse_tracked<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() || is_json(bytes, &inner) { misfit(&path, &inner.to_string()) } else { malformed(&inner) }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Whether this is JSON all the same: the parser also calls it bad syntax when it meets, say, `null` where one of a few
/// words must be.
fn is_json(bytes: &[u8], error: &serde_json::Error) -> bool {
    let is_too_deep = error.to_string().starts_with("recursion limit exceeded");
    !is_too_deep && str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(Code::MalformedJson, shortened(&error.to_string()))
}

/// Says a parser's complaint in terms of the field: `unknown field`, `missing field`, `invalid type`.
fn misfit(path: &str, message: &str) -> Problem {
    let message = message.split(" at line ").next().unwrap_or(message);
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split('`').next().map(str::to_owned);
    let parent = if path == "." { "" } else { path };
    if let Some(name) = quoted("missing field `") {
        return Problem::invalid_field(child(parent, &name), "is required");
    }
    if let Some(name) = quoted("unknown field `") {
        let parent = parent.strip_suffix(name.as_str()).unwrap_or(parent).trim_end_matches('.');
        return Problem::invalid_field(child(parent, shortened(&name)), "is not a field of this request");
    }
    let field = if parent.is_empty() { "body" } else { parent };
    let message = if message == "expected value" { "must be another kind of value" } else { message };
    Problem::invalid_field(shortened(field), shortened(message))
}

fn child(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn shortened(text: &str) -> &str {
    let mut cuts = (0..=MESSAGE_MAX.min(text.len())).rev();
    &text[..cuts.find(|at| text.is_char_boundary(*at)).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        list: Vec<Inner>,
        #[serde(default)]
        count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        price: u64,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Seated,
    }

    fn refused(body: &str) -> String {
        parse::<Outer>(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_field() {
        assert!(refused("{}").contains("list is required"), "{}", refused("{}"));
        assert!(refused(r#"{"list":[{}]}"#).contains("list[0].price is required"));
        assert!(refused(r#"{"list":[{"price":-1}]}"#).contains("list[0].price invalid value"));
        assert!(refused(r#"{"list":[{"price":"x"}]}"#).contains("list[0].price invalid type"));
        assert!(refused(r#"{"list":[{"price":1,"prize":2}]}"#).contains("list[0].prize is not a field"));
        assert!(refused(r#"{"list":[{"price":1e999}]}"#).contains("list[0].price number out of range"));
        for wrong in ["7", "true", "-1", "[]", "\"lying\"", "{\"seated\":1}"] {
            let body = format!(r#"{{"list":[{{"price":1,"kind":{wrong}}}]}}"#);
            assert!(refused(&body).starts_with("invalid_request: list[0].kind"), "{}", refused(&body));
        }
        assert!(refused(r#"{"list":[],"more":1}"#).starts_with("invalid_request: more is not a field"));
        for other in ["[]", "[[], 1]", "null", "7", "\"text\""] {
            assert_eq!(refused(other), "invalid_request: body must be a JSON object", "{other}");
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for rubbish in ["", "{", "nonsense", "[", r#"{"list":[]} x"#, "{\"list\":[],}"] {
            assert_eq!(parse::<Outer>(rubbish.as_bytes()).unwrap_err().code(), Code::MalformedJson, "{rubbish}");
        }
        assert_eq!(parse::<Outer>(b"{\"list\":[\"\xff\"]}").unwrap_err().code(), Code::MalformedJson);
    }

    #[test]
    fn depth_is_limited() {
        let deep = format!("{}{}", r#"{"a":"#, "[".repeat(100_000));
        assert_eq!(parse::<serde_json::Value>(deep.as_bytes()).unwrap_err().code(), Code::MalformedJson);
    }
}
