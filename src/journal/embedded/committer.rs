//! The one thread that writes: gathers, commits, answers; keeps a segment ready; deletes what nobody needs.
//!
//! Answers go out only after the sync. The making of the next segment runs beside it on a thread of its own.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Shared;
use super::intake::{Taken, Waiting};
use crate::journal::log::{CommitError, Log, Preparation, PrepareError, StageError};
use crate::journal::{AppendError, Commit, Observer, Options, Seq, Status, Unavailable};

pub(super) struct Committer {
    log: Log,
    options: Options,
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
    backlog: VecDeque<Waiting>,
    /// The records of the group being committed, with the numbers they will have.
    group: Vec<(Waiting, Seq)>,
    preparing: Option<JoinHandle<Prepared>>,
    /// Whether the last group had company: then the next one is worth waiting for.
    crowded: bool,
    /// Whether appends are refused for lack of space.
    full: bool,
    /// When the next try to preallocate may be made, after one found no space.
    retry_at: Option<Instant>,
}

struct Prepared {
    work: Preparation,
    outcome: Result<(), PrepareError>,
    took: Duration,
}

impl Committer {
    pub(super) fn new(log: Log, options: Options, shared: Arc<Shared>, observer: Arc<dyn Observer>) -> Committer {
        Committer {
            log,
            options,
            shared,
            observer,
            backlog: VecDeque::new(),
            group: Vec::new(),
            preparing: None,
            crowded: false,
            full: false,
            retry_at: None,
        }
    }

    pub(super) fn run(mut self) {
        let _alarm = Alarm(Arc::clone(&self.shared));
        loop {
            self.keep_ready();
            let patience = self.patience();
            let taken = self.shared.intake.take(&mut self.backlog, patience);
            let mut closing = taken.closing;
            self.tidy(taken);
            if self.crowded && !self.options.gather.is_zero() && !closing && !self.backlog.is_empty() {
                std::thread::sleep(self.options.gather);
                let joined = self.shared.intake.take(&mut self.backlog, Some(Duration::ZERO));
                closing = joined.closing;
                self.tidy(Taken { idle: false, ..joined });
            }
            while !self.backlog.is_empty() {
                self.commit();
                self.collect_prepared();
            }
            if closing {
                break;
            }
        }
        self.finish();
    }

    /// How long to sleep when nothing comes.
    fn patience(&self) -> Option<Duration> {
        let seal = (!self.log.is_sealed()).then_some(self.options.seal_after);
        let space = (self.retry_at.is_some() || self.log.oldest_is_unneeded()).then_some(self.options.full_retry);
        seal.into_iter().chain(space).min()
    }

    fn tidy(&mut self, taken: Taken) {
        let cut = !taken.cuts.is_empty();
        for (shard, to) in taken.cuts {
            self.log.truncate(shard, to);
        }
        if cut || taken.idle {
            self.delete_unneeded();
        }
        self.collect_prepared();
        if taken.idle && !self.full {
            self.seal();
        }
    }

    /// Commits as much of the backlog as one group may hold.
    fn commit(&mut self) {
        let began = Instant::now();
        if let Some(reason) = self.refusing() {
            return self.refuse_backlog(reason);
        }
        self.gather();
        if self.group.is_empty() {
            return;
        }
        if self.log.needs_segment() {
            self.await_prepared();
        }
        let mut sync = Duration::ZERO;
        let records = self.log.staged();
        self.crowded = records > 1;
        let committed = self.log.write().and_then(|bytes| {
            let written = Instant::now();
            self.log.sync()?;
            sync = written.elapsed();
            Ok(bytes)
        });
        self.publish();
        self.report_space();
        match committed {
            Ok(bytes) => {
                for (waiting, seq) in self.group.drain(..) {
                    // Nobody listens any more when the caller was dropped; the record is durable all the same.
                    let _ = waiting.done.send(Ok(seq));
                }
                self.observer.committed(&Commit { records, bytes, total: began.elapsed(), sync });
            }
            Err(error) => self.failed(error),
        }
    }

    fn gather(&mut self) {
        while let Some(next) = self.backlog.front() {
            let staged = self.log.stage(next.shard, next.after, &next.record);
            if staged == Err(StageError::GroupFull) {
                return;
            }
            let Some(waiting) = self.backlog.pop_front() else { return };
            match staged {
                Ok(seq) => self.group.push((waiting, seq)),
                Err(error) => {
                    let answer = error.of(waiting.shard, waiting.after, waiting.record.len());
                    let _ = waiting.done.send(Err(answer));
                }
            }
        }
    }

    fn failed(&mut self, error: CommitError) {
        if error == CommitError::DiskFull {
            self.now_full();
        }
        let answer = AppendError::from(error);
        for (waiting, _) in self.group.drain(..) {
            let _ = waiting.done.send(Err(answer.clone()));
        }
        self.report();
    }

    fn refusing(&self) -> Option<Unavailable> {
        match (self.log.stopped(), self.full) {
            (Some(_), _) => Some(Unavailable::Stopped),
            (None, true) => Some(Unavailable::DiskFull),
            (None, false) => None,
        }
    }

    fn refuse_backlog(&mut self, reason: Unavailable) {
        for waiting in self.backlog.drain(..) {
            let _ = waiting.done.send(Err(AppendError::Unavailable { reason }));
        }
    }

    /// Starts the making of the next segment when there is none and none is being made.
    fn keep_ready(&mut self) {
        if self.preparing.is_some() || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match self.log.preparation() {
            Ok(Some(work)) => self.start(work),
            Ok(None) => {
                // A segment is ready, so a write may be tried again.
                self.retry_at = None;
                if std::mem::take(&mut self.full) {
                    self.report();
                }
            }
            Err(_) => self.retry_at = Some(Instant::now() + self.options.full_retry),
        }
    }

    fn start(&mut self, work: Preparation) {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("journal-space".to_owned()).spawn(move || {
            let began = Instant::now();
            let outcome = work.run();
            shared.intake.poke();
            Prepared { work, outcome, took: began.elapsed() }
        });
        match thread {
            Ok(thread) => self.preparing = Some(thread),
            // Then the next group that needs a segment makes it itself.
            Err(error) => tracing::warn!(%error, "no thread to preallocate a journal segment"),
        }
    }

    fn collect_prepared(&mut self) {
        if self.preparing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.await_prepared();
        }
    }

    fn await_prepared(&mut self) {
        let Some(thread) = self.preparing.take() else { return };
        let prepared = thread.join().expect("preallocation does not panic");
        match self.log.prepared(&prepared.work, prepared.outcome) {
            Ok(()) => {
                self.retry_at = None;
                self.full = false;
                self.observer.preallocated(prepared.took);
            }
            Err(CommitError::DiskFull) => {
                tracing::warn!("no space to preallocate a journal segment");
                self.retry_at = Some(Instant::now() + self.options.full_retry);
            }
            Err(CommitError::Stopped { .. }) => {}
        }
        self.report();
    }

    fn now_full(&mut self) {
        tracing::error!(space = ?self.log.space(), "journal full, appends are refused");
        self.full = true;
        self.retry_at = Some(Instant::now() + self.options.full_retry);
    }

    fn delete_unneeded(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Ok(_alone) = shared.files.try_write() else {
            return; // a replay reads; tried again when nothing else is to do
        };
        match self.log.delete_unneeded() {
            Ok(0) => {}
            Ok(deleted) => {
                tracing::info!(deleted, "journal segments deleted");
                self.retry_at = None;
                self.publish();
            }
            Err(_) => self.publish(),
        }
        self.report();
    }

    fn seal(&mut self) {
        match self.log.seal() {
            Ok(()) => self.publish(),
            Err(CommitError::DiskFull) => self.now_full(),
            Err(CommitError::Stopped { .. }) => {}
        }
        self.report();
    }

    /// Makes what is durable visible to readers.
    fn publish(&self) {
        self.log.refresh(&mut self.shared.view.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The space after a group.
    fn report_space(&self) {
        self.shared.health.send_if_modified(|health| {
            let space = self.log.space();
            let moved = (space.segments, space.spare) != (health.space.segments, health.space.spare);
            // The bytes left change with every group; whoever asks sees them, nobody is woken for them.
            health.space = space;
            moved
        });
    }

    fn report(&self) {
        let status = match (self.log.stopped(), self.full) {
            (Some(reason), _) => Status::Stopped { reason: reason.to_owned() },
            (None, true) => Status::DiskFull,
            (None, false) => Status::Serving,
        };
        if let Status::Stopped { .. } = status {
            self.shared.intake.shut(Unavailable::Stopped);
        }
        let space = self.log.space();
        self.shared.health.send_if_modified(|health| {
            let changed = health.status != status || health.space != space;
            health.status = status;
            health.space = space;
            changed
        });
        self.observer.space(&space);
    }

    fn finish(mut self) {
        self.await_prepared();
        if self.log.stopped().is_none() {
            self.seal();
        }
        if self.log.stopped().is_none() {
            self.shared.health.send_modify(|health| health.status = Status::Closed);
        }
    }
}

/// Raised when the thread ends in any other way than by closing.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.intake.shut(Unavailable::Stopped);
            let reason = "committer panicked".to_owned();
            self.0.health.send_modify(|health| health.status = Status::Stopped { reason });
        }
    }
}
