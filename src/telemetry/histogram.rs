//! Histograms that many threads can count into at once.
//!
//! The library's own histogram takes a mutex and scans its buckets. Here every thread has one of a few sets of counters,
//! finds its bucket by binary search and adds with relaxed atomics; the sets are summed when somebody reads. A reader may
//! see a value in the count and not yet in the sum, which metrics can bear.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Sets of counters of one histogram: threads beyond that share.
const SHARDS: usize = 8;

/// Most buckets of a scale, the open one included.
const BUCKETS_MAX: usize = 23;

/// Upper bounds in nanoseconds: 5 µs to 30 s in steps of 2 to 3.
const TIMES: [u64; 21] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Upper bounds of sizes and counts: powers of two and four from 1 to 16 Mi.
const SIZES: [u64; 17] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24];

/// One thread's counters; aligned so that two threads never write to one cache line.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    sum: AtomicU64,
    buckets: [AtomicU64; BUCKETS_MAX],
}

#[derive(Clone)]
struct Histogram {
    bounds: &'static [u64],
    /// Counted units in one of the metric's unit.
    per_unit: f64,
    shards: Arc<[Shard; SHARDS]>,
}

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl Histogram {
    fn new(bounds: &'static [u64], per_unit: f64) -> Histogram {
        assert!(bounds.len() < BUCKETS_MAX, "a scale fits its counters");
        Histogram { bounds, per_unit, shards: Arc::default() }
    }

    fn observe(&self, value: u64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let shard = &self.shards[SHARD.with(|shard| *shard)];
        shard.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        shard.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.buckets).map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    #[allow(clippy::cast_precision_loss)] // metrics are floating point
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let total = |at: usize| self.shards.iter().map(|shard| shard.buckets[at].load(Ordering::Relaxed)).sum();
        let bound = |at: usize| self.bounds.get(at).map_or(f64::INFINITY, |bound| *bound as f64 / self.per_unit);
        let buckets: Vec<(f64, u64)> = (0..=self.bounds.len()).map(|at| (bound(at), total(at))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum: u64 = self.shards.iter().map(|shard| shard.sum.load(Ordering::Relaxed)).sum();
        encoder.encode_histogram::<NoLabelSet>(sum as f64 / self.per_unit, count, &buckets, None)
    }
}

macro_rules! histogram {
    ($(#[$doc:meta])* $name:ident($bounds:ident, $per_unit:literal)) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Histogram);

        impl Default for $name {
            fn default() -> Self {
                $name(Histogram::new(&$bounds, $per_unit))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.count()).finish()
            }
        }

        impl $name {
            /// Values counted so far.
            #[must_use]
            pub fn count(&self) -> u64 {
                self.0.count()
            }
        }

        impl EncodeMetric for $name {
            fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
                self.0.encode(encoder)
            }

            fn metric_type(&self) -> MetricType {
                Self::TYPE
            }
        }

        impl TypedMetric for $name {
            const TYPE: MetricType = MetricType::Histogram;
        }
    };
}

histogram! {
    /// How long things took; shown in seconds. Clones count into the same place.
    Durations(TIMES, 1e9)
}

impl Durations {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        self.observe_many(took, 1);
    }

    /// Counts several that took equally long.
    pub fn observe_many(&self, took: Duration, times: u64) {
        self.0.observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), times);
    }
}

histogram! {
    /// How many or how large things were. Clones count into the same place.
    Sizes(SIZES, 1.0)
}

impl Sizes {
    /// Counts one.
    pub fn observe(&self, size: usize) {
        self.0.observe(size as u64, 1);
    }
}
