//! The way of a command: to this node's machines, to another node's, or to nobody yet.
//!
//! Owns what is tried again. What was surely not done is asked again of whoever owns the shard by then, for as long as
//! `cluster.owner_wait`; an outcome that is not known is asked for once more only with an idempotency key, because only
//! then is the second answer the first one's.

use std::time::Duration;

use actors::address::Address;
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::owners::Way;
use super::wire::Item;
use super::{Cluster, Shared};
use crate::clock;
use crate::runtime::Failure;

/// How soon an owner that has just given a shard up is looked for again, at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Cluster {
    /// Asks the machine at an address, wherever its shard lives. The shard must be one of the deployment's.
    ///
    /// # Errors
    /// See [`Failure`]; a refusal is an answer, not an error.
    pub async fn ask(&self, to: Address, asked: Asked<Message>) -> Result<Answer<Reply>, Failure> {
        let shared = &self.shared;
        let shard = to.shard(shared.settings.shards);
        let until = Instant::now() + shared.settings.owner_wait;
        let mut changes = shared.owners.watch();
        let mut asked_again = false;
        loop {
            let heard = match shared.owners.way(shard, clock::monotonic()) {
                Way::Here => match shared.router() {
                    Some(router) => router.ask(to.clone(), asked.clone()).await,
                    None => return Err(Failure::NO_OWNER),
                },
                Way::There(_) | Way::Nowhere | Way::NotNow if !shared.standing.borrow().leased => {
                    return Err(if asked_again { Failure::Unknown } else { Failure::OUT_OF_REACH });
                }
                Way::There(owner) => shared.bus.ask(&owner.node, to.clone(), asked.clone()).await,
                Way::Nowhere | Way::NotNow => Err(Failure::Elsewhere),
            };
            match heard {
                Err(Failure::Elsewhere) => {}
                Err(Failure::Unknown) if asked.key.is_some() && !asked_again => asked_again = true,
                // What the second try surely did not do, the first may have done.
                Err(Failure::Overloaded { .. } | Failure::Unavailable { .. }) if asked_again => {
                    return Err(Failure::Unknown);
                }
                settled => return settled,
            }
            if Instant::now() >= until {
                return Err(if asked_again { Failure::Unknown } else { Failure::NO_OWNER });
            }
            news(&mut changes, until).await;
        }
    }

    /// Tells a machine something, wherever its shard lives. May be lost: whoever owes it tells it again.
    pub fn tell(&self, to: Address, message: Message) {
        match self.shared.router() {
            Some(router) if router.hosts(to.shard(self.shared.settings.shards)) => router.tell(to, message),
            Some(_) | None => tell(&self.shared, to, message),
        }
    }
}

/// To another node's machine.
pub(super) fn tell(shared: &Shared, to: Address, message: Message) {
    let shard = to.shard(shared.settings.shards);
    if shard.0 >= shared.settings.shards {
        return;
    }
    match shared.owners.way(shard, clock::monotonic()) {
        Way::There(owner) => drop(shared.bus.put(&owner.node, &Item::Tell { to, message })),
        Way::Here | Way::NotNow | Way::Nowhere => {}
    }
}

/// Resolves when an owner changes, or soon.
async fn news(changes: &mut watch::Receiver<()>, until: Instant) {
    let soon = (Instant::now() + LOOK_AGAIN).min(until);
    let _ = timeout_at(soon, changes.changed()).await;
}
