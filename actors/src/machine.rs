//! What a machine is, and the one way to run it.
//!
//! A machine judges, then folds: [`Machine::decide`] reads, [`Machine::apply`] writes, and nothing else
//! changes state. [`turn`] is the only caller of both: the running cell and the simulation share it.
//! Nothing in here knows a clock, a random number or a file.

use serde::{Serialize, de::DeserializeOwned};

use crate::address::Address;
use crate::feed::Feed;
use crate::gateway::Call;
use crate::keyed::{Answer, Asked, Entry, Key, KeyDigest, Keyed};
use crate::message::Message;
use crate::notice::Letter;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::time::Millis;

/// When a decision is taken and by which rules of the deployment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Now.
    pub now: Millis,
    /// The deployment's settings. Only `decide` and `wake` read it: what they decide is in the change,
    /// so that a replay under other settings folds to the same state.
    pub policy: &'a Policy,
}

/// What a machine wants done once its changes are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A message to another machine: delivered at most once, so the sender's state owes it until an answer is
    /// folded in, and the receiver is idempotent.
    Tell(Address, Message),
    /// A call of the payment provider; the answer comes back as a command.
    Call(Call),
    /// A letter to a buyer; the outcome comes back as a command.
    Deliver(Letter),
}

/// What one decision wants: changes to fold in, then effects. Filled by `decide` and `wake`.
#[derive(Debug)]
pub struct Outbox<C> {
    pub(crate) changes: Vec<C>,
    pub(crate) effects: Vec<Effect>,
}

impl<C> Default for Outbox<C> {
    fn default() -> Self {
        Self { changes: Vec::new(), effects: Vec::new() }
    }
}

impl<C> Outbox<C> {
    /// Records a change. It is folded in right after the decision, before the next command is judged.
    pub fn change(&mut self, change: C) {
        self.changes.push(change);
    }

    /// Sends a message once the changes are durable.
    pub fn tell(&mut self, to: Address, message: impl Into<Message>) {
        self.effects.push(Effect::Tell(to, message.into()));
    }

    /// Calls the payment provider once the changes are durable.
    pub fn call(&mut self, call: Call) {
        self.effects.push(Effect::Call(call));
    }

    /// Delivers a letter once the changes are durable.
    pub fn deliver(&mut self, letter: Letter) {
        self.effects.push(Effect::Deliver(letter));
    }

    pub(crate) fn clear(&mut self) {
        self.changes.clear();
        self.effects.clear();
    }
}

/// Plain data that decides. See the module's charter.
pub trait Machine: Sized {
    /// What it can be asked or told.
    type Command;
    /// What the journal stores. Folding all changes in order gives the state.
    type Change: Serialize + DeserializeOwned;
    /// What an accepted command answers. Stored with idempotency keys.
    type Reply: Clone + PartialEq + Serialize + DeserializeOwned;

    /// An empty machine at its address, before any change.
    fn new(address: &Address) -> Self;

    /// Judges a command. On a refusal nothing that was put in the outbox happens.
    ///
    /// # Errors
    /// The business says no.
    fn decide(
        &self,
        at: Moment<'_>,
        command: Self::Command,
        out: &mut Outbox<Self::Change>,
    ) -> Result<Self::Reply, Refusal>;

    /// The idempotency key of a command that the machine keeps itself, because what it comes to is not its reply.
    fn own_key(_command: &Self::Command) -> Option<Key> {
        None
    }

    /// Whether the machine keeps this key itself.
    fn keeps(&self, _key: KeyDigest) -> bool {
        false
    }

    /// Looks at the memory that a command will need, and gives something that depends on what is there. A host calls it for
    /// all of a batch before the first is judged, so that the waits for memory of many commands overlap.
    fn foresee(&self, _command: &Self::Command) -> u64 {
        0
    }

    /// Folds a change in; cannot fail. A change that contradicts the state is our bug: it panics.
    fn apply(&mut self, change: &Self::Change);

    /// What is due by now: expiries and resends. Must leave [`Machine::deadline`] after `at.now` once its changes
    /// are folded in.
    fn wake(&self, at: Moment<'_>, out: &mut Outbox<Self::Change>);

    /// When it wants to be woken next.
    fn deadline(&self) -> Option<Millis>;

    /// What the public may see of a change that was just folded in.
    fn publish(&self, _change: &Self::Change, _feed: &mut Vec<Feed>) {}

    /// The whole public picture, for a board that starts or fell behind.
    fn picture(&self, _feed: &mut Vec<Feed>) {}
}

/// What one turn produced, in order: nothing of it may leave the shard before `entries` are durable.
#[derive(Debug)]
pub struct Turned<M: Machine> {
    /// For the journal.
    pub entries: Vec<Entry<M::Change, M::Reply>>,
    /// One answer a command, in the order of the commands.
    pub answers: Vec<Answer<M::Reply>>,
    /// Messages, calls and letters.
    pub effects: Vec<Effect>,
    /// Public changes.
    pub feed: Vec<Feed>,
}

impl<M: Machine> Default for Turned<M> {
    fn default() -> Self {
        Self { entries: Vec::new(), answers: Vec::new(), effects: Vec::new(), feed: Vec::new() }
    }
}

/// One batch: what is due first, then each command against the state the one before left.
pub fn turn<M: Machine>(
    machine: &mut Keyed<M>,
    at: Moment<'_>,
    batch: impl IntoIterator<Item = Asked<M::Command>>,
) -> Turned<M> {
    let batch = batch.into_iter();
    // Most commands change one thing that the public sees.
    let expected = batch.size_hint().0;
    let mut turned = Turned {
        entries: Vec::with_capacity(expected),
        answers: Vec::with_capacity(expected),
        feed: Vec::with_capacity(expected),
        ..Turned::default()
    };
    let (mut inner, mut out) = (Outbox::default(), Outbox::default());
    if machine.deadline().is_some_and(|due| due <= at.now) {
        machine.wake(at, &mut out);
        machine.settle(&mut inner, &mut out, &mut turned);
    }
    for asked in batch {
        let answer = machine.decide(at, asked, &mut inner, &mut out);
        machine.settle(&mut inner, &mut out, &mut turned);
        turned.answers.push(answer);
    }
    turned
}
