//! The inbox: what waits for a cell, and what the cell and its shard tell each other without a message.

use std::cell::{Cell as Local, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use actors::keyed::Asked;
use actors::time::Millis;

use super::hosted::Hosted;
use super::waiter::Waiter;
use crate::journal::Seq;

/// A command that waits for its turn.
pub(super) struct Queued<C> {
    pub(super) asked: Asked<C>,
    pub(super) waiter: Option<Waiter>,
    pub(super) arrived: Millis,
}

/// What a cell and its shard share.
pub(super) struct Inbox<M: Hosted> {
    pub(super) queue: RefCell<VecDeque<Queued<M::Command>>>,
    /// Whether a turn is on its way.
    pub(super) rung: Local<bool>,
    /// The state is gone or ahead of the journal: no turn until the shard has brought it back.
    pub(super) paused: Local<bool>,
    pub(super) panic_next: Local<bool>,
    /// The record of the last change.
    pub(super) last_change: Local<Seq>,
    /// Whether the state differs from the last snapshot, or there is none.
    pub(super) changed: Local<bool>,
    /// A picture was asked for while there was no state: it goes out when the state is back.
    pub(super) owes_picture: Local<bool>,
    /// Asks that were let in and are not answered yet.
    pub(super) unanswered: Rc<Local<usize>>,
}

impl<M: Hosted> Inbox<M> {
    pub(super) fn new(changed: bool) -> Self {
        Self {
            queue: RefCell::default(),
            rung: Local::new(false),
            paused: Local::new(false),
            panic_next: Local::new(false),
            last_change: Local::new(Seq::NONE),
            changed: Local::new(changed),
            owes_picture: Local::new(false),
            unanswered: Rc::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.get()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    pub(super) fn owes_picture(&self) -> bool {
        self.owes_picture.get()
    }

    pub(super) fn last_change(&self) -> Seq {
        self.last_change.get()
    }

    /// Whether whoever pushed must ring.
    pub(super) fn push(&self, queued: Queued<M::Command>) -> bool {
        if queued.waiter.is_some() {
            self.unanswered.set(self.unanswered.get() + 1);
        }
        self.queue.borrow_mut().push_back(queued);
        !self.rung.replace(true)
    }

    pub(super) fn pause(&self) {
        self.paused.set(true);
        self.last_change.set(Seq::NONE);
    }

    /// The next round of snapshots must take this cell again.
    pub(super) fn mark_changed(&self) {
        self.changed.set(true);
    }

    pub(super) fn panic_next(&self) {
        self.panic_next.set(true);
    }

    /// Empties the inbox for good: how much was in it, and who waited.
    pub(super) fn leave(&self) -> (usize, Vec<Waiter>) {
        let queued = self.queue.take();
        let count = queued.len();
        let waiters: Vec<Waiter> = queued.into_iter().filter_map(|queued| queued.waiter).collect();
        self.unanswered.set(self.unanswered.get() - waiters.len());
        (count, waiters)
    }

    /// Removes the asks that came before `before`.
    pub(super) fn take_overdue(&self, before: Millis) -> Vec<Waiter> {
        let mut queue = self.queue.borrow_mut();
        let mut overdue = Vec::new();
        queue.retain_mut(|queued| {
            let late = queued.arrived < before && queued.waiter.is_some();
            overdue.extend(queued.waiter.take_if(|_| late));
            !late
        });
        self.unanswered.set(self.unanswered.get() - overdue.len());
        overdue
    }
}
