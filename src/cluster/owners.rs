//! Owners: which node a command goes to, and whether this one may answer.
//!
//! Read by every request, written by the driver. The table follows the keeper's view; the lease is two numbers that are
//! compared when an answer is given, not when it is asked for: the process may have been paused in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actors::ids::Shard;
use actors::time::Millis;
use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::presence::NodeId;

/// Who owns a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) node: NodeId,
    pub(super) epoch: u64,
}

/// See the module's charter.
pub(super) struct Owners {
    me: NodeId,
    shards: Vec<ArcSwapOption<Owner>>,
    /// Whether this node's shard cannot have found another owner unnoticed.
    trusted: Vec<AtomicBool>,
    lease_until: AtomicU64,
    changed: watch::Sender<()>,
}

/// Where a command goes.
pub(super) enum Way {
    /// To this node.
    Here,
    /// To another node.
    There(Arc<Owner>),
    /// Nobody owns the shard at the moment.
    Nowhere,
}

impl Owners {
    pub(super) fn new(me: NodeId, shards: u16) -> Self {
        Self {
            me,
            shards: (0..shards).map(|_| ArcSwapOption::empty()).collect(),
            trusted: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            lease_until: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        }
    }

    /// The way to a shard, which must be one of the deployment's.
    pub(super) fn way(&self, shard: Shard) -> Way {
        match &*self.shards[usize::from(shard.0)].load() {
            None => Way::Nowhere,
            Some(owner) if owner.node == self.me => Way::Here,
            Some(owner) => Way::There(owner.clone()),
        }
    }

    /// Whether this node, if it owns the shard, may tell what it holds: nobody else can have changed it.
    pub(super) fn may_answer(&self, shard: Shard, now: Millis) -> bool {
        let leased = now.0 < self.lease_until.load(Ordering::Acquire);
        leased && self.trusted[usize::from(shard.0)].load(Ordering::Acquire)
    }

    pub(super) fn me(&self) -> &NodeId {
        &self.me
    }

    pub(super) fn owner(&self, shard: Shard) -> Option<Arc<Owner>> {
        self.shards[usize::from(shard.0)].load_full()
    }

    /// Resolves when an owner changes after this call.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn set_lease(&self, until: Millis) {
        self.lease_until.store(until.0, Ordering::Release);
    }

    /// Trust is taken back before the lease is renewed, and given after the journal was asked.
    pub(super) fn set_trusted(&self, shard: Shard, trusted: bool) {
        self.trusted[usize::from(shard.0)].store(trusted, Ordering::Release);
    }

    /// Notes who owns a shard; says whether that is news. Those who wait are told by [`Owners::tell`].
    pub(super) fn set(&self, shard: Shard, owner: Option<(&NodeId, u64)>) -> bool {
        let known = self.shards[usize::from(shard.0)].load();
        if known.as_deref().map(|owner| (&owner.node, owner.epoch)) == owner {
            return false;
        }
        let owner = owner.map(|(node, epoch)| Arc::new(Owner { node: node.clone(), epoch }));
        self.shards[usize::from(shard.0)].store(owner);
        true
    }

    /// Tells those who wait for an owner that there is news.
    pub(super) fn tell(&self) {
        self.changed.send_replace(());
    }
}
