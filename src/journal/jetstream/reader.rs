//! Following one shard's journal: every message in order, from a position on, for ever.
//!
//! Uses a push consumer that NATS keeps in memory and that says every second that it is still there. Whatever goes wrong
//! (silence, a gap, another leader, a new connection) has one answer: a new consumer behind the last message that was given out.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, push};
use async_nats::{StatusCode, Subscriber};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::append::Position;
use super::carry::open;
use super::envelope::Envelope;
use super::{Shard, Shared};
use crate::nats::{Away, Stored};

/// How often a consumer with nothing to say says so.
const HEARTBEAT: Duration = Duration::from_millis(1_000);
/// Silence after which it is taken for lost.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);
/// How long NATS keeps a consumer that nobody listens to.
const ABANDONED: Duration = Duration::from_secs(10);
/// Pause before a consumer that could not be made is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Header of a heartbeat: how many messages the consumer has sent so far.
const SENT: &str = "Nats-Last-Consumer";
/// Header of a heartbeat: the subject to publish to, so that a held up consumer goes on.
const STALLED: &str = "Nats-Consumer-Stalled";

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
    /// [`Away`] when NATS does not answer, or not with what was written. The next call tries again, after a pause.
    pub async fn next(&mut self) -> Result<Entry, Away> {
        if std::mem::take(&mut self.failed) {
            sleep(AGAIN).await;
        }
        let next = self.try_next().await;
        if next.is_err() {
            self.live = None;
            self.failed = true;
        }
        next
    }

    async fn try_next(&mut self) -> Result<Entry, Away> {
        loop {
            let live = match &mut self.live {
                Some(live) => live,
                empty => empty.insert(start(&self.shared, self.shard, self.position).await?),
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
                Err(error) => return Err(Away::new("consumer", error)),
            };
            if received != live.received + 1 {
                self.live = None;
                continue;
            }
            live.received = received;
            let stored = Stored { position, payload: message.message.payload };
            let envelope = open(self.shared.lane(self.shard), &stored)?;
            self.position = Position(position);
            return Ok(Entry { position: self.position, envelope });
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
