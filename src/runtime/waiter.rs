//! Who waits for an answer, and how it gets there: one future, or the answers of whoever asks many at once.
//!
//! Owns the promise that every ask is answered exactly once: a waiter that is dropped unanswered says that the outcome is
//! unknown. It knows no machine and no time: [`super::shard`] ends waits that have become too long.

use std::mem;
use std::rc::Rc;
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
use super::router::Parcel;

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
    pub(crate) fn promise(self: &Arc<Self>, ticket: u64) -> Promise {
        Promise { answers: self.clone(), ticket, answered: false }
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

/// A place for one answer that any thread may fill. Dropped unanswered it says that the outcome is unknown.
#[derive(Debug)]
pub(crate) struct Promise {
    answers: Arc<Answers>,
    ticket: u64,
    answered: bool,
}

impl Promise {
    /// Gives the answer.
    pub(crate) fn answer(mut self, outcome: Outcome) {
        self.answered = true;
        self.answers.put(Answered { ticket: self.ticket, outcome });
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.answered {
            self.answers.put(Answered { ticket: self.ticket, outcome: Err(Failure::Unknown) });
        }
    }
}

/// Most asks of a bundle. The thread begins with the first while the next is made, and a list that is this short lies in
/// memory that the allocator keeps: a list of thousands is given back to the kernel and faulted in again each time.
const BUNDLE_MAX: usize = 256;

/// Asks of one call that are for one thread, let in and counted, on their way there. What is dropped on the way says
/// that its outcome is unknown.
#[derive(Debug)]
pub(super) struct Bundle {
    answers: Arc<Answers>,
    gauges: Arc<[Gauges]>,
    asks: Vec<(u64, Parcel)>,
}

impl Bundle {
    /// With room for so many.
    pub(super) fn new(answers: &Arc<Answers>, gauges: &Arc<[Gauges]>, room: usize) -> Self {
        Self { answers: answers.clone(), gauges: gauges.clone(), asks: Vec::with_capacity(room.min(BUNDLE_MAX)) }
    }

    /// Whether it is full by that.
    pub(super) fn push(&mut self, ticket: u64, parcel: Parcel) -> bool {
        self.asks.push((ticket, parcel));
        self.asks.len() >= BUNDLE_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.asks.len()
    }

    /// On the thread that it is for: each parcel with whoever waits for its answer.
    pub(super) fn open(&mut self) -> Opened {
        let taker = Rc::new(Taker { answers: self.answers.clone(), gauges: self.gauges.clone() });
        Opened { taker, asks: mem::take(&mut self.asks).into_iter() }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if !self.asks.is_empty() {
            drop(self.open());
        }
    }
}

/// See [`Bundle::open`].
pub(super) struct Opened {
    taker: Rc<Taker>,
    asks: std::vec::IntoIter<(u64, Parcel)>,
}

impl Iterator for Opened {
    type Item = (Parcel, Waiter);

    fn next(&mut self) -> Option<Self::Item> {
        let (ticket, parcel) = self.asks.next()?;
        let (taker, shard) = (self.taker.clone(), parcel.shard);
        Some((parcel, Waiter::Slot(Slot { taker, ticket, shard, answered: false })))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

/// What the asks of one bundle have in common. Counted by one thread alone: a count that two threads write costs each of
/// them a trip of its line of memory.
#[derive(Debug)]
struct Taker {
    answers: Arc<Answers>,
    gauges: Arc<[Gauges]>,
}

impl Taker {
    fn leave(&self, shard: Shard, count: usize) {
        if let Some(gauges) = self.gauges.get(usize::from(shard.0)) {
            gauges.asks.leave(count);
        }
    }
}

/// A place for the answer to one ask of a bundle. Dropped unanswered it says that the outcome is unknown.
#[derive(Debug)]
pub(super) struct Slot {
    taker: Rc<Taker>,
    ticket: u64,
    /// Where the ask is counted.
    shard: Shard,
    answered: bool,
}

impl Slot {
    fn answer(mut self, outcome: Outcome) {
        self.fill(outcome);
    }

    fn fill(&mut self, outcome: Outcome) {
        self.answered = true;
        self.taker.leave(self.shard, 1);
        self.taker.answers.put(Answered { ticket: self.ticket, outcome });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.answered {
            self.fill(Err(Failure::Unknown));
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

/// Answers that are released together: whoever takes many of them is told once, and the count of asks is written once.
#[derive(Default)]
pub(super) struct Outgoing {
    many: SmallVec<[(Rc<Taker>, Vec<Answered>); 2]>,
    /// Answered, but still counted as under way in this shard.
    counted: Option<(Rc<Taker>, Shard, usize)>,
    /// Empty lists, kept with their room.
    spare: Vec<Vec<Answered>>,
}

/// Whoever asks many is one of few. Beyond, the first are told in between.
const TAKERS_MAX: usize = 8;

impl Outgoing {
    pub(super) fn answer(&mut self, waiter: Waiter, outcome: Outcome) {
        let mut slot = match waiter {
            Waiter::One(_) => return waiter.answer(outcome),
            Waiter::Slot(slot) => slot,
        };
        slot.answered = true;
        self.count(&slot);
        let answered = Answered { ticket: slot.ticket, outcome };
        let is_theirs = |taker: &Rc<Taker>| Arc::ptr_eq(&taker.answers, &slot.taker.answers);
        if let Some((_, many)) = self.many.iter_mut().find(|(taker, _)| is_theirs(taker)) {
            return many.push(answered);
        }
        if self.many.len() == TAKERS_MAX {
            self.tell();
        }
        let mut list = self.spare.pop().unwrap_or_default();
        list.push(answered);
        self.many.push((slot.taker.clone(), list));
    }

    fn count(&mut self, slot: &Slot) {
        match &mut self.counted {
            Some((_, shard, count)) if *shard == slot.shard => *count += 1,
            Some(_) | None => {
                self.leave();
                self.counted = Some((slot.taker.clone(), slot.shard, 1));
            }
        }
    }

    fn leave(&mut self) {
        if let Some((taker, shard, count)) = self.counted.take() {
            taker.leave(shard, count);
        }
    }

    /// Everybody is told what is there for them.
    pub(super) fn tell(&mut self) {
        self.leave();
        for (taker, mut many) in self.many.drain(..) {
            taker.answers.put_all(&mut many);
            self.spare.push(many);
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests;
