//! Every message of a subject that was there when it was asked: for backups and comparisons, which want bytes as they lie.
//!
//! Uses the client's ordered consumer, which begins anew by itself behind the last message it gave out. What follows a
//! subject for ever is the journal's own reader.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use futures_util::StreamExt;

use super::{Away, Nats, Stored};

/// Silence after which a walk ends with an error: a new leader has been elected long before.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A walk over a subject. See the module.
pub struct Walk {
    stream: String,
    /// The subject's last message; nothing is left behind it.
    last: u64,
    /// Nothing behind this position is given out.
    until: u64,
    /// `None` when everything was given out.
    messages: Option<Ordered>,
}

impl Nats {
    /// Walks over all messages of `subject` in `stream`, from the first that was not cut to the one that is last now.
    ///
    /// # Errors
    /// [`Away`]: no leader, no stream, no answer.
    pub async fn walk(&self, stream: &str, subject: &str) -> Result<Walk, Away> {
        self.walk_between(stream, subject, (0, u64::MAX)).await
    }

    /// The same, but only of what lies behind the first and not behind the second of two positions.
    ///
    /// # Errors
    /// [`Away`]: no leader, no stream, no answer.
    pub async fn walk_between(&self, stream: &str, subject: &str, (after, until): (u64, u64)) -> Result<Walk, Away> {
        let last = self.last(stream, subject).await?.map_or(0, |last| last.position);
        let is_more = last > after && until > after;
        let messages = if is_more { Some(self.ordered(stream, subject, after + 1).await?) } else { None };
        Ok(Walk { stream: stream.to_owned(), last, until, messages })
    }

    async fn ordered(&self, stream: &str, subject: &str, start_sequence: u64) -> Result<Ordered, Away> {
        let config = OrderedConfig {
            filter_subject: subject.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            ..OrderedConfig::default()
        };
        let consumer = self.stream(stream).await?.create_consumer(config).await;
        let messages = consumer.map_err(|error| Away::new(stream, error))?.messages().await;
        messages.map_err(|error| Away::new(stream, error))
    }
}

impl Walk {
    /// The next message; nothing behind the last.
    ///
    /// # Errors
    /// [`Away`]: no answer for long.
    pub async fn next(&mut self) -> Result<Option<Stored>, Away> {
        let Some(messages) = &mut self.messages else { return Ok(None) };
        let message = match tokio::time::timeout(SILENCE_MAX, messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(Away::new(&self.stream, error)),
            Ok(None) => return Err(Away::new(&self.stream, "the consumer ended")),
            Err(_) => return Err(Away::new(&self.stream, "no message in time")),
        };
        let position = message.info().map_err(|error| Away::new(&self.stream, error))?.stream_sequence;
        if position >= self.last.min(self.until) {
            self.messages = None;
        }
        let is_old = position <= self.last.min(self.until);
        Ok(is_old.then_some(Stored { position, payload: message.message.payload }))
    }
}
