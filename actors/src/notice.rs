//! The notifier: what a buyer is owed in writing, told at least once, de-duplicated by id.
//!
//! Owns letters from the moment the order desk hands them over until they are delivered or set aside as dead. It
//! never writes a file or opens a socket: delivery is an effect, its outcome a command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::Address;
use crate::block::Claim;
use crate::ids::{BlockId, EventId, OrderId};
use crate::machine::{Machine, Moment, Outbox};
use crate::money::Money;
use crate::order;
use crate::planted::{self, Bug};
use crate::refusal::Refusal;
use crate::time::{Millis, Span};

/// What a letter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LetterKind {
    /// The order is paid; the seats are yours.
    Confirmation,
    /// The money was given back.
    Refund,
}

impl LetterKind {
    /// The kind's name in letters and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LetterKind::Confirmation => "order_confirmation",
            LetterKind::Refund => "order_refund",
        }
    }
}

/// A letter about an order. Its id is the order and the kind: there is at most one of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// About which order.
    pub order: OrderId,
    /// What it says.
    pub kind: LetterKind,
    /// Of which event.
    pub event: EventId,
    /// To whom.
    pub email: String,
    /// The places, block by block.
    pub places: Vec<(BlockId, Claim)>,
    /// The sum that was paid or given back.
    pub total: Money,
}

/// What a notifier can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// From the order desk: see that this is delivered. Answered with [`crate::order::Command::LetterTaken`].
    Notify(Box<Letter>),
    /// From the host: the letter is delivered.
    Delivered {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
    },
    /// From the host: it could not be delivered.
    Failed {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
        /// Why, for the log of dead letters.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// How many letters wait and how many are dead.
    Count,
}

/// What a notifier answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// How things stand.
    Count {
        /// Letters that are not delivered yet.
        waiting: u64,
        /// Letters that were set aside.
        dead: u64,
    },
    /// A message was dealt with.
    Noted,
}

/// How long a delivered letter's id is remembered, in longest resend intervals of the order desk: a repeated
/// request that comes later than that cannot be one of its resends.
const REMEMBER: u64 = 10;

/// Most dead letters that are kept to be looked at; the oldest go first.
const DEAD_MAX: usize = 10_000;

type LetterId = (OrderId, LetterKind);

/// What the journal stores of a notifier. `due` is when the letter is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A letter was taken over and is being delivered.
    Taken {
        /// It.
        letter: Box<Letter>,
        /// See the enum.
        due: Millis,
    },
    /// It is delivered.
    Delivered {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
        /// When its id may be forgotten.
        forget_at: Millis,
    },
    /// A try failed; another follows when it is due.
    Postponed {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
        /// See the enum.
        due: Millis,
    },
    /// It is being tried again; without a word by then, once more.
    Retried {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
        /// See the enum.
        due: Millis,
    },
    /// It was set aside.
    Died {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
        /// Why.
        reason: String,
        /// When its id may be forgotten.
        forget_at: Millis,
    },
    /// Ids whose time had come by then are forgotten.
    Forgotten {
        /// Up to and including this moment.
        until: Millis,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Waiting {
    letter: Box<Letter>,
    due: Millis,
    tries: u32,
}

/// All letters about the orders of one shard. See the module's charter.
#[derive(Clone, Debug, PartialEq)]
pub struct Notifier {
    waiting: BTreeMap<LetterId, Waiting>,
    /// Ids that are done, so that a resend is not a second letter; in the order in which they are forgotten.
    done: VecDeque<(Millis, LetterId)>,
    /// Letters that were set aside, and why.
    dead: VecDeque<(Box<Letter>, String)>,
    /// Derived from `waiting`.
    due: BTreeSet<(Millis, LetterId)>,
    /// Derived from `done`.
    known: BTreeSet<LetterId>,
}

/// Only what is not derived is stored.
impl Serialize for Notifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.waiting, &self.done, &self.dead).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Notifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Stored = (BTreeMap<LetterId, Waiting>, VecDeque<(Millis, LetterId)>, VecDeque<(Box<Letter>, String)>);
        let (waiting, done, dead): Stored = Deserialize::deserialize(deserializer)?;
        let due = waiting.iter().map(|(id, waiting)| (waiting.due, *id)).collect();
        let known = done.iter().map(|(_, id)| *id).collect();
        Ok(Self { waiting, done, dead, due, known })
    }
}

impl Notifier {
    fn notify(&self, at: Moment<'_>, letter: Box<Letter>, out: &mut Outbox<Change>) {
        let id = (letter.order, letter.kind);
        let taken = order::Command::LetterTaken { order: letter.order, kind: letter.kind };
        out.tell(Address::Orders(letter.order.shard()), taken);
        if !self.waiting.contains_key(&id) && (!self.known.contains(&id) || planted::is(Bug::LetterTwice)) {
            out.deliver((*letter).clone());
            out.change(Change::Taken { letter, due: at.now + at.policy.letter_timeout });
        }
    }

    fn failed(&self, at: Moment<'_>, id: LetterId, reason: String, retryable: bool, out: &mut Outbox<Change>) {
        let Some(waiting) = self.waiting.get(&id) else { return };
        let (order, kind) = id;
        if retryable && waiting.tries + 1 < at.policy.letter_attempts_max {
            let wait = at.policy.letter_backoff_min.backoff(waiting.tries, at.policy.letter_backoff_max);
            out.change(Change::Postponed { order, kind, due: at.now + wait });
        } else {
            out.change(Change::Died { order, kind, reason, forget_at: at.now + remember(at) });
        }
    }

    fn defer(&mut self, id: LetterId, due: Millis) {
        let waiting = self.waiting.get_mut(&id).expect("a letter that is deferred was waiting");
        self.due.remove(&(waiting.due, id));
        waiting.due = due;
        self.due.insert((due, id));
    }

    fn end(&mut self, id: LetterId, forget_at: Millis) -> Box<Letter> {
        let waiting = self.waiting.remove(&id).expect("a letter that ends was waiting");
        self.due.remove(&(waiting.due, id));
        let after = self.done.back().map_or(forget_at, |(last, _)| forget_at.max(*last));
        self.done.push_back((after, id));
        self.known.insert(id);
        waiting.letter
    }

    /// Whether no letter waits, for the simulation's end check.
    #[must_use]
    pub fn owes_nothing(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn remember(at: Moment<'_>) -> Span {
    Span(at.policy.resend_max.0 * REMEMBER)
}

impl Machine for Notifier {
    type Command = Command;
    type Change = Change;
    type Reply = Reply;

    fn new(_address: &Address) -> Self {
        Self {
            waiting: BTreeMap::new(),
            done: VecDeque::new(),
            dead: VecDeque::new(),
            due: BTreeSet::new(),
            known: BTreeSet::new(),
        }
    }

    fn decide(&self, at: Moment<'_>, command: Command, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        match command {
            Command::Notify(letter) => self.notify(at, letter, out),
            Command::Delivered { order, kind } => {
                if self.waiting.contains_key(&(order, kind)) {
                    out.change(Change::Delivered { order, kind, forget_at: at.now + remember(at) });
                }
            }
            Command::Failed { order, kind, reason, retryable } => {
                self.failed(at, (order, kind), reason, retryable, out);
            }
            Command::Count => {
                return Ok(Reply::Count { waiting: self.waiting.len() as u64, dead: self.dead.len() as u64 });
            }
        }
        Ok(Reply::Noted)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Taken { letter, due } => {
                let id = (letter.order, letter.kind);
                self.due.insert((*due, id));
                self.waiting.insert(id, Waiting { letter: letter.clone(), due: *due, tries: 0 });
            }
            Change::Delivered { order, kind, forget_at } => {
                self.end((*order, *kind), *forget_at);
            }
            Change::Postponed { order, kind, due } => self.defer((*order, *kind), *due),
            Change::Retried { order, kind, due } => {
                let id = (*order, *kind);
                self.defer(id, *due);
                if let Some(waiting) = self.waiting.get_mut(&id) {
                    waiting.tries += 1;
                }
            }
            Change::Died { order, kind, reason, forget_at } => {
                let letter = self.end((*order, *kind), *forget_at);
                self.dead.push_back((letter, reason.clone()));
                if self.dead.len() > DEAD_MAX {
                    self.dead.pop_front();
                }
            }
            Change::Forgotten { until } => {
                while self.done.front().is_some_and(|(due, _)| due <= until) {
                    if let Some((_, id)) = self.done.pop_front() {
                        self.known.remove(&id);
                    }
                }
            }
        }
    }

    fn wake(&self, at: Moment<'_>, out: &mut Outbox<Change>) {
        if self.done.front().is_some_and(|(due, _)| *due <= at.now) {
            out.change(Change::Forgotten { until: at.now });
        }
        for (_, id) in self.due.iter().take_while(|(due, _)| *due <= at.now) {
            let waiting = &self.waiting[id];
            out.deliver((*waiting.letter).clone());
            let wait = at
                .policy
                .letter_timeout
                .backoff(waiting.tries, at.policy.letter_backoff_max.max(at.policy.letter_timeout));
            out.change(Change::Retried { order: id.0, kind: id.1, due: at.now + wait });
        }
    }

    fn deadline(&self) -> Option<Millis> {
        let letter = self.due.first().map(|(due, _)| *due);
        let forget = self.done.front().map(|(due, _)| *due);
        letter.into_iter().chain(forget).min()
    }
}
