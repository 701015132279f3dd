//! How a session hears that there is something to say: by a wake-up of its connection, or, if it has its socket for
//! itself, by saying it at once.

use std::cell::{Cell, OnceCell};
use std::rc::Weak;
use std::task::{Context, Poll, Waker};

use super::socket::Line;

/// Rings for one session.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    sleeper: Sleeper,
    /// Of a session that has its socket for itself.
    line: OnceCell<Weak<Line>>,
}

impl Bell {
    /// From now on a ring is an order to speak on this line.
    pub(super) fn connect(&self, line: Weak<Line>) {
        // A session takes its socket over once.
        let _ = self.line.set(line);
    }

    /// Wakes the session, once however often it rings before the session looks; or speaks for it.
    pub(super) fn ring(&self) {
        match self.line.get() {
            Some(line) => {
                if let Some(line) = line.upgrade() {
                    line.ring();
                }
            }
            None => {
                self.rung.set(true);
                self.sleeper.wake();
            }
        }
    }

    /// Ready when it rang since it was last asked.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.rung.replace(false) {
            return Poll::Ready(());
        }
        self.sleeper.note(cx);
        Poll::Pending
    }
}

/// The task that is to be woken next.
#[derive(Default)]
pub(super) struct Sleeper(Cell<Option<Waker>>);

impl Sleeper {
    /// It is the task of this context from now on.
    pub(super) fn note(&self, cx: &Context<'_>) {
        let known = self.0.take().filter(|known| known.will_wake(cx.waker()));
        self.0.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
    }

    /// Wakes it, once until it is noted again.
    pub(super) fn wake(&self) {
        if let Some(sleeper) = self.0.take() {
            sleeper.wake();
        }
    }
}
