//! The steps in which a shard comes, goes, or is looked up: each is a task of its own that ends with a report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::ids::Shard;
use tracing::{info, warn};

use super::super::Shared;
use super::super::follow::Follower;
use super::Report;
use crate::journal;
use crate::journal::jetstream::{ClaimError, Claimed};

/// Wait before the journal is asked again when it was out of reach.
const AGAIN: Duration = Duration::from_millis(100);

/// Becomes the owner of a shard: see the driver's charter.
pub(super) async fn claim(shared: Arc<Shared>, shard: Shard, follower: Follower) {
    let began = Instant::now();
    let report = match try_claim(&shared, shard, follower).await {
        Ok(epoch) => {
            info!(shard = shard.0, epoch, took = ?began.elapsed(), "shard is served here");
            shared.counters.claims.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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
    let named = journal::Shard(shard.0);
    let tail = shared.journal.tail(named).await.map_err(ClaimError::Away)?;
    let Claimed { epoch, position, seq, at } = shared.journal.claim(named, &tail).await?;
    let restored = follower.finish(position, seq).await.ok_or("follower ended")?;
    shared.distribution.begin(shard, epoch);
    shared.intake().own(shard, epoch);
    let hosting = shared.hosting().ok_or("node is not started yet")?;
    if hosting.adopt(restored, at).await { Ok(epoch) } else { Err("node stops".into()) }
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

/// Asks the journal's leader whether a shard is still this node's.
pub(super) async fn verify(shared: Arc<Shared>, shard: Shard) {
    loop {
        match shared.journal.tail(journal::Shard(shard.0)).await {
            Ok(tail) => {
                let mine = tail.filter(|tail| shared.is_me(&tail.owner)).map(|tail| tail.epoch);
                return shared.report(mine.map_or(Report::Lost { shard }, |epoch| Report::Trusted { shard, epoch }));
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}
