//! For tests: a journal that says that a record is durable only while its gate is open.

#![allow(clippy::unwrap_used)]

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{AppendError, Embedded, Health, Journal, ReplayError, Seq, Shard, Visit};

/// See the module's charter.
pub(crate) struct Gated {
    pub(crate) embedded: Embedded,
    is_open: watch::Sender<bool>,
    /// Records that came so far.
    came: watch::Sender<usize>,
}

impl Gated {
    pub(crate) fn open(embedded: Embedded) -> Self {
        Self { embedded, is_open: watch::Sender::new(true), came: watch::Sender::new(0) }
    }

    pub(crate) fn set_open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    /// Resolves when one more record has come than when this was called.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + use<> {
        let (mut came, before) = (self.came.subscribe(), *self.came.borrow());
        async move { drop(came.wait_for(|came| *came > before).await.unwrap()) }
    }
}

impl Journal for Gated {
    fn append(&self, shard: Shard, after: Seq, record: Vec<u8>) -> BoxFuture<'static, Result<Seq, AppendError>> {
        let appending = self.embedded.append(shard, after, record);
        let mut is_open = self.is_open.subscribe();
        self.came.send_modify(|came| *came += 1);
        async move {
            let appended = appending.await;
            is_open.wait_for(|is_open| *is_open).await.unwrap();
            appended
        }
        .boxed()
    }

    fn replay(&self, after: &[(Shard, Seq)], visit: &mut Visit<'_>) -> Result<Vec<(Shard, Seq)>, ReplayError> {
        self.embedded.replay(after, visit)
    }

    fn truncate(&self, shard: Shard, to: Seq) {
        self.embedded.truncate(shard, to);
    }

    fn last(&self, shard: Shard) -> Seq {
        self.embedded.last(shard)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.embedded.health()
    }
}
