//! The steps in which a shard comes, goes, or proves itself: each is a task of its own that ends with a report.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actors::ids::Shard;
use tracing::{info, warn};

use super::super::Shared;
use super::super::follow::Follower;
use super::super::presence::NodeId;
use super::super::sightings::Lease;
use super::Report;
use crate::clock;
use crate::journal;
use crate::journal::jetstream::{ClaimError, Claimed, Tail};
use crate::nats::Away;

/// Wait before the journal is asked again when it was out of reach.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a claim goes on while the journal is out of reach, and how long its last records may take to be read.
const CLAIM_MAX: Duration = Duration::from_secs(10);

/// Becomes the owner of a shard: see the driver's charter.
pub(super) async fn claim(shared: Arc<Shared>, shard: Shard, follower: Follower) {
    let began = Instant::now();
    let report = match try_claim(&shared, shard, follower).await {
        Ok(epoch) => {
            info!(shard = shard.0, epoch, took = ?began.elapsed(), "shard is served here");
            shared.counters.claims.fetch_add(1, Ordering::Relaxed);
            Report::Owns { shard, epoch }
        }
        Err(failed) => {
            warn!(shard = shard.0, reason = failed.reason, "shard not claimed");
            shared.give_up(shard);
            if failed.overtaken { Report::ClaimLost { shard } } else { Report::ClaimFailed { shard } }
        }
    };
    shared.report(report);
}

/// Why a claim came to nothing.
struct Failed {
    reason: String,
    /// Somebody else was faster.
    overtaken: bool,
}

impl Failed {
    fn overtaken() -> Self {
        Self { reason: "another node claimed it before it was read".to_owned(), overtaken: true }
    }
}

impl From<ClaimError> for Failed {
    fn from(error: ClaimError) -> Self {
        let overtaken = match &error {
            ClaimError::Lost(_) => true,
            ClaimError::Away(_) => false,
        };
        Self { reason: error.to_string(), overtaken }
    }
}

impl From<&'static str> for Failed {
    fn from(reason: &'static str) -> Self {
        Self { reason: reason.to_owned(), overtaken: false }
    }
}

async fn try_claim(shared: &Arc<Shared>, shard: Shard, follower: Follower) -> Result<u64, Failed> {
    let claimed = write_claim(shared, shard).await?;
    let finished = tokio::time::timeout(CLAIM_MAX, follower.finish(&claimed)).await;
    let Some(restored) = finished.map_err(|_| "the last records could not be read")? else {
        return Err(Failed::overtaken());
    };
    let Claimed { epoch, at, .. } = claimed;
    shared.distribution.begin(shard, epoch);
    shared.intake().own(shard, epoch);
    let hosting = shared.hosting().ok_or("node is not started yet")?;
    if hosting.adopt(restored, at).await { Ok(epoch) } else { Err("node stops".into()) }
}

/// Claims in the journal, as soon as the last owner's lease is over; goes on for a while when the journal is out of reach.
async fn write_claim(shared: &Arc<Shared>, shard: Shard) -> Result<Claimed, ClaimError> {
    let (named, until) = (journal::Shard(shard.0), Instant::now() + CLAIM_MAX);
    loop {
        let tried = match shared.journal.tail(named).await {
            Ok(tail) => match outlive(shared, shard, tail.as_ref()).await {
                Ok(()) => shared.journal.claim(named, &tail).await,
                Err(away) => Err(ClaimError::Away(away)),
            },
            Err(away) => Err(ClaimError::Away(away)),
        };
        match tried {
            Err(ClaimError::Away(_)) if Instant::now() < until => tokio::time::sleep(AGAIN).await,
            settled => return settled,
        }
    }
}

/// Waits until the last owner can have no lease any more: it must not answer for what changes behind its back.
async fn outlive(shared: &Shared, shard: Shard, tail: Option<&Tail>) -> Result<(), Away> {
    let Some(tail) = tail else { return Ok(()) };
    let owner = NodeId { name: tail.owner.name.as_str().into(), incarnation: tail.owner.incarnation };
    // An earlier life of this node has ended: the data directory is locked by this one.
    if owner.name == shared.me.name || shared.sightings().gave_up(shard, &owner, tail.epoch) {
        return Ok(());
    }
    // One that lives goes on storing heartbeats: then this claim is not due.
    for _ in 0..3 {
        let Some(stored) = shared.stored_heartbeat(&owner.name).await? else { return Ok(()) };
        let lease = shared.sightings().lease_of(&owner, &stored, clock::monotonic());
        match lease {
            Lease::Over => return Ok(()),
            Lease::Maybe(wait) => tokio::time::sleep(Duration::from_millis(wait.0)).await,
        }
    }
    Err(Away { reason: format!("the last owner, {owner}, still stores heartbeats") })
}

/// Gives a shard up in good order.
pub(super) async fn release(shared: Arc<Shared>, shard: Shard) {
    let began = Instant::now();
    if let Some(hosting) = shared.hosting() {
        hosting.release(shard).await;
    }
    shared.give_up(shard);
    info!(shard = shard.0, took = ?began.elapsed(), "shard given up");
    shared.report(Report::Released { shard });
}

/// Proves by an append that a shard is still this node's, for as long as that takes. A refusal is reported by whoever hears
/// it first: the runtime.
pub(super) async fn verify(shared: Arc<Shared>, shard: Shard, lapse: u64) {
    let Some(hosting) = shared.hosting() else { return };
    if hosting.prove(shard).await
        && let Some(epoch) = shared.journal.epoch(journal::Shard(shard.0))
    {
        shared.report(Report::Trusted { shard, epoch, lapse });
    }
}
