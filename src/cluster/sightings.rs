//! Sightings: what this node saw of others last, so that it can tell whether an owner's lease has run out. Pure.
//!
//! A node's lease begins when it sends a heartbeat that a quorum stores. Whoever heard a heartbeat knows that it was sent by
//! then; if no later one was stored, the lease has run out one lease after that. What an owner gave up itself has no lease,
//! and neither has a node whose last stored word is that it is deaf.

use std::collections::HashMap;

use actors::ids::Shard;
use actors::time::{Millis, Span};
use compact_str::CompactString;
use foldhash::fast::RandomState;

use super::presence::{Heartbeat, NodeId, Phase};

/// The last heartbeat of a node's name that was heard.
#[derive(Clone, Copy, Debug)]
struct Seen {
    incarnation: u64,
    number: u64,
    at: Millis,
}

/// Who last said that it owns a shard.
#[derive(Clone, Debug)]
struct Said {
    node: NodeId,
    epoch: u64,
    /// It has not said so since.
    given_up: bool,
}

/// See the module's charter.
#[derive(Debug)]
pub(super) struct Sightings {
    lease: Span,
    nodes: HashMap<CompactString, Seen, RandomState>,
    shards: Vec<Option<Said>>,
}

/// Whether a lease has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// Yes.
    Over,
    /// Not before so much time has passed; then it has to be looked up again.
    Maybe(Span),
}

impl Sightings {
    pub(super) fn new(shards: u16, lease: Span) -> Self {
        Self { lease, nodes: HashMap::default(), shards: vec![None; usize::from(shards)] }
    }

    /// A heartbeat of another node was heard.
    pub(super) fn note(&mut self, heartbeat: &Heartbeat, now: Millis) {
        let (node, number) = (&heartbeat.node, heartbeat.number);
        let seen = Seen { incarnation: node.incarnation, number, at: now };
        match self.nodes.get_mut(&node.name) {
            Some(known) if (known.incarnation, known.number) >= (node.incarnation, number) => return,
            Some(known) => *known = seen,
            None => drop(self.nodes.insert(node.name.clone(), seen)),
        }
        for said in self.shards.iter_mut().flatten().filter(|said| said.node == *node) {
            said.given_up = true;
        }
        for owned in &heartbeat.owned {
            if let Some(said) = self.shards.get_mut(usize::from(owned.shard))
                && said.as_ref().is_none_or(|said| said.epoch <= owned.epoch)
            {
                *said = Some(Said { node: node.clone(), epoch: owned.epoch, given_up: false });
            }
        }
    }

    /// Whether an owner has itself given a shard up, that it owned under this epoch.
    pub(super) fn gave_up(&self, shard: Shard, owner: &NodeId, epoch: u64) -> bool {
        let said = self.shards[usize::from(shard.0)].as_ref();
        said.is_some_and(|said| said.given_up && said.node == *owner && said.epoch == epoch)
    }

    /// Whether the lease of an owner is over, whose last stored heartbeat is this one.
    pub(super) fn lease_of(&mut self, owner: &NodeId, stored: &Heartbeat, now: Millis) -> Lease {
        if stored.node.incarnation > owner.incarnation || stored.phase == Phase::Deaf {
            return Lease::Over;
        }
        let (incarnation, number) = (stored.node.incarnation, stored.number);
        // One that was stored without being heard counts from now on.
        let first_sight = Seen { incarnation, number, at: now };
        let seen = self.nodes.entry(owner.name.clone()).or_insert(first_sight);
        if (seen.incarnation, seen.number) < (incarnation, number) {
            *seen = first_sight;
        }
        let over = seen.at + self.lease;
        if over <= now { Lease::Over } else { Lease::Maybe(Span(over.0 - now.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::presence::Owned;
    use super::*;

    const LEASE: Span = Span(1500);
    const SHARD: Shard = Shard(1);

    fn node(incarnation: u64) -> NodeId {
        NodeId { name: "a".into(), incarnation }
    }

    fn beat(number: u64, owned: &[u64]) -> Heartbeat {
        let owned = owned.iter().map(|epoch| Owned { shard: SHARD.0, epoch: *epoch, seq: 0, feed: 0 }).collect();
        let (address, followed) = (String::new(), Vec::new());
        Heartbeat { node: node(7), number, phase: Phase::Serving, now: Millis(0), address, owned, followed }
    }

    fn sightings() -> Sightings {
        Sightings::new(2, LEASE)
    }

    #[test]
    fn a_lease_is_over_one_lease_after_the_last_heartbeat_that_was_heard() {
        let mut sightings = sightings();
        sightings.note(&beat(4, &[]), Millis(100));
        assert_eq!(sightings.lease_of(&node(7), &beat(4, &[]), Millis(1500)), Lease::Maybe(Span(100)));
        assert_eq!(sightings.lease_of(&node(7), &beat(3, &[]), Millis(1600)), Lease::Over);
    }

    #[test]
    fn one_that_was_stored_unheard_counts_from_when_it_is_found() {
        let mut sightings = sightings();
        sightings.note(&beat(4, &[]), Millis(100));
        assert_eq!(sightings.lease_of(&node(7), &beat(5, &[]), Millis(2000)), Lease::Maybe(LEASE));
        assert_eq!(sightings.lease_of(&node(7), &beat(5, &[]), Millis(3499)), Lease::Maybe(Span(1)));
        assert_eq!(sightings.lease_of(&node(7), &beat(5, &[]), Millis(3500)), Lease::Over);
        assert_eq!(sightings.lease_of(&node(7), &beat(6, &[]), Millis(3500)), Lease::Maybe(LEASE), "it lives");
    }

    #[test]
    fn a_life_that_another_followed_has_no_lease() {
        assert_eq!(sightings().lease_of(&node(6), &beat(1, &[]), Millis(0)), Lease::Over);
    }

    #[test]
    fn one_whose_last_word_is_that_it_is_deaf_has_no_lease() {
        let mut sightings = sightings();
        sightings.note(&beat(4, &[]), Millis(100));
        let deaf = Heartbeat { phase: Phase::Deaf, ..beat(5, &[]) };
        assert_eq!(sightings.lease_of(&node(7), &deaf, Millis(101)), Lease::Over);
    }

    #[test]
    fn what_an_owner_no_longer_names_it_has_given_up() {
        let mut sightings = sightings();
        assert!(!sightings.gave_up(SHARD, &node(7), 3), "it never said that it owns it");
        sightings.note(&beat(1, &[3]), Millis(0));
        assert!(!sightings.gave_up(SHARD, &node(7), 3));
        sightings.note(&beat(2, &[]), Millis(1));
        assert!(sightings.gave_up(SHARD, &node(7), 3));
        assert!(!sightings.gave_up(SHARD, &node(7), 4), "it may have claimed it anew");
        sightings.note(&beat(1, &[3]), Millis(2));
        assert!(sightings.gave_up(SHARD, &node(7), 3), "an old heartbeat says nothing");
        sightings.note(&beat(3, &[4]), Millis(3));
        assert!(!sightings.gave_up(SHARD, &node(7), 4));
    }
}
