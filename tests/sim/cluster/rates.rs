//! What a seed decides about a cluster: how many nodes, and how often what goes wrong. Rates are in a thousand.

use actors::policy::Policy;
use actors::time::Span;

use super::links::Ways;
use crate::chance::Chance;
use crate::plan::{BusRates, Every as Usual, Plan, every, sometimes};

/// Silence after which a node counts as dead.
pub(super) const LEASE: Span = Span(1500);

/// Time between two heartbeats.
pub(super) const BEAT: Span = Span(250);

/// How often a keeper looks around.
pub(super) const TICK: Span = Span(50);

/// How long after the last fault everything must be back in its place.
pub(super) const HEALING: Span = Span::seconds(40);

/// How long what was told last may be on its way to the boards, or be asked for again.
pub(super) const TELLING: Span = Span::seconds(3);

/// What a thousand lives must have seen.
pub(super) const COUNTS: [&str; 28] = [
    "asked again of the next owner",
    "asks to another node",
    "claims",
    "claims lost to another",
    "claims overtaken before they were read",
    "cut off both ways",
    "cut off with a server",
    "cut off, does not hear",
    "cut off, is not heard",
    "effects left to the next owner",
    "feed: gaps",
    "feed: gaps healed",
    "feed: old news ignored",
    "fenced appends",
    "followers that started over",
    "handovers",
    "journal: 10071",
    "journal: 10164",
    "journal: records cut",
    "messages to another node",
    "nodes that left in good order",
    "shards dropped for a later epoch",
    "shards trusted again",
    "takeovers",
    "unknown outcome: it was done",
    "unknown outcome: it was not done",
    "zombies refused: no lease or no trust",
    "zombies refused: shard found another owner",
];

/// Mean time between two faults of a kind, of any node; `None`: never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Every {
    pub(super) kill: Option<Span>,
    pub(super) leave: Option<Span>,
    pub(super) pause: Option<Span>,
    pub(super) cut: Option<Span>,
    pub(super) quorum: Option<Span>,
    pub(super) snapshot: Option<Span>,
}

/// See the module's charter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) nodes: usize,
    /// Whether clocks of nodes differ, by seconds.
    pub(super) skewed: bool,
    pub(super) every: Every,
    pub(super) heartbeats: Ways,
    /// Asks, answers and messages between machines.
    pub(super) bus: Ways,
    pub(super) feed: Ways,
    pub(super) journal: Ways,
    /// Appends that are refused because of another in flight.
    pub(super) busy: u32,
    /// Nodes that are paused right after they asked the journal something.
    pub(super) stopped_asking: u32,
}

fn ways(chance: &mut Chance, lost: u64, slow_most: u64) -> Ways {
    Ways { lost: sometimes(chance, lost), doubled: sometimes(chance, 100), slow: sometimes(chance, 200), slow_most }
}

impl Rates {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let kind = chance.hit(50);
        let rates = Self {
            nodes: chance.between(2, 4) as usize,
            skewed: chance.hit(600),
            every: Every {
                kill: every(chance, 4, 25),
                leave: every(chance, 6, 30),
                pause: every(chance, 4, 25),
                cut: every(chance, 4, 25),
                quorum: every(chance, 6, 30),
                snapshot: Some(Span(chance.between(100, 1500))),
            },
            heartbeats: ways(chance, 60, 400),
            bus: ways(chance, 150, 2000),
            feed: ways(chance, 150, 1500),
            journal: ways(chance, 80, 1500),
            busy: sometimes(chance, 60),
            stopped_asking: sometimes(chance, 25),
        };
        if kind { rates.without_faults() } else { rates }
    }

    fn without_faults(mut self) -> Self {
        let snapshot = self.every.snapshot;
        self.every = Every { kill: None, leave: None, pause: None, cut: None, quorum: None, snapshot };
        (self.heartbeats, self.bus, self.feed, self.journal) = Default::default();
        (self.busy, self.stopped_asking) = (0, 0);
        self
    }
}

/// The plan of a cluster's life: shorter, with more shards, and without the faults of a single node.
pub(super) fn tighten(plan: Plan, chance: &mut Chance) -> Plan {
    let policy = Policy { shards: chance.between(2, 6) as u16, ..plan.policy };
    let every = Usual { away: plan.every.away, ..Usual::default() };
    // Messages between nodes have ways of their own; those within one do not get lost.
    let bus = BusRates { lost: plan.bus.lost / 4, doubled: plan.bus.doubled / 2, slow: plan.bus.slow / 4 };
    let active = Span::seconds(chance.between(12, 40));
    Plan { policy, every, bus, active, snapshot_rot: 0, journal_rot: 0, clock_steps: 0, ..plan }
}
