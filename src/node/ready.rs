//! Readiness: whether this node may be sent requests, and why not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::cluster::Cluster;
use crate::cluster::presence::Phase;
use crate::http::Readiness;
use crate::journal::{AppendError, Health, Status, Unavailable};
use crate::nats::Nats;
use crate::telemetry::Metrics;

/// Time between two looks at a cluster node.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Time between two test appends.
const CANARY_EVERY: Duration = Duration::from_secs(1);

/// How long a test append may take.
const CANARY_DEADLINE: Duration = Duration::from_secs(2);

/// How long none may be stored before the node calls itself not ready: longer than a stream of JetStream takes to choose a
/// new leader (4 to 9 s). All nodes would call themselves so at the same time, and public reads do not need NATS.
const CANARY_SILENCE_MAX: Duration = Duration::from_secs(12);

/// What the test appends came to. One that fails means little: the stream may be choosing a new leader.
#[derive(Clone)]
struct Song {
    /// When one was last stored.
    stored: Option<Instant>,
    /// Why the last one was not.
    failure: Option<String>,
}

impl Song {
    /// Why the node should not be sent requests: no test append was stored since one had to be.
    fn refusal(&self, now: Instant) -> Option<String> {
        let heard = self.stored.is_some_and(|at| now.duration_since(at) <= CANARY_SILENCE_MAX);
        let silent = || match &self.stored {
            None => "waiting for the first test append".to_owned(),
            Some(_) => format!("no test append was stored for {CANARY_SILENCE_MAX:?}"),
        };
        (!heard).then(|| self.failure.clone().unwrap_or_else(silent))
    }
}

/// Says what changed, once.
struct Sign {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    shown: Option<Option<String>>,
}

impl Sign {
    fn new(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Self {
        Self { readiness, metrics, shown: None }
    }

    fn show(&mut self, reason: Option<String>) {
        if self.shown.as_ref() == Some(&reason) {
            return;
        }
        self.metrics.ready.set(i64::from(reason.is_none()));
        match &reason {
            None => self.readiness.ready(),
            Some(reason) => {
                warn!(reason, "not ready");
                self.readiness.not_ready(reason);
            }
        }
        self.shown = Some(reason);
    }
}

/// Why the journal takes no records; `None` when it does. An error: it was closed, and nothing more will come.
fn refusal(status: &Status) -> Result<Option<String>, ()> {
    match status {
        Status::Serving => Ok(None),
        Status::DiskFull => Ok(Some("disk full".to_owned())),
        Status::Away { reason } | Status::Stopped { reason } => Ok(Some(reason.clone())),
        Status::Closed => Err(()),
    }
}

/// An embedded node is ready while the journal takes records.
pub(super) async fn keep_embedded(
    mut health: watch::Receiver<Health>,
    tested: Result<(), AppendError>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
) {
    readiness.open();
    let mut sign = Sign::new(readiness, metrics);
    let mut blocked = match tested {
        Ok(()) => None,
        Err(AppendError::Unavailable { reason: Unavailable::DiskFull }) => Some("disk full".to_owned()),
        Err(other) => Some(other.to_string()),
    };
    loop {
        let refusal = refusal(&health.borrow_and_update().status);
        let Ok(refusal) = refusal else { return };
        sign.show(refusal.or_else(|| blocked.take()));
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// A cluster node is ready while it has joined, is connected, and test appends come back in time. A shard whose own journal
/// does not answer says so itself: the others sell.
pub(super) async fn keep_clustered(
    (cluster, nats, node): (Cluster, Nats, String),
    health: watch::Receiver<Health>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
) {
    let (canary, sung) = watch::channel(Song { stored: None, failure: None });
    tokio::spawn(sing(nats, node, canary));
    let mut sign = Sign::new(readiness.clone(), metrics);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let standing = cluster.standing();
    loop {
        looks.tick().await;
        let standing = *standing.borrow();
        if standing.whole {
            readiness.open();
        }
        let reason = match standing.phase {
            _ if !standing.whole => Some("joining the cluster".to_owned()),
            Phase::Joining => Some("joining the cluster".to_owned()),
            // The node says itself that it is stopping.
            Phase::Leaving => return,
            Phase::Deaf | Phase::Serving => None,
        };
        let Ok(refusal) = refusal(&health.borrow().status) else { return };
        sign.show(reason.or(refusal).or_else(|| sung.borrow().refusal(Instant::now())));
    }
}

/// Appends to a subject that nobody reads, again and again.
async fn sing(nats: Nats, node: String, told: watch::Sender<Song>) {
    let mut every = tokio::time::interval(CANARY_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !told.is_closed() {
        every.tick().await;
        let sung = nats.canary(&node, CANARY_DEADLINE).await;
        told.send_modify(|song| match sung {
            Ok(_) => *song = Song { stored: Some(Instant::now()), failure: None },
            Err(away) => song.failure = Some(away.to_string()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_test_append_that_fails_is_forgiven_and_silence_is_not() {
        let now = Instant::now();
        let late = now + CANARY_SILENCE_MAX + Duration::from_millis(1);
        let song = |failure: Option<&str>| Song { stored: Some(now), failure: failure.map(str::to_owned) };
        assert_eq!(song(None).refusal(now), None);
        assert_eq!(song(Some("no leader")).refusal(now + CANARY_DEADLINE), None);
        assert_eq!(song(Some("no leader")).refusal(late).as_deref(), Some("no leader"));
        assert!(song(None).refusal(late).is_some_and(|reason| reason.contains("no test append")));
        assert!(Song { stored: None, failure: None }.refusal(now).is_some());
    }
}
