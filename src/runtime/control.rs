//! What the runtime's own parts tell a shard's thread.

use actors::address::Address;
use actors::ids::Shard;
use actors::time::Millis;
use tokio::sync::oneshot;

use super::recovery::Restored;
use crate::journal::Seq;

#[derive(Debug)]
pub(super) enum Control {
    /// All threads are up: cells may wake, rounds of snapshots may begin.
    Begin,
    /// Cells brought back after a panic or a failed append.
    Rebuilt(Rebuilt),
    /// A shard comes to live here, with a time that is not before this one.
    Adopt(Box<Restored>, Millis, oneshot::Sender<()>),
    /// A shard leaves when what was let in is finished; the last durable record goes out then.
    Release(Shard, oneshot::Sender<Seq>),
    /// A shard leaves at once.
    Drop(Shard),
    /// Publish the pictures of a shard's cells, say when they are out.
    Pictures(Shard, oneshot::Sender<()>),
    /// Append a record that changes nothing, say when it is durable.
    Prove(Shard, oneshot::Sender<()>),
    /// Make the next turn of this cell panic.
    Panic(Address),
    /// Finish what is queued, write the last snapshots, say when done.
    Stop(oneshot::Sender<()>),
}

/// What became of a wish to bring cells back.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) shard: Shard,
    /// Of which life of the shard on this node: another one has cells of its own.
    pub(super) life: Life,
    pub(super) cells: Vec<Address>,
    /// `None`: it could not be done, for the reason in the log.
    pub(super) restored: Option<Restored>,
}

/// One stay of a shard on this node. No two have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life(pub(super) u64);
