//! Gauges: how things stand in every shard, readable from any thread.
//!
//! Each number has one writer, the thread of its shard, except the asks under way, which whoever asks counts, and whether
//! the shard lives here, which whoever takes it away says first.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use actors::address::Kind;
use actors::ids::Shard;
use actors::time::Millis;

use crate::journal::Seq;

/// One shard. Aligned so that two shards' threads do not share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Gauges {
    hosted: Hosted,
    /// Lives of the shard on this node that are in memory: one more than necessary for the moment in which one ends.
    lives: AtomicU32,
    pub(super) durable: AtomicU64,
    pub(super) snapshot_at: AtomicU64,
    pub(super) writable: AtomicU32,
    cells: [AtomicU32; Kind::ALL.len()],
    queued: [AtomicU32; Kind::ALL.len()],
    restarts: [AtomicU32; Kind::ALL.len()],
    pub(super) asks: Asks,
}

/// Whether the shard lives here and lets asks in. Whoever asks reads it, so it lies apart from what its thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Hosted(AtomicBool);

/// Asks that were let in and are not answered yet; written by every thread that asks and by those that answer.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Asks(AtomicUsize);

impl Asks {
    /// Counts so many more that there are not more than `most`, at most `wanted`: how many.
    pub(super) fn enter(&self, wanted: usize, most: usize) -> usize {
        let before = self.0.fetch_add(wanted, Ordering::Relaxed);
        let entered = most.saturating_sub(before).min(wanted);
        if entered < wanted {
            self.leave(wanted - entered);
        }
        entered
    }

    /// So many of those that entered are answered, or nobody waits for them any more.
    pub(super) fn leave(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauges {
    /// Whether the shard lives here and lets asks in.
    pub(super) fn is_hosted(&self) -> bool {
        self.hosted.0.load(Ordering::Acquire)
    }

    pub(super) fn set_hosted(&self, hosted: bool) {
        self.hosted.0.store(hosted, Ordering::Release);
    }

    pub(super) fn life_began(&self) {
        bump(&self.lives, 1);
    }

    pub(super) fn life_ended(&self) {
        bump(&self.lives, 1u32.wrapping_neg());
    }

    #[cfg(test)]
    pub(super) fn lives(&self) -> u32 {
        self.lives.load(Ordering::Relaxed)
    }

    pub(super) fn cell_made(&self, kind: Kind) {
        bump(&self.cells[kind as usize], 1);
    }

    pub(super) fn cell_gone(&self, kind: Kind) {
        bump(&self.cells[kind as usize], 1u32.wrapping_neg());
    }

    pub(super) fn restarted(&self, kind: Kind) {
        bump(&self.restarts[kind as usize], 1);
    }

    pub(super) fn queued(&self, kind: Kind) {
        bump(&self.queued[kind as usize], 1);
    }

    pub(super) fn taken(&self, kind: Kind, commands: usize) {
        bump(&self.queued[kind as usize], (commands as u32).wrapping_neg());
    }

    pub(super) fn view(&self, shard: Shard, arbiter: usize) -> ShardView {
        let read = |numbers: &[AtomicU32; Kind::ALL.len()]| {
            ByKind(std::array::from_fn(|kind| u64::from(numbers[kind].load(Ordering::Relaxed))))
        };
        ShardView {
            shard,
            arbiter,
            hosted: self.is_hosted(),
            durable: Seq(self.durable.load(Ordering::Relaxed)),
            writable: self.writable.load(Ordering::Relaxed) == 1,
            snapshot_at: Some(Millis(self.snapshot_at.load(Ordering::Relaxed))).filter(|at| at.0 > 0),
            asks: self.asks.count(),
            cells: read(&self.cells),
            queued: read(&self.queued),
            restarts: read(&self.restarts),
        }
    }
}

/// There is one writer, so no read-modify-write is needed.
fn bump(number: &AtomicU32, by: u32) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// One number for each kind of machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind([u64; Kind::ALL.len()]);

impl ByKind {
    /// The number of one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    fn add(&mut self, other: &ByKind) {
        for (sum, number) in self.0.iter_mut().zip(other.0) {
            *sum += number;
        }
    }
}

/// How one shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardView {
    /// Which.
    pub shard: Shard,
    /// The thread it lives on, from 0.
    pub arbiter: usize,
    /// Whether it lives on this node. Otherwise the numbers are those of its last time here, or nothing.
    pub hosted: bool,
    /// Its last durable record, as far as this node knows.
    pub durable: Seq,
    /// Whether its commands are taken; otherwise it only answers reads.
    pub writable: bool,
    /// When its snapshots were last complete; `None`: not since it lives here.
    pub snapshot_at: Option<Millis>,
    /// Asks that were let in and are not answered yet.
    pub asks: usize,
    /// Machines.
    pub cells: ByKind,
    /// Commands waiting for their turn.
    pub queued: ByKind,
    /// Machines that panicked and were rebuilt since the start.
    pub restarts: ByKind,
}

/// How the node's machines stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Every shard of the deployment, in order, whether it lives here or not.
    pub shards: Vec<ShardView>,
    /// Threads that run them.
    pub arbiters: usize,
}

impl View {
    /// Machines of all shards.
    #[must_use]
    pub fn cells(&self) -> ByKind {
        self.sum(|shard| &shard.cells)
    }

    /// Commands waiting for their turn in all shards.
    #[must_use]
    pub fn queued(&self) -> ByKind {
        self.sum(|shard| &shard.queued)
    }

    /// Machines that panicked and were rebuilt since the start.
    #[must_use]
    pub fn restarts(&self) -> ByKind {
        self.sum(|shard| &shard.restarts)
    }

    fn sum(&self, of: impl Fn(&ShardView) -> &ByKind) -> ByKind {
        let mut sum = ByKind::default();
        self.shards.iter().for_each(|shard| sum.add(of(shard)));
        sum
    }
}
