//! The bytes of a journal message in JetStream.
//!
//! ```text
//! record | facts (bincode) | length of the facts u16 LE | crc32c of all before u32 LE | version u8
//! ```
//!
//! The facts come behind the record, so that the record's own buffer becomes the message and a message's buffer the
//! record: neither is copied. The version is the last byte of every version to come; versions of one release back are
//! read. The shard is among the facts, so a message that lies under another shard's subject is found out.

use std::fmt;

use actors::bytes::End;
use actors::time::Millis;
use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::append::{Position, Purpose, Tail};
use crate::journal::{Seq, Shard};

/// What is written.
const VERSION: u8 = 1;
/// Length, checksum, version.
const FOOT_BYTES: usize = 2 + 4 + 1;
/// Names of nodes have at most 64 bytes; the rest is numbers.
const FACTS_BYTES_MAX: usize = 512;
/// Most that an envelope adds to a record.
pub(super) const OVERHEAD_MAX: usize = 160;

const FACTS: Configuration<LittleEndian, Varint, Limit<FACTS_BYTES_MAX>> = standard().with_limit();

/// Who writes: a node, and which of its lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The node's name.
    pub name: String,
    /// A random number of this start of the process: the same node after a restart is another owner.
    pub incarnation: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:x}", self.name, self.incarnation)
    }
}

/// What tells a message from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The writer's life.
    pub incarnation: u64,
    /// Its epoch.
    pub epoch: u64,
    /// The message's number.
    pub seq: Seq,
    /// Its checksum.
    pub crc: u32,
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The writer owns the shard from here on.
    Claim,
    /// A record.
    Record(Bytes),
}

/// A message of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Which shard it belongs to.
    pub shard: Shard,
    /// Epoch of its writer.
    pub epoch: u64,
    /// Number of the record; of a claim, the number of the last record before it.
    pub seq: Seq,
    /// Its writer.
    pub owner: Owner,
    /// When it was written, on the writer's clock.
    pub at: Millis,
    /// What it carries.
    pub kind: Kind,
    /// Checksum of its bytes.
    pub crc: u32,
}

/// The facts as they are stored; fields are only ever added with a new version.
#[derive(Serialize, Deserialize)]
struct Facts<'a> {
    shard: u16,
    claim: bool,
    epoch: u64,
    seq: u64,
    at: u64,
    owner: &'a str,
    incarnation: u64,
}

/// What a message about to be written says besides its record.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Which shard it belongs to.
    pub shard: Shard,
    /// What it is for.
    pub purpose: Purpose,
    /// Epoch of its writer.
    pub epoch: u64,
    /// See [`Envelope::seq`].
    pub seq: Seq,
    /// When it is written, on the writer's clock.
    pub at: Millis,
    /// Its writer.
    pub owner: &'a Owner,
}

/// Makes a message of a record, in the record's own buffer; a claim's record is empty.
pub fn seal(mut record: Vec<u8>, head: &Head<'_>) -> (Bytes, Mark) {
    let before = record.len();
    record.reserve_exact(OVERHEAD_MAX);
    let facts = Facts {
        shard: head.shard.0,
        claim: head.purpose == Purpose::Claim,
        epoch: head.epoch,
        seq: head.seq.0,
        at: head.at.0,
        owner: &head.owner.name,
        incarnation: head.owner.incarnation,
    };
    bincode::serde::encode_into_writer(&facts, End(&mut record), FACTS).expect("numbers and a name can be encoded");
    let length = u16::try_from(record.len() - before).expect("the facts are short, names have at most 64 bytes");
    record.extend_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&record);
    record.extend_from_slice(&crc.to_le_bytes());
    record.push(VERSION);
    let mark = Mark { incarnation: head.owner.incarnation, epoch: head.epoch, seq: head.seq, crc };
    (Bytes::from(record), mark)
}

/// Bytes that are no message of a shard's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Fewer bytes than any message has, or than it says.
    Short,
    /// Written by a release that this one does not know.
    Version {
        /// What it says.
        found: u8,
    },
    /// Not the bytes that were written.
    Checksum,
    /// The facts cannot be decoded.
    Facts,
    /// It belongs to another shard than the one it was found at.
    Shard {
        /// Whose it is.
        found: Shard,
    },
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvelopeError::Short => f.write_str("message ends too early"),
            EnvelopeError::Version { found } => write!(f, "unknown version of message: found={found} known={VERSION}"),
            EnvelopeError::Checksum => f.write_str("message fails its checksum"),
            EnvelopeError::Facts => f.write_str("facts of message cannot be decoded"),
            EnvelopeError::Shard { found } => write!(f, "message belongs to another shard: found={found}"),
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl Envelope {
    /// Reads a message; the record shares its bytes.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn open(message: &Bytes) -> Result<Envelope, EnvelopeError> {
        let end = message.len().checked_sub(FOOT_BYTES).ok_or(EnvelopeError::Short)?;
        let foot = &message[end..];
        // The version comes before the checksum: a later one may compute it differently.
        if foot[6] != VERSION {
            return Err(EnvelopeError::Version { found: foot[6] });
        }
        let crc = u32::from_le_bytes([foot[2], foot[3], foot[4], foot[5]]);
        if crc != crc32c::crc32c(&message[..end + 2]) {
            return Err(EnvelopeError::Checksum);
        }
        let length = usize::from(u16::from_le_bytes([foot[0], foot[1]]));
        let start = end.checked_sub(length).ok_or(EnvelopeError::Short)?;
        let (facts, used): (Facts<'_>, usize) =
            bincode::serde::borrow_decode_from_slice(&message[start..end], FACTS).map_err(|_| EnvelopeError::Facts)?;
        if used != length || (facts.claim && start != 0) {
            return Err(EnvelopeError::Facts);
        }
        Ok(Envelope {
            shard: Shard(facts.shard),
            epoch: facts.epoch,
            seq: Seq(facts.seq),
            owner: Owner { name: facts.owner.to_owned(), incarnation: facts.incarnation },
            at: Millis(facts.at),
            kind: if facts.claim { Kind::Claim } else { Kind::Record(message.slice(..start)) },
            crc,
        })
    }

    /// Reads a message that was found at `shard`.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn open_at(shard: Shard, message: &Bytes) -> Result<Envelope, EnvelopeError> {
        let envelope = Envelope::open(message)?;
        if envelope.shard == shard { Ok(envelope) } else { Err(EnvelopeError::Shard { found: envelope.shard }) }
    }

    /// A message that makes `owner` the owner of `shard` under `epoch`, when the last record is `last`.
    #[must_use]
    pub fn claim(shard: Shard, epoch: u64, last: Seq, owner: &Owner, at: Millis) -> Bytes {
        seal(Vec::new(), &Head { shard, purpose: Purpose::Claim, epoch, seq: last, at, owner }).0
    }

    /// The number of the last record before this message.
    #[must_use]
    pub fn before(&self) -> Seq {
        match self.kind {
            Kind::Claim => self.seq,
            Kind::Record(_) => Seq(self.seq.0.saturating_sub(1)),
        }
    }

    /// Its facts, as the message at `position`.
    #[must_use]
    pub fn tail(self, position: Position) -> Tail {
        let purpose = match self.kind {
            Kind::Claim => Purpose::Claim,
            Kind::Record(_) => Purpose::Record,
        };
        Tail { position, seq: self.seq, epoch: self.epoch, owner: self.owner, at: self.at, purpose, crc: self.crc }
    }
}

/// The message of a record, for tests of what reads messages.
#[cfg(test)]
pub(in crate::journal) fn record(shard: Shard, epoch: u64, seq: Seq, record: &[u8]) -> Bytes {
    let owner = Owner { name: "node-a".to_owned(), incarnation: 5 };
    let head = Head { shard, purpose: Purpose::Record, epoch, seq, at: Millis(1000), owner: &owner };
    seal(record.to_vec(), &head).0
}

#[cfg(test)]
mod tests;
