//! Watches: how a worker thread hears that a block has changed.
//!
//! A watch says *that* something changed, never what: the worker then reads the block. So the queue of a worker is
//! bounded by what it watches, however fast changes come and however slow it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The topics of one worker thread that have news. At most one entry a watch.
#[derive(Debug, Default)]
pub struct Inbox {
    topics: Mutex<Vec<u64>>,
    news: Notify,
}

impl Inbox {
    /// Waits until there is something to take, or [`Inbox::wake`] was called. For one task.
    pub async fn wait(&self) {
        self.news.notified().await;
    }

    /// The topics with news; mark each [`Watch::seen`] before reading what it is about.
    #[must_use]
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.topics.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the waiting task look around, for instance because the node stops.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    fn push(&self, topic: u64) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.push(topic);
        let first = topics.len() == 1;
        drop(topics);
        if first {
            self.wake();
        }
    }
}

/// One worker's interest in one block.
#[derive(Debug)]
pub struct Watch {
    topic: u64,
    pending: AtomicBool,
    inbox: Arc<Inbox>,
}

impl Watch {
    /// News about `topic` go to `inbox`.
    #[must_use]
    pub fn new(topic: u64, inbox: Arc<Inbox>) -> Self {
        Self { topic, pending: AtomicBool::new(false), inbox }
    }

    /// From now on a change is news again.
    pub fn seen(&self) {
        // A read-modify-write, so that whatever was changed before an unsent mark is visible to the caller.
        self.pending.swap(false, Ordering::AcqRel);
    }

    pub(super) fn mark(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.inbox.push(self.topic);
        }
    }
}
