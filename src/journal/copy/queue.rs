//! What waits for the copy's disk: bounded in bytes, and never waited for by those who put.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::Greatest;
use crate::journal::{Seq, Shard};

/// See the module.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
    bytes_max: usize,
}

/// A message and what it is.
pub(super) struct Message {
    pub(super) shard: Shard,
    pub(super) seq: Seq,
    pub(super) bytes: Bytes,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    cuts: Greatest,
    closed: bool,
}

/// What was taken at once.
pub(super) struct Taken {
    pub(super) messages: VecDeque<Message>,
    pub(super) cuts: Greatest,
    /// Nothing will come any more.
    pub(super) last: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Queue {
        Queue { waiting: Mutex::default(), came: Condvar::new(), bytes_max }
    }

    /// Says whether there was room.
    pub(super) fn put(&self, shard: Shard, seq: Seq, bytes: Bytes) -> bool {
        let mut waiting = self.lock();
        if waiting.closed || waiting.bytes + bytes.len() > self.bytes_max {
            return false;
        }
        waiting.bytes += bytes.len();
        waiting.messages.push_back(Message { shard, seq, bytes });
        self.came.notify_one();
        true
    }

    pub(super) fn cut(&self, shard: Shard, to: Seq) {
        let mut waiting = self.lock();
        let cut = waiting.cuts.entry(shard).or_default();
        *cut = to.max(*cut);
        self.came.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.came.notify_one();
    }

    /// Waits for something, and then so long for more to join it.
    pub(super) fn take(&self, gather: Duration) -> Taken {
        let idle = |waiting: &mut Waiting| waiting.messages.is_empty() && waiting.cuts.is_empty() && !waiting.closed;
        let waiting = self.came.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let is_open = |waiting: &mut Waiting| !waiting.closed && waiting.bytes < self.bytes_max / 2;
        let waited = self.came.wait_timeout_while(waiting, gather, is_open);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        Taken {
            messages: std::mem::take(&mut waiting.messages),
            cuts: std::mem::take(&mut waiting.cuts),
            last: waiting.closed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
