//! A bucket in JetStream, in the layout of NATS object stores, so that the `nats` tool lists and reads it.
//!
//! Differences to the client library's own `put`, each for a reason: the name is pointed on condition
//! (`Nats-Expected-Last-Subject-Sequence`), heads and chunks are read from the stream's leader (a replica may answer with
//! what was before), and chunks carry the object's name in their subject, so that what a dead writer left can be swept.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::context::{Context, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Error as ApiError, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use tokio::runtime::Handle;

use super::{Bucket, Head, Manifest, PointError, Revision, Trouble};
use crate::journal::Seq;

/// Bytes of a chunk. Larger means fewer commits; read from the leader it travels as base64 and must stay below the least
/// `max_payload` that a cluster is run with.
const CHUNK_BYTES: usize = 512 << 10;

/// An object store in JetStream. See [`Bucket`]; calls from inside of an async task panic.
pub struct JetStreamBucket {
    handle: Handle,
    context: Context,
    stream: Stream,
    bucket: String,
    timeout: Duration,
}

impl JetStreamBucket {
    /// The bucket of that name, which must exist. Each call may take `timeout`.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub async fn open(context: Context, bucket: &str, timeout: Duration) -> Result<JetStreamBucket, Trouble> {
        let looked = tokio::time::timeout(timeout, context.get_stream(format!("OBJ_{bucket}"))).await;
        let stream = looked.map_err(|_| silent())?.map_err(|error| Trouble(error.to_string()))?;
        Ok(JetStreamBucket { handle: Handle::current(), context, stream, bucket: bucket.to_owned(), timeout })
    }

    fn wait<T, E: ToString>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Trouble> {
        let timed = async { tokio::time::timeout(self.timeout, call).await };
        self.handle.block_on(timed).map_err(|_| silent())?.map_err(|error| Trouble(error.to_string()))
    }

    fn meta_subject(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.bucket, URL_SAFE.encode(name))
    }

    fn chunk_subject(&self, name: &str, part: &str) -> String {
        format!("$O.{}.C.{name}.{part}", self.bucket)
    }

    fn info(&self, name: &str, manifest: &Manifest) -> ObjectInfo {
        let said = [("seq", manifest.seq.0), ("first", manifest.first)];
        ObjectInfo {
            name: name.to_owned(),
            description: None,
            metadata: said.map(|(key, value)| (key.to_owned(), value.to_string())).into(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(CHUNK_BYTES) }),
            bucket: self.bucket.clone(),
            nuid: format!("{name}.{}", manifest.part),
            size: manifest.bytes,
            chunks: manifest.chunks,
            modified: None,
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(manifest.sha256))),
            deleted: false,
        }
    }
}

/// What an object's description says; nothing if it was not written here or was deleted.
fn manifest(name: &str, info: &ObjectInfo) -> Option<Manifest> {
    let number = |key: &str| number(&info.metadata, key);
    let digest = info.digest.as_ref()?.strip_prefix("SHA-256=")?;
    let sha256 = URL_SAFE.decode(digest).ok()?.try_into().ok()?;
    (!info.deleted).then_some(Manifest {
        part: info.nuid.strip_prefix(name)?.strip_prefix('.')?.to_owned(),
        first: number("first")?,
        chunks: info.chunks,
        bytes: info.size,
        sha256,
        seq: Seq(number("seq")?),
    })
}

fn number(metadata: &HashMap<String, String>, key: &str) -> Option<u64> {
    metadata.get(key)?.parse().ok()
}

fn silent() -> Trouble {
    Trouble("no answer in time".to_owned())
}

impl Bucket for JetStreamBucket {
    fn chunk_bytes_max(&self) -> usize {
        CHUNK_BYTES
    }

    fn head(&self, name: &str) -> Result<Head, Trouble> {
        let subject = self.meta_subject(name);
        let last = self.wait(async {
            match self.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        let Some(message) = last else { return Ok(Head::default()) };
        let info = serde_json::from_slice::<ObjectInfo>(&message.payload).ok();
        Ok(Head { revision: Revision(message.sequence), manifest: info.and_then(|info| manifest(name, &info)) })
    }

    fn add_chunk(&self, name: &str, part: &str, chunk: Vec<u8>) -> Result<u64, Trouble> {
        let message = PublishMessage::build().payload(chunk.into());
        let subject = self.chunk_subject(name, part);
        let ack = self.wait(async { self.context.send_publish(subject, message).await?.await })?;
        Ok(ack.sequence)
    }

    fn read(&self, name: &str, manifest: &Manifest) -> Result<Vec<u8>, Trouble> {
        let subject = self.chunk_subject(name, &manifest.part);
        let mut bytes = Vec::new();
        let mut from = manifest.first;
        for _ in 0..manifest.chunks {
            let chunk = self.wait(self.stream.get_first_raw_message_by_subject(&subject, from))?;
            bytes.extend_from_slice(&chunk.payload);
            from = chunk.sequence + 1;
        }
        Ok(bytes)
    }

    fn point(&self, name: &str, expected: Revision, manifest: &Manifest) -> Result<Revision, PointError> {
        let trouble = |text: String| PointError::Trouble(Trouble(text));
        let info = serde_json::to_vec(&self.info(name, manifest)).map_err(|error| trouble(error.to_string()))?;
        let message = PublishMessage::build()
            .payload(info.into())
            .header(NATS_ROLLUP, "sub")
            .expected_last_subject_sequence(expected.0);
        let subject = self.meta_subject(name);
        let publish = async { self.context.send_publish(subject, message).await?.await };
        let timed = async { tokio::time::timeout(self.timeout, publish).await };
        match self.handle.block_on(timed) {
            Ok(Ok(ack)) => Ok(Revision(ack.sequence)),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Err(PointError::Moved),
            Ok(Err(error)) => {
                let code = std::error::Error::source(&error)
                    .and_then(|source| source.downcast_ref::<ApiError>())
                    .map(ApiError::error_code);
                match code {
                    Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) => Err(PointError::Moved),
                    Some(_) | None => Err(trouble(error.to_string())),
                }
            }
            Err(_) => Err(PointError::Trouble(silent())),
        }
    }

    fn sweep(&self, name: &str, before: u64) -> Result<(), Trouble> {
        let filter = self.chunk_subject(name, "*");
        let purged = self.wait(async { self.stream.purge().filter(filter).sequence(before).await })?;
        if purged.success { Ok(()) } else { Err(Trouble("purge refused".to_owned())) }
    }
}
