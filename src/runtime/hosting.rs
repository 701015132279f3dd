//! Hosting: says which shards live on this node.
//!
//! Owns the handle that the cluster's side holds. It decides nothing: who should own a shard, and whether the journal lets it,
//! is settled before a shard comes here. What happens then is in [`super::host`].

use actors::ids::Shard;
use actors::time::Millis;
use tokio::sync::oneshot;

use super::control::Control;
use super::recovery::Restored;
use super::router::Router;
use crate::journal::Seq;

/// A handle, cheap to clone. What is said about one shard is done in the order in which it was said. Dropping a future
/// changes nothing of what was said.
#[derive(Clone)]
pub struct Hosting {
    router: Router,
}

impl Hosting {
    pub(super) fn new(router: Router) -> Self {
        Self { router }
    }

    /// A shard comes to live here: its cells start, their pictures go out, asks are let in, it appends and takes snapshots.
    /// The time of its machines is at least `floor`, when its last record was written. If it lives here already, that life
    /// is dropped first. Resolves with whether it serves now; it does not when the node stops.
    pub fn adopt(&self, restored: Restored, floor: Millis) -> impl Future<Output = bool> + Send + use<> {
        let (done, serves) = oneshot::channel();
        self.router.control_shard(restored.shard, Control::Adopt(Box::new(restored), floor, done));
        async move { serves.await.is_ok() }
    }

    /// A shard leaves in good order: from this call on nobody is let in ([`super::Failure::Elsewhere`]), what was let in is
    /// finished, at most for `handoff_drain`, then it is dropped. Takes no snapshot. Resolves with its last durable record
    /// as far as this node knows; `None`: it did not live here, or the node has stopped.
    pub fn release(&self, shard: Shard) -> impl Future<Output = Option<Seq>> + Send + use<> {
        let (done, last) = oneshot::channel();
        self.shut(shard);
        self.router.control_shard(shard, Control::Release(shard, done));
        async move { last.await.ok() }
    }

    /// A shard leaves at once: what may be in the journal is answered [`super::Failure::Unknown`], everything else
    /// [`super::Failure::Elsewhere`].
    pub fn drop_shard(&self, shard: Shard) {
        self.shut(shard);
        self.router.control_shard(shard, Control::Drop(shard));
    }

    /// The picture of every cell of a shard goes out again, each behind its last change, then
    /// [`super::FeedSink::pictured`] is told; a cell that is not brought back by then gives its picture when it is. Resolves
    /// then; `false`: the shard does not live here.
    pub fn pictures(&self, shard: Shard) -> impl Future<Output = bool> + Send + use<> {
        let (done, given) = oneshot::channel();
        self.router.control_shard(shard, Control::Pictures(shard, done));
        async move { given.await.is_ok() }
    }

    /// Appends a record that changes nothing behind everything under way. Resolves with whether it is durable: then nobody
    /// else had written to the shard until this was asked.
    pub fn prove(&self, shard: Shard) -> impl Future<Output = bool> + Send + use<> {
        let (done, proved) = oneshot::channel();
        self.router.control_shard(shard, Control::Prove(shard, done));
        async move { proved.await.is_ok() }
    }

    fn shut(&self, shard: Shard) {
        if self.router.hosts(shard) {
            self.router.gauges(shard).set_hosted(false);
        }
    }
}
