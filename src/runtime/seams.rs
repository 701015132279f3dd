//! The seams: what the runtime calls and others implement. Nothing here may block: it is called on the shards' threads.

use std::time::Duration;

use actors::address::{Address, Kind};
use actors::feed::Feed;
use actors::gateway::Call;
use actors::ids::Shard;
use actors::notice::Letter;

use super::load::Recovery;

/// Takes the public changes; the board does.
pub trait FeedSink: Send + Sync + 'static {
    /// Changes and pictures in the order in which their shard made them durable. Called before the answers of the same
    /// append are released, so that whoever has an answer finds it on the board.
    fn publish(&self, feed: Vec<Feed>);
}

/// Carries out what machines want done in the world. Outcomes come back as messages to `from`.
pub trait Outward: Send + Sync + 'static {
    /// Calls the payment provider for a payment desk.
    fn call(&self, from: Address, call: Call);

    /// Delivers a letter for a notifier.
    fn deliver(&self, from: Address, letter: Letter);
}

/// One record that became durable.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// Of which shard.
    pub shard: Shard,
    /// Entries in it.
    pub entries: usize,
    /// Its bytes.
    pub bytes: usize,
    /// From handing it to the journal until its answers could go.
    pub took: Duration,
}

/// Told what the runtime does, for metrics.
pub trait Hooks: Send + Sync + 'static {
    /// A turn answered so many commands with so many journal entries.
    fn turned(&self, kind: Kind, commands: usize, entries: usize) {
        let _ = (kind, commands, entries);
    }

    /// A record is durable.
    fn committed(&self, committed: &Committed) {
        let _ = committed;
    }

    /// An append was not acknowledged.
    fn append_failed(&self, shard: Shard) {
        let _ = shard;
    }

    /// A command was not let in because too many waited.
    fn overloaded(&self, kind: Kind) {
        let _ = kind;
    }

    /// A message between machines was dropped because too many waited; it will be sent again.
    fn dropped(&self, kind: Kind) {
        let _ = kind;
    }

    /// A machine panicked; its cell is being rebuilt.
    fn restarted(&self, kind: Kind) {
        let _ = kind;
    }

    /// The snapshots of a shard are complete again.
    fn snapshotted(&self, shard: Shard, cells: usize, bytes: usize, took: Duration) {
        let _ = (shard, cells, bytes, took);
    }

    /// A snapshot could not be written.
    fn snapshot_failed(&self, shard: Shard) {
        let _ = shard;
    }

    /// State was brought back at the start.
    fn recovered(&self, recovery: &Recovery) {
        let _ = recovery;
    }
}

/// Hooks that do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
