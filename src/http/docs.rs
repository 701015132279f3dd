//! The documents: `/openapi.json`, `/docs` and `/docs/errors`, all made from the code.

use actix_web::web;

pub(super) fn configure(_app: &mut web::ServiceConfig) {}
