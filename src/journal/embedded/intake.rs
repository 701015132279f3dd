//! What waits for the committer: records, truncations, the wish to end. Bounded in bytes and in records.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::journal::{AppendError, Seq, Shard, Unavailable};

/// A record and whoever waits for it.
pub(super) struct Waiting {
    pub(super) shard: Shard,
    pub(super) after: Seq,
    pub(super) record: Vec<u8>,
    pub(super) done: oneshot::Sender<Result<Seq, AppendError>>,
}

/// What the committer took besides records.
pub(super) struct Taken {
    pub(super) cuts: BTreeMap<Shard, Seq>,
    pub(super) closing: bool,
    /// Nothing came in the time given.
    pub(super) idle: bool,
}

pub(super) struct Intake {
    state: Mutex<State>,
    wake: Condvar,
    bytes_max: usize,
    records_max: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The furthest truncation of each shard, so bounded by the number of shards.
    cuts: BTreeMap<Shard, Seq>,
    /// Why nothing is taken any more.
    shut: Option<Unavailable>,
    poked: bool,
    /// Whether the committer sleeps and nobody has woken it yet; a wake-up is a system call, and one is enough.
    sleeping: bool,
}

impl Intake {
    pub(super) fn new(bytes_max: usize, records_max: usize) -> Intake {
        Intake { state: Mutex::default(), wake: Condvar::new(), bytes_max, records_max }
    }

    pub(super) fn put(&self, waiting: Waiting) -> Result<(), Unavailable> {
        let mut state = self.state();
        if let Some(reason) = state.shut {
            return Err(reason);
        }
        let bytes = state.bytes + waiting.record.len();
        // A record larger than the queue may wait alone; the log says what it thinks of it.
        if !state.waiting.is_empty() && (bytes > self.bytes_max || state.waiting.len() >= self.records_max) {
            return Err(Unavailable::QueueFull);
        }
        state.bytes = bytes;
        state.waiting.push_back(waiting);
        self.rouse(state);
        Ok(())
    }

    pub(super) fn cut(&self, shard: Shard, to: Seq) {
        let mut state = self.state();
        let furthest = state.cuts.entry(shard).or_default();
        *furthest = to.max(*furthest);
        self.rouse(state);
    }

    /// Lets the committer look around without giving it anything.
    pub(super) fn poke(&self) {
        let mut state = self.state();
        state.poked = true;
        self.rouse(state);
    }

    pub(super) fn close(&self) {
        self.shut(Unavailable::Closed);
    }

    /// Takes nothing from now on, and says why. The first reason stays, except that stopping is worse than closing.
    pub(super) fn shut(&self, reason: Unavailable) {
        let mut state = self.state();
        if state.shut.is_none() || reason == Unavailable::Stopped {
            state.shut = Some(reason);
        }
        self.rouse(state);
    }

    /// Moves all that waits to the end of `backlog`; sleeps until there is something to do, or as long as `patience`.
    pub(super) fn take(&self, backlog: &mut VecDeque<Waiting>, patience: Option<Duration>) -> Taken {
        let mut state = self.state();
        let nothing = |state: &mut State| {
            state.sleeping = state.waiting.is_empty() && state.cuts.is_empty() && !state.poked && state.shut.is_none();
            state.sleeping
        };
        let mut idle = false;
        if nothing(&mut state) {
            state = match patience {
                None => self.wake.wait_while(state, |state| nothing(state)).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (state, timeout) = self
                        .wake
                        .wait_timeout_while(state, patience, |state| nothing(state))
                        .unwrap_or_else(PoisonError::into_inner);
                    idle = timeout.timed_out();
                    state
                }
            };
            state.sleeping = false;
        }
        state.poked = false;
        state.bytes = 0;
        if backlog.is_empty() {
            std::mem::swap(backlog, &mut state.waiting);
        } else {
            backlog.append(&mut state.waiting);
        }
        Taken { cuts: std::mem::take(&mut state.cuts), closing: state.shut.is_some(), idle }
    }

    fn rouse(&self, mut state: MutexGuard<'_, State>) {
        let sleeping = std::mem::take(&mut state.sleeping);
        drop(state);
        if sleeping {
            self.wake.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
