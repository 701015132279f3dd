//! The seams: what the runtime calls and others implement. Nothing here may block: it is called on the shards' threads.

use std::time::Duration;

use actors::address::{Address, Kind};
use actors::feed::Feed;
use actors::gateway::Call;
use actors::ids::Shard;
use actors::message::Message;
use actors::notice::Letter;

use super::load::Recovery;

/// Takes the public changes; the board does, and in a cluster whoever passes them on to other nodes.
pub trait FeedSink: Send + Sync + 'static {
    /// Changes and pictures of one shard in the order in which it made them durable. Called before the answers of the
    /// same append are released, so that whoever has an answer finds it on the board. One call has at most the changes of
    /// one record, or the picture of one cell.
    fn publish(&self, shard: Shard, feed: Vec<Feed>);

    /// The pictures of all cells of a shard went out, each with everything before it: when the shard came to this node,
    /// and whenever they were asked for. Only those of machines that cannot be brought back for long come later.
    fn pictured(&self, shard: Shard) {
        let _ = shard;
    }
}

/// What is beyond this node: the other nodes of a cluster.
pub trait Beyond: Send + Sync + 'static {
    /// Whether there is no other node. Then a shard that somebody else has written to is a reason to stop.
    fn is_alone(&self) -> bool {
        false
    }

    /// Whether nobody else can have written to a shard that lives here up to this moment. Asked each time something leaves
    /// that no record of its own proves right, because the process may have been paused since it was decided:
    ///
    /// - an answer of a turn that changed nothing: otherwise the asker hears [`super::Failure::OUT_OF_REACH`];
    /// - a call of the payment provider and a letter: whoever owns the shard by now owes it too and does it, and an old call
    ///   that came after its successor had asked what became of it would take money that nobody gives back.
    fn is_sure_of(&self, shard: Shard) -> bool {
        let _ = shard;
        true
    }

    /// A message for a machine whose shard does not live here; may be lost, since whoever owes it tells it again.
    fn tell(&self, to: Address, message: Message);

    /// Somebody else has written to the shard's journal: it is another node's now and was dropped here. What waited for
    /// the refused record was not done.
    fn fenced(&self, shard: Shard);
}

/// An embedded node: nobody is beyond it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Beyond for Alone {
    fn is_alone(&self) -> bool {
        true
    }

    /// Only while the node stops: told again after the start.
    fn tell(&self, _: Address, _: Message) {}

    fn fenced(&self, _: Shard) {}
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
