//! Objects that are replaced whole and on condition: what bundles need of an object store.
//!
//! Owns the order of steps: chunks first, then the name is pointed at them if it still is what the writer last saw, then
//! what the name no longer means is swept. A writer that dies anywhere leaves the object as it was or as it should be, and
//! at most chunks that the next writer sweeps; two writers cannot overwrite each other unseen. All calls block. NATS is in
//! [`jetstream`]; nothing here knows what the bytes mean.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::journal::Seq;

mod jetstream;
#[cfg(test)]
pub(super) mod memory;

pub use jetstream::JetStreamBucket;

/// A place for objects. See the module.
pub trait Bucket: Send + Sync + 'static {
    /// The most bytes of one chunk.
    fn chunk_bytes_max(&self) -> usize;

    /// What the name means now; never an answer older than what this caller has written.
    ///
    /// # Errors
    /// The store does not answer.
    fn head(&self, name: &str) -> Result<Head, Trouble>;

    /// Adds a chunk to a part of `name`; says its position in the bucket, which grows.
    ///
    /// # Errors
    /// The chunk may be there or not.
    fn add_chunk(&self, name: &str, part: &str, chunk: Vec<u8>) -> Result<u64, Trouble>;

    /// All bytes of a part, as they are.
    ///
    /// # Errors
    /// The store does not answer.
    fn read(&self, name: &str, manifest: &Manifest) -> Result<Vec<u8>, Trouble>;

    /// Points the name at a part, on condition that it still means `expected`.
    ///
    /// # Errors
    /// [`PointError::Moved`]: surely not done. [`PointError::Trouble`]: done or not.
    fn point(&self, name: &str, expected: Revision, manifest: &Manifest) -> Result<Revision, PointError>;

    /// Removes every chunk of `name` in front of that position.
    ///
    /// # Errors
    /// Some may be left.
    fn sweep(&self, name: &str, before: u64) -> Result<(), Trouble>;
}

/// Which version of an object; each is greater than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// There never was one.
    pub const NONE: Revision = Revision(0);
}

/// What a name means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its version.
    pub revision: Revision,
    /// Where its bytes are; nothing if there are none, or if this cannot be read.
    pub manifest: Option<Manifest>,
}

/// Where an object's bytes are, and how they are recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The part that holds the chunks.
    pub part: String,
    /// Position of the first chunk.
    pub first: u64,
    /// Number of chunks.
    pub chunks: usize,
    /// Number of bytes.
    pub bytes: usize,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// What the writer says about the content: not verified, good for choosing what to read.
    pub seq: Seq,
}

/// The store does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble(pub String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object store: {}", self.0)
    }
}

impl std::error::Error for Trouble {}

/// Why a name was not pointed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointError {
    /// It means something else than expected.
    Moved,
    /// Nobody knows.
    Trouble(Trouble),
}

/// Why an object was not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutError {
    /// Somebody else replaced it.
    Moved,
    /// It is as it was, or replaced.
    Trouble(Trouble),
}

/// Why an object cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetError {
    /// The bytes are not those that were written.
    Fault(String),
    /// Trying again may help.
    Trouble(Trouble),
}

impl From<Trouble> for PutError {
    fn from(trouble: Trouble) -> Self {
        PutError::Trouble(trouble)
    }
}

impl From<PointError> for PutError {
    fn from(error: PointError) -> Self {
        match error {
            PointError::Moved => PutError::Moved,
            PointError::Trouble(trouble) => PutError::Trouble(trouble),
        }
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Moved => write!(f, "somebody else has replaced the object"),
            PutError::Trouble(trouble) => trouble.fmt(f),
        }
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Fault(fault) => write!(f, "object does not verify: {fault}"),
            GetError::Trouble(trouble) => trouble.fmt(f),
        }
    }
}

/// Replaces an object that still is `expected`; says its new version, which is to be read back before it counts.
///
/// # Errors
/// See [`PutError`].
pub fn put(bucket: &dyn Bucket, name: &str, expected: Revision, seq: Seq, bytes: &[u8]) -> Result<Revision, PutError> {
    assert!(!bytes.is_empty(), "an object has bytes");
    let part = format!("{:032x}", rand::random::<u128>());
    let mut positions = Vec::new();
    for chunk in bytes.chunks(bucket.chunk_bytes_max()) {
        positions.push(bucket.add_chunk(name, &part, chunk.to_vec())?);
    }
    let (first, chunks) = (positions[0], positions.len());
    let sha256 = Sha256::digest(bytes).into();
    let revision = bucket.point(name, expected, &Manifest { part, first, chunks, bytes: bytes.len(), sha256, seq })?;
    if let Err(trouble) = bucket.sweep(name, first) {
        tracing::debug!(name, %trouble, "old chunks are left for the next writer to sweep");
    }
    Ok(revision)
}

/// Reads the bytes that a head means.
///
/// # Errors
/// See [`GetError`].
pub fn get(bucket: &dyn Bucket, name: &str, manifest: &Manifest) -> Result<Vec<u8>, GetError> {
    let bytes = bucket.read(name, manifest).map_err(GetError::Trouble)?;
    if bytes.len() != manifest.bytes {
        return Err(GetError::Fault(format!("wrong length: found={} expected={}", bytes.len(), manifest.bytes)));
    }
    if <[u8; 32]>::from(Sha256::digest(&bytes)) != manifest.sha256 {
        return Err(GetError::Fault("fails its checksum".to_owned()));
    }
    Ok(bytes)
}
