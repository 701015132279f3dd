//! The plan of one life: sizes, settings and fault rates, all drawn from the seed.
//!
//! Every fault class is off in some lives, so that each is met alone and in company. Rates are in a thousand unless the
//! name says otherwise.

use actors::block::{Layout, Row};
use actors::event::{BlockSpec, EventSpec, Rules, RulesPatch};
use actors::money::Currency;
use actors::policy::Policy;
use actors::time::{Millis, Span};
use stampede::journal::sim_disk::Faults;

use crate::chance::Chance;

/// When every life begins.
pub(crate) const START: Millis = Millis(1_800_000_000_000);

/// How a message fares between two machines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BusRates {
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    pub(crate) slow: u32,
}

/// How the payment provider and the way to it fare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GatewayRates {
    /// Refused at the door: nothing happened.
    pub(crate) unavailable: u32,
    /// The request never arrives; nobody answers.
    pub(crate) lost_request: u32,
    /// It happens, but the answer never comes.
    pub(crate) lost_answer: u32,
    /// An answer that says that nothing is known.
    pub(crate) unknown: u32,
    /// The answer comes twice.
    pub(crate) doubled: u32,
    /// It takes longer than the desk waits.
    pub(crate) slow: u32,
    /// Charges that are declined whatever the token says.
    pub(crate) declined: u32,
}

/// How letters fare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LetterRates {
    pub(crate) failed: u32,
    pub(crate) refused: u32,
    pub(crate) silent: u32,
}

/// Mean time between two faults of a kind; `None`: never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Every {
    pub(crate) power_cut: Option<Span>,
    pub(crate) kill: Option<Span>,
    pub(crate) panic: Option<Span>,
    pub(crate) full: Option<Span>,
    pub(crate) away: Option<Span>,
    pub(crate) snapshot: Option<Span>,
}

/// See the module's charter.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) policy: Policy,
    pub(crate) event: EventSpec,
    pub(crate) customers: usize,
    /// Think time between two wishes of a customer.
    pub(crate) pace: Span,
    /// How long customers come and faults happen.
    pub(crate) active: Span,
    pub(crate) bus: BusRates,
    /// Requests and answers between customers and the node.
    pub(crate) net: BusRates,
    pub(crate) gateway: GatewayRates,
    pub(crate) letters: LetterRates,
    pub(crate) disk: Faults,
    pub(crate) every: Every,
    /// Snapshots that are damaged after they were verified.
    pub(crate) snapshot_rot: u32,
    /// Recoveries after which bits of a copy of the disk are turned.
    pub(crate) journal_rot: u32,
    /// Starts at which the wall clock was set, forwards or backwards.
    pub(crate) clock_steps: u32,
}

pub(crate) fn sometimes(chance: &mut Chance, most: u64) -> u32 {
    if chance.hit(600) { chance.between(1, most) as u32 } else { 0 }
}

pub(crate) fn every(chance: &mut Chance, least: u64, most: u64) -> Option<Span> {
    chance.hit(600).then(|| Span::seconds(chance.between(least, most)))
}

fn layout(chance: &mut Chance) -> Layout {
    if chance.hit(250) {
        return Layout::Standing(chance.between(4, 30) as u32);
    }
    let rows = (1..=chance.between(1, 4)).map(|row| Row { name: row.to_string(), seats: chance.between(2, 12) as u16 });
    Layout::Seated(rows.collect())
}

fn event(chance: &mut Chance) -> EventSpec {
    let block = |(nth, chance): (u64, &mut Chance)| BlockSpec {
        id: format!("B{nth}").as_str().into(),
        name: format!("Block {nth}"),
        layout: layout(chance),
        price: if chance.hit(50) { 0 } else { chance.between(1, 90) * 100 },
    };
    let blocks = chance.between(1, 4);
    EventSpec {
        id: format!("event-{}", chance.between(0, 999)).as_str().into(),
        name: "Night One".to_owned(),
        venue: "Harbour".to_owned(),
        starts_at: START + Span::seconds(90_000),
        currency: Currency(*b"EUR"),
        on_sale_at: chance.hit(300).then(|| START + Span::seconds(chance.between(1, 20))),
        rules: rules(chance),
        blocks: (0..blocks).map(|nth| block((nth, chance))).collect(),
    }
}

/// Rules, for the event and for changes of it.
fn rules(chance: &mut Chance) -> Rules {
    Rules {
        hold_ttl: Span::seconds(chance.between(4, 40)),
        max_per_hold: chance.between(2, 6) as u32,
        max_per_customer: chance.hit(700).then(|| chance.between(2, 8) as u32),
        no_orphans: chance.hit(600),
    }
}

/// New values for some of the rules.
pub(crate) fn some_rules(chance: &mut Chance) -> RulesPatch {
    let Rules { hold_ttl, max_per_hold, max_per_customer, no_orphans } = rules(chance);
    RulesPatch {
        hold_ttl: chance.hit(500).then_some(hold_ttl),
        max_per_hold: chance.hit(500).then_some(max_per_hold),
        max_per_customer: chance.hit(500).then_some(max_per_customer),
        no_orphans: chance.hit(500).then_some(no_orphans),
    }
}

fn policy(chance: &mut Chance) -> Policy {
    let long = Span::seconds(24 * 3600);
    Policy {
        shards: chance.between(1, 4) as u16,
        idempotency_ttl: if chance.hit(300) { Span::seconds(chance.between(30, 90)) } else { long },
        ended_hold_ttl: if chance.hit(300) { Span::seconds(chance.between(30, 90)) } else { long },
        payment_extension: Span::seconds(chance.between(5, 40)),
        resend_min: Span(chance.between(300, 2000)),
        resend_max: Span::seconds(chance.between(3, 10)),
        gateway_timeout: Span::seconds(chance.between(2, 6)),
        gateway_backoff_min: Span(chance.between(100, 500)),
        gateway_backoff_max: Span::seconds(chance.between(2, 8)),
        charge_attempts_max: chance.between(2, 5) as u32,
        letter_timeout: Span::seconds(chance.between(2, 10)),
        letter_backoff_min: Span(chance.between(200, 2000)),
        letter_backoff_max: Span::seconds(chance.between(3, 15)),
        letter_attempts_max: chance.between(2, 6) as u32,
    }
}

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Plan {
        let chance = &mut *chance;
        let mut disk = Faults::default();
        if chance.hit(500) {
            disk.write_fails = chance.between(1, 100) as u16;
        }
        if chance.hit(500) {
            disk.sync_fails = chance.between(1, 100) as u16;
        }
        if chance.hit(400) {
            disk.full = chance.between(1, 300) as u16;
        }
        let plan = Plan {
            policy: policy(chance),
            event: event(chance),
            customers: chance.between(2, 9) as usize,
            pace: Span(chance.between(200, 4000)),
            active: Span::seconds(chance.between(20, 90)),
            bus: BusRates {
                lost: sometimes(chance, 300),
                doubled: sometimes(chance, 200),
                slow: sometimes(chance, 200),
            },
            net: BusRates { lost: sometimes(chance, 100), doubled: 0, slow: sometimes(chance, 50) },
            gateway: GatewayRates {
                unavailable: sometimes(chance, 200),
                lost_request: sometimes(chance, 150),
                lost_answer: sometimes(chance, 200),
                unknown: sometimes(chance, 200),
                doubled: sometimes(chance, 200),
                slow: sometimes(chance, 200),
                declined: sometimes(chance, 200),
            },
            letters: LetterRates {
                failed: sometimes(chance, 400),
                refused: sometimes(chance, 50),
                silent: sometimes(chance, 300),
            },
            disk,
            every: Every {
                power_cut: every(chance, 5, 60),
                kill: every(chance, 10, 60),
                panic: every(chance, 3, 30),
                full: every(chance, 15, 60),
                away: every(chance, 10, 60),
                snapshot: every(chance, 1, 10),
            },
            snapshot_rot: sometimes(chance, 300),
            journal_rot: 500,
            clock_steps: sometimes(chance, 500),
        };
        if chance.hit(50) { plan.without_faults() } else { plan }
    }

    /// The same life in a kind world.
    pub(crate) fn without_faults(mut self) -> Plan {
        self.bus = BusRates::default();
        self.net = BusRates::default();
        self.gateway = GatewayRates::default();
        self.letters = LetterRates::default();
        self.disk = Faults::default();
        self.every = Every { snapshot: self.every.snapshot, ..Every::default() };
        self.snapshot_rot = 0;
        self.clock_steps = 0;
        self
    }
}
