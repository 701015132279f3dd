//! What the server says of itself: logs and metrics.
//!
//! Metrics are named and registered here and nowhere else; other modules get handles that are resolved once, so that
//! counting costs nanoseconds and takes no lock. Nothing here decides anything, and no label takes a value that callers
//! can choose.
//!
//! Next: `metrics` for the list of all metrics, `routes` for requests, `histogram` for how times are counted,
//! `process` for the process itself, `logs` for log lines.

mod cluster;
mod histogram;
mod logs;
mod metrics;
mod process;
mod routes;

pub use cluster::ClusterMetrics;
pub use histogram::{Durations, Sizes};
pub use logs::{Colour, LogError, init, subscriber};
pub use metrics::{CacheMetrics, CountersBy, DurationsBy, GatewayCall, GaugesBy, Metrics};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use routes::{RouteMetrics, StatusClass};

/// `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests;
