//! The hub: who waits for an order to change or for a search to end.
//!
//! Owns waiting lists by id, filled by requests that were asked to wait and emptied when the feed is released. Waking
//! says "look again": a waiter that is woken too early reads and decides. One that is refused because too many wait finds its
//! receiver closed and has to pause before it looks again: woken at once it would ask as fast as it is answered. On a node that
//! is alone, who waits for a search also overhears what a block tells the search's desk, so that nobody waits for the desk to
//! write that down; see [`Overhearing`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actors::block::HoldView;
use actors::feed::Feed;
use actors::ids::{HoldId, OrderId};
use actors::keyed::KeyDigest;
use actors::message::Message;
use actors::{block, order};
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use tokio::sync::oneshot;

/// Most waiters of each kind; one more is not let in.
const WAITERS_MAX: usize = 100_000;
/// Pause between two looks at all waiters for those who gave up: a look goes over all of them under the lock that the
/// shards' threads take, and at the limit every further waiter would bring one.
const FORGET_PAUSE: Duration = Duration::from_secs(1);

/// What whoever waits for a search hears: the hold that was made, or that it is time to look again.
pub type Found = Option<Box<HoldView>>;

/// Whether what a block says of a search is what its desk will say.
///
/// It is when the desk has asked this block once: the messages of a node that is alone keep their order, so this is the
/// block's first word; if it is lost the desk asks again, and a hold that was made is answered as it was first. Where the desk
/// has asked again an earlier refusal may be on its way, and what comes first counts.
#[derive(Clone, Debug, Default)]
pub struct Overhearing {
    asked: Option<HoldId>,
    again: bool,
}

impl Overhearing {
    /// The desk asks for this hold.
    pub fn asks(&mut self, hold: HoldId) {
        self.again = self.asked.replace(hold) == Some(hold);
    }

    /// Whether it counts that a block has made this hold.
    #[must_use]
    pub fn trusts(&self, hold: HoldId) -> bool {
        self.asked == Some(hold) && !self.again
    }
}

#[derive(Debug, Default)]
pub(super) struct Hub {
    orders: Waiters<OrderId, ()>,
    searches: Waiters<KeyDigest, Found>,
    overhears: bool,
}

impl Hub {
    /// The hub of a node that is alone, or of one among others.
    pub(super) fn new(is_alone: bool) -> Self {
        Self { overhears: is_alone, ..Self::default() }
    }

    pub(super) fn order_changed(&self, order: OrderId) -> oneshot::Receiver<()> {
        self.orders.wait(order, Instant::now())
    }

    pub(super) fn sought(&self, key: KeyDigest) -> oneshot::Receiver<Found> {
        self.searches.wait(key, Instant::now())
    }

    /// Wakes whoever waits for what has just become public.
    pub(super) fn released(&self, feed: &[Feed]) {
        for change in feed {
            match change {
                Feed::Order(order, _) => self.orders.wake(order, || ()),
                Feed::Sought(key) => self.searches.wake(key, Found::default),
                Feed::Event(_) | Feed::Board(_) | Feed::Seats(_) => {}
            }
        }
    }

    /// A machine of this node tells another something, durably.
    pub(super) fn told(&self, message: &Message) {
        if !self.overhears {
            return;
        }
        match message {
            Message::Block(block::Command::Seek { key, hold, .. }) => self.searches.asked(key, *hold),
            Message::Order(order::Command::SeekAnswered { key, answer: Ok(found), .. }) => {
                self.searches.found(key, found);
            }
            Message::Event(_) | Message::Block(_) | Message::Order(_) | Message::Payment(_) | Message::Notice(_) => {}
        }
    }
}

/// Who waits for one matter.
#[derive(Debug)]
struct List<W> {
    senders: SmallVec<[oneshot::Sender<W>; 1]>,
    /// Of a search, since somebody waits for it.
    overhearing: Overhearing,
}

impl<W> Default for List<W> {
    fn default() -> Self {
        Self { senders: SmallVec::new(), overhearing: Overhearing::default() }
    }
}

#[derive(Debug)]
struct Waiters<K, W> {
    /// Senders in `lists`, so that nobody takes the lock while nobody waits.
    count: AtomicUsize,
    lists: Mutex<Lists<K, W>>,
}

#[derive(Debug)]
struct Lists<K, W> {
    by_key: HashMap<K, List<W>, RandomState>,
    /// When those who gave up were last looked for.
    looked_at: Option<Instant>,
}

impl<K, W> Default for Waiters<K, W> {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), lists: Mutex::new(Lists { by_key: HashMap::default(), looked_at: None }) }
    }
}

impl<K: Copy + Eq + Hash, W> Waiters<K, W> {
    fn lock(&self) -> MutexGuard<'_, Lists<K, W>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told to whoever waits for `key`; closed if too many wait.
    fn wait(&self, key: K, now: Instant) -> oneshot::Receiver<W> {
        let (sender, receiver) = oneshot::channel();
        let mut lists = self.lock();
        if self.is_full() {
            self.forget_gone(&mut lists, now);
        }
        if self.is_full() {
            return receiver;
        }
        let list = &mut lists.by_key.entry(key).or_default().senders;
        let before = list.len();
        list.retain(|sender| !sender.is_closed());
        self.count.fetch_sub(before - list.len(), Ordering::SeqCst);
        list.push(sender);
        self.count.fetch_add(1, Ordering::SeqCst);
        receiver
    }

    fn is_full(&self) -> bool {
        self.count.load(Ordering::SeqCst) >= WAITERS_MAX
    }

    /// Removes waiters who gave up, unless that was tried just now. Linear, so only done when the limit is reached.
    fn forget_gone(&self, lists: &mut Lists<K, W>, now: Instant) {
        if lists.looked_at.is_some_and(|looked| now < looked + FORGET_PAUSE) {
            return;
        }
        lists.looked_at = Some(now);
        let mut left = 0;
        lists.by_key.retain(|_, List { senders, .. }| {
            senders.retain(|sender| !sender.is_closed());
            left += senders.len();
            !senders.is_empty()
        });
        self.count.store(left, Ordering::SeqCst);
    }

    /// Whether anybody waits for anything.
    fn is_waited(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    fn wake(&self, key: &K, word: impl Fn() -> W) {
        self.wake_if(key, |_| true, word);
    }

    fn wake_if(&self, key: &K, may: impl FnOnce(&List<W>) -> bool, word: impl Fn() -> W) {
        if !self.is_waited() {
            return;
        }
        let woken = match self.lock().by_key.entry(*key) {
            Entry::Occupied(list) if may(list.get()) => list.remove().senders,
            Entry::Occupied(_) | Entry::Vacant(_) => return,
        };
        self.count.fetch_sub(woken.len(), Ordering::SeqCst);
        for sender in woken {
            let _ = sender.send(word());
        }
    }
}

impl Waiters<KeyDigest, Found> {
    fn asked(&self, key: &KeyDigest, hold: HoldId) {
        if self.is_waited()
            && let Some(list) = self.lock().by_key.get_mut(key)
        {
            list.overhearing.asks(hold);
        }
    }

    fn found(&self, key: &KeyDigest, found: &HoldView) {
        let trusts = |list: &List<Found>| list.overhearing.trusts(found.hold);
        self.wake_if(key, trusts, || Some(Box::new(found.clone())));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actors::address::BlockRef;
    use actors::block::{Claim, HoldState};
    use actors::ids::{Shard, Tag};
    use actors::money::{Currency, Money};
    use actors::order::State;
    use actors::time::Millis;
    use tokio::sync::oneshot::error::TryRecvError;

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

    fn hold(unique: u64) -> HoldId {
        HoldId::new(Millis(1), Shard(0), Tag(0), unique)
    }

    fn seek(nth: u64) -> Message {
        let (customer, quantity, desk, key) = ("ann".into(), 2, Shard(0), KeyDigest(7));
        block::Command::Seek { hold: hold(nth), customer, quantity, desk, key }.into()
    }

    fn found(nth: u64) -> Box<HoldView> {
        Box::new(HoldView {
            hold: hold(nth),
            block: BlockRef { event: "e".into(), block: "A".into() },
            customer: "ann".into(),
            claim: Claim::Standing(2),
            price: Money { amount: 1, currency: Currency::parse("EUR").unwrap() },
            state: HoldState::Held,
            expires_at: Millis(9),
            max_per_customer: None,
        })
    }

    fn answered(nth: u64) -> Message {
        order::Command::SeekAnswered { key: KeyDigest(7), hold: hold(nth), answer: Ok(found(nth)) }.into()
    }

    #[test]
    fn who_waits_for_a_search_overhears_the_first_word_of_the_block_that_is_asked() {
        let hub = Hub::new(true);
        let mut waits = hub.sought(KeyDigest(7));
        hub.told(&seek(1));
        hub.told(&answered(2));
        assert!(waits.try_recv().is_err(), "a block that is not asked any more");
        hub.told(&seek(2));
        hub.told(&answered(2));
        assert_eq!(waits.try_recv(), Ok(Some(found(2))));
    }

    #[test]
    fn a_block_that_was_asked_again_is_left_to_the_desk() {
        let hub = Hub::new(true);
        let mut waits = hub.sought(KeyDigest(7));
        hub.told(&seek(1));
        hub.told(&seek(1));
        hub.told(&answered(1));
        assert!(waits.try_recv().is_err());
        hub.released(&[Feed::Sought(KeyDigest(7))]);
        assert_eq!(waits.try_recv(), Ok(None));
    }

    #[test]
    fn a_node_among_others_overhears_nothing() {
        let hub = Hub::new(false);
        let mut waits = hub.sought(KeyDigest(7));
        hub.told(&seek(1));
        hub.told(&answered(1));
        assert!(waits.try_recv().is_err());
    }

    #[test]
    fn one_too_many_is_told_so_and_does_not_look_for_those_who_left_each_time() {
        let waiters = Waiters::<u64, ()>::default();
        let start = Instant::now();
        let waiting: Vec<_> = (0..WAITERS_MAX as u64).map(|key| waiters.wait(key, start)).collect();
        let refused = |key, at| matches!(waiters.wait(key, at).try_recv(), Err(TryRecvError::Closed));
        assert!(refused(u64::MAX, start), "woken it would ask again at once");
        drop(waiting);
        assert!(refused(u64::MAX, start + FORGET_PAUSE - Duration::from_millis(1)), "all were looked at just now");
        assert!(!refused(u64::MAX, start + FORGET_PAUSE));
        assert_eq!(waiters.count.load(Ordering::SeqCst), 1);
    }
}
