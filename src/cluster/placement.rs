//! Placement: which node should own a shard, and which should be ready to take over.
//!
//! Rendezvous hashing: every node is ranked for every shard by a hash of both names, and the highest rank owns. A node that
//! comes or goes moves only the shards that it wins or held; nobody has to remember or agree on anything. The cost of a
//! look is one hash a live node and shard.

use actors::ids::Shard;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The two highest ranked nodes of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked<'a> {
    /// Should own it.
    pub first: &'a str,
    /// Should follow it, ready to take over; `None` where there is only one node.
    pub second: Option<&'a str>,
}

/// Ranks nodes, given by name, for a shard; `None` if there are none. The order in which they are given does not matter.
pub fn rank<'a>(shard: Shard, nodes: impl Iterator<Item = &'a str>) -> Option<Ranked<'a>> {
    let mut first: Option<(u64, &str)> = None;
    let mut second: Option<(u64, &str)> = None;
    for name in nodes {
        let candidate = Some((xxh3_64_with_seed(name.as_bytes(), u64::from(shard.0)), name));
        if candidate > first {
            second = std::mem::replace(&mut first, candidate);
        } else if candidate > second {
            second = candidate;
        }
    }
    first.map(|(_, first)| Ranked { first, second: second.map(|(_, name)| name) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SHARDS: u16 = 1024;

    fn owners(nodes: &[&str]) -> Vec<String> {
        (0..SHARDS).map(|shard| rank(Shard(shard), nodes.iter().copied()).unwrap().first.to_owned()).collect()
    }

    #[test]
    fn placement_is_the_same_on_every_build() {
        let ranked: Vec<_> = (0..6).map(|shard| rank(Shard(shard), ["a", "b", "c"].into_iter()).unwrap()).collect();
        let names: String =
            ranked.iter().map(|ranked| format!("{}{} ", ranked.first, ranked.second.unwrap())).collect();
        assert_eq!(names, PINNED);
    }

    const PINNED: &str = "ac ab ba ba ba cb ";

    #[test]
    fn shards_are_spread_evenly_whatever_the_order() {
        let nodes = ["node-a", "node-b", "node-c", "node-d"];
        let owners_in_order = owners(&nodes);
        for node in nodes {
            let share = owners_in_order.iter().filter(|owner| *owner == node).count();
            assert!((200..=312).contains(&share), "{node} has {share} of {SHARDS}");
        }
        assert_eq!(owners(&["node-d", "node-b", "node-a", "node-c"]), owners_in_order);
        assert_eq!(rank(Shard(0), [].into_iter()), None);
        assert_eq!(rank(Shard(0), ["alone"].into_iter()), Some(Ranked { first: "alone", second: None }));
    }

    #[test]
    fn a_node_that_joins_takes_only_its_share() {
        let (before, after) = (owners(&["a", "b", "c"]), owners(&["a", "b", "c", "d"]));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(_, after)| after == "d"), "only to the one that came");
        assert!((200..=312).contains(&moved.count()), "a fourth of all");
    }

    #[test]
    fn the_second_takes_over_from_the_first() {
        for shard in (0..SHARDS).map(Shard) {
            let ranked = rank(shard, ["a", "b", "c"].into_iter()).unwrap();
            let left = ["a", "b", "c"].into_iter().filter(|name| *name != ranked.first);
            assert_eq!(rank(shard, left).unwrap().first, ranked.second.unwrap());
        }
    }
}
