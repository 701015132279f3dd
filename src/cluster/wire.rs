//! The bytes that nodes send each other: packets of asks, answers and messages between machines.
//!
//! Many items of one moment travel in one packet. Owns the shapes and the codec, nothing about how they travel.
//!
//! ```text
//!  version: u8 = 1 · sender: bincode · item*: bincode
//! ```

use std::borrow::Cow;
use std::time::Duration;

use actors::address::Address;
use actors::bytes::End;
use actors::keyed::{Answer, Key};
use actors::message::{Message, Reply};
use actors::refusal::Refusal;
use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use super::presence::NodeId;
use crate::runtime::Failure;

/// First byte of every packet. A reader takes this one and, after a release that changes a shape, the one before.
const VERSION: u8 = 1;

/// Most bytes that one item may claim.
const BYTES_MAX: usize = 64 * 1024 * 1024;

const CODEC: Configuration<LittleEndian, Varint, Limit<BYTES_MAX>> = config::standard().with_limit();

/// One thing that a node says to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Item {
    /// A command; the answer carries the same number.
    Ask {
        /// Unique among the sender's.
        id: u64,
        /// Which machine.
        to: Address,
        /// The caller's key.
        key: Option<Key>,
        /// What is asked.
        message: Message,
    },
    /// The answer to an ask.
    Answer {
        /// The ask's number.
        id: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// A message between machines: nobody waits.
    Tell {
        /// Which machine.
        to: Address,
        /// What it is told.
        message: Message,
    },
    /// The whole picture of a shard is wanted, on its feed.
    Picture {
        /// Which.
        shard: u16,
    },
}

/// What became of an ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The machine answered.
    Answered {
        /// What it said.
        result: Result<Reply, Refusal>,
        /// Whether it had said so before, under the same key.
        replayed: bool,
    },
    /// See [`Failure::Overloaded`].
    Overloaded {
        /// In milliseconds.
        retry_after: u64,
    },
    /// See [`Failure::Unavailable`].
    Unavailable {
        /// For people.
        reason: String,
        /// In milliseconds.
        retry_after: u64,
    },
    /// See [`Failure::Unknown`].
    Unknown,
    /// See [`Failure::Elsewhere`].
    Elsewhere,
}

impl From<Result<Answer<Reply>, Failure>> for Outcome {
    fn from(heard: Result<Answer<Reply>, Failure>) -> Self {
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match heard {
            Ok(Answer { result, replayed }) => Outcome::Answered { result, replayed },
            Err(Failure::Overloaded { retry_after }) => Outcome::Overloaded { retry_after: millis(retry_after) },
            Err(Failure::Unavailable { reason, retry_after }) => {
                Outcome::Unavailable { reason: reason.into_owned(), retry_after: millis(retry_after) }
            }
            Err(Failure::Unknown) => Outcome::Unknown,
            Err(Failure::Elsewhere) => Outcome::Elsewhere,
        }
    }
}

impl From<Outcome> for Result<Answer<Reply>, Failure> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered { result, replayed } => Ok(Answer { result, replayed }),
            Outcome::Overloaded { retry_after } => {
                Err(Failure::Overloaded { retry_after: Duration::from_millis(retry_after) })
            }
            Outcome::Unavailable { reason, retry_after } => {
                let retry_after = Duration::from_millis(retry_after);
                Err(Failure::Unavailable { reason: Cow::Owned(reason), retry_after })
            }
            Outcome::Unknown => Err(Failure::Unknown),
            Outcome::Elsewhere => Err(Failure::Elsewhere),
        }
    }
}

/// A packet being filled.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) items: usize,
}

impl Packet {
    pub(super) fn new(from: &NodeId) -> Self {
        let mut bytes = vec![VERSION];
        bincode::serde::encode_into_writer(from, End(&mut bytes), CODEC).expect("a node's name can be encoded");
        Self { bytes, items: 0 }
    }

    /// Adds an item; the bytes it takes.
    pub(super) fn put(&mut self, item: &Item) -> usize {
        let before = self.bytes.len();
        bincode::serde::encode_into_writer(item, End(&mut self.bytes), CODEC).expect("an item can be encoded");
        self.items += 1;
        self.bytes.len() - before
    }
}

/// Who sent a packet and what is in it; `None` for bytes of another version or damaged ones.
pub(super) fn unpack(bytes: &[u8]) -> Option<(NodeId, Vec<Item>)> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    let (from, used) = bincode::serde::decode_from_slice(rest, CODEC).ok()?;
    let mut rest = rest.get(used..)?;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (item, used) = bincode::serde::decode_from_slice(rest, CODEC).ok()?;
        rest = rest.get(used..)?;
        items.push(item);
    }
    Some((from, items))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actors::ids::Shard;
    use actors::notice;

    use super::*;

    fn items() -> Vec<Item> {
        let to = Address::Notifier(Shard(3));
        let failures = [
            Failure::Overloaded { retry_after: Duration::from_millis(300) },
            Failure::Unavailable { reason: "x".into(), retry_after: Duration::from_millis(1) },
            Failure::Unknown,
            Failure::Elsewhere,
        ];
        let answers = failures.into_iter().map(|failure| Item::Answer { id: 2, outcome: Err(failure).into() });
        let refused = Ok(Answer { result: Err(Refusal::UnknownOrder), replayed: true });
        let message = Message::Notice(notice::Command::Count);
        let ask = Item::Ask { id: 1, to: to.clone(), key: None, message: message.clone() };
        let told = [ask, Item::Tell { to, message }, Item::Picture { shard: 9 }];
        told.into_iter().chain(answers).chain([Item::Answer { id: 2, outcome: refused.into() }]).collect()
    }

    #[test]
    fn a_packet_reads_back_and_nothing_else_passes() {
        let from = NodeId { name: "a".into(), incarnation: 7 };
        let mut packet = Packet::new(&from);
        assert_eq!(packet.bytes, [1, 1, b'a', 7]);
        let items = items();
        let taken: usize = items.iter().map(|item| packet.put(item)).sum();
        assert_eq!((packet.bytes.len(), packet.items), (4 + taken, items.len()));
        assert_eq!(unpack(&packet.bytes).unwrap(), (from, items));
        assert!(unpack(&packet.bytes[..packet.bytes.len() - 1]).is_none());
        assert!(unpack(&[2, 1, b'a', 7]).is_none());
    }

    #[test]
    fn what_became_of_an_ask_survives_the_way() {
        for failure in [
            Failure::Unknown,
            Failure::Elsewhere,
            Failure::Unavailable { reason: "x".into(), retry_after: Duration::ZERO },
        ] {
            let there_and_back: Result<Answer<Reply>, Failure> = Outcome::from(Err(failure.clone())).into();
            assert_eq!(there_and_back, Err(failure));
        }
    }
}
