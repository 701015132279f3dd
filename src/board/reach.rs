//! Reach: of which shards this node hears, and since when not.
//!
//! Owns what answers say about their own age. A board whose feed does not come any more still answers: out of date, and
//! saying so, is better than not at all.

use std::sync::atomic::{AtomicU64, Ordering};

use actors::ids::Shard;
use actors::time::{Millis, Span};

/// How long a rendered age stays as it is.
const AGE_STEP: Span = Span::seconds(1);

/// All shards of a deployment. Those that nobody said anything about are within reach.
pub(super) struct Reach {
    /// When the shard was last within reach; 0 while it is.
    since: Box<[AtomicU64]>,
    /// Counts what [`Reach::set`] changed.
    changes: AtomicU64,
}

/// How old an answer is that is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    /// Since the oldest of what it shows was last known to be true.
    pub(super) age: Span,
    /// When it is worth saying anew.
    pub(super) until: Millis,
}

impl Reach {
    pub(super) fn new(shards: u16) -> Self {
        Self { since: (0..shards).map(|_| AtomicU64::new(0)).collect(), changes: AtomicU64::new(0) }
    }

    pub(super) fn set(&self, shard: Shard, is_reachable: bool, now: Millis) {
        let Some(since) = self.since.get(usize::from(shard.0)) else { return };
        let changed = if is_reachable {
            since.swap(0, Ordering::AcqRel) != 0
        } else {
            since.compare_exchange(0, now.0.max(1), Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        if changed {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Grows whenever a shard comes within reach or leaves it.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The age of what is made of these shards; `None` while all are within reach.
    pub(super) fn age(&self, shards: impl IntoIterator<Item = Shard>, now: Millis) -> Option<Age> {
        let since = shards.into_iter().filter_map(|shard| self.since.get(usize::from(shard.0)));
        let oldest = since.map(|since| since.load(Ordering::Acquire)).filter(|since| *since > 0).min()?;
        Some(Age { age: Span(now.0.saturating_sub(oldest)), until: now + AGE_STEP })
    }
}
