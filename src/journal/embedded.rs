//! The journal of a single node: segment files in a directory and one committer thread.
//!
//! Callers put records into the intake and wait; the committer takes all that waits, from all shards, and makes it
//! durable with one write and one sync. It never delays a record to make a group larger: while one group is being
//! synced the next one gathers. The rules of the files are [`super::log`]'s.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::log::{Log, View};
use super::{
    AppendError, Disk, FileDisk, Health, Journal, Observer, OpenError, Options, Recovery, ReplayError, Seq, Shard,
    Status, Visit,
};

mod committer;
mod intake;

use committer::Committer;
use intake::{Intake, Waiting};

/// The embedded journal. Dropping it commits what waits, seals the end and joins the thread.
pub struct Embedded {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What callers and the committer share.
struct Shared {
    disk: Arc<dyn Disk>,
    intake: Intake,
    /// What is durable.
    view: Mutex<View>,
    /// Held for reading during a replay, for writing while segments are deleted.
    files: RwLock<()>,
    health: watch::Sender<Health>,
}

impl Embedded {
    /// Opens the journal in `dir`, which must be below a locked [`super::DataDir`]. Blocks while it recovers.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, options: Options, observer: Arc<dyn Observer>) -> Result<(Embedded, Recovery), OpenError> {
        let disk = Arc::new(FileDisk::create_dir(dir)?);
        Embedded::start(disk, options, rand::random(), observer)
    }

    /// Opens the journal on `disk`; a new one gets the number `fresh_id`, which should be random.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn start(
        disk: Arc<dyn Disk>,
        options: Options,
        fresh_id: u64,
        observer: Arc<dyn Observer>,
    ) -> Result<(Embedded, Recovery), OpenError> {
        let (log, recovery) = Log::open(Arc::clone(&disk), options.clone(), fresh_id)?;
        let shared = Arc::new(Shared {
            disk,
            intake: Intake::new(options.queue_bytes_max, options.queue_records_max),
            view: Mutex::new(log.view()),
            files: RwLock::new(()),
            health: watch::Sender::new(Health { status: Status::Serving, space: log.space() }),
        });
        let committer = Committer::new(log, options, Arc::clone(&shared), observer);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || committer.run())?;
        Ok((Embedded { shared, committer: Mutex::new(Some(thread)) }, recovery))
    }

    /// Commits what waits, seals the end and ends the thread; later appends are refused. Blocks.
    pub fn close(&self) {
        self.shared.intake.close();
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the journal's thread panicked");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Journal for Embedded {
    fn append(&self, shard: Shard, after: Seq, record: Vec<u8>) -> BoxFuture<'static, Result<Seq, AppendError>> {
        let (done, outcome) = oneshot::channel();
        let put = self.shared.intake.put(Waiting { shard, after, record, done });
        Box::pin(async move {
            put.map_err(|reason| AppendError::Unavailable { reason })?;
            // The sender is lost only when the committer panicked, at whatever point that was.
            outcome.await.unwrap_or_else(|_| Err(AppendError::Unknown { reason: "committer is gone".to_owned() }))
        })
    }

    fn replay(&self, after: &[(Shard, Seq)], visit: &mut Visit<'_>) -> Result<Vec<(Shard, Seq)>, ReplayError> {
        let _kept = self.shared.files.read().unwrap_or_else(PoisonError::into_inner);
        let view = self.shared.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        view.replay(self.shared.disk.as_ref(), after, visit)
    }

    fn truncate(&self, shard: Shard, to: Seq) {
        self.shared.intake.cut(shard, to);
    }

    fn last(&self, shard: Shard) -> Seq {
        self.shared.view.lock().unwrap_or_else(PoisonError::into_inner).tails.get(shard)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}

#[cfg(test)]
mod tests;
