//! The copy's thread: writes and syncs what waits, gives segments back. When the disk fails it stops for good and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tracing::{error, info, warn};

use super::held::Held;
use super::queue::{Message, Queue, Taken};
use super::{ALL, GATHER};
use crate::journal::jetstream::Envelope;
use crate::journal::log::{Log, StageError};
use crate::journal::{Disk, OpenError, Options, SegmentNo, Seq, Shard};

pub(super) struct Writer {
    log: Log,
    queue: Arc<Queue>,
    missed: Arc<AtomicU64>,
    held: Held,
    /// What is staged.
    staged: Vec<(Shard, Seq)>,
    /// Whether the last group was missed, so that it is said once.
    missing: bool,
}

impl Writer {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        queue: Arc<Queue>,
        missed: Arc<AtomicU64>,
    ) -> Result<Writer, OpenError> {
        let (log, recovery) = Log::open(disk, options, rand::random())?;
        info!(?recovery, "second copy is open");
        Ok(Writer { log, queue, missed, held: Held::default(), staged: Vec::new(), missing: false })
    }

    pub(super) fn run(mut self) {
        self.survey();
        loop {
            let Taken { messages, cuts, last } = self.queue.take(GATHER);
            for message in &messages {
                self.stage(message);
            }
            self.flush();
            if !cuts.is_empty() {
                cuts.iter().for_each(|(shard, to)| self.held.cut(*shard, *to));
                self.give_back();
            }
            if last {
                if let Err(error) = self.log.seal() {
                    warn!(%error, "second copy is not sealed");
                }
                return;
            }
        }
    }

    /// Finds out what the segments of earlier lives hold.
    fn survey(&mut self) {
        let segments = self.log.view().segments;
        let held = &mut self.held;
        let first = segments.first().map_or(Seq::NONE, |oldest| oldest.before.get(ALL));
        let read = self.log.replay(&[(ALL, first)], &mut |_, at, message| {
            let envelope = Envelope::open(&Bytes::copy_from_slice(message))?;
            let within = segments.iter().rfind(|segment| segment.before.get(ALL) < at);
            held.add(within.map_or(SegmentNo(0), |segment| segment.number), envelope.shard, envelope.seq);
            Ok(())
        });
        if let Err(error) = read {
            error!(%error, "second copy cannot be read back; it is written on");
        }
    }

    fn stage(&mut self, message: &Message) {
        let mut staged = self.try_stage(message);
        if staged == Err(StageError::GroupFull) {
            self.flush();
            staged = self.try_stage(message);
        }
        match staged {
            Ok(_) => self.staged.push((message.shard, message.seq)),
            Err(_) => self.miss(1, "a message does not fit"),
        }
    }

    fn try_stage(&mut self, message: &Message) -> Result<Seq, StageError> {
        let after = Seq(self.log.last(ALL).0 + self.staged.len() as u64);
        self.log.stage(ALL, after, &message.bytes)
    }

    fn flush(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        if self.log.needs_segment() && self.log.prepare().is_err() {
            self.drop_oldest();
        }
        let staged = std::mem::take(&mut self.staged);
        match self.log.write().and_then(|_| self.log.sync()) {
            Ok(()) => {
                let segment = self.log.view().segments.last().map_or(SegmentNo(0), |active| active.number);
                staged.into_iter().for_each(|(shard, seq)| self.held.add(segment, shard, seq));
                self.missing = false;
            }
            Err(error) => self.miss(staged.len(), &error.to_string()),
        }
    }

    fn miss(&mut self, messages: usize, reason: &str) {
        self.missed.fetch_add(messages as u64, Ordering::Relaxed);
        if !std::mem::replace(&mut self.missing, true) {
            warn!(reason, "second copy misses messages");
        }
    }

    /// Makes space for a segment by giving up the oldest, needed or not.
    fn drop_oldest(&mut self) {
        let oldest = self.log.view().segments.first().map(|oldest| oldest.number);
        if let Some(oldest) = oldest {
            info!(segment = %oldest, "second copy is full, its oldest segment goes");
            self.held.forget(oldest);
            self.give_back();
        }
    }

    /// Deletes the oldest segments as long as nobody needs them; never the one that is written to.
    fn give_back(&mut self) {
        let segments = self.log.view().segments;
        for pair in segments.windows(2) {
            if !self.held.is_unneeded(pair[0].number) {
                break;
            }
            self.held.forget(pair[0].number);
            self.log.truncate(ALL, pair[1].before.get(ALL));
        }
        if let Err(error) = self.log.delete_unneeded() {
            error!(%error, "second copy stopped");
        }
    }
}
