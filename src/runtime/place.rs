//! The place of a machine: its address with the hash that led to its shard, so that a name is hashed once on its way.
//!
//! Owns how the cells of a shard are found. Must never leave the process: the hash is not part of what is stored.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use actors::address::Address;
use actors::ids::Shard;

/// See the module's charter.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: Address,
    hash: u64,
}

impl Place {
    /// The shard on which an address lives, and its place there.
    pub(super) fn of(address: Address, shards: u16) -> (Shard, Place) {
        let (shard, hash) = address.locate(shards);
        (shard, Place { address, hash })
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.address == other.address
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What lies at the places of one shard.
pub(super) type Places<T> = HashMap<Place, T, BuildHasherDefault<Half>>;

/// The hash of a place with its halves exchanged: the lower one is much the same for all of a shard.
#[derive(Debug, Default)]
pub(super) struct Half(u64);

impl Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("a place is hashed as one number, not as {} bytes", bytes.len());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.rotate_right(32);
    }
}

#[cfg(test)]
mod tests {
    use actors::address::BlockRef;

    use super::*;

    fn block(number: u32) -> Address {
        Address::Block(BlockRef { event: "aurora".into(), block: number.to_string().as_str().into() })
    }

    #[test]
    fn each_machine_of_a_shard_is_found_and_no_other() {
        let mut places: Places<u32> = Places::default();
        (0..500).for_each(|number| {
            places.insert(Place::of(block(number), 1).1, number);
        });
        for number in 0..500 {
            assert_eq!(places.get(&Place::of(block(number), 1).1), Some(&number));
        }
        assert_eq!(places.get(&Place::of(block(500), 1).1), None);
        let stranger = Place { address: block(1), ..Place::of(block(0), 1).1 };
        assert_eq!(places.get(&stranger), None, "a hash alone is no address");
    }
}
