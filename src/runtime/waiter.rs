//! Who waits for an answer, and how it gets there: one future, or the answers of whoever asks many at once.
//!
//! Owns the promise that every ask is answered exactly once: a waiter that is dropped unanswered says that the outcome is
//! unknown. It knows no machine and no time: [`super::shard`] ends waits that have become too long.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use actors::address::Address;
use actors::ids::Shard;
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use futures_util::task::AtomicWaker;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::gauges::Gauges;

/// What an ask comes to. A refusal is an answer.
pub type Outcome = Result<Answer<Reply>, Failure>;

/// One of many asks that go together.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which machine.
    pub to: Address,
    /// What it is asked.
    pub asked: Asked<Message>,
    /// Comes back with the answer; chosen by whoever asks, and means nothing here.
    pub ticket: u64,
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub struct Answered {
    /// Of the ask.
    pub ticket: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Where the answers of many asks are collected, from all threads, for one task that takes them. The task is woken once for
/// all that come before it looks. Bounded by the asks that were let in: each is answered once.
#[derive(Debug, Default)]
pub struct Answers {
    filled: Mutex<Vec<Answered>>,
    taker: AtomicWaker,
}

impl Answers {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Moves all that have come into `taken`, behind what is there. Pending: there are none, and the task is woken when
    /// there are. Only one task may wait at a time.
    pub fn poll_take(&self, context: &mut Context<'_>, taken: &mut Vec<Answered>) -> Poll<()> {
        if self.take(taken) {
            return Poll::Ready(());
        }
        self.taker.register(context.waker());
        // One that came before the waker was there woke nobody.
        if self.take(taken) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Moves all that have come into `taken`; whether there were any.
    pub fn take(&self, taken: &mut Vec<Answered>) -> bool {
        let mut filled = self.filled();
        let some = !filled.is_empty();
        if taken.is_empty() {
            mem::swap(taken, &mut filled);
        } else {
            taken.append(&mut filled);
        }
        some
    }

    /// A place for the answer to one ask that goes another way than through [`super::Router::submit`].
    pub(crate) fn promise(self: &Arc<Self>, ticket: u64) -> Slot {
        Slot { batch: Batch::new(self.clone(), Arc::default()), shard: None, ticket, answered: false }
    }

    pub(super) fn put(&self, answered: Answered) {
        let mut filled = self.filled();
        filled.push(answered);
        let first = filled.len() == 1;
        drop(filled);
        if first {
            self.taker.wake();
        }
    }

    fn put_all(&self, many: &mut Vec<Answered>) {
        let mut filled = self.filled();
        let first = filled.is_empty() && !many.is_empty();
        filled.append(many);
        drop(filled);
        if first {
            self.taker.wake();
        }
    }

    fn filled(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the asks of one call have in common, so that each counts only one reference.
#[derive(Debug)]
pub(super) struct Batch {
    answers: Arc<Answers>,
    gauges: Arc<[Gauges]>,
}

impl Batch {
    pub(super) fn new(answers: Arc<Answers>, gauges: Arc<[Gauges]>) -> Arc<Self> {
        Arc::new(Self { answers, gauges })
    }
}

/// A place for one answer. Dropped unanswered it says that the outcome is unknown.
#[derive(Debug)]
pub(crate) struct Slot {
    batch: Arc<Batch>,
    ticket: u64,
    /// Where the ask is counted.
    shard: Option<Shard>,
    answered: bool,
}

impl Slot {
    /// For an ask that was let in and is counted in its shard until it is answered.
    pub(super) fn counted(batch: &Arc<Batch>, ticket: u64, shard: Shard) -> Self {
        Self { batch: batch.clone(), ticket, shard: Some(shard), answered: false }
    }

    /// Gives the answer.
    pub(crate) fn answer(mut self, outcome: Outcome) {
        let answered = self.fill(outcome);
        self.batch.answers.put(answered);
    }

    fn fill(&mut self, outcome: Outcome) -> Answered {
        self.answered = true;
        if let Some(gauges) = self.shard.and_then(|shard| self.batch.gauges.get(usize::from(shard.0))) {
            gauges.asks.leave();
        }
        Answered { ticket: self.ticket, outcome }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.answered {
            let answered = self.fill(Err(Failure::Unknown));
            self.batch.answers.put(answered);
        }
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Waiter {
    /// To one future.
    One(oneshot::Sender<Outcome>),
    /// To whoever asked many at once.
    Slot(Slot),
}

impl Waiter {
    pub(super) fn answer(self, outcome: Outcome) {
        match self {
            // Whoever asked may have gone away: what was done stands all the same.
            Waiter::One(waiter) => drop(waiter.send(outcome)),
            Waiter::Slot(slot) => slot.answer(outcome),
        }
    }
}

/// Answers that are released together: whoever takes many of them is told once.
#[derive(Default)]
pub(super) struct Outgoing {
    many: SmallVec<[(Arc<Answers>, Vec<Answered>); 2]>,
}

/// Whoever asks many is one of few. Beyond, the first are told in between.
const TAKERS_MAX: usize = 8;

impl Outgoing {
    pub(super) fn answer(&mut self, waiter: Waiter, outcome: Outcome) {
        let mut slot = match waiter {
            Waiter::One(_) => return waiter.answer(outcome),
            Waiter::Slot(slot) => slot,
        };
        let answered = slot.fill(outcome);
        let answers = &slot.batch.answers;
        if let Some((_, many)) = self.many.iter_mut().find(|(known, _)| Arc::ptr_eq(known, answers)) {
            return many.push(answered);
        }
        if self.many.len() == TAKERS_MAX {
            self.tell();
        }
        self.many.push((answers.clone(), vec![answered]));
    }

    /// Everybody is told what is there for them.
    pub(super) fn tell(&mut self) {
        for (answers, mut many) in self.many.drain(..) {
            answers.put_all(&mut many);
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.tell();
    }
}
