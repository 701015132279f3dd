//! Addresses: every machine has one, and the shard it lives on follows from it alone.
//!
//! Owns placement of names on shards. The hash is part of what is stored: changing it would move
//! every block to another shard, so a test pins it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{BlockId, Customer, EventId, Shard, Tag};

/// A block of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// The concert.
    pub event: EventId,
    /// The part of its venue.
    pub block: BlockId,
}

impl BlockRef {
    fn hash(&self) -> u64 {
        // A slug has no NUL, so the joined bytes are unambiguous.
        let mut bytes = [0u8; 128];
        let (event, block) = (self.event.as_str().as_bytes(), self.block.as_str().as_bytes());
        let length = event.len() + 1 + block.len();
        if length <= bytes.len() {
            bytes[..event.len()].copy_from_slice(event);
            bytes[event.len() + 1..length].copy_from_slice(block);
            xxh3_64(&bytes[..length])
        } else {
            xxh3_64(&[event, b"\0", block].concat())
        }
    }

    /// The tag that ids of this block's holds carry.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag((self.hash() >> 40) as u32)
    }
}

/// Where a machine lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Address {
    /// The desk of one event.
    Event(EventId),
    /// One block of one event.
    Block(BlockRef),
    /// The orders of the customers whose home is this shard.
    Orders(Shard),
    /// The charges of those orders.
    Payments(Shard),
    /// What those buyers are owed in writing.
    Notifier(Shard),
}

impl Address {
    /// The desk that holds all orders of a customer.
    #[must_use]
    pub fn home_of(customer: &Customer, shards: u16) -> Address {
        Address::Orders(place(xxh3_64(customer.as_str().as_bytes()), shards))
    }

    /// The shard this machine lives on, of `shards` in the deployment.
    #[must_use]
    pub fn shard(&self, shards: u16) -> Shard {
        self.locate(shards).0
    }

    /// The shard this machine lives on, and 64 bits that follow from the address alone, so that whoever has to look for it
    /// there need not hash its name again. Addresses of one shard differ in the upper half as a rule.
    #[must_use]
    pub fn locate(&self, shards: u16) -> (Shard, u64) {
        let hash = match self {
            Address::Event(event) => xxh3_64(event.as_str().as_bytes()),
            Address::Block(block) => block.hash(),
            Address::Orders(shard) | Address::Payments(shard) | Address::Notifier(shard) => {
                return (*shard, (self.kind() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
        };
        (place(hash, shards), hash)
    }

    /// What kind of machine lives here, for metrics.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Address::Event(_) => Kind::Event,
            Address::Block(_) => Kind::Block,
            Address::Orders(_) => Kind::Orders,
            Address::Payments(_) => Kind::Payments,
            Address::Notifier(_) => Kind::Notifier,
        }
    }
}

/// The kinds of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`crate::event::EventDesk`]
    Event,
    /// [`crate::block::SeatBlock`]
    Block,
    /// [`crate::order::OrderDesk`]
    Orders,
    /// [`crate::payment::PaymentDesk`]
    Payments,
    /// [`crate::notice::Notifier`]
    Notifier,
}

impl Kind {
    /// All kinds, in the order of the enum.
    pub const ALL: [Kind; 5] = [Kind::Event, Kind::Block, Kind::Orders, Kind::Payments, Kind::Notifier];

    /// The kind's name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Event => "event_desk",
            Kind::Block => "seat_block",
            Kind::Orders => "order_desk",
            Kind::Payments => "payment_desk",
            Kind::Notifier => "notifier",
        }
    }
}

fn place(hash: u64, shards: u16) -> Shard {
    Shard((hash % u64::from(shards.max(1))) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_is_the_same_on_every_build() {
        let block = BlockRef { event: "aurora-night-1".into(), block: "A".into() };
        assert_eq!(Address::Block(block.clone()).shard(64), Shard(PINNED.0));
        assert_eq!(block.tag(), Tag(PINNED.1));
        assert_eq!(Address::home_of(&"ann".into(), 64), Address::Orders(Shard(PINNED.2)));
    }

    const PINNED: (u16, u32, u16) = (35, 7_693_828, 8);

    #[test]
    fn machines_of_one_shard_are_told_apart_by_their_upper_half() {
        let shard = Shard(9);
        let desks = [Address::Orders(shard), Address::Payments(shard), Address::Notifier(shard)];
        let blocks = (0..64)
            .map(|block| Address::Block(BlockRef { event: "aurora".into(), block: block.to_string().as_str().into() }));
        let mut halves: Vec<u64> = blocks.chain(desks).map(|address| address.locate(64).1 >> 32).collect();
        halves.sort_unstable();
        halves.dedup();
        assert_eq!(halves.len(), 67);
    }

    #[test]
    fn long_names_hash_like_short_ones() {
        let long = "e".repeat(64);
        let block = BlockRef { event: long.as_str().into(), block: "b".repeat(64).as_str().into() };
        assert!(Address::Block(block).shard(64).0 < 64);
    }
}
