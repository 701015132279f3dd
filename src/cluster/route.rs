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

use super::owners::{Owner, Way};
use super::wire::Item;
use super::{Cluster, Shared};
use crate::runtime::Failure;

/// How soon an owner that has just given a shard up is looked for again, if nothing is heard; doubled each time.
const LOOK_MIN: Duration = Duration::from_millis(20);

/// How late, at most.
const LOOK_MAX: Duration = Duration::from_millis(320);

/// Messages between machines that wait for a shard between two owners; beyond, whoever owes one tells it again.
const PARKED_MAX: usize = 16 * 1024;

impl Cluster {
    /// Asks the machine at an address, wherever its shard lives. The shard must be one of the deployment's.
    ///
    /// # Errors
    /// See [`Failure`]; a refusal is an answer, not an error.
    pub async fn ask(&self, to: Address, asked: Asked<Message>) -> Result<Answer<Reply>, Failure> {
        let shared = &self.shared;
        let shard = to.shard(shared.settings.shards);
        let mut waiting: Option<Waiting> = None;
        let mut asked_again = false;
        loop {
            let way = shared.owners.way(shard);
            let heard = match &way {
                Way::Here => match shared.router() {
                    Some(router) => router.ask(to.clone(), asked.clone()).await,
                    None => return Err(Failure::NO_OWNER),
                },
                Way::There(_) | Way::Nowhere if !shared.is_connected() => {
                    return Err(if asked_again { Failure::Unknown } else { Failure::OUT_OF_REACH });
                }
                Way::There(owner) => shared.bus.ask(&owner.node, to.clone(), asked.clone()).await,
                Way::Nowhere => Err(Failure::Elsewhere),
            };
            match heard {
                Err(Failure::Elsewhere) => {}
                // The same owner would only say that the first try is still running.
                Err(Failure::Unknown) if asked.key.is_some() && !asked_again && shared.has_moved(shard, &way) => {
                    asked_again = true;
                    waiting = None;
                }
                // What the second try surely did not do, the first may have done.
                Err(Failure::Overloaded { .. } | Failure::Unavailable { .. }) if asked_again => {
                    return Err(Failure::Unknown);
                }
                settled => return settled,
            }
            let waiting = waiting.get_or_insert_with(|| Waiting::begin(shared));
            if !waiting.news().await {
                return Err(if asked_again { Failure::Unknown } else { Failure::NO_OWNER });
            }
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

impl Shared {
    fn is_connected(&self) -> bool {
        *self.nats.connected().borrow()
    }

    /// Whether a shard's owner is another than the one just asked, or nobody.
    fn has_moved(&self, shard: actors::ids::Shard, asked: &Way) -> bool {
        let asked: Option<&Owner> = match asked {
            Way::There(owner) => Some(owner),
            Way::Here | Way::Nowhere => None,
        };
        let node = asked.map_or(self.owners.me(), |owner| &owner.node);
        self.owners.owner(shard).is_none_or(|owner| owner.node != *node)
    }

    /// Sends on what waits for shards that have an owner by now.
    pub(super) fn unpark(&self) {
        let parked = std::mem::take(&mut *self.parked());
        for (since, to, message) in parked {
            if since.elapsed() >= self.settings.owner_wait {
                continue;
            }
            match self.owners.way(to.shard(self.settings.shards)) {
                Way::Here => {
                    if let Some(router) = self.router() {
                        router.tell(to, message);
                    }
                }
                Way::There(owner) => drop(self.bus.put(&owner.node, &Item::Tell { to, message })),
                Way::Nowhere => self.parked().push((since, to, message)),
            }
        }
    }
}

/// To another node's machine, or to wait until it has an owner.
pub(super) fn tell(shared: &Shared, to: Address, message: Message) {
    let shard = to.shard(shared.settings.shards);
    if shard.0 >= shared.settings.shards {
        return;
    }
    match shared.owners.way(shard) {
        Way::There(owner) => drop(shared.bus.put(&owner.node, &Item::Tell { to, message })),
        Way::Here | Way::Nowhere => {
            let mut parked = shared.parked();
            if parked.len() < PARKED_MAX {
                parked.push((std::time::Instant::now(), to, message));
            }
        }
    }
}

/// An ask that waits for an owner.
struct Waiting {
    changes: watch::Receiver<()>,
    until: Instant,
    pause: Duration,
}

impl Waiting {
    fn begin(shared: &Shared) -> Self {
        let until = Instant::now() + shared.settings.owner_wait;
        Self { changes: shared.owners.watch(), until, pause: LOOK_MIN }
    }

    /// Resolves when an owner changes, or soon; `false`: it has waited long enough.
    async fn news(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until {
            return false;
        }
        let soon = (now + self.pause).min(self.until);
        self.pause = (self.pause * 2).min(LOOK_MAX);
        let _ = timeout_at(soon, self.changes.changed()).await;
        true
    }
}
