//! The list of all metrics, with their names, labels and handles.
//!
//! Every name starts with `stampede_`; counters end in `_total`, times in `_seconds`, sizes in `_bytes`. The values of
//! labels are words of the code, never of callers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::cluster::ClusterMetrics;
use super::histogram::{Durations, Sizes};
use super::process::Process;
use super::routes::{RouteLabels, RouteMetrics};

type Label = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

macro_rules! by {
    ($(#[$doc:meta])* $name:ident of $metric:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            label: &'static str,
            family: Family<Label, $metric>,
        }

        impl $name {
            fn new(label: &'static str) -> $name {
                $name { label, family: Family::default() }
            }

            /// The handle for one value of the label. Takes a lock: resolve once and keep it where it is hot.
            #[must_use]
            pub fn of(&self, value: &'static str) -> $metric {
                self.family.get_or_create_owned(&[(self.label, value)])
            }
        }
    };
}

by! {
    /// Counters told apart by one label.
    CountersBy of Counter
}
by! {
    /// Gauges told apart by one label.
    GaugesBy of Gauge
}
by! {
    /// Times told apart by one label.
    DurationsBy of Durations
}

/// Hits and misses of one cache.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    /// Answered from memory.
    pub hits: Counter,
    /// Had to be made.
    pub misses: Counter,
}

/// One call to the payment provider, as metrics see it.
#[derive(Debug, Clone, Copy)]
pub struct GatewayCall {
    /// `charge`, `refund` or `status`.
    pub operation: &'static str,
    /// The outcome's word.
    pub outcome: &'static str,
    /// How long it took.
    pub took: Duration,
    /// The breaker afterwards: 0 closed, 1 half-open, 2 open.
    pub breaker: i64,
}

/// All metrics of the server. Handles are cheap to clone and count into the same place.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    routes: Family<RouteLabels, Durations>,
    caches: Family<TwoLabels, Counter>,
    gateway_calls: Family<TwoLabels, Counter>,
    gateway_times: DurationsBy,
    gateway_breaker: Gauge,
    snapshot_taken: Arc<SnapshotAge>,
    /// Requests being answered.
    pub http_in_flight: Gauge,
    /// Callers not recognised, by reason.
    pub auth_failures: CountersBy,
    /// Requests over a limit, by whose limit.
    pub rate_limited: CountersBy,
    /// Commands refused because a queue was full, by which.
    pub admission_refused: CountersBy,
    /// Holds asked for, by outcome.
    pub holds: CountersBy,
    /// Orders, by what became of them.
    pub orders: CountersBy,
    /// From append asked to append durable.
    pub journal_commit: Durations,
    /// The sync alone.
    pub journal_fsync: Durations,
    /// Records of one commit.
    pub journal_batch_records: Sizes,
    /// Bytes of one commit.
    pub journal_batch_bytes: Sizes,
    /// Bytes of all segment files.
    pub journal_size: Gauge,
    /// Appends refused or failed, by reason.
    pub journal_failures: CountersBy,
    /// Commands waiting, by kind of actor.
    pub mailbox_depth: GaugesBy,
    /// Commands of one turn.
    pub turn_commands: Sizes,
    /// Cells rebuilt after a panic, by kind of actor.
    pub cell_restarts: CountersBy,
    /// Notices, by what became of them: sent, retried, dead-lettered.
    pub notices: CountersBy,
    /// Open WebSocket sessions.
    pub websocket_sessions: Gauge,
    /// Boards sent because a reader was too slow or too far behind.
    pub websocket_resyncs: Counter,
    /// Snapshots, by outcome.
    pub snapshots: CountersBy,
    /// Time to write and verify one snapshot.
    pub snapshot_time: Durations,
    /// How long the last start took to recover, in seconds.
    pub recovery_time: Gauge<f64, AtomicU64>,
    /// Changes replayed at the last start.
    pub recovery_changes: Gauge,
    /// 1 when requests are served.
    pub ready: Gauge,
    /// The node's part in a cluster.
    pub cluster: ClusterMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// Makes and registers all metrics.
    #[must_use]
    pub fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::default(),
            routes: Family::default(),
            caches: Family::default(),
            gateway_calls: Family::default(),
            gateway_times: DurationsBy::new("operation"),
            gateway_breaker: Gauge::default(),
            snapshot_taken: Arc::default(),
            http_in_flight: Gauge::default(),
            auth_failures: CountersBy::new("reason"),
            rate_limited: CountersBy::new("scope"),
            admission_refused: CountersBy::new("queue"),
            holds: CountersBy::new("outcome"),
            orders: CountersBy::new("outcome"),
            journal_commit: Durations::default(),
            journal_fsync: Durations::default(),
            journal_batch_records: Sizes::default(),
            journal_batch_bytes: Sizes::default(),
            journal_size: Gauge::default(),
            journal_failures: CountersBy::new("reason"),
            mailbox_depth: GaugesBy::new("actor"),
            turn_commands: Sizes::default(),
            cell_restarts: CountersBy::new("actor"),
            notices: CountersBy::new("outcome"),
            websocket_sessions: Gauge::default(),
            websocket_resyncs: Counter::default(),
            snapshots: CountersBy::new("outcome"),
            snapshot_time: Durations::default(),
            recovery_time: Gauge::default(),
            recovery_changes: Gauge::default(),
            ready: Gauge::default(),
            cluster: ClusterMetrics::default(),
        };
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("stampede");
        metrics.register_edge(own);
        metrics.register_engine(own);
        metrics.register_surroundings(own);
        metrics.cluster.register(own);
        registry.register_collector(Box::new(Process));
        metrics.registry = registry;
        metrics
    }

    fn register_edge(&self, to: &mut Registry) {
        let seconds = || Unit::Seconds;
        to.register_with_unit("http_request_duration", "Time to answer a request", seconds(), self.routes.clone());
        to.register("http_in_flight", "Requests being answered", self.http_in_flight.clone());
        to.register("auth_failures", "Callers not recognised", self.auth_failures.family.clone());
        to.register("rate_limited", "Requests over a limit", self.rate_limited.family.clone());
        to.register("admission_refused", "Commands refused by a full queue", self.admission_refused.family.clone());
        to.register("cache_requests", "Answers by cache and whether they were there", self.caches.clone());
        to.register("websocket_sessions", "Open WebSocket sessions", self.websocket_sessions.clone());
        to.register("websocket_resyncs", "Boards sent to readers that fell behind", self.websocket_resyncs.clone());
    }

    fn register_engine(&self, to: &mut Registry) {
        let (seconds, bytes) = (|| Unit::Seconds, || Unit::Bytes);
        to.register("holds", "Holds asked for", self.holds.family.clone());
        to.register("orders", "Orders by what became of them", self.orders.family.clone());
        to.register_with_unit("journal_commit", "From asked to durable", seconds(), self.journal_commit.clone());
        to.register_with_unit("journal_fsync", "Time of one sync", seconds(), self.journal_fsync.clone());
        to.register("journal_batch_records", "Records of one commit", self.journal_batch_records.clone());
        to.register_with_unit("journal_batch", "Size of one commit", bytes(), self.journal_batch_bytes.clone());
        to.register_with_unit("journal_size", "Size of all segments", bytes(), self.journal_size.clone());
        to.register("journal_failures", "Appends refused or failed", self.journal_failures.family.clone());
        to.register("mailbox_depth", "Commands waiting", self.mailbox_depth.family.clone());
        to.register("turn_commands", "Commands of one turn", self.turn_commands.clone());
        to.register("cell_restarts", "Cells rebuilt after a panic", self.cell_restarts.family.clone());
        to.register("snapshots", "Snapshots by outcome", self.snapshots.family.clone());
        to.register_with_unit("snapshot_write", "Time to write and verify one", seconds(), self.snapshot_time.clone());
        to.register_collector(Box::new(Arc::clone(&self.snapshot_taken)));
        to.register_with_unit("recovery", "Time of the last recovery", seconds(), self.recovery_time.clone());
        to.register("recovery_changes", "Changes replayed at the last start", self.recovery_changes.clone());
        to.register("ready", "1 when requests are served", self.ready.clone());
    }

    fn register_surroundings(&self, to: &mut Registry) {
        to.register("gateway_calls", "Calls to the payment provider", self.gateway_calls.clone());
        to.register_with_unit("gateway_call", "Time of one call", Unit::Seconds, self.gateway_times.family.clone());
        let help = "Circuit breaker: 0 closed, 1 half-open, 2 open";
        to.register("gateway_breaker_state", help, self.gateway_breaker.clone());
        to.register("notices", "Notices by what became of them", self.notices.family.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("build", "The program", build);
    }

    /// The counters of one route; resolve once, when routes are built.
    #[must_use]
    pub fn route(&self, method: &'static str, route: &'static str) -> RouteMetrics {
        RouteMetrics::new(self.routes.clone(), method, route)
    }

    /// The counters of one cache; resolve once.
    #[must_use]
    pub fn cache(&self, cache: &'static str) -> CacheMetrics {
        let of = |result| self.caches.get_or_create_owned(&[("cache", cache), ("result", result)]);
        CacheMetrics { hits: of("hit"), misses: of("miss") }
    }

    /// Counts one call to the payment provider.
    pub fn gateway_call(&self, call: GatewayCall) {
        let labels = [("operation", call.operation), ("outcome", call.outcome)];
        self.gateway_calls.get_or_create_owned(&labels).inc();
        self.gateway_times.of(call.operation).observe(call.took);
        self.gateway_breaker.set(call.breaker);
    }

    /// Notes that every actor has a verified snapshot not older than `at`.
    pub fn snapshot_taken(&self, at: SystemTime) {
        self.snapshot_taken.note(at);
    }

    /// All metrics as text, in the format of [`super::CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        // writing to a string cannot fail, and every collector leaves out what it cannot read
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    }
}

/// Age of the snapshots, computed when it is read so that it grows even when nothing runs any more.
#[derive(Debug, Default)]
struct SnapshotAge {
    /// Milliseconds since 1970; 0 when there is none.
    taken: AtomicU64,
}

impl SnapshotAge {
    fn note(&self, at: SystemTime) {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.taken.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Collector for SnapshotAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let taken = self.taken.load(Ordering::Relaxed);
        if taken == 0 {
            return Ok(());
        }
        let taken = SystemTime::UNIX_EPOCH + Duration::from_millis(taken);
        let age = ConstGauge::new(SystemTime::now().duration_since(taken).unwrap_or_default().as_secs_f64());
        let help = "Age of the oldest actor's newest verified snapshot.";
        age.encode(encoder.encode_descriptor("snapshot_age", help, Some(&Unit::Seconds), age.metric_type())?)
    }
}
