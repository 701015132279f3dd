//! Deadlines of connections, without a timer for each: one sweep a worker wakes those whose time is over.
//!
//! A connection sets its deadline by storing a number; it is late by at most one sweep. How fast a client must take its
//! answers is said here too, because the lane and the slow way ask the same of it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use rustix::net::sockopt::set_socket_linger;

/// Time between two sweeps, and so the precision of deadlines.
pub(super) const SWEEP: Duration = Duration::from_millis(100);

/// All connections of a worker, and its coarse clock.
pub(super) struct Watches {
    connections: RefCell<Vec<Weak<Watch>>>,
    began: Instant,
    /// Sweeps since the start.
    now: Cell<u32>,
    stopping: Cell<bool>,
}

/// One connection's deadline.
#[derive(Default)]
pub(super) struct Watch {
    /// The sweep at which it is over.
    deadline: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

/// How a client takes the answers that wait for it. It gets new time when it has taken all of them, or a good part; if every
/// byte gave it some, one that takes a byte now and then would keep its answers in memory for ever.
#[derive(Default)]
pub(super) struct Pace {
    /// Bytes since its time began.
    taken: usize,
}

/// The good part.
const TAKEN_MIN: usize = 64 * 1024;

impl Pace {
    /// It took so many bytes, and perhaps all. Whether that gives it new time.
    pub(super) fn took(&mut self, count: usize, is_all: bool) -> bool {
        self.taken += count;
        let is_enough = is_all || self.taken >= TAKEN_MIN;
        if is_enough {
            self.taken = 0;
        }
        is_enough
    }
}

/// Has the end of a connection be a reset: what the kernel still holds for a client that takes nothing is freed.
pub(super) fn forget_unsent(stream: &TcpStream) {
    // Without it the kernel tries on for a while.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

impl Watches {
    pub(super) fn new() -> Self {
        let stopping = Cell::new(false);
        Self { connections: RefCell::default(), began: Instant::now(), now: Cell::new(0), stopping }
    }

    /// Watches one more connection, until it is dropped.
    pub(super) fn add(&self) -> Rc<Watch> {
        let watch = Rc::new(Watch::default());
        self.connections.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// Gives a connection so much time from now.
    pub(super) fn allow(&self, watch: &Watch, time: Duration) {
        let sweeps = time.as_millis().div_ceil(SWEEP.as_millis()) + 1;
        watch.deadline.set(self.now.get().saturating_add(u32::try_from(sweeps).unwrap_or(u32::MAX)));
    }

    /// Whether a connection's time is over.
    pub(super) fn is_over(&self, watch: &Watch) -> bool {
        self.now.get() >= watch.deadline.get()
    }

    /// Whether the node stops: connections end as soon as nothing is owed on them.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Wakes the connections whose time is over. Costs a few nanoseconds a connection.
    pub(super) fn sweep(&self) {
        let sweeps = self.began.elapsed().as_millis() / SWEEP.as_millis();
        self.now.set(u32::try_from(sweeps).unwrap_or(u32::MAX));
        self.wake(|watch| self.is_over(watch));
    }

    /// From now on connections end when they are idle.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.wake(|_| true);
    }

    fn wake(&self, whom: impl Fn(&Watch) -> bool) {
        let mut wakers = Vec::new();
        self.connections.borrow_mut().retain(|connection| {
            let Some(watch) = connection.upgrade() else { return false };
            if whom(&watch) {
                wakers.extend(watch.waker.borrow().clone());
            }
            true
        });
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Watch {
    /// Whom to wake; to be called whenever the connection is polled.
    pub(super) fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_gives_no_new_time() {
        let mut pace = Pace::default();
        assert!((1..TAKEN_MIN).all(|_| !pace.took(1, false)));
        assert!(pace.took(1, false), "a good part");
        assert!(!pace.took(TAKEN_MIN - 1, false), "counted anew");
        assert!(pace.took(0, true), "all");
        assert!(!pace.took(TAKEN_MIN - 1, false), "counted anew");
    }
}
