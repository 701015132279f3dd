//! Presence: what a node tells all others of itself, several times within a lease.
//!
//! Owns the shape and the bytes of a heartbeat. What follows from one is [`super::keeper`]'s to say.

use std::fmt;

use actors::bytes::End;
use actors::ids::Shard;
use actors::time::Millis;
use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::journal::Seq;

/// First byte of every heartbeat. A reader takes this one and, after a release that changes the shape, the one before.
const VERSION: u8 = 1;

/// Most bytes that one heartbeat may claim: 65,536 shards and some names.
const BYTES_MAX: usize = 4 * 1024 * 1024;

const CODEC: Configuration<LittleEndian, Varint, Limit<BYTES_MAX>> = config::standard().with_limit();

/// One life of a node: a node that is started again is another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// Its name, `node.name`.
    pub name: CompactString,
    /// Grows with every start.
    pub incarnation: u64,
}

impl NodeId {
    /// A life that begins now: later ones of the same name have higher numbers, and `chance` tells apart those of the same
    /// millisecond.
    #[must_use]
    pub fn new(name: &str, now: Millis, chance: u16) -> Self {
        Self { name: name.into(), incarnation: now.0 << 16 | u64::from(chance) }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:x}", self.name, self.incarnation)
    }
}

/// What a node is doing as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It listens and fills its board; shards are not given to it yet.
    Joining,
    /// It takes its share of the shards.
    Serving,
    /// It hands its shards over and will go.
    Leaving,
    /// No quorum has stored what it said within its lease: what it says may be old, so it counts as away.
    Deaf,
}

impl Phase {
    /// The phase's name in the cluster view and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Joining => "joining",
            Phase::Serving => "serving",
            Phase::Leaving => "leaving",
            Phase::Deaf => "deaf",
        }
    }
}

/// A shard that the sender owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Which.
    pub shard: u16,
    /// Under which epoch.
    pub epoch: u64,
    /// Its last durable record.
    pub seq: u64,
    /// The number of the last message of its feed.
    pub feed: u64,
}

/// A shard that the sender follows, ready to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Which.
    pub shard: u16,
    /// The last record it has folded in.
    pub seq: u64,
    /// Whether it had read everything there was when it last looked.
    pub warm: bool,
}

/// See the module's charter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub node: NodeId,
    /// One more than the one before.
    pub number: u64,
    /// What it is doing.
    pub phase: Phase,
    /// Its time, which those that join take over.
    pub now: Millis,
    /// Where its API is reached.
    pub address: String,
    /// What it owns.
    pub owned: Vec<Owned>,
    /// What it follows.
    pub followed: Vec<Followed>,
}

impl Heartbeat {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bincode::serde::encode_into_writer(self, End(&mut bytes), CODEC).expect("a heartbeat can be encoded");
        bytes
    }

    /// Reads one; `None` for bytes of another version or none at all.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (heartbeat, used) = bincode::serde::decode_from_slice(rest, CODEC).ok()?;
        (used == rest.len()).then_some(heartbeat)
    }

    /// Under which epoch the sender owns a shard.
    #[must_use]
    pub fn epoch_of(&self, shard: Shard) -> Option<u64> {
        self.owned.iter().find(|owned| owned.shard == shard.0).map(|owned| owned.epoch)
    }

    /// How far the sender has followed a shard, if it is warm.
    #[must_use]
    pub fn warm_at(&self, shard: Shard) -> Option<Seq> {
        self.followed
            .iter()
            .find(|followed| followed.shard == shard.0 && followed.warm)
            .map(|followed| Seq(followed.seq))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_heartbeat_is_these_bytes_and_reads_back() {
        let heartbeat = Heartbeat {
            node: NodeId { name: "a".into(), incarnation: 7 },
            number: 300,
            phase: Phase::Serving,
            now: Millis(9),
            address: "h:1".to_owned(),
            owned: vec![Owned { shard: 1, epoch: 2, seq: 3, feed: 4 }],
            followed: vec![Followed { shard: 5, seq: 6, warm: true }],
        };
        let golden = [
            1, // version
            1, b'a', 7, 251, 44, 1, 1, 9, 3, b'h', b':', b'1', // node, number, phase, time, address
            1, 1, 2, 3, 4, // one shard owned
            1, 5, 6, 1, // one followed
        ];
        assert_eq!(heartbeat.encode(), golden);
        assert_eq!(Heartbeat::decode(&golden), Some(heartbeat.clone()));
        assert_eq!((heartbeat.epoch_of(Shard(1)), heartbeat.epoch_of(Shard(5))), (Some(2), None));
        assert_eq!((heartbeat.warm_at(Shard(5)), heartbeat.warm_at(Shard(1))), (Some(Seq(6)), None));
        for length in 0..golden.len() {
            assert_eq!(Heartbeat::decode(&golden[..length]), None);
        }
        assert_eq!(Heartbeat::decode(&[golden.as_slice(), &[0]].concat()), None);
        assert_eq!(Heartbeat::decode(&[2, 0]), None);
    }

    #[test]
    fn a_later_life_has_a_higher_number() {
        assert!(NodeId::new("a", Millis(2), 0) > NodeId::new("a", Millis(1), u16::MAX));
        assert_eq!(NodeId::new("a", Millis(1), 3).to_string(), "a/10003");
    }
}
