//! The journal of a cluster: one subject per shard in JetStream streams with several copies.
//!
//! Owns this node's appends: what it claimed, what it knows to be last, what is in flight. Who should own a shard is not
//! decided here; that nobody but the last claimer can write is. Every append is conditional on the last message that its
//! writer knows, a claim raises the epoch, and from then on every append of an earlier owner is refused by the servers.
//!
//! - [`append`] decides what becomes of an append; `carry` does what it says, over the network.
//! - `envelope` is the bytes of a message, `lanes` what is known of each shard, `standing` the journal's health.
//! - `reader` follows a shard for ever, `replay` reads one up to its end, and cuts it.

pub mod append;
mod carry;
mod envelope;
mod lanes;
mod reader;
mod replay;
mod standing;

use std::fmt;
use std::sync::Arc;

use actors::time::Millis;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use append::{Position, Purpose, Tail};
#[cfg(test)]
pub(in crate::journal) use envelope::record;
pub use envelope::{Envelope, EnvelopeError, Head, Kind, Mark, Owner, seal};
pub use reader::{Entry, ReadError, Reader};

use super::copy::Copy;
use super::{AppendError, Health, Journal, Observer, ReplayError, Seq, Shard, Status, Unavailable, Visit};
use crate::nats::{Away, Nats};
use append::{Attempt, Blocked};
use carry::Outcome;
use envelope::OVERHEAD_MAX;
use lanes::{Lane, Owned};
use reader::Starts;
use standing::Standing;

/// Reads the time of the cluster.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// What the journal is given besides its connection.
#[derive(Clone)]
pub struct Settings {
    /// Shards of the deployment.
    pub shards: u16,
    /// What envelopes are dated with; a shard's dates never go back, whatever this says.
    pub clock: Clock,
    /// Where a second copy of every record is kept that this node appends, if anywhere.
    pub copy: Option<Arc<Copy>>,
}

/// The journal of a cluster's node. Dropping it ends what is in flight as unknown.
pub struct JetStream {
    shared: Arc<Shared>,
}

/// What callers and tasks share.
struct Shared {
    nats: Nats,
    handle: Handle,
    owner: Owner,
    clock: Clock,
    copy: Option<Arc<Copy>>,
    observer: Arc<dyn Observer>,
    lanes: Vec<Lane>,
    standing: Arc<Standing>,
    starts: Starts,
}

/// A shard that is this node's from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The new epoch.
    pub epoch: u64,
    /// Where the claim lies.
    pub position: Position,
    /// The last record before it; the next append comes after this one.
    pub seq: Seq,
    /// The claim's date: no earlier than any message before it.
    pub at: Millis,
}

/// Why a shard was not claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// Somebody wrote meanwhile; this is the last message now.
    Lost(Tail),
    /// NATS does not answer, or without its data.
    Away(Away),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::Lost(tail) => write!(f, "another was faster: owner={} epoch={}", tail.owner, tail.epoch),
            ClaimError::Away(away) => away.fmt(f),
        }
    }
}

impl std::error::Error for ClaimError {}

impl JetStream {
    /// The journal of `owner`. Its tasks run on `handle`, whose runtime must have timers and a thread besides the callers'.
    #[must_use]
    pub fn new(
        nats: Nats,
        handle: Handle,
        owner: Owner,
        settings: Settings,
        observer: Arc<dyn Observer>,
    ) -> Arc<JetStream> {
        let lanes = (0..settings.shards).map(|shard| Lane::new(&nats, Shard(shard))).collect();
        let standing = Standing::watch(&nats, &handle);
        let Settings { clock, copy, .. } = settings;
        let starts = Starts::new(nats.options().streams);
        let shared = Shared { nats, handle, owner, clock, copy, observer, lanes, standing, starts };
        Arc::new(JetStream { shared: Arc::new(shared) })
    }

    /// Who this journal writes as.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.shared.owner
    }

    /// The last message of a shard, as the stream's leader has it; `None`: nobody ever claimed it.
    ///
    /// # Errors
    /// [`Away`] when nobody answers, and when the answer contradicts what this node has seen: then records were lost.
    pub async fn tail(&self, shard: Shard) -> Result<Option<Tail>, Away> {
        self.shared.tail(shard).await
    }

    /// Claims a shard on condition that `tail` is still its last message. From then on this journal may append to it.
    /// Takes as long as it takes to know; dropped early, it may have been claimed or not, which harms nobody.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub async fn claim(&self, shard: Shard, tail: &Option<Tail>) -> Result<Claimed, ClaimError> {
        let shared = Arc::clone(&self.shared);
        let tail = tail.clone();
        let task = self.shared.handle.spawn(async move { shared.claim(shard, tail).await });
        task.await.unwrap_or_else(|error| Err(ClaimError::Away(Away::new("claim", error))))
    }

    /// Gives a shard up: later appends are [`AppendError::Fenced`]. The journal in NATS is not touched.
    pub fn disown(&self, shard: Shard) {
        self.shared.lane(shard).state().owned = None;
    }

    /// Whether this journal may append to a shard, as far as it knows, and in which epoch.
    #[must_use]
    pub fn epoch(&self, shard: Shard) -> Option<u64> {
        self.shared.lane(shard).state().owned.as_ref().map(|owned| owned.epoch)
    }

    /// Follows a shard from behind `after` on, for ever.
    #[must_use]
    pub fn reader(&self, shard: Shard, after: Option<Position>) -> Reader {
        Reader::new(Arc::clone(&self.shared), shard, after.unwrap_or_default())
    }

    /// Ends what is in flight as unknown and refuses later appends.
    pub fn close(&self) {
        self.shared.standing.close();
    }
}

impl Drop for JetStream {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lane(&self, shard: Shard) -> &Lane {
        self.lanes.get(usize::from(shard.0)).expect("a shard of this deployment")
    }

    async fn tail(&self, shard: Shard) -> Result<Option<Tail>, Away> {
        let lane = self.lane(shard);
        let tail = self.read_tail(lane).await?;
        let seen = lane.state().seen;
        let blocked = match &tail {
            None if seen > Position::NONE => Some(Blocked::Emptied),
            Some(tail) if tail.position < seen => Some(Blocked::WentBack { to: tail.position }),
            Some(_) | None => None,
        };
        if let Some(blocked) = blocked {
            return Err(Away::new(format_args!("shard {shard}"), blocked));
        }
        if let Some(tail) = &tail {
            lane.state().see(tail.position, tail.seq);
        }
        Ok(tail)
    }

    async fn claim(&self, shard: Shard, tail: Option<Tail>) -> Result<Claimed, ClaimError> {
        let lane = self.lane(shard);
        if tail.is_none() {
            // The condition of a first claim also holds where everything was lost.
            if lane.state().seen > Position::NONE {
                return Err(ClaimError::Away(Away::new(format_args!("shard {shard}"), Blocked::Emptied)));
            }
            let away = |error: crate::nats::ConnectError| ClaimError::Away(Away { reason: error.to_string() });
            self.nats.still_there().await.map_err(away)?;
        }
        let (expected, epoch, seq, before) = match &tail {
            Some(tail) => (tail.position, tail.epoch + 1, tail.seq, tail.at),
            None => (Position::NONE, 1, Seq::NONE, Millis(0)),
        };
        let at = (self.clock)().max(before);
        let head = Head { shard, purpose: Purpose::Claim, epoch, seq, at, owner: &self.owner };
        let (message, mark) = seal(Vec::new(), &head);
        let attempt = Attempt::new(expected, Purpose::Claim, mark);
        match self.carry(lane, attempt, message).await {
            Outcome::Done(position) => {
                let mut state = lane.state();
                state.see(position, seq);
                state.owned = Some(Owned { epoch, position, seq, at, in_flight: false });
                Ok(Claimed { epoch, position, seq, at })
            }
            Outcome::Fenced(tail) | Outcome::Unknown(tail) => {
                lane.state().see(tail.position, tail.seq);
                Err(ClaimError::Lost(tail))
            }
            Outcome::TooLarge(_) => unreachable!("a claim is smaller than any server's limit that was let in"),
            Outcome::Closed => Err(ClaimError::Away(Away::new("claim", "the journal is closed"))),
        }
    }

    /// Takes the lane for one append, or says why not.
    fn begin(&self, shard: Shard, after: Seq, record: Vec<u8>) -> Result<(Attempt, bytes::Bytes, Owned), AppendError> {
        let unavailable = |reason| Err(AppendError::Unavailable { reason });
        let (bytes, most) = (record.len(), self.nats.append_max().saturating_sub(OVERHEAD_MAX));
        if self.standing.is_closed() {
            return unavailable(Unavailable::Closed);
        }
        if bytes > most {
            return unavailable(Unavailable::TooLarge { bytes, most });
        }
        let mut state = self.lane(shard).state();
        let last = state.last();
        let owned = match &mut state.owned {
            Some(owned) if owned.seq == after && owned.in_flight => return unavailable(Unavailable::QueueFull),
            Some(owned) if owned.seq == after => owned,
            Some(_) | None => return Err(AppendError::Fenced { shard, after, last }),
        };
        owned.in_flight = true;
        let owned = owned.clone();
        drop(state);
        let (seq, at) = (after.next(), (self.clock)().max(owned.at));
        let head = Head { shard, purpose: Purpose::Record, epoch: owned.epoch, seq, at, owner: &self.owner };
        let (message, mark) = seal(record, &head);
        Ok((Attempt::new(owned.position, Purpose::Record, mark), message, Owned { seq, at, ..owned }))
    }

    /// Notes what became of an append and says it to whoever asked.
    fn end(&self, shard: Shard, mine: Owned, outcome: Outcome) -> Result<Seq, AppendError> {
        let mut state = self.lane(shard).state();
        let after = Seq(mine.seq.0 - 1);
        // Meanwhile the shard may have been given up, or claimed anew.
        let is_current = state.owns(mine.epoch);
        match outcome {
            Outcome::Done(position) => {
                state.see(position, mine.seq);
                let seq = mine.seq;
                if is_current {
                    state.owned = Some(Owned { position, in_flight: false, ..mine });
                }
                Ok(seq)
            }
            Outcome::TooLarge(bytes) => {
                if let Some(owned) = state.owned.as_mut().filter(|_| is_current) {
                    owned.in_flight = false;
                }
                let most = self.nats.append_max();
                Err(AppendError::Unavailable { reason: Unavailable::TooLarge { bytes, most } })
            }
            Outcome::Fenced(tail) => {
                state.lose(&tail, mine.epoch);
                Err(AppendError::Fenced { shard, after, last: tail.seq })
            }
            Outcome::Unknown(tail) => {
                state.lose(&tail, mine.epoch);
                let reason = format!("shard {shard} was taken over and cut while the append was not answered");
                Err(AppendError::Unknown { reason })
            }
            Outcome::Closed => Err(AppendError::Unanswered),
        }
    }
}

impl Journal for JetStream {
    fn append(&self, shard: Shard, after: Seq, record: Vec<u8>) -> BoxFuture<'static, Result<Seq, AppendError>> {
        let (attempt, message, mine) = match self.shared.begin(shard, after, record) {
            Ok(begun) => begun,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let shared = Arc::clone(&self.shared);
        let task = self.shared.handle.spawn(async move {
            let copied = message.clone();
            let outcome = shared.carry(shared.lane(shard), attempt, message).await;
            let ended = shared.end(shard, mine, outcome);
            if let (Ok(seq), Some(copy)) = (&ended, &shared.copy) {
                copy.wrote(shard, *seq, copied);
            }
            ended
        });
        Box::pin(async move {
            task.await.unwrap_or_else(|lost| match lost.is_cancelled() {
                // With the runtime that carried it, at whatever point that was.
                true => Err(AppendError::Unanswered),
                false => Err(AppendError::Unknown { reason: lost.to_string() }),
            })
        })
    }

    fn replay(&self, after: &[(Shard, Seq)], visit: &mut Visit<'_>) -> Result<Vec<(Shard, Seq)>, ReplayError> {
        after.iter().map(|(shard, after)| Ok((*shard, replay::replay(&self.shared, *shard, *after, visit)?))).collect()
    }

    fn truncate(&self, shard: Shard, to: Seq) {
        if let Some(copy) = &self.shared.copy {
            copy.truncate(shard, to);
        }
        let shared = Arc::clone(&self.shared);
        self.shared.handle.spawn(async move { replay::cut(&shared, shard, to).await });
    }

    fn last(&self, shard: Shard) -> Seq {
        self.shared.lane(shard).state().last()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.standing.subscribe()
    }

    fn status_of(&self, shard: Shard) -> Status {
        self.shared.standing.status_of(shard)
    }
}
