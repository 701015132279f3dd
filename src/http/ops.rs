//! For those who run a node: alive, ready, metrics, and what answers where nothing is.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::ask::answer;
use super::problem::{Code, Problem};
use super::shapes;
use crate::telemetry;

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "Operations", responses((status = 200, description = "Alive", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> HttpResponse {
    text("ok\n")
}

/// The node may be sent requests: it has recovered and can write.
///
/// # Errors
/// [`Code::NotReady`] with the reason.
#[utoipa::path(get, path = "/readyz", tag = "Operations", responses((status = 200, description = "Ready", body = String, content_type = "text/plain")))]
pub(super) async fn readyz(state: Data<State>) -> Result<HttpResponse, Problem> {
    match state.readiness.reason() {
        None => Ok(text("ready\n")),
        Some(_) => Err(not_ready(&state)),
    }
}

/// The node is not ready, and why.
pub(super) fn not_ready(state: &State) -> Problem {
    let reason = state.readiness.reason().map_or_else(|| "starting".to_owned(), |reason| reason.to_string());
    Problem::new(Code::NotReady, reason.clone()).with("reason", reason)
}

/// The metrics of this node, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Operations", responses((status = 200, description = "OpenMetrics text", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(state: Data<State>) -> HttpResponse {
    (state.before_scrape)();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, telemetry::CONTENT_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(state.metrics.encode())
}

/// What this is, and where to read on.
#[utoipa::path(get, path = "/", tag = "Operations", responses((status = 200, description = "Links", body = Root)))]
pub(super) async fn root() -> HttpResponse {
    let root = Root {
        name: "Stampede",
        version: env!("CARGO_PKG_VERSION"),
        events: "/v1/events",
        docs: "/docs",
        openapi: "/openapi.json",
        errors: "/docs/errors",
        health: "/healthz",
        ready: "/readyz",
        metrics: "/metrics",
    };
    answer(StatusCode::OK, false).body(shapes::json(&root))
}

/// The way into the API.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Root {
    /// The product.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// The events on sale.
    events: &'static str,
    /// The documents for people.
    docs: &'static str,
    /// The documents for programs.
    openapi: &'static str,
    /// Every error code.
    errors: &'static str,
    /// Whether the process answers.
    health: &'static str,
    /// Whether the node may be sent requests.
    ready: &'static str,
    /// Prometheus metrics.
    metrics: &'static str,
}

/// Nothing is here.
pub(super) async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Code::NotFound.into())
}

fn text(body: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body)
}
