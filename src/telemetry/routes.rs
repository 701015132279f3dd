//! Request times by route and class of status: one handle a route, resolved when routes are built.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::metrics::family::Family;

use super::histogram::Durations;

/// Labels of a request: method, route pattern, class of status.
pub(super) type RouteLabels = [(&'static str, &'static str); 3];

/// Few enough classes to keep the number of series small, with the two refusals that operators look for on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// 1xx: switched to a WebSocket.
    Informational,
    /// 2xx.
    Success,
    /// 3xx, nearly always 304.
    Redirection,
    /// 429: over a limit.
    Limited,
    /// Other 4xx.
    ClientError,
    /// 503: overloaded or not available.
    Unavailable,
    /// Other 5xx and anything that is no status.
    ServerError,
}

impl StatusClass {
    const COUNT: usize = 7;

    /// The class of a status code.
    #[must_use]
    pub fn of(status: u16) -> StatusClass {
        match status {
            100..=199 => StatusClass::Informational,
            200..=299 => StatusClass::Success,
            300..=399 => StatusClass::Redirection,
            429 => StatusClass::Limited,
            400..=499 => StatusClass::ClientError,
            503 => StatusClass::Unavailable,
            0..=99 | 500..=u16::MAX => StatusClass::ServerError,
        }
    }

    /// The value of the label `status`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            StatusClass::Informational => "1xx",
            StatusClass::Success => "2xx",
            StatusClass::Redirection => "3xx",
            StatusClass::Limited => "429",
            StatusClass::ClientError => "4xx",
            StatusClass::Unavailable => "503",
            StatusClass::ServerError => "5xx",
        }
    }
}

/// The counters of one route. A class appears in the metrics once it has happened.
#[derive(Debug)]
pub struct RouteMetrics {
    family: Family<RouteLabels, Durations>,
    method: &'static str,
    route: &'static str,
    classes: [OnceLock<Durations>; StatusClass::COUNT],
}

impl RouteMetrics {
    pub(super) fn new(
        family: Family<RouteLabels, Durations>,
        method: &'static str,
        route: &'static str,
    ) -> RouteMetrics {
        RouteMetrics { family, method, route, classes: Default::default() }
    }

    /// Counts one request. Without a lock, except the first of a class.
    pub fn observe(&self, status: u16, took: Duration) {
        self.observe_many(status, took, 1);
    }

    /// Counts several requests that took equally long.
    pub fn observe_many(&self, status: u16, took: Duration, times: u64) {
        self.class(StatusClass::of(status)).observe_many(took, times);
    }

    /// The times of one class, for callers that know the status beforehand.
    #[must_use]
    pub fn class(&self, class: StatusClass) -> &Durations {
        self.classes[class as usize].get_or_init(|| {
            let labels = [("method", self.method), ("route", self.route), ("status", class.word())];
            self.family.get_or_create_owned(&labels)
        })
    }
}
