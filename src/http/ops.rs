//! For those who run a node: alive, ready, metrics, and what answers where nothing is.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;

use super::State;
use super::problem::{Code, Problem};

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
        Some(reason) => Err(Problem::new(Code::NotReady, reason.as_str()).with("reason", reason.as_str())),
    }
}

/// Nothing is here.
pub(super) async fn not_found() -> Problem {
    Code::NotFound.into()
}

fn text(body: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body)
}
