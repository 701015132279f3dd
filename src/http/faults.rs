//! Faults on demand, for tests of a running node: only with `runtime.fault_injection`, otherwise nothing is here.
//!
//! Not part of the contract and not in the documents. It breaks one machine and never touches what the machine owns.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actors::address::Address;
use serde::{Deserialize, Serialize};

use super::State;
use super::around;
use super::ask::answer;
use super::body::Posted;
use super::caller::Seller;
use super::problem::{Code, Problem};
use super::shapes;

/// Registers the route where the configuration allows it.
pub(super) fn configure(app: &mut web::ServiceConfig, state: &State) {
    if state.config.runtime.fault_injection {
        let panic = web::post().to(panic).wrap(from_fn(around::survive));
        app.service(web::resource("/v1/faults/panic").route(panic));
    }
}

/// Which block is to panic in its next turn.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PanicRequest {
    event: String,
    block: String,
}

async fn panic(state: Data<State>, _seller: Seller, posted: Posted<PanicRequest>) -> Result<HttpResponse, Problem> {
    let place = state.place(&posted.body.event, &posted.body.block)?;
    if !state.dispatch.panic_for_test(Address::Block(place.at)) {
        return Err(Code::NotFound.into());
    }
    Ok(answer(StatusCode::ACCEPTED, false).body(shapes::json(&posted.body)))
}
