//! The cluster's time: the clocks of nodes may differ by seconds, the times they tell buyers must not.
//!
//! A node that joins takes over the time of those who serve, and afterwards follows their median slowly enough that nobody
//! notices. So a hold that one node promised until a moment is not ended early by the next owner's clock. Pure.

use std::collections::BTreeMap;

use actors::time::Millis;

use super::presence::{Heartbeat, NodeId};

/// Smaller differences are the network's, milliseconds.
const TOLERANCE: i64 = 20;

/// Ticks between two steps of a millisecond: a node drifts towards the others by at most a second in a quarter of an hour.
const TICKS_PER_STEP: u32 = 20;

/// Those whose time `me` takes over when it begins to serve: who serves. When nobody does yet, one of those who join, the same
/// for all of them, so that nodes that begin together do not keep their own times.
pub(super) fn timekeepers<'a>(
    me: &'a NodeId,
    serving: Vec<NodeId>,
    joining: impl Iterator<Item = &'a NodeId>,
) -> Vec<NodeId> {
    if !serving.is_empty() {
        return serving;
    }
    let first = joining.chain([me]).min();
    first.filter(|first| *first != me).cloned().into_iter().collect()
}

/// How far the clocks of other nodes are ahead of this one's, milliseconds.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    offsets: BTreeMap<NodeId, i64>,
    ticks: u32,
}

impl Offsets {
    /// A heartbeat has come at this node's time `now`.
    pub(super) fn note(&mut self, heartbeat: &Heartbeat, now: Millis) {
        self.offsets.insert(heartbeat.node.clone(), heartbeat.now.0 as i64 - now.0 as i64);
    }

    /// By how much a node that joins has to shift its clock.
    pub(super) fn joining(&self, serving: &[NodeId]) -> i64 {
        self.median(serving).filter(|shift| shift.abs() > TOLERANCE).unwrap_or(0)
    }

    /// By how much a serving node shifts its clock at this tick.
    pub(super) fn slew(&mut self, serving: &[NodeId]) -> i64 {
        self.offsets.retain(|node, _| serving.contains(node));
        self.ticks = (self.ticks + 1) % TICKS_PER_STEP;
        match self.median(serving) {
            Some(shift) if self.ticks == 0 && shift.abs() > TOLERANCE => shift.signum(),
            Some(_) | None => 0,
        }
    }

    /// The middle one; of two, the one that is behind: a hold may live longer, never shorter.
    fn median(&self, serving: &[NodeId]) -> Option<i64> {
        let mut known: Vec<i64> = serving.iter().filter_map(|node| self.offsets.get(node).copied()).collect();
        known.sort_unstable();
        known.get((known.len().max(1) - 1) / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::presence::Phase;
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId { name: name.into(), incarnation: 1 }
    }

    fn heard(clocks: &[(&str, u64)]) -> (Offsets, Vec<NodeId>) {
        let mut offsets = Offsets::default();
        for (name, now) in clocks {
            let (address, owned, followed) = (String::new(), Vec::new(), Vec::new());
            let phase = Phase::Serving;
            offsets.note(
                &Heartbeat { node: node(name), number: 1, phase, now: Millis(*now), address, owned, followed },
                Millis(100_000),
            );
        }
        (offsets, clocks.iter().map(|(name, _)| node(name)).collect())
    }

    #[test]
    fn one_that_joins_takes_the_time_of_those_who_serve() {
        let (offsets, serving) = heard(&[("a", 95_000), ("b", 95_010), ("c", 190_000)]);
        assert_eq!(offsets.joining(&serving), -4990, "the middle one");
        assert_eq!(offsets.joining(&serving[..2]), -5000, "of two, the one behind");
        assert_eq!(offsets.joining(&[]), 0, "the first has the time");
        let (offsets, serving) = heard(&[("a", 100_015)]);
        assert_eq!(offsets.joining(&serving), 0, "that is only the network");
    }

    #[test]
    fn those_who_begin_together_take_the_time_of_one_of_them() {
        let (a, b, c) = (node("a"), node("b"), node("c"));
        assert_eq!(timekeepers(&b, vec![c.clone()], [&a].into_iter()), [node("c")], "those who serve have the time");
        assert_eq!(timekeepers(&b, Vec::new(), [&c, &a].into_iter()), [node("a")]);
        assert_eq!(timekeepers(&c, Vec::new(), [&b, &a].into_iter()), [node("a")]);
        assert_eq!(timekeepers(&a, Vec::new(), [&b, &c].into_iter()), [], "its own");
        assert_eq!(timekeepers(&a, Vec::new(), [].into_iter()), [], "alone");
    }

    #[test]
    fn those_who_serve_drift_towards_each_other_slowly() {
        let (mut offsets, serving) = heard(&[("a", 100_500)]);
        let steps: i64 = (0..200).map(|_| offsets.slew(&serving)).sum();
        assert_eq!(steps, 10);
        assert_eq!((0..200).map(|_| offsets.slew(&[])).sum::<i64>(), 0);
    }
}
