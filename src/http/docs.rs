//! The documents: `/openapi.json`, `/docs` and `/docs/errors`, all made from the code.
//!
//! Handlers describe their own parameters, bodies and successes; [`complete`] adds what follows from the table of routes:
//! security, error codes, headers. Nothing is loaded from elsewhere: the pages work offline.

mod complete;
mod page;

use std::sync::{Arc, OnceLock};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ContentEncoding, LOCATION,
};
use actix_web::web::{self, Bytes, Path};
use utoipa_swagger_ui::Config;

use super::ask::answer;
use super::problem::{Code, Problem};

pub(super) use complete::document;

/// What the pages may load: only what this server has. The viewer sets styles from its code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The documents change only with the program.
const DAY: &str = "public, max-age=3600";

/// The files of the viewer. The routes of the table come before, so that `/docs/errors` is not one of them.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(web::resource("/docs/{file:.*}").route(web::get().to(viewer)));
}

/// The whole API as OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn openapi() -> HttpResponse {
    static BODY: OnceLock<Bytes> = OnceLock::new();
    let body = BODY.get_or_init(|| document().to_string().into()).clone();
    let mut response = answer(StatusCode::OK, false);
    response.insert_header((CACHE_CONTROL, DAY)).body(body)
}

/// A page to read and try the API.
#[utoipa::path(
    get, path = "/docs", tag = "Operations",
    responses((status = 308, description = "The page is at `/docs/`", headers(("Location" = String))))
)]
pub(super) async fn docs() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

/// Every error code and what to do about it.
#[utoipa::path(
    get, path = "/docs/errors", tag = "Operations",
    responses((status = 200, description = "HTML", body = String, content_type = "text/html"))
)]
pub(super) async fn errors() -> HttpResponse {
    static BODY: OnceLock<Bytes> = OnceLock::new();
    let body = BODY.get_or_init(|| page::errors().into()).clone();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CACHE_CONTROL, DAY))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(body)
}

async fn viewer(file: Path<String>) -> Result<HttpResponse, Problem> {
    static CONFIG: OnceLock<Arc<Config<'static>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Arc::new(Config::from("/openapi.json").validator_url("none")));
    let found = utoipa_swagger_ui::serve(&file, config.clone()).map_err(|_| Code::Internal)?;
    let file = found.ok_or(Code::NotFound)?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, file.content_type))
        .insert_header((CACHE_CONTROL, DAY))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY));
    if file.gzpipped {
        response.insert_header((CONTENT_ENCODING, ContentEncoding::Gzip));
    }
    Ok(response.body(file.bytes.to_vec()))
}
