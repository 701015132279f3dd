//! Cross-origin access for browsers: only for the origins of the configuration, none by default.

use actix_web::HttpResponse;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};

const METHODS: &str = "GET, POST, PATCH, DELETE";
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, if-none-match, prefer, x-request-id";
const RESPONSE_HEADERS: &str =
    "etag, idempotent-replayed, location, preference-applied, ratelimit, ratelimit-policy, retry-after, x-request-id";
/// How long a browser may remember the answer, in seconds.
const MAX_AGE: &str = "600";

/// The answer to a browser that asks whether it may ask; `None` for any other request and for other origins.
pub(super) fn preflight(request: &ServiceRequest, origins: &[String]) -> Option<HttpResponse> {
    if request.method() != Method::OPTIONS || !request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let origin = allowed(request.headers(), origins)?;
    let answer = HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, origin))
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
        .insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE))
        .append_header((VARY, "Origin"))
        .finish();
    Some(answer)
}

/// Lets a page of an allowed origin read the answer. Caches must tell origins apart as soon as any is allowed.
pub(super) fn decorate(response: &mut ServiceResponse, origins: &[String]) {
    if origins.is_empty() {
        return;
    }
    let origin = allowed(response.request().headers(), origins);
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
    }
}

fn allowed(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}
