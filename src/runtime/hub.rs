//! The hub: who waits for an order to change or for a search to end.
//!
//! Owns waiting lists by id, filled by requests that were asked to wait and emptied when the feed is released. Waking
//! says only "look again": a waiter that is woken too early, or refused because too many wait, reads and decides.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use actors::feed::Feed;
use actors::ids::OrderId;
use actors::keyed::KeyDigest;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use tokio::sync::oneshot;

/// Most waiters of each kind; one more is woken at once.
const WAITERS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Hub {
    orders: Waiters<OrderId>,
    searches: Waiters<KeyDigest>,
}

impl Hub {
    pub(super) fn order_changed(&self, order: OrderId) -> oneshot::Receiver<()> {
        self.orders.wait(order)
    }

    pub(super) fn sought(&self, key: KeyDigest) -> oneshot::Receiver<()> {
        self.searches.wait(key)
    }

    /// Wakes whoever waits for what has just become public.
    pub(super) fn released(&self, feed: &[Feed]) {
        for change in feed {
            match change {
                Feed::Order(order, _) => self.orders.wake(order),
                Feed::Sought(key) => self.searches.wake(key),
                Feed::Event(_) | Feed::Board(_) | Feed::Seats(_) => {}
            }
        }
    }
}

type Senders = SmallVec<[oneshot::Sender<()>; 1]>;

#[derive(Debug)]
struct Waiters<K> {
    /// Senders in `lists`, so that nobody takes the lock while nobody waits.
    count: AtomicUsize,
    lists: Mutex<HashMap<K, Senders, RandomState>>,
}

impl<K> Default for Waiters<K> {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), lists: Mutex::new(HashMap::default()) }
    }
}

impl<K: Eq + Hash> Waiters<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Senders, RandomState>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, key: K) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut lists = self.lock();
        if self.count.load(Ordering::SeqCst) >= WAITERS_MAX {
            self.forget_gone(&mut lists);
        }
        if self.count.load(Ordering::SeqCst) >= WAITERS_MAX {
            let _ = sender.send(());
            return receiver;
        }
        let list = lists.entry(key).or_default();
        let before = list.len();
        list.retain(|sender| !sender.is_closed());
        self.count.fetch_sub(before - list.len(), Ordering::SeqCst);
        list.push(sender);
        self.count.fetch_add(1, Ordering::SeqCst);
        receiver
    }

    /// Removes waiters who gave up. Linear, so only done when the limit is reached.
    fn forget_gone(&self, lists: &mut HashMap<K, Senders, RandomState>) {
        let mut left = 0;
        lists.retain(|_, list| {
            list.retain(|sender| !sender.is_closed());
            left += list.len();
            !list.is_empty()
        });
        self.count.store(left, Ordering::SeqCst);
    }

    fn wake(&self, key: &K) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = self.lock().remove(key).unwrap_or_default();
        self.count.fetch_sub(woken.len(), Ordering::SeqCst);
        for sender in woken {
            let _ = sender.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actors::ids::{Shard, Tag};
    use actors::order::State;
    use actors::time::Millis;

    use super::*;

    fn order(unique: u64) -> OrderId {
        OrderId::new(Millis(1), Shard(0), Tag(0), unique)
    }

    #[test]
    fn everybody_who_waits_for_an_order_is_woken_once_and_nobody_else() {
        let hub = Hub::default();
        let (mut first, mut second, mut other) =
            (hub.order_changed(order(1)), hub.order_changed(order(1)), hub.order_changed(order(2)));
        hub.released(&[Feed::Order(order(1), State::Paid)]);
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(()), Ok(())));
        assert!(other.try_recv().is_err());
        hub.released(&[Feed::Order(order(1), State::Refunding)]);
        assert_eq!(hub.orders.count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn waiters_who_left_do_not_pile_up() {
        let hub = Hub::default();
        for _ in 0..1000 {
            drop(hub.sought(KeyDigest(7)));
        }
        assert_eq!(hub.searches.count.load(Ordering::SeqCst), 1);
        for unique in 0..WAITERS_MAX as u64 + 1 {
            drop(hub.order_changed(order(unique)));
        }
        assert!(hub.orders.count.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn one_too_many_is_woken_at_once() {
        let hub = Hub::default();
        let waiting: Vec<_> = (0..WAITERS_MAX as u64).map(|unique| hub.order_changed(order(unique))).collect();
        assert_eq!(hub.order_changed(order(u64::MAX >> 16)).try_recv(), Ok(()));
        drop(waiting);
    }
}
