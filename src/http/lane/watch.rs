//! Deadlines of connections, without a timer for each: one sweep a worker wakes those whose time is over.
//!
//! A connection sets its deadline by storing a number; it is late by at most one sweep.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

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
