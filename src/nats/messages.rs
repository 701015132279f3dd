//! Single messages: conditional appends and reads from a stream's leader.
//!
//! An append is one request with one header; its answer is looked at, not interpreted: what it means is decided by whoever
//! appends. Reads go to the leader, because a copy that lags would show yesterday's last message.

use std::fmt;

use async_nats::client::RequestErrorKind;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::{HeaderMap, HeaderValue, Request, Subject};
use bytes::Bytes;
use serde::Deserialize;

use super::{Away, Nats};

/// Bytes that the header of a conditional append takes at most.
const HEADER_BYTES_MAX: usize = 100;

/// What came back from an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stored, with this sequence of the stream, on as many disks as the stream has to have.
    Stored(u64),
    /// This copy was not stored.
    Refused {
        /// JetStream's error code, 0 if it has none.
        code: u64,
        /// JetStream's words.
        reason: String,
    },
    /// No answer: stored or not.
    Silent {
        /// What is known about it.
        reason: String,
    },
    /// Not sent, because no server takes as much.
    TooLarge,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Stored(position) => write!(f, "stored: position={position}"),
            Answer::Refused { code, reason } => write!(f, "refused: {reason} code={code}"),
            Answer::Silent { reason } => write!(f, "no answer: {reason}"),
            Answer::TooLarge => f.write_str("too large"),
        }
    }
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence in the stream.
    pub position: u64,
    /// Its bytes.
    pub payload: Bytes,
}

#[derive(Deserialize)]
struct Ack<'a> {
    #[serde(default)]
    seq: u64,
    #[serde(borrow)]
    error: Option<AckError<'a>>,
}

#[derive(Deserialize)]
struct AckError<'a> {
    #[serde(default)]
    err_code: u64,
    #[serde(default, borrow)]
    description: std::borrow::Cow<'a, str>,
}

impl Nats {
    /// Most bytes of a message that is appended.
    #[must_use]
    pub fn append_max(&self) -> usize {
        self.max_payload().saturating_sub(HEADER_BYTES_MAX)
    }

    /// Appends a message; with `expected`, on condition that the last message of its subject has that sequence (0: there is
    /// none). Ends after [`super::Options::timeout`] at the latest.
    pub async fn append(&self, subject: Subject, expected: Option<u64>, payload: Bytes) -> Answer {
        if let Err(Away { reason }) = self.connection().await {
            return Answer::Silent { reason };
        }
        let mut request = Request::new().payload(payload);
        if let Some(expected) = expected {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(expected));
            request = request.headers(headers);
        }
        match self.client().send_request(subject, request).await {
            Ok(answer) => read_ack(&answer.payload),
            Err(error) => match error.kind() {
                RequestErrorKind::MaxPayloadExceeded => Answer::TooLarge,
                RequestErrorKind::NoResponders => {
                    Answer::Refused { code: 0, reason: "no stream answers for the subject".to_owned() }
                }
                RequestErrorKind::TimedOut | RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                    Answer::Silent { reason: error.to_string() }
                }
            },
        }
    }

    /// The last message of `subject` as the leader of `stream` has it.
    ///
    /// # Errors
    /// [`Away`]: no leader, no stream, no answer.
    pub async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, Away> {
        let from = self.stream(stream).await?;
        read(stream, from.get_last_raw_message_by_subject(subject).await)
    }

    /// The first message of `subject` at or behind position `from`, as the leader of `stream` has it.
    ///
    /// # Errors
    /// [`Away`]: no leader, no stream, no answer.
    pub async fn first_from(&self, stream: &str, subject: &str, from: u64) -> Result<Option<Stored>, Away> {
        let handle = self.stream(stream).await?;
        let found = handle.raw_message_builder().sequence(from.max(1)).next_by_subject(subject).send().await;
        read(stream, found)
    }

    /// Deletes the messages of `subject` before position `keep`. Returns how many.
    ///
    /// # Errors
    /// [`Away`]: no leader, no stream, no answer; some or all may be deleted.
    pub async fn purge_before(&self, stream: &str, subject: &str, keep: u64) -> Result<u64, Away> {
        let from = self.stream(stream).await?;
        let purged = from.purge().filter(subject).sequence(keep).await.map_err(|error| Away::new(stream, error))?;
        Ok(purged.purged)
    }

    /// A handle to a stream, for reads and consumers.
    pub(crate) async fn stream(&self, stream: &str) -> Result<Stream<()>, Away> {
        self.connection().await?;
        self.jetstream().get_stream_no_info(stream).await.map_err(|error| Away::new(stream, error))
    }
}

fn read_ack(answer: &[u8]) -> Answer {
    match serde_json::from_slice::<Ack<'_>>(answer) {
        Ok(Ack { error: Some(error), .. }) => {
            Answer::Refused { code: error.err_code, reason: error.description.into_owned() }
        }
        Ok(Ack { seq, error: None }) if seq > 0 => Answer::Stored(seq),
        Ok(Ack { .. }) | Err(_) => Answer::Silent { reason: "an answer that is no acknowledgement".to_owned() },
    }
}

fn read(
    stream: &str,
    found: Result<async_nats::jetstream::message::StreamMessage, async_nats::jetstream::stream::RawMessageError>,
) -> Result<Option<Stored>, Away> {
    match found {
        Ok(message) => Ok(Some(Stored { position: message.sequence, payload: message.payload })),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(told) if told.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            RawMessageErrorKind::JetStream(told) => Err(Away::new(stream, told)),
            RawMessageErrorKind::InvalidSubject | RawMessageErrorKind::Other => Err(Away::new(stream, error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_told_from_refusals_and_rubbish() {
        assert_eq!(read_ack(br#"{"stream":"s-journal-0","seq":42}"#), Answer::Stored(42));
        let refused =
            br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"s","seq":0}"#;
        assert_eq!(read_ack(refused), Answer::Refused { code: 10071, reason: "wrong last sequence: 4".to_owned() });
        for rubbish in [&b""[..], b"{}", br#"{"seq":0}"#, b"+OK"] {
            assert!(matches!(read_ack(rubbish), Answer::Silent { .. }));
        }
    }
}
