//! The stored form of a bundle: the newest state of every actor of one shard as one object, little-endian.
//!
//! ```text
//! "STPB" | version u8 = 1 | shard u16 | seq u64 | actors u32
//! actors × ( key length u16 | key | seq u64 | length u64 | bytes )      in the order of their keys
//! crc32c u32 of all before
//! ```
//!
//! `seq` is the least of the actors' numbers: with the bundle and the journal behind `seq` nothing of the shard is missing.
//! Every read is bounds checked, and bytes left over are an error. A golden-bytes test guards the form.

use std::collections::BTreeMap;
use std::fmt;

use crate::journal::{Seq, Shard};

const MAGIC: &[u8; 4] = b"STPB";
const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// The states of all actors of one shard, by the actors' keys; there is at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    shard: Shard,
    states: BTreeMap<Vec<u8>, State>,
}

/// One actor's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// It is complete up to this record.
    pub seq: Seq,
    /// The snapshot's bytes.
    pub bytes: Vec<u8>,
}

/// Why bytes are no bundle of the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the text of each is its display")]
pub enum BundleFault {
    Magic,
    Version { found: u8 },
    Checksum,
    Short,
    Long { left: usize },
    Shard { found: Shard },
    Seq { found: Seq, expected: Seq },
    Empty,
    Order,
}

impl fmt::Display for BundleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundleFault::Magic => write!(f, "not a bundle"),
            BundleFault::Version { found } => write!(f, "unknown version: found={found} known={VERSION}"),
            BundleFault::Checksum => write!(f, "fails its checksum"),
            BundleFault::Short => write!(f, "ends too early"),
            BundleFault::Long { left } => write!(f, "bytes left over: left={left}"),
            BundleFault::Shard { found } => write!(f, "of another shard: found={found}"),
            BundleFault::Seq { found, expected } => {
                write!(f, "number is not that of its actors: found={found} expected={expected}")
            }
            BundleFault::Empty => write!(f, "holds no actor"),
            BundleFault::Order => write!(f, "actors out of order"),
        }
    }
}

impl std::error::Error for BundleFault {}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bundle { shard, states } = self;
        f.debug_struct("Bundle").field("shard", shard).field("seq", &self.seq()).field("actors", &states.len()).finish()
    }
}

impl Bundle {
    /// A bundle of these states; nothing when there are none.
    #[must_use]
    pub fn new(shard: Shard, states: BTreeMap<Vec<u8>, State>) -> Option<Bundle> {
        (!states.is_empty()).then_some(Bundle { shard, states })
    }

    /// Every actor is complete up to this record.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.states.values().map(|state| state.seq).min().expect("a bundle holds at least one actor")
    }

    /// All actors' states, in the order of their keys.
    pub fn states(&self) -> impl Iterator<Item = (&[u8], &State)> {
        self.states.iter().map(|(actor, state)| (actor.as_slice(), state))
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.states.values().map(|state| state.bytes.len() + 64).sum());
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.shard.0.to_le_bytes());
        bytes.extend_from_slice(&self.seq().0.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.states.len()).expect("fewer actors than 2^32").to_le_bytes());
        for (key, state) in &self.states {
            let length = u16::try_from(key.len()).expect("an actor's key is at most 256 bytes");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&state.seq.0.to_le_bytes());
            bytes.extend_from_slice(&(state.bytes.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&state.bytes);
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the bundle of `shard`.
    ///
    /// # Errors
    /// Bytes that are anything else, to the last bit.
    pub fn decode(shard: Shard, bytes: &[u8]) -> Result<Bundle, BundleFault> {
        let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(BundleFault::Short)?;
        let mut rest = Rest(content);
        if &rest.take()? != MAGIC {
            return Err(BundleFault::Magic);
        }
        match rest.take::<1>()? {
            [VERSION] => {}
            [found] => return Err(BundleFault::Version { found }),
        }
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
            return Err(BundleFault::Checksum);
        }
        let found = Shard(u16::from_le_bytes(rest.take()?));
        if found != shard {
            return Err(BundleFault::Shard { found });
        }
        let seq = Seq(u64::from_le_bytes(rest.take()?));
        let states = rest.states()?;
        let bundle = Bundle::new(shard, states).ok_or(BundleFault::Empty)?;
        if bundle.seq() != seq {
            return Err(BundleFault::Seq { found: seq, expected: bundle.seq() });
        }
        Ok(bundle)
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BundleFault> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(BundleFault::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], BundleFault> {
        let length = usize::try_from(length).map_err(|_| BundleFault::Short)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BundleFault::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn states(mut self) -> Result<BTreeMap<Vec<u8>, State>, BundleFault> {
        let count = u32::from_le_bytes(self.take()?);
        let mut states = BTreeMap::new();
        for _ in 0..count {
            let length = u64::from(u16::from_le_bytes(self.take()?));
            let key = self.bytes(length)?.to_vec();
            if states.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(BundleFault::Order);
            }
            let seq = Seq(u64::from_le_bytes(self.take()?));
            let length = u64::from_le_bytes(self.take()?);
            states.insert(key, State { seq, bytes: self.bytes(length)?.to_vec() });
        }
        if !self.0.is_empty() {
            return Err(BundleFault::Long { left: self.0.len() });
        }
        Ok(states)
    }
}

#[cfg(test)]
mod tests;
