//! Following one shard's journal: every message in order, from a position on, for ever.
//!
//! Uses a push consumer that NATS keeps in memory and that says every second that it is still there. Whatever goes wrong
//! (silence, a gap, another leader, a new connection) has one answer: a new consumer behind the last message that was given out.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, push};
use async_nats::{StatusCode, Subscriber};
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::append::Position;
use super::envelope::{Envelope, EnvelopeError};
use super::{Shard, Shared};
use crate::nats::Away;

/// How often a consumer with nothing to say says so.
const HEARTBEAT: Duration = Duration::from_millis(1_000);
/// Silence after which it is taken for lost.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);
/// How long NATS keeps a consumer that nobody listens to.
const ABANDONED: Duration = Duration::from_secs(10);
/// Consumers of one stream that a node has under way at once.
const STARTS_MAX: usize = 4;
/// Pause before a consumer that could not be made is tried again, on average.
const AGAIN: Duration = Duration::from_millis(100);

/// Header of a heartbeat: how many messages the consumer has sent so far.
const SENT: &str = "Nats-Last-Consumer";
/// Header of a heartbeat: the subject to publish to, so that a held up consumer goes on.
const STALLED: &str = "Nats-Consumer-Stalled";

/// Why the next message was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// NATS does not answer. The next call tries again, after a pause.
    Away(Away),
    /// The next message lies there but says nothing to this release: it is damaged, or of a newer one. Trying again does not
    /// help, and what comes behind it must not be read without it.
    Unreadable {
        /// Where it lies.
        position: Position,
        /// What is the matter with it.
        error: EnvelopeError,
    },
}

impl From<Away> for ReadError {
    fn from(away: Away) -> Self {
        ReadError::Away(away)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Away(away) => away.fmt(f),
            ReadError::Unreadable { position, error } => {
                write!(f, "message cannot be read: position={} {error}", position.0)
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// A message where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub position: Position,
    /// What it says.
    pub envelope: Envelope,
}

/// Follows a shard. Messages that were cut away are left out: whoever needs them all compares
/// [`Envelope::before`] with the last number it has.
pub struct Reader {
    shared: Arc<Shared>,
    shard: Shard,
    position: Position,
    live: Option<Live>,
    /// Where the shard ended when it was first asked.
    target: Option<Position>,
    failed: bool,
}

struct Live {
    messages: Subscriber,
    received: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, shard: Shard, after: Position) -> Reader {
        Reader { shared, shard, position: after, live: None, target: None, failed: false }
    }

    /// The last message that was given out, or where this reader began.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether everything was given out that the shard had when this was first asked.
    ///
    /// # Errors
    /// [`Away`] the first time, when the leader does not answer.
    pub async fn caught_up(&mut self) -> Result<bool, Away> {
        let target = match self.target {
            Some(target) => target,
            None => {
                let tail = self.shared.tail(self.shard).await?;
                *self.target.insert(tail.map_or(Position::NONE, |tail| tail.position))
            }
        };
        Ok(self.position >= target)
    }

    /// The next message; waits for it. May be dropped while it waits without losing anything.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn next(&mut self) -> Result<Entry, ReadError> {
        if std::mem::take(&mut self.failed) {
            // Those that failed together do not come back together.
            sleep(AGAIN.mul_f64(rand::random_range(0.5..1.5))).await;
        }
        let next = self.try_next().await;
        if next.is_err() {
            self.live = None;
            self.failed = true;
        }
        next
    }

    async fn try_next(&mut self) -> Result<Entry, ReadError> {
        loop {
            let live = match &mut self.live {
                Some(live) => live,
                empty => {
                    let starting = start(&self.shared, self.shard, self.position);
                    empty.insert(self.shared.starts.one(self.shard, starting).await?)
                }
            };
            let Ok(Some(message)) = timeout(SILENCE_MAX, live.messages.next()).await else {
                self.live = None;
                continue;
            };
            if message.status.is_some() {
                if !self.heard_status(&message).await {
                    self.live = None;
                }
                continue;
            }
            let message = Message { message, context: self.shared.nats.jetstream().clone() };
            let (received, position) = match message.info() {
                Ok(info) => (info.consumer_sequence, info.stream_sequence),
                Err(error) => return Err(Away::new("consumer", error).into()),
            };
            if received != live.received + 1 {
                self.live = None;
                continue;
            }
            live.received = received;
            let position = Position(position);
            let envelope = Envelope::open_at(self.shard, &message.message.payload)
                .map_err(|error| ReadError::Unreadable { position, error })?;
            self.position = position;
            return Ok(Entry { position, envelope });
        }
    }

    /// Answers what the consumer says about itself. False: it is of no use any more.
    async fn heard_status(&mut self, message: &async_nats::Message) -> bool {
        if message.status != Some(StatusCode::IDLE_HEARTBEAT) {
            return false;
        }
        let Some(live) = &self.live else { return false };
        let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name));
        let stalled = header(STALLED).map(|subject| subject.as_str().into());
        // With a reply subject it is flow control: the server waits for word that what it sent has arrived.
        if let Some(subject) = message.reply.clone().or(stalled) {
            return self.shared.nats.client().publish(subject, "".into()).await.is_ok();
        }
        let sent = header(SENT).and_then(|sent| sent.as_str().parse::<u64>().ok());
        sent.is_none_or(|sent| sent == live.received)
    }
}

/// Bounds how many consumers are being made at once: after an election all that a server had are made anew, and the servers
/// have better things to do then. Each stream has its own bound, so that one without a leader, which lets everybody wait,
/// does not hold up the readers of the others.
pub(super) struct Starts(Vec<Semaphore>);

impl Starts {
    pub(super) fn new(streams: u16) -> Starts {
        Starts((0..streams.max(1)).map(|_| Semaphore::new(STARTS_MAX)).collect())
    }

    async fn one<T>(&self, shard: Shard, start: impl Future<Output = T>) -> T {
        let stream = usize::from(shard.0) % self.0.len();
        let _turn = self.0[stream].acquire().await.expect("the semaphores are never closed");
        start.await
    }
}

async fn start(shared: &Shared, shard: Shard, after: Position) -> Result<Live, Away> {
    let lane = shared.lane(shard);
    let client = shared.nats.client();
    let inbox = client.new_inbox();
    let messages = client.subscribe(inbox.clone()).await.map_err(|error| Away::new("subscription", error))?;
    let config = push::Config {
        deliver_subject: inbox,
        filter_subject: lane.subject.to_string(),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after.0 + 1 },
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        max_deliver: 1,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        inactive_threshold: ABANDONED,
        memory_storage: true,
        num_replicas: 1,
        ..push::Config::default()
    };
    let stream = shared.nats.stream(&lane.stream).await?;
    stream.create_consumer(config).await.map_err(|error| Away::new(&lane.stream, error))?;
    Ok(Live { messages, received: 0 })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn few_consumers_are_made_at_once_and_a_stream_that_is_away_holds_up_no_other() {
        let (starts, under_way, most) = (Starts::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        let start = |shard| {
            starts.one(Shard(shard), async {
                most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                under_way.fetch_sub(1, Ordering::SeqCst);
            })
        };
        join_all((0..64).map(|shard| start(shard * 3))).await;
        assert_eq!(most.load(Ordering::SeqCst), STARTS_MAX, "of one stream");
        join_all((0..64).map(start)).await;
        assert_eq!(most.load(Ordering::SeqCst), 3 * STARTS_MAX, "of all");

        let stuck = || starts.one(Shard(0), std::future::pending::<()>());
        let stuck = join_all((0..64).map(|_| stuck()));
        tokio::select! {
            _ = stuck => unreachable!("nobody answers"),
            () = start(1) => {}
        }
    }
}
