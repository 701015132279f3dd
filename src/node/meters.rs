//! From what the parts report to the metrics that operators read.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actors::address::{BlockRef, Kind};
use actors::feed::Feed;
use actors::ids::Shard;

use crate::board::{self, Served};
use crate::cluster::{Cluster, ShardOwner};
use crate::dispatch::Dispatch;
use crate::gateway::{BreakerState, CallOutcome, Observe};
use crate::journal;
use crate::runtime::{self, Committed, FeedSink, Recovery, View};
use crate::telemetry::{CacheMetrics, GatewayCall, Metrics};

/// One set of counters, handed to every part that reports something.
#[derive(Clone)]
pub(super) struct Meters {
    metrics: Arc<Metrics>,
    answers: CacheMetrics,
}

impl Meters {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { answers: metrics.cache("public_answers"), metrics: Arc::clone(metrics) }
    }

    /// Where public changes go, with orders counted by state on the way.
    pub(super) fn counting(&self, feed: Arc<dyn FeedSink>) -> CountedFeed {
        CountedFeed { metrics: Arc::clone(&self.metrics), feed }
    }

    /// Reads what is only looked at when somebody asks.
    pub(super) fn look(&self, dispatch: &Dispatch) {
        self.look_inside(&dispatch.view());
        if let Some(cluster) = dispatch.cluster() {
            self.look_around(cluster);
        }
    }

    fn look_around(&self, cluster: &Cluster) {
        let (view, happened, metrics) = (cluster.view(), cluster.happened(), &self.metrics.cluster);
        let me = cluster.me();
        let mine = |shard: &&ShardOwner| shard.owner.as_ref().is_some_and(|(name, _)| *name == me.name);
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.nodes.set(gauge(view.nodes.len() as u64));
        metrics.shards_owned.set(gauge(view.shards.iter().filter(mine).count() as u64));
        metrics
            .shards_without_owner
            .set(gauge(view.shards.iter().filter(|shard| shard.owner.is_none()).count() as u64));
        metrics.follower_lag.set(gauge(view.shards.iter().filter(mine).filter_map(ShardOwner::lag).max().unwrap_or(0)));
        let epochs = view.shards.iter().filter_map(|shard| shard.owner.as_ref().map(|(_, epoch)| *epoch));
        metrics.epoch.set(gauge(epochs.max().unwrap_or(0)));
        metrics.leased.set(i64::from(cluster.standing().borrow().leased));
        let counters = [
            (&metrics.claims, happened.claims),
            (&metrics.handoffs, happened.handoffs),
            (&metrics.fenced, happened.fenced),
            (&metrics.packets, happened.packets),
            (&metrics.items, happened.items),
            (&metrics.bytes, happened.bytes),
        ];
        for (counter, number) in counters {
            counter.inc_by(number.saturating_sub(counter.get()));
        }
    }

    fn look_inside(&self, view: &View) {
        let (queued, restarts) = (view.queued(), view.restarts());
        for kind in Kind::ALL {
            self.metrics.mailbox_depth.of(kind.as_str()).set(queued.of(kind) as i64);
            let counter = self.metrics.cell_restarts.of(kind.as_str());
            counter.inc_by(restarts.of(kind).saturating_sub(counter.get()));
        }
        let oldest = view.shards.iter().map(|shard| shard.snapshot_at).min().flatten();
        if let Some(oldest) = oldest {
            self.metrics.snapshot_taken(SystemTime::UNIX_EPOCH + Duration::from_millis(oldest.0));
        }
    }
}

impl journal::Observer for Meters {
    fn committed(&self, commit: &journal::Commit) {
        self.metrics.journal_commit.observe(commit.total);
        self.metrics.journal_fsync.observe(commit.sync);
        self.metrics.journal_batch_records.observe(commit.records);
        self.metrics.journal_batch_bytes.observe(commit.bytes);
    }

    fn unknown(&self) {
        self.metrics.cluster.unknown_outcomes.inc();
    }

    fn space(&self, space: &journal::Space) {
        self.metrics.journal_size.set(i64::try_from(space.bytes).unwrap_or(i64::MAX));
    }
}

impl board::Observer for Meters {
    fn served(&self, how: Served, times: u64) {
        match how {
            Served::Hit | Served::Stale => self.answers.hits.inc_by(times),
            Served::Rendered => self.answers.misses.inc_by(times),
        };
    }

    fn gap(&self, _block: &BlockRef) {
        self.metrics.cluster.feed_gaps.inc();
    }

    fn sessions(&self, open: usize) {
        self.metrics.websocket_sessions.set(open as i64);
    }

    fn resynced(&self) {
        self.metrics.websocket_resyncs.inc();
    }
}

impl runtime::Hooks for Meters {
    fn turned(&self, _kind: Kind, commands: usize, _entries: usize) {
        self.metrics.turn_commands.observe(commands);
    }

    fn committed(&self, _committed: &Committed) {}

    fn append_failed(&self, _shard: Shard) {
        self.metrics.journal_failures.of("append").inc();
    }

    fn overloaded(&self, kind: Kind) {
        self.metrics.admission_refused.of(kind.as_str()).inc();
    }

    fn dropped(&self, kind: Kind) {
        tracing::debug!(kind = kind.as_str(), "message dropped, it is sent again");
        self.metrics.admission_refused.of("message").inc();
    }

    fn snapshotted(&self, _shard: Shard, cells: usize, _bytes: usize, took: Duration) {
        self.metrics.snapshots.of("written").inc_by(cells as u64);
        self.metrics.snapshot_time.observe(took);
    }

    fn snapshot_failed(&self, _shard: Shard) {
        self.metrics.snapshots.of("failed").inc();
    }

    fn recovered(&self, recovery: &Recovery) {
        self.metrics.recovery_time.set(recovery.took.as_secs_f64());
        self.metrics.recovery_changes.set(i64::try_from(recovery.entries).unwrap_or(i64::MAX));
    }
}

/// Hears of every call to the payment provider.
pub(super) fn gateway(metrics: Arc<Metrics>) -> Box<Observe> {
    Box::new(move |operation: &'static str, outcome: CallOutcome, took: Duration, breaker: BreakerState| {
        metrics.gateway_call(GatewayCall { operation, outcome: outcome.word(), took, breaker: breaker.as_gauge() });
    })
}

/// Counts orders by state, then passes the news on.
pub(super) struct CountedFeed {
    metrics: Arc<Metrics>,
    feed: Arc<dyn FeedSink>,
}

impl FeedSink for CountedFeed {
    fn publish(&self, shard: Shard, feed: Vec<Feed>) {
        for news in &feed {
            if let Feed::Order(_, state) = news {
                self.metrics.orders.of(state.as_str()).inc();
            }
        }
        self.feed.publish(shard, feed);
    }

    fn pictured(&self, shard: Shard) {
        self.feed.pictured(shard);
    }
}
