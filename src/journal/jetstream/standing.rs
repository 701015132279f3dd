//! The health of the journal: away while NATS is not connected, not trusted, or owes an answer for too long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    fn status(&self) -> Status {
        if self.closed {
            return Status::Closed;
        }
        let away = |reason: String| Status::Away { reason };
        if let Some(distrust) = &self.distrust {
            return away(distrust.clone());
        }
        if self.disconnected {
            return away("no connection to NATS".to_owned());
        }
        match self.late.first_key_value() {
            Some((shard, reason)) => away(format!("journal of shard {shard} does not answer: {reason}")),
            None => Status::Serving,
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

    pub(super) fn late(&self, shard: Shard, reason: String) {
        self.update(|facts| {
            facts.late.insert(shard, reason);
        });
    }

    pub(super) fn answered(&self, shard: Shard) {
        self.update(|facts| {
            facts.late.remove(&shard);
        });
    }

    fn update(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut facts);
        let status = facts.status();
        // Told while the facts are locked, so that two changes are told in their order.
        self.health.send_if_modified(|health| {
            let (was_away, is_away) = (is_away(&health.status), is_away(&status));
            if let (false, Status::Away { reason }) = (was_away, &status) {
                warn!(reason, "journal is away");
            } else if was_away && !is_away {
                info!("journal is back");
            }
            let changed = health.status != status;
            health.status = status;
            changed
        });
    }
}

fn is_away(status: &Status) -> bool {
    matches!(status, Status::Away { .. })
}
