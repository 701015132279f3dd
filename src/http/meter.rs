//! What is counted about requests, with handles that each worker resolves once: counting takes no lock.

use std::cell::OnceCell;
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::Method;

use super::problem::Code;
use super::routes::{PATHS, PathIx, ROUTES};
use crate::telemetry::{Counter, CountersBy, Gauge, Metrics, RouteMetrics};

/// The handles of one worker.
pub(super) struct Meter {
    /// By path of the table, each with its methods.
    paths: Vec<Vec<(&'static str, RouteMetrics)>>,
    /// For what no route is there, and methods it does not have.
    other: RouteMetrics,
    in_flight: Gauge,
    held: Counter,
    holds: CountersBy,
    /// Holds refused, by code; resolved when it first happens.
    refused: Vec<OnceCell<Counter>>,
}

impl Meter {
    /// Resolves the handles.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let methods_of = |path: &&'static str| {
            let routes = ROUTES.iter().filter(|route| route.path == *path);
            routes.map(|route| (route.method, metrics.route(route.method, route.path))).collect()
        };
        Self {
            paths: PATHS.iter().map(methods_of).collect(),
            other: metrics.route("other", "other"),
            in_flight: metrics.http_in_flight.clone(),
            held: metrics.holds.of("held"),
            holds: metrics.holds.clone(),
            refused: Code::ALL.iter().map(|_| OnceCell::new()).collect(),
        }
    }

    /// A request has begun; it is over when the guard is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answer.
    pub(super) fn count(&self, request: &HttpRequest, status: u16, started: Instant) {
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let routed = request.app_data::<PathIx>().map(|path| path.0);
        let known = routed.or_else(|| meant(request)).and_then(|path| self.paths.get(path));
        let route = known.and_then(|routes| routes.iter().find(|(name, _)| method.as_str().eq_ignore_ascii_case(name)));
        route.map_or(&self.other, |(_, route)| route).observe(status, started.elapsed());
    }

    /// The counters of what no route is there for.
    pub(super) fn other(&self) -> &RouteMetrics {
        &self.other
    }

    /// Counts a hold that was asked for: `Ok` if the places are promised.
    pub(super) fn hold(&self, outcome: Result<(), Code>) {
        match outcome {
            Ok(()) => self.held.inc(),
            Err(code) => self.refused[code as usize].get_or_init(|| self.holds.of(code.name())).inc(),
        };
    }
}

/// The path that a request would have come to, had it not been refused before it was routed.
fn meant(request: &HttpRequest) -> Option<usize> {
    let pattern = request.match_pattern()?;
    PATHS.iter().position(|path| *path == pattern)
}

/// A request that is being answered.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
