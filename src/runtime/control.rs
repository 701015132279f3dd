//! What the runtime's own parts tell a shard's thread.

use actors::address::Address;
use actors::ids::Shard;
use tokio::sync::oneshot;

use super::recovery::Restored;

#[derive(Debug)]
pub(super) enum Control {
    /// All threads are up: cells may wake, rounds of snapshots may begin.
    Begin,
    /// Cells brought back after a panic or a failed append; `None`: it could not be done, for the reason in the log.
    Rebuilt(Shard, Vec<Address>, Option<Restored>),
    /// Make the next turn of this cell panic.
    Panic(Address),
    /// Finish what is queued, write the last snapshots, say when done.
    Stop(oneshot::Sender<()>),
}
