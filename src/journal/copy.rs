//! The owner's second copy: every message that JetStream has acknowledged to this node, in segment files of its own.
//!
//! Owns a queue, a thread and a log with one shard, whose records are messages as they lie in JetStream (they name their
//! shard themselves). Nobody waits for it and no promise rests on it: it is what JetStream is audited against
//! ([`super::compare`]) and what lost records are restored from. It is bounded, in memory and on disk: what does not fit is
//! counted and said, never waited for. Segments go when all of their shards were cut behind them, or the oldest when
//! there is no more space.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::inspect::{self, DumpError};
use super::{FileDisk, OpenError, Options, Seq, Shard, VisitError};

mod held;
mod queue;
mod writer;

use queue::Queue;
use writer::Writer;

/// The one shard of the copy's own log.
const ALL: Shard = Shard(0);

/// Bytes of a segment. Small ones are given back sooner.
const SEGMENT_BYTES: u64 = 16 << 20;

/// The most bytes that may wait for the disk.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// How long messages gather before they are written and synced together. What is lost of the copy with the process.
const GATHER: Duration = Duration::from_millis(10);

/// The second copy. Dropping it writes what waits and joins the thread.
pub struct Copy {
    queue: Arc<Queue>,
    missed: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Where a node's copy is.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("copy")
}

impl Copy {
    /// Opens the copy in `dir`, which must be below a locked [`super::DataDir`], with segments of at most `bytes_max`
    /// together. Blocks while it recovers. A copy that is damaged is moved aside, to `copy.damaged`, and a new one begun: it
    /// holds nothing that a node needs.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, bytes_max: Option<u64>) -> Result<Copy, OpenError> {
        let options = Options { segment_bytes: SEGMENT_BYTES, max_bytes: bytes_max, ..Options::default() };
        match Copy::with(dir, options.clone(), QUEUE_BYTES_MAX) {
            Err(error @ (OpenError::Damaged(_) | OpenError::Missing { .. })) => {
                tracing::error!(%error, "second copy is damaged and moved aside");
                let aside = dir.with_extension("damaged");
                if aside.exists() {
                    std::fs::remove_dir_all(&aside)?;
                }
                std::fs::rename(dir, &aside)?;
                Copy::with(dir, options, QUEUE_BYTES_MAX)
            }
            opened => opened,
        }
    }

    fn with(dir: &Path, options: Options, queue_bytes_max: usize) -> Result<Copy, OpenError> {
        let disk = Arc::new(FileDisk::create_dir(dir)?);
        let queue = Arc::new(Queue::new(queue_bytes_max));
        let missed = Arc::new(AtomicU64::new(0));
        let writer = Writer::open(disk, options, Arc::clone(&queue), Arc::clone(&missed))?;
        let thread = std::thread::Builder::new().name("copy".to_owned()).spawn(move || writer.run())?;
        Ok(Copy { queue, missed, writer: Mutex::new(Some(thread)) })
    }

    /// Takes a message that is durable in JetStream: the record `seq` of `shard`. Returns at once.
    pub fn wrote(&self, shard: Shard, seq: Seq, message: Bytes) {
        if !self.queue.put(shard, seq, message) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records of `shard` up to `to` are not needed any more.
    pub fn truncate(&self, shard: Shard, to: Seq) {
        self.queue.cut(shard, to);
    }

    /// Writes what waits and ends the thread; what comes later is missed. Blocks.
    pub fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = writer.map(JoinHandle::join) {
            tracing::error!("the copy's thread panicked");
        }
    }

    /// How many messages the copy lacks because they came too fast or the disk did not take them, since it was opened.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.close();
    }
}

/// Visits every message of the copy in `dir`, in the order in which they were written; needs no lock, changes nothing.
///
/// # Errors
/// Damage, or what `visit` returned.
pub fn visit(dir: &Path, visit: &mut dyn FnMut(Bytes) -> Result<(), VisitError>) -> Result<(), DumpError> {
    inspect::dump(dir, &mut |_, _, message| visit(Bytes::copy_from_slice(message)))
}

/// Of each shard, the greatest number.
type Greatest = BTreeMap<Shard, Seq>;

#[cfg(test)]
mod tests;
