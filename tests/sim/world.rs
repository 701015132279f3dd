//! The world: simulated time, one queue of what will happen, and everything that lives in it.
//!
//! One thread, one source of chance: the same seed gives the same run, to the last byte. What happens to the node is in
//! [`crate::hosting`] and what follows it, what people do in [`crate::clients`], what must hold in [`crate::invariants`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use actors::address::Address;
use actors::gateway::{Call, Heard};
use actors::ids::{OrderId, PaymentId};
use actors::keyed::Answer;
use actors::message::Reply;
use actors::notice::LetterKind;
use actors::payment;
use actors::time::{Millis, Span};
use stampede::journal::sim_disk::{Faults, SimDisk};

use crate::board::Boards;
use crate::chance::Chance;
use crate::clients::Crowd;
use crate::coverage::Coverage;
use crate::gateway::{Fate, Provider};
use crate::model::Violation;
use crate::node::{Caller, Mail, Node};
use crate::plan::{BusRates, GatewayRates, LetterRates, Plan, START};
use crate::planted::Planted;
use crate::snapshots::Snapshots;
use crate::truth::Truth;

/// A step of the simulation, or what must not have happened.
pub(crate) type Step = Result<(), Violation>;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody is there, or the answer was lost: it may have been done.
    Unknown,
    /// The node says that it was surely not done.
    NotDone,
}

/// What will happen.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A request of a customer reaches the node.
    Arrive {
        to: Address,
        mail: Box<Mail>,
    },
    /// A message of a machine reaches another, in the same life of the node.
    Tell {
        epoch: u64,
        to: Address,
        mail: Box<Mail>,
    },
    Turn {
        epoch: u64,
        cell: Address,
    },
    Timer {
        epoch: u64,
        cell: Address,
    },
    Commit {
        epoch: u64,
    },
    Sync {
        epoch: u64,
    },
    /// Is there space again?
    Space {
        epoch: u64,
    },
    Rebuilt {
        epoch: u64,
        shard: usize,
        cells: Vec<Address>,
    },
    /// The provider acts on a call; it does not care whether the caller lives.
    Act {
        epoch: u64,
        call: Box<Call>,
        fate: Box<Fate>,
    },
    Heard {
        epoch: u64,
        payment: PaymentId,
        attempt: u32,
        heard: Heard,
    },
    /// A customer thinks of something.
    Wish {
        who: usize,
    },
    /// A wish is sent (again).
    Send {
        wish: usize,
    },
    Answered {
        caller: Caller,
        answer: Box<Result<Answer<Reply>, Failure>>,
    },
    Timeout {
        caller: Caller,
    },
    PowerCut,
    Kill,
    Restart,
    Panic,
    DiskFills,
    DiskEmpties,
    ProviderLeaves,
    ProviderReturns,
    Snapshot,
    /// Customers and faults stop.
    Calm,
}

/// What can go wrong now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) bus: BusRates,
    pub(crate) net: BusRates,
    pub(crate) gateway: GatewayRates,
    pub(crate) letters: LetterRates,
}

/// How far the node's clock may be off after a start.
pub(crate) const SKEW_MAX: u64 = 4000;

/// Lines of the trace that are kept.
const TRACE_MAX: usize = 120;

/// Events between two full recounts.
const RECOUNT_EVERY: u64 = 400;

/// No life has more events: one that has does not end.
const EVENTS_MAX: u64 = 400_000;

/// See the module's charter.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) chance: Chance,
    pub(crate) now: Millis,
    /// How far the node's clock is behind (below 0) or ahead of the true time; set anew by a start.
    pub(crate) skew: i64,
    queue: BTreeMap<(Millis, u64), Event>,
    order: u64,
    pub(crate) events: u64,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) node: Option<Node>,
    /// Counts the node's lives.
    pub(crate) epoch: u64,
    pub(crate) truth: Truth,
    pub(crate) provider: Provider,
    pub(crate) provider_away: bool,
    pub(crate) crowd: Crowd,
    pub(crate) boards: Boards,
    pub(crate) letters_delivered: BTreeSet<(OrderId, LetterKind)>,
    pub(crate) coverage: Coverage,
    pub(crate) calm: bool,
    pub(crate) bug: Option<Planted>,
    trace: Option<VecDeque<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Planted>, traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance);
        let disk = Arc::new(SimDisk::new(chance.draw()));
        let mut world = Self {
            truth: Truth::new(&plan.policy),
            crowd: Crowd::new(&plan),
            chance,
            now: START,
            skew: 0,
            queue: BTreeMap::new(),
            order: 0,
            events: 0,
            disk,
            snapshots: Arc::default(),
            node: None,
            epoch: 0,
            provider: Provider::default(),
            provider_away: false,
            boards: Boards::default(),
            letters_delivered: BTreeSet::new(),
            coverage: Coverage::default(),
            calm: false,
            bug,
            trace: traced.then(VecDeque::new),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let plan = self.plan.clone();
        self.note(|| format!("{plan:?}"));
        self.after(Span(0), Event::Restart);
        for who in 0..=self.crowd.organizer() {
            let wait = Span(if who == self.crowd.organizer() { 1 } else { self.chance.between(500, 5000) });
            self.after(wait, Event::Wish { who });
        }
        let every = plan.every;
        for (mean, event) in [
            (every.power_cut, Event::PowerCut),
            (every.kill, Event::Kill),
            (every.panic, Event::Panic),
            (every.full, Event::DiskFills),
            (every.away, Event::ProviderLeaves),
            (every.snapshot, Event::Snapshot),
        ] {
            self.again(mean, event);
        }
        self.after(plan.active, Event::Calm);
    }

    /// What the node's clock says.
    pub(crate) fn clock(&self) -> Millis {
        Millis(self.now.0.saturating_add_signed(self.skew))
    }

    pub(crate) fn rates(&self) -> Rates {
        if self.calm {
            return Rates::default();
        }
        let Plan { bus, net, gateway, letters, .. } = self.plan;
        Rates { bus, net, gateway, letters }
    }

    pub(crate) fn disk_faults(&self) -> Faults {
        if self.calm { Faults::default() } else { self.plan.disk }
    }

    pub(crate) fn after(&mut self, wait: Span, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn at(&mut self, when: Millis, event: Event) {
        self.order += 1;
        self.queue.insert((when.max(self.now), self.order), event);
    }

    /// Lets a fault happen around its mean time from now.
    pub(crate) fn again(&mut self, mean: Option<Span>, event: Event) {
        if let Some(Span(mean)) = mean.filter(|_| !self.calm) {
            let wait = Span(self.chance.between(mean / 4, mean * 7 / 4));
            self.after(wait, event);
        }
    }

    /// Keeps a line of the trace, when there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_MAX {
                trace.pop_front();
            }
            trace.push_back(format!("{:>8} ms  {}", self.now.0 - START.0, line()));
        }
    }

    pub(crate) fn into_trace(self) -> Vec<String> {
        self.trace.into_iter().flatten().collect()
    }

    /// Lives one life to its end.
    pub(crate) fn live(&mut self) -> Step {
        let end = self.last_moment();
        while let Some(entry) = self.queue.first_entry() {
            let (when, _) = *entry.key();
            if when > end {
                break;
            }
            let event = entry.remove();
            self.now = when;
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err("this life does not end".to_owned());
            }
            self.happen(event)?;
            if self.events.is_multiple_of(RECOUNT_EVERY) {
                self.recount()?;
            }
        }
        self.now = end;
        self.recount()?;
        self.end_check()
    }

    /// When everything must have ended: the longest chain of waits, from the last wish on.
    fn last_moment(&self) -> Millis {
        let policy = &self.plan.policy;
        let waits = 40_000
            + policy.payment_extension.0
            + 12 * policy.resend_max.0
            + 6 * (policy.gateway_timeout.0 + policy.gateway_backoff_max.0 + 8000)
            + 6 * (policy.letter_timeout.0 + policy.letter_backoff_max.0) * u64::from(policy.letter_attempts_max)
            + 60_000
            + 2 * SKEW_MAX;
        START + self.plan.active + Span(waits)
    }

    fn happen(&mut self, event: Event) -> Step {
        match event {
            Event::Arrive { to, mail } => self.arrive(to, *mail),
            Event::Tell { epoch, to, mail } if epoch == self.epoch => self.arrive(to, *mail),
            Event::Turn { epoch, cell } if epoch == self.epoch => return self.turn(&cell),
            Event::Timer { epoch, cell } if epoch == self.epoch => return self.timer(&cell),
            Event::Commit { epoch } if epoch == self.epoch => return self.commit(),
            Event::Sync { epoch } if epoch == self.epoch => return self.sync(),
            Event::Space { epoch } if epoch == self.epoch => return self.look_for_space(),
            Event::Rebuilt { epoch, shard, cells } if epoch == self.epoch => return self.rebuilt(shard, &cells),
            Event::Act { epoch, call, fate } => return self.act(epoch, &call, &fate),
            Event::Heard { epoch, payment, attempt, heard } if epoch == self.epoch => {
                self.heard_back(payment::Command::Heard { payment, attempt, heard });
            }
            Event::Tell { .. }
            | Event::Turn { .. }
            | Event::Timer { .. }
            | Event::Commit { .. }
            | Event::Sync { .. }
            | Event::Space { .. }
            | Event::Rebuilt { .. }
            | Event::Heard { .. } => {}
            Event::Wish { who } => self.think(who),
            Event::Send { wish } => self.send(wish),
            Event::Answered { caller, answer } => return self.answered(caller, *answer),
            Event::Timeout { caller } => self.timed_out(caller),
            Event::Restart => return self.restart(),
            fault => return self.fault(fault),
        }
        Ok(())
    }
}
