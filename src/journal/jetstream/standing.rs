//! The health of the journal: away while NATS is not connected or not trusted. A shard is also away, alone, while its own
//! append is owed an answer for too long: its stream may have no leader while the others do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::journal::{Health, Shard, Space, Status};
use crate::nats::Nats;

/// See the module's charter.
pub(super) struct Standing {
    facts: Mutex<Facts>,
    health: watch::Sender<Health>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct Facts {
    disconnected: bool,
    distrust: Option<String>,
    /// Shards whose append is not answered, with the last that was heard of it.
    late: BTreeMap<Shard, String>,
    closed: bool,
}

impl Facts {
    /// Of the journal as a whole: a shard that is late does not count, the others may be well.
    fn status(&self) -> Status {
        if self.closed {
            return Status::Closed;
        }
        let away = |reason: String| Status::Away { reason };
        match &self.distrust {
            Some(distrust) => away(distrust.clone()),
            None if self.disconnected => away("no connection to NATS".to_owned()),
            None => Status::Serving,
        }
    }

    fn status_of(&self, shard: Shard) -> Status {
        match (self.status(), self.late.get(&shard)) {
            (Status::Serving, Some(reason)) => {
                Status::Away { reason: format!("journal of shard {shard} does not answer: {reason}") }
            }
            (status, _) => status,
        }
    }
}

impl Standing {
    /// Watches the connection until the journal is closed.
    pub(super) fn watch(nats: &Nats, handle: &Handle) -> Arc<Standing> {
        let health = Health { status: Status::Serving, space: Space::default() };
        let standing = Arc::new(Standing {
            facts: Mutex::default(),
            health: watch::Sender::new(health),
            closed: watch::Sender::new(false),
        });
        let (mut connected, mut distrust) = (nats.connected(), nats.distrust());
        let mut closed = standing.closed.subscribe();
        let watched = Arc::clone(&standing);
        handle.spawn(async move {
            loop {
                watched.update(|facts| {
                    facts.disconnected = !*connected.borrow_and_update();
                    facts.distrust.clone_from(&distrust.borrow_and_update());
                });
                let more = tokio::select! {
                    changed = connected.changed() => changed.is_ok(),
                    changed = distrust.changed() => changed.is_ok(),
                    _ = closed.changed() => false,
                };
                if !more {
                    return;
                }
            }
        });
        standing
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        self.update(|facts| facts.closed = true);
    }

    pub(super) fn status_of(&self, shard: Shard) -> Status {
        self.facts().status_of(shard)
    }

    pub(super) fn late(&self, shard: Shard, reason: String) {
        self.update(|facts| {
            if facts.late.is_empty() {
                warn!(%shard, reason, "a shard's journal does not answer");
            }
            facts.late.insert(shard, reason);
        });
    }

    pub(super) fn answered(&self, shard: Shard) {
        self.update(|facts| {
            if facts.late.remove(&shard).is_some() && facts.late.is_empty() {
                info!("every shard's journal answers again");
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts();
        change(&mut facts);
        let status = facts.status();
        // Told while the facts are locked, so that two changes are told in their order; and always, because a shard may have
        // changed alone.
        self.health.send_modify(|health| {
            let (was_away, is_away) = (is_away(&health.status), is_away(&status));
            if let (false, Status::Away { reason }) = (was_away, &status) {
                warn!(reason, "journal is away");
            } else if was_away && !is_away {
                info!("journal is back");
            }
            health.status = status;
        });
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_away(status: &Status) -> bool {
    matches!(status, Status::Away { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_shard_is_away_alone_and_a_lost_connection_takes_all_away() {
        let mut facts = Facts::default();
        facts.late.insert(Shard(3), "no leader".to_owned());
        assert_eq!(facts.status(), Status::Serving);
        assert_eq!(facts.status_of(Shard(4)), Status::Serving);
        assert!(is_away(&facts.status_of(Shard(3))));
        facts.disconnected = true;
        assert!(is_away(&facts.status()) && is_away(&facts.status_of(Shard(4))));
        facts.disconnected = false;
        facts.late.clear();
        assert_eq!(facts.status_of(Shard(3)), Status::Serving);
    }
}
