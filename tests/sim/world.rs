//! The world: simulated time, one queue of what will happen, and everything that lives in it.
//!
//! One thread, one source of chance: the same seed gives the same run, to the last byte. What a node does with messages is
//! in [`crate::hosting`], what people do in [`crate::clients`], what must hold in [`crate::invariants`]. Where nodes and
//! journal are, and how they fail, is the [`Site`]'s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actors::address::Address;
use actors::gateway::{Call, Heard};
use actors::ids::{OrderId, PaymentId};
use actors::keyed::{Answer, KeyDigest};
use actors::message::Reply;
use actors::notice::LetterKind;
use actors::payment;
use actors::time::{Millis, Span};
use stampede::runtime::Overhearing;

use crate::chance::Chance;
use crate::clients::Crowd;
use crate::coverage::Coverage;
use crate::gateway::{Fate, Provider};
use crate::model::Violation;
use crate::node::{Caller, Mail};
use crate::plan::{BusRates, GatewayRates, LetterRates, Plan, START};
use crate::planted::Planted;
use crate::site::{Place, Pulse, Site};
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
    /// Surely not done here; whoever owns the shard by now can be asked the same.
    Elsewhere,
}

/// What will happen. Events of a place happen only as long as its process lives.
#[derive(Clone, Debug)]
pub(crate) enum Event<E> {
    /// A request of a customer reaches the edge.
    Arrive {
        to: Address,
        mail: Box<Mail>,
    },
    /// A message of a machine to another leaves the process.
    Tell {
        from: Place,
        to: Address,
        mail: Box<Mail>,
    },
    /// A message reaches a process.
    Delivered {
        place: Place,
        to: Address,
        mail: Box<Mail>,
    },
    Turn {
        place: Place,
        cell: Address,
    },
    Timer {
        place: Place,
        cell: Address,
    },
    /// The provider acts on a call; it does not care whether the caller lives.
    Act {
        place: Place,
        call: Box<Call>,
        fate: Box<Fate>,
    },
    Heard {
        place: Place,
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
    ProviderLeaves,
    ProviderReturns,
    /// Customers and faults stop.
    Calm,
    /// What happens at the site.
    Site(E),
}

impl<E> Event<E> {
    /// The process it happens in.
    fn place<S: Site<Event = E>>(&self) -> Option<Place> {
        match self {
            Event::Tell { from: place, .. }
            | Event::Delivered { place, .. }
            | Event::Turn { place, .. }
            | Event::Timer { place, .. }
            | Event::Heard { place, .. } => Some(*place),
            Event::Site(event) => S::place(event),
            _ => None,
        }
    }
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
const TRACE_MAX: usize = 1200000;

/// Events between two full recounts.
const RECOUNT_EVERY: u64 = 400;

/// No life has more events: one that has does not end.
const EVENTS_MAX: u64 = 400_000;

/// See the module's charter.
pub(crate) struct World<S: Site> {
    pub(crate) plan: Plan,
    pub(crate) chance: Chance,
    pub(crate) now: Millis,
    queue: BTreeMap<(Millis, u64), Event<S::Event>>,
    order: u64,
    pub(crate) events: u64,
    pub(crate) site: S,
    pub(crate) truth: Truth,
    pub(crate) provider: Provider,
    pub(crate) provider_away: bool,
    pub(crate) crowd: Crowd,
    /// What the desks of searches have asked, by key, and in which process.
    pub(crate) overhearing: BTreeMap<KeyDigest, (Place, Overhearing)>,
    pub(crate) letters_delivered: BTreeSet<(OrderId, LetterKind)>,
    pub(crate) coverage: Coverage,
    pub(crate) calm: bool,
    pub(crate) bug: Option<Planted>,
    trace: Option<VecDeque<String>>,
}

impl<S: Site> World<S> {
    pub(crate) fn new(seed: u64, bug: Option<Planted>, traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let plan = S::plan(&mut chance);
        let site = S::new(&plan, &mut chance);
        let mut world = Self {
            truth: Truth::new(&plan.policy),
            crowd: Crowd::new(&plan),
            chance,
            now: START,
            queue: BTreeMap::new(),
            order: 0,
            events: 0,
            site,
            provider: Provider::default(),
            provider_away: false,
            overhearing: BTreeMap::new(),
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
        S::begin(self);
        for who in 0..=self.crowd.organizer() {
            let wait = Span(if who == self.crowd.organizer() { 1 } else { self.chance.between(500, 5000) });
            self.after(wait, Event::Wish { who });
        }
        self.again(plan.every.away, Event::ProviderLeaves);
        self.after(plan.active, Event::Calm);
    }

    /// What the clock says that is most behind.
    pub(crate) fn clock(&self) -> Millis {
        Millis(self.now.0.saturating_add_signed(self.site.slowest_clock()))
    }

    pub(crate) fn rates(&self) -> Rates {
        if self.calm {
            return Rates::default();
        }
        let Plan { bus, net, gateway, letters, .. } = self.plan;
        Rates { bus, net, gateway, letters }
    }

    pub(crate) fn after(&mut self, wait: Span, event: Event<S::Event>) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn at(&mut self, when: Millis, event: Event<S::Event>) {
        self.order += 1;
        self.queue.insert((when.max(self.now), self.order), event);
    }

    /// Lets a fault happen around its mean time from now.
    pub(crate) fn again(&mut self, mean: Option<Span>, event: Event<S::Event>) {
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
                if S::rests(self) {
                    return self.end_check();
                }
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
            + 2 * SKEW_MAX
            + self.site.last_waits().0;
        START + self.plan.active + Span(waits)
    }

    fn happen(&mut self, event: Event<S::Event>) -> Step {
        match event.place::<S>().map_or(Pulse::Runs, |place| self.site.pulse(place)) {
            Pulse::Runs => {}
            Pulse::Paused(until) => {
                self.at(until, event);
                return Ok(());
            }
            Pulse::Dead => return Ok(()),
        }
        match event {
            Event::Arrive { to, mail } => return S::ask(self, to, *mail),
            Event::Tell { from, to, mail } => return S::tell(self, from, to, *mail),
            Event::Delivered { place, to, mail } => return self.arrive(place, to, *mail),
            Event::Turn { place, cell } => return self.turn(place, &cell),
            Event::Timer { place, cell } => return self.timer(place, &cell),
            Event::Act { place, call, fate } => return self.act(place, &call, &fate),
            Event::Heard { place, payment, attempt, heard } => {
                return self.heard_back(place, payment::Command::Heard { payment, attempt, heard });
            }
            Event::Wish { who } => self.think(who),
            Event::Send { wish } => self.send(wish),
            Event::Answered { caller, answer } => return self.answered(caller, *answer),
            Event::Timeout { caller } => self.timed_out(caller),
            Event::ProviderLeaves if !self.calm => {
                self.again(self.plan.every.away, Event::ProviderLeaves);
                self.note(|| "the provider is away".to_owned());
                self.provider_away = true;
                let wait = Span(self.chance.between(500, 20_000));
                self.after(wait, Event::ProviderReturns);
            }
            Event::ProviderLeaves => {}
            Event::ProviderReturns => self.provider_away = false,
            Event::Calm => {
                self.note(|| "faults end".to_owned());
                self.calm = true;
                self.provider_away = false;
                return S::calm_down(self);
            }
            Event::Site(event) => return S::happen(self, event),
        }
        Ok(())
    }
}
