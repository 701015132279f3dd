//! Moving: how a shard comes to this thread while the node runs, and how it leaves.
//!
//! Owns the order of both. A shard that comes has its pictures out before anybody is let in; a shard that leaves lets
//! nobody in before anything else happens, and nothing of it stays behind: no cell, no timer, no task. What its former
//! life still had under way (a rebuild, an append, a snapshot) finds nobody: see [`super::super::control::Life`].

use std::rc::Rc;
use std::time::Instant;

use actors::ids::Shard;
use actors::time::Millis;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::super::recovery::Restored;
use super::super::shard::ShardHost;
use super::{DRAIN_LOOK, Host, ticks};
use crate::journal::Seq;

impl Host {
    /// Starts the cells of a shard and publishes their pictures; commands wait until it serves.
    pub(super) fn bring_in(self: &Rc<Self>, restored: Restored, floor: Millis) -> Rc<ShardHost> {
        let id = restored.shard;
        let shard = Rc::new(ShardHost::new(self, id, restored.last, floor));
        shard.populate(restored);
        self.node().feed.pictured(id);
        self.shards.borrow_mut()[usize::from(id.0)] = Some(shard.clone());
        self.node().router.gauges(id).set_hosted(true);
        shard
    }

    pub(super) fn adopt(self: &Rc<Self>, restored: Restored, floor: Millis, done: oneshot::Sender<()>) {
        if self.stopping.get() {
            return;
        }
        let (id, last, cells) = (restored.shard, restored.last, restored.machines.len());
        if self.shard(id).is_some() {
            warn!(shard = id.0, "shard comes although it lives here: what was here is dropped");
            self.drop_shard(id);
        }
        ShardHost::serve(&self.bring_in(restored, floor));
        info!(shard = id.0, %last, cells, "shard lives here");
        let _ = done.send(());
    }

    pub(super) fn release(self: &Rc<Self>, id: Shard, done: oneshot::Sender<Seq>) {
        if let Some(shard) = self.shard(id) {
            shard.begin_leaving();
            tokio::task::spawn_local(self.clone().finish(shard, done));
        }
    }

    /// Lets finish what was let in, at most for `handoff_drain`.
    async fn finish(self: Rc<Self>, shard: Rc<ShardHost>, done: oneshot::Sender<Seq>) {
        let (began, mut ticks) = (Instant::now(), ticks(DRAIN_LOOK));
        while began.elapsed() < self.node().settings.handoff_drain && !shard.has_left() && !shard.is_quiet() {
            ticks.tick().await;
        }
        self.forget(&shard);
        let _ = done.send(shard.durable_seq());
    }

    pub(super) fn drop_shard(&self, id: Shard) {
        if let Some(shard) = self.shard(id) {
            self.forget(&shard);
        }
    }

    pub(super) fn pictures(&self, id: Shard, done: oneshot::Sender<()>) {
        if let Some(shard) = self.staying(id) {
            tokio::task::spawn_local(shard.picture_all(done));
        }
    }

    pub(super) fn prove(&self, id: Shard, done: oneshot::Sender<()>) {
        if let Some(shard) = self.staying(id) {
            shard.prove(done);
        }
    }

    /// Ends this life of a shard here. Does nothing when it has ended: another may have begun.
    pub(in super::super) fn forget(&self, shard: &Rc<ShardHost>) {
        if shard.has_left() {
            return;
        }
        shard.leave();
        // A thread that has stopped has no places any more.
        if let Some(place) = self.shards.borrow_mut().get_mut(usize::from(shard.id().0)) {
            *place = None;
        }
        info!(shard = shard.id().0, last = %shard.durable_seq(), "shard left");
    }
}
