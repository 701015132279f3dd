//! What the journal tells whoever measures it. Names no metrics system; the node connects it to one.

use std::time::Duration;

use super::Space;

/// One group that became durable.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// Records in the group.
    pub records: usize,
    /// Bytes written for it, headers included.
    pub bytes: usize,
    /// From taking the records off the queue until they were durable.
    pub total: Duration,
    /// The part of `total` that the sync took.
    pub sync: Duration,
}

/// Called on the threads that append; must not block.
pub trait Observer: Send + Sync + 'static {
    /// A group became durable.
    fn committed(&self, commit: &Commit) {
        let _ = commit;
    }

    /// The outcome of an append was not told in time and is being looked up.
    fn unknown(&self) {}

    /// Segments came or went.
    fn space(&self, space: &Space) {
        let _ = space;
    }

    /// The next segment was preallocated, which took this long.
    fn preallocated(&self, took: Duration) {
        let _ = took;
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
