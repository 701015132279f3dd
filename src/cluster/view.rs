//! What the cluster looks like from this node, for `/v1/cluster` and metrics.

use actors::ids::Shard;
use compact_str::CompactString;

use super::presence::{NodeId, Phase};

/// Everything that this node knows of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes that are alive, this one among them, by name.
    pub nodes: Vec<Member>,
    /// Every shard, in order.
    pub shards: Vec<ShardOwner>,
}

/// A living node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// What it is doing.
    pub phase: Phase,
    /// Where its API is.
    pub address: String,
}

/// Who owns and follows a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOwner {
    /// Which.
    pub shard: Shard,
    /// The owner's name and its epoch; `None` between two owners.
    pub owner: Option<(CompactString, u64)>,
    /// Its last durable record, as the owner last told.
    pub seq: u64,
    /// Who is closest behind it, and at which record.
    pub follower: Option<(CompactString, u64)>,
}

impl ShardOwner {
    /// Somebody has followed it up to a record: the closest counts.
    pub(super) fn followed_by(&mut self, name: &CompactString, seq: u64) {
        if self.follower.as_ref().is_none_or(|(_, known)| *known < seq) {
            self.follower = Some((name.clone(), seq));
        }
    }

    /// Records that the follower has not read yet; `None` without one.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        self.follower.as_ref().map(|(_, seq)| self.seq.saturating_sub(*seq))
    }
}

/// What happened on this node since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Shards that it became the owner of.
    pub claims: u64,
    /// Shards that it handed over in good order.
    pub handoffs: u64,
    /// Shards that it lost because the journal refused its append.
    pub fenced: u64,
    /// Packets sent to other nodes.
    pub packets: u64,
    /// Asks, answers and messages in them.
    pub items: u64,
    /// Bytes of them.
    pub bytes: u64,
}
