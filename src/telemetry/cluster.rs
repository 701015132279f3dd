//! The metrics of a node's part in a cluster. All zero on an embedded node.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// See the module's charter. Handles are cheap to clone and count into the same place.
#[derive(Clone, Debug, Default)]
pub struct ClusterMetrics {
    /// Living nodes, this one among them.
    pub nodes: Gauge,
    /// Shards that this node owns.
    pub shards_owned: Gauge,
    /// Shards that nobody owns.
    pub shards_without_owner: Gauge,
    /// Most records that a follower is behind a shard of this node.
    pub follower_lag: Gauge,
    /// Highest epoch of any shard: grows with every change of an owner.
    pub epoch: Gauge,
    /// 1 while a quorum stores this node's heartbeats in time.
    pub leased: Gauge,
    /// Shards that this node became the owner of.
    pub claims: Counter,
    /// Shards that it handed over in good order.
    pub handoffs: Counter,
    /// Shards that it lost because the journal refused its append.
    pub fenced: Counter,
    /// NATS messages to other nodes: packets of asks, answers and messages.
    pub packets: Counter,
    /// Asks, answers and messages in them.
    pub items: Counter,
    /// Bytes of them.
    pub bytes: Counter,
    /// Blocks of which this node's board missed a public change and waited for the picture.
    pub feed_gaps: Counter,
    /// Appends whose first answer was lost or not definite.
    pub unknown_outcomes: Counter,
}

impl ClusterMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        let bytes = || Unit::Bytes;
        to.register("cluster_nodes", "Living nodes", self.nodes.clone());
        to.register("cluster_shards_owned", "Shards that this node owns", self.shards_owned.clone());
        to.register("cluster_shards_without_owner", "Shards that nobody owns", self.shards_without_owner.clone());
        to.register("cluster_follower_lag", "Most records that a follower is behind", self.follower_lag.clone());
        to.register("cluster_epoch", "Highest epoch of any shard", self.epoch.clone());
        to.register("cluster_leased", "1 while a quorum stores the node's heartbeats in time", self.leased.clone());
        to.register("cluster_claims", "Shards that this node became the owner of", self.claims.clone());
        to.register("cluster_handoffs", "Shards handed over in good order", self.handoffs.clone());
        to.register("cluster_fenced", "Shards lost to a later owner", self.fenced.clone());
        to.register("cluster_packets", "NATS messages to other nodes", self.packets.clone());
        to.register("cluster_items", "Asks, answers and messages in them", self.items.clone());
        to.register_with_unit("cluster_packets_size", "Bytes of them", bytes(), self.bytes.clone());
        to.register("cluster_feed_gaps", "Blocks whose picture was awaited", self.feed_gaps.clone());
        to.register(
            "cluster_unknown_outcomes",
            "Appends looked up because no answer came",
            self.unknown_outcomes.clone(),
        );
    }
}
