//! A bucket in JetStream, in the layout of NATS object stores, so that the `nats` tool lists and reads it.
//!
//! Differences to the client library's own `put`, each for a reason: the name is pointed on condition
//! (`Nats-Expected-Last-Subject-Sequence`), heads and chunks are read from the stream's leader (a replica may answer with
//! what was before), and chunks carry the object's name in their subject, so that what a dead writer left can be swept.

use std::collections::HashMap;
use std::future::Future;

use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::{Bucket, Head, Manifest, PointError, Revision, Trouble};
use crate::journal::Seq;
use crate::nats::{Answer, Nats};

/// Bytes of a chunk. Larger means fewer commits; read from the leader it travels as base64 and must stay below the least
/// `max_payload` that a cluster is run with.
const CHUNK_BYTES: usize = 512 << 10;

/// An object store in JetStream. See [`Bucket`]; calls from inside of an async task panic.
pub struct JetStreamBucket {
    nats: Nats,
    handle: Handle,
    bucket: String,
    stream: String,
}

impl JetStreamBucket {
    /// The bucket of a deployment's snapshots; `handle` is the runtime of the connection.
    #[must_use]
    pub fn new(nats: Nats, handle: Handle) -> JetStreamBucket {
        let bucket = nats.snapshots_bucket();
        JetStreamBucket { nats, handle, stream: format!("OBJ_{bucket}"), bucket }
    }

    fn wait<T, E: ToString>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Trouble> {
        self.handle.block_on(call).map_err(|error| Trouble(error.to_string()))
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
    let digest = info.digest.as_ref()?.strip_prefix("SHA-256=")?;
    let sha256 = URL_SAFE.decode(digest).ok()?.try_into().ok()?;
    (!info.deleted).then_some(Manifest {
        part: info.nuid.strip_prefix(name)?.strip_prefix('.')?.to_owned(),
        first: number(&info.metadata, "first")?,
        chunks: info.chunks,
        bytes: info.size,
        sha256,
        seq: Seq(number(&info.metadata, "seq")?),
    })
}

fn number(metadata: &HashMap<String, String>, key: &str) -> Option<u64> {
    metadata.get(key)?.parse().ok()
}

impl Bucket for JetStreamBucket {
    fn chunk_bytes_max(&self) -> usize {
        CHUNK_BYTES
    }

    fn head(&self, name: &str) -> Result<Head, Trouble> {
        let Some(last) = self.wait(self.nats.last(&self.stream, &self.meta_subject(name)))? else {
            return Ok(Head::default());
        };
        let info = serde_json::from_slice::<ObjectInfo>(&last.payload).ok();
        Ok(Head { revision: Revision(last.position), manifest: info.and_then(|info| manifest(name, &info)) })
    }

    fn add_chunk(&self, name: &str, part: &str, chunk: Vec<u8>) -> Result<u64, Trouble> {
        let subject = self.chunk_subject(name, part);
        match self.handle.block_on(self.nats.append(subject.into(), None, Bytes::from(chunk))) {
            Answer::Stored(position) => Ok(position),
            other @ (Answer::Refused { .. } | Answer::Silent { .. } | Answer::TooLarge) => {
                Err(Trouble(other.to_string()))
            }
        }
    }

    fn read(&self, name: &str, manifest: &Manifest) -> Result<Vec<u8>, Trouble> {
        let subject = self.chunk_subject(name, &manifest.part);
        let mut bytes = Vec::new();
        let mut from = manifest.first;
        for _ in 0..manifest.chunks {
            // One that is missing shows in the length.
            let Some(chunk) = self.wait(self.nats.first_from(&self.stream, &subject, from))? else { break };
            bytes.extend_from_slice(&chunk.payload);
            from = chunk.position + 1;
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
        let jetstream = self.nats.jetstream();
        match self.handle.block_on(async { jetstream.send_publish(subject, message).await?.await }) {
            Ok(ack) => Ok(Revision(ack.sequence)),
            // The one refusal that says what the name means; all others are looked up by whoever comes next.
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(PointError::Moved),
            Err(error) => Err(trouble(error.to_string())),
        }
    }

    fn sweep(&self, name: &str, before: u64) -> Result<(), Trouble> {
        self.wait(self.nats.purge_before(&self.stream, &self.chunk_subject(name, "*"), before)).map(|_| ())
    }
}
