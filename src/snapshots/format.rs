//! The stored form of a snapshot: keys, the meta record, chunks. Numbers in keys are big-endian, so that keys sort.
//!
//! ```text
//! place     shard u16 | length of the actor's key u16 | the actor's key | id u64      ids grow with time
//! metas     place -> format u8 | state u8 | seq u64 | content crc32c u32 | content length u64 | crc32c u32
//!           crc: place and all before it, so it covers key, number and (by their sum) bytes
//! chunks    place | number u32 -> at most 4 KiB of the content
//! ```

use std::fmt;

use crate::journal::{Seq, Shard};

/// The most bytes of an actor's key.
pub const ACTOR_KEY_BYTES_MAX: usize = 256;
/// Bytes of a chunk. sled spills a node beyond 128 KiB into a file that it never syncs; a node has up to 20 entries.
pub(super) const CHUNK_BYTES: usize = 4 << 10;

const FORMAT: u8 = 1;
const BEGUN: u8 = 1;
const WHOLE: u8 = 2;
const META_BYTES: usize = 26;

/// Where a snapshot is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) shard: Shard,
    pub(super) actor: Vec<u8>,
    pub(super) id: u64,
}

/// What identifies a state's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) crc: u32,
    pub(super) length: u64,
}

/// A whole snapshot's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) seq: Seq,
    pub(super) content: Content,
}

/// Why a stored snapshot cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the text of each is its display")]
pub enum Fault {
    NoMeta,
    Unfinished,
    Format { found: u8 },
    MetaLength,
    MetaChecksum,
    ChunkMissing { number: u32 },
    Length { found: u64, expected: u64 },
    Checksum,
    Store { reason: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoMeta => write!(f, "no description"),
            Fault::Unfinished => write!(f, "never finished"),
            Fault::Format { found } => write!(f, "unknown format version: found={found} known={FORMAT}"),
            Fault::MetaLength => write!(f, "description has the wrong length"),
            Fault::MetaChecksum => write!(f, "description fails its checksum"),
            Fault::ChunkMissing { number } => write!(f, "chunk missing: number={number}"),
            Fault::Length { found, expected } => write!(f, "wrong length: found={found} expected={expected}"),
            Fault::Checksum => write!(f, "content fails its checksum"),
            Fault::Store { reason } => write!(f, "store failed: {reason}"),
        }
    }
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Content {
        Content { crc: crc32c::crc32c(bytes), length: bytes.len() as u64 }
    }
}

impl Place {
    pub(super) fn key(&self) -> Vec<u8> {
        let length = u16::try_from(self.actor.len()).expect("an actor's key is at most 256 bytes");
        [&self.shard.0.to_be_bytes()[..], &length.to_be_bytes(), &self.actor, &self.id.to_be_bytes()].concat()
    }

    pub(super) fn chunk_key(&self, number: u32) -> Vec<u8> {
        [&self.key()[..], &number.to_be_bytes()].concat()
    }

    /// Reads a place's key; nothing if it is none.
    pub(super) fn of_key(key: &[u8]) -> Option<Place> {
        let (shard, rest) = key.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (actor, id) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let id = u64::from_be_bytes(id.try_into().ok()?);
        Some(Place { shard: Shard(u16::from_be_bytes(*shard)), actor: actor.to_vec(), id })
    }
}

/// The record that stands for a snapshot whose chunks are being written.
pub(super) fn encode_begun(place: &Place) -> Vec<u8> {
    encode(place, BEGUN, Meta { seq: Seq::NONE, content: Content::default() })
}

pub(super) fn encode_meta(place: &Place, meta: Meta) -> Vec<u8> {
    encode(place, WHOLE, meta)
}

fn encode(place: &Place, state: u8, meta: Meta) -> Vec<u8> {
    let mut bytes = vec![FORMAT, state];
    bytes.extend_from_slice(&meta.seq.0.to_le_bytes());
    bytes.extend_from_slice(&meta.content.crc.to_le_bytes());
    bytes.extend_from_slice(&meta.content.length.to_le_bytes());
    let crc = meta_crc(place, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn decode_meta(place: &Place, bytes: &[u8]) -> Result<Meta, Fault> {
    match bytes.first() {
        Some(&FORMAT) => {}
        Some(&found) => return Err(Fault::Format { found }),
        None => return Err(Fault::MetaLength),
    }
    let bytes: &[u8; META_BYTES] = bytes.try_into().map_err(|_| Fault::MetaLength)?;
    let (fields, crc) = bytes.split_at(META_BYTES - 4);
    if crc != meta_crc(place, fields).to_le_bytes() {
        return Err(Fault::MetaChecksum);
    }
    if bytes[1] != WHOLE {
        return Err(Fault::Unfinished);
    }
    let mut seq = [0; 8];
    seq.copy_from_slice(&bytes[2..10]);
    let mut content_crc = [0; 4];
    content_crc.copy_from_slice(&bytes[10..14]);
    let mut length = [0; 8];
    length.copy_from_slice(&bytes[14..22]);
    let content = Content { crc: u32::from_le_bytes(content_crc), length: u64::from_le_bytes(length) };
    Ok(Meta { seq: Seq(u64::from_le_bytes(seq)), content })
}

fn meta_crc(place: &Place, fields: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&place.key()), fields)
}
