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
    sleeper: Cell<Option<Waker>>,
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
                if let Some(sleeper) = self.sleeper.take() {
                    sleeper.wake();
                }
            }
        }
    }

    /// Ready when it rang since it was last asked.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.rung.replace(false) {
            return Poll::Ready(());
        }
        let known = self.sleeper.take().filter(|known| known.will_wake(cx.waker()));
        self.sleeper.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
        Poll::Pending
    }
}
