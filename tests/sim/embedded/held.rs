//! The log behind the journal's contract, for the product's loader.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use stampede::journal::log::Log;
use stampede::journal::{self, AppendError, Health, Journal, ReplayError, Seq, Space, Status, Visit};
use tokio::sync::watch;

pub(crate) struct Held(Mutex<Log>);

impl Held {
    pub(crate) fn new(log: Log) -> Self {
        Self(Mutex::new(log))
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for Held {
    fn append(
        &self,
        shard: journal::Shard,
        after: Seq,
        record: Vec<u8>,
    ) -> BoxFuture<'static, Result<Seq, AppendError>> {
        let outcome = self.log().append(shard, after, &record);
        Box::pin(std::future::ready(outcome))
    }

    fn replay(
        &self,
        after: &[(journal::Shard, Seq)],
        visit: &mut Visit<'_>,
    ) -> Result<Vec<(journal::Shard, Seq)>, ReplayError> {
        self.log().replay(after, visit)
    }

    fn truncate(&self, shard: journal::Shard, to: Seq) {
        self.log().truncate(shard, to);
    }

    fn last(&self, shard: journal::Shard) -> Seq {
        self.log().last(shard)
    }

    fn health(&self) -> watch::Receiver<Health> {
        watch::channel(Health { status: Status::Serving, space: Space::default() }).1
    }
}
