//! The cell: one running machine, as an actix actor.
//!
//! Owns the machine's state, its inbox and its timer. Everything that waits in the inbox is one batch and one turn; what
//! the turn produced goes to the shard, which releases it when it is durable. A cell never tells anybody anything itself,
//! and never trusts a state that panicked: it throws it away and waits for the shard to bring it back.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult, SpawnHandle};
use actors::address::Address;
use actors::keyed::{Answer, Asked, Keyed};
use actors::machine::{Moment, Turned, turn};
use actors::message::Reply;
use actors::time::Millis;
use tracing::error;

use super::failure::Failure;
use super::format;
use super::hosted::Hosted;
use super::inbox::{Inbox, Queued};
use super::release::{Release, Told};
use super::shard::{Gate, ShardHost};
use super::waiter::Waiter;
use crate::journal::Seq;

/// Wait before a machine that panicked twice in a row is brought back again; doubled each time.
const MEND_MIN: Duration = Duration::from_millis(50);

/// How often that wait is doubled at most: 6.4 s.
const MEND_DOUBLINGS: u32 = 7;

/// See the module's charter.
pub(super) struct Cell<M: Hosted> {
    address: Address,
    /// `None`: it panicked or was ahead of the journal, and is being brought back.
    state: Option<Box<Keyed<M>>>,
    inbox: Rc<Inbox<M>>,
    shard: Rc<ShardHost>,
    timer: Option<(Millis, SpawnHandle)>,
    /// Turns in a row that panicked: each waits longer to be mended, so that one that always panics harms nobody else.
    panics: u32,
    /// What the turn takes, and who waits for its answers.
    batch: VecDeque<Queued<M::Command>>,
    waiters: Vec<Option<Waiter>>,
}

impl<M: Hosted> Cell<M> {
    pub(super) fn new(address: Address, state: Box<Keyed<M>>, inbox: Rc<Inbox<M>>, shard: Rc<ShardHost>) -> Self {
        shard.gauges().cell_made(M::KIND);
        Self {
            address,
            state: Some(state),
            inbox,
            shard,
            timer: None,
            panics: 0,
            batch: VecDeque::new(),
            waiters: Vec::new(),
        }
    }

    /// One batch: what is due first, then what waits in the inbox.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        self.inbox.rung.set(false);
        if self.inbox.paused.get() {
            self.state = None;
        }
        let gate = self.shard.gate();
        if matches!(gate, Gate::Closed(_)) {
            return;
        }
        let Some(mut state) = self.state.take() else { return };
        let heard = crate::clock::now();
        let clock = self.shard.not_before(heard);
        self.take_batch(gate, heard);
        // Without a journal nothing may fall due: the machine is shown the moment before.
        let now = match gate {
            Gate::ReadOnly(_) => {
                let before = state.deadline().map(|due| Millis(due.0.saturating_sub(1)));
                before.map_or(clock, |before| clock.min(before))
            }
            Gate::Open | Gate::Closed(_) => clock,
        };
        if self.batch.is_empty() && state.deadline().is_none_or(|due| due > now) {
            self.state = Some(state);
            return self.arm(ctx);
        }
        let batch = self.batch.len();
        let planted = self.inbox.panic_next.take();
        let at = Moment { now, policy: self.shard.policy() };
        self.waiters.reserve(batch);
        if batch > 1 {
            // The sum is of no use; without it the compiler would not look.
            let seen = self.batch.iter().fold(0, |seen, queued| seen ^ state.foresee(&queued.asked.command));
            std::hint::black_box(seen);
        }
        let commands = Taking { batch: &mut self.batch, waiters: &mut self.waiters };
        let turned = catch_unwind(AssertUnwindSafe(|| {
            assert!(!planted, "a panic was asked for");
            turn(&mut state, at, commands)
        }));
        let kept = match turned {
            Ok(turned) => self.hand_over(turned, heard, batch),
            Err(_) => Err("machine panicked"),
        };
        match kept {
            Ok(()) => self.state = Some(state),
            Err(what) => return self.broken(what, ctx),
        }
        self.panics = 0;
        if self.inbox.len() > 0 && !self.inbox.rung.replace(true) {
            ctx.notify(Ring);
        }
        self.arm(ctx);
    }

    /// Moves up to one batch out of the inbox; what came too late or cannot be done now is answered at once.
    fn take_batch(&mut self, gate: Gate, now: Millis) {
        let settings = self.shard.settings();
        let mut queue = self.inbox.queue.borrow_mut();
        let count = queue.len().min(settings.batch_max);
        if count == queue.len() {
            mem::swap(&mut *queue, &mut self.batch);
        } else {
            self.batch.extend(queue.drain(..count));
        }
        drop(queue);
        self.shard.gauges().taken(M::KIND, count);
        let oldest = Millis(now.0.saturating_sub(settings.deadline.as_millis() as u64));
        if gate != Gate::Open || self.batch.iter().any(|queued| queued.arrived < oldest) {
            self.refuse_some(gate, oldest);
        }
    }

    fn refuse_some(&mut self, gate: Gate, oldest: Millis) {
        self.batch.retain_mut(|Queued { asked, waiter, arrived }| {
            let refusal = match gate {
                Gate::ReadOnly(failure) if asked.key.is_some() || !M::reads(&asked.command) => failure,
                Gate::Open | Gate::ReadOnly(_) | Gate::Closed(_) if *arrived < oldest && waiter.is_some() => {
                    &Failure::TOO_LATE
                }
                Gate::Open | Gate::ReadOnly(_) | Gate::Closed(_) => return true,
            };
            if let Some(waiter) = waiter.take() {
                self.inbox.unanswered.set(self.inbox.unanswered.get() - 1);
                waiter.answer(Err(refusal.clone()));
            }
            false
        });
    }

    /// Gives what a turn produced to the shard. On an error nothing of it was or will be journaled.
    fn hand_over(&mut self, turned: Turned<M>, now: Millis, batch: usize) -> Result<(), &'static str> {
        let Turned { entries, answers, effects, feed } = turned;
        if !entries.is_empty() && self.shard.gate() != Gate::Open {
            return Err("machine changed although it was only read");
        }
        self.shard.turned(M::KIND, batch, entries.len());
        let mut told = Told::new(self.address.clone(), now, self.inbox.unanswered.clone());
        told.answers.reserve(answers.len());
        let waiters = self.waiters.iter_mut();
        let waited_for = waiters.zip(answers).filter_map(|(waiter, answer)| Some((waiter.take()?, answer)));
        told.answers.extend(waited_for.map(|(waiter, answer)| (waiter, any(answer))));
        self.waiters.clear();
        (told.effects, told.feed, told.changed) = (effects, feed, !entries.is_empty());
        if entries.is_empty() {
            self.shard.follow(self.inbox.last_change.get(), Release::Turn(told));
            return Ok(());
        }
        match self.shard.write(&self.address, &entries, told) {
            Ok(seq) => {
                self.inbox.last_change.set(seq);
                self.inbox.changed.set(true);
                Ok(())
            }
            Err(refused) => {
                let (source, release) = *refused;
                error!(cell = ?self.address, %source, "change cannot be encoded");
                self.waiters.extend(release.into_waiters().map(Some));
                Err("change cannot be encoded")
            }
        }
    }

    /// The state cannot be trusted: nothing of this batch was journaled, so its asks were surely not done.
    fn broken(&mut self, what: &'static str, ctx: &mut Context<Self>) {
        error!(cell = ?self.address, what, "cell is thrown away and rebuilt from snapshot and journal");
        self.shard.panicked(M::KIND);
        self.state = None;
        let last_change = self.inbox.last_change.get();
        let untaken = self.batch.drain(..).map(|queued| queued.waiter);
        for waiter in self.waiters.drain(..).chain(untaken).flatten() {
            self.inbox.unanswered.set(self.inbox.unanswered.get() - 1);
            waiter.answer(Err(Failure::RESTARTED));
        }
        self.inbox.pause();
        let wait = if self.panics == 0 { Duration::ZERO } else { MEND_MIN * (1 << self.panics.min(MEND_DOUBLINGS)) };
        self.panics += 1;
        ctx.run_later(wait, move |cell, _| cell.shard.mend(&cell.address, last_change));
    }

    fn give_picture(&self) {
        let state = self.state.as_ref().filter(|_| !self.inbox.paused.get());
        self.inbox.owes_picture.set(state.is_none());
        if let Some(state) = state {
            let mut picture = Vec::new();
            state.picture(&mut picture);
            self.shard.follow(self.inbox.last_change.get(), Release::Picture(picture));
        }
    }

    /// Keeps one timer, at the machine's deadline or before it: one that fires early only looks and is set again.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.state.as_ref().and_then(|state| state.deadline()) else { return };
        if self.shard.gate() != Gate::Open || self.timer.as_ref().is_some_and(|(set, _)| *set <= due) {
            return;
        }
        if let Some((_, later)) = self.timer.take() {
            ctx.cancel_future(later);
        }
        let wait = Duration::from_millis(due.0.saturating_sub(self.shard.now().0));
        let handle = ctx.run_later(wait, |cell, ctx| {
            cell.timer = None;
            cell.turn(ctx);
        });
        self.timer = Some((due, handle));
    }
}

/// The commands of a batch, each moved once. What a panic leaves in the batch has still its waiter.
struct Taking<'a, C> {
    batch: &'a mut VecDeque<Queued<C>>,
    waiters: &'a mut Vec<Option<Waiter>>,
}

impl<C> Iterator for Taking<'_, C> {
    type Item = Asked<C>;

    fn next(&mut self) -> Option<Asked<C>> {
        let Queued { asked, waiter, arrived: _ } = self.batch.pop_front()?;
        self.waiters.push(waiter);
        Some(asked)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.batch.len(), Some(self.batch.len()))
    }
}

fn any<R: Into<Reply>>(answer: Answer<R>) -> Answer<Reply> {
    Answer { result: answer.result.map(Into::into), replayed: answer.replayed }
}

impl<M: Hosted> Actor for Cell<M> {
    type Context = Context<Self>;
}

impl<M: Hosted> Drop for Cell<M> {
    fn drop(&mut self) {
        self.shard.gauges().cell_gone(M::KIND);
    }
}

/// Something waits in the inbox, or may have fallen due.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ring;

impl<M: Hosted> Handler<Ring> for Cell<M> {
    type Result = ();

    fn handle(&mut self, _: Ring, ctx: &mut Context<Self>) {
        self.turn(ctx);
    }
}

/// The state as snapshot and journal have it; the cell goes on from there.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Rebuilt<M: Hosted>(pub(super) Box<Keyed<M>>);

impl<M: Hosted> Handler<Rebuilt<M>> for Cell<M> {
    type Result = ();

    fn handle(&mut self, Rebuilt(state): Rebuilt<M>, ctx: &mut Context<Self>) {
        self.state = Some(state);
        self.inbox.paused.set(false);
        self.inbox.changed.set(true);
        if self.inbox.owes_picture.get() {
            self.give_picture();
        }
        self.turn(ctx);
    }
}

/// The shard has left this node: end, with the timer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

impl<M: Hosted> Handler<Leave> for Cell<M> {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Publish the picture of the state, between two turns and behind its last change; without a state, as soon as there is one.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct GivePicture;

impl<M: Hosted> Handler<GivePicture> for Cell<M> {
    type Result = ();

    fn handle(&mut self, _: GivePicture, _: &mut Context<Self>) {
        self.give_picture();
    }
}

/// What a cell gives for a snapshot.
pub(super) enum Taken {
    /// Nothing: it is being brought back.
    Away,
    /// It has not changed since its last snapshot, up to this record.
    Unchanged(Seq),
    /// Its bytes, complete up to this record.
    Snapshot(Seq, Vec<u8>),
}

/// Encode the state, between two turns.
#[derive(Message)]
#[rtype(result = "Taken")]
pub(super) struct TakeSnapshot;

impl<M: Hosted> Handler<TakeSnapshot> for Cell<M> {
    type Result = MessageResult<TakeSnapshot>;

    fn handle(&mut self, _: TakeSnapshot, _: &mut Context<Self>) -> Self::Result {
        let Some(state) = self.state.as_ref().filter(|_| !self.inbox.paused.get()) else {
            return MessageResult(Taken::Away);
        };
        if !self.inbox.changed.get() {
            return MessageResult(Taken::Unchanged(self.shard.durable_seq()));
        }
        match format::encode_snapshot(state) {
            Ok(bytes) => {
                self.inbox.changed.set(false);
                MessageResult(Taken::Snapshot(self.shard.seal(self.inbox.last_change.get()), bytes))
            }
            Err(source) => {
                error!(cell = ?self.address, %source, "state cannot be encoded");
                MessageResult(Taken::Away)
            }
        }
    }
}
