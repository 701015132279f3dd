//! The holds of a block: whose, which places, until when, and what is due for them.
//!
//! Owns their lives and their order by id, by due time and by end. Must never touch a place or judge a request; panics when
//! a life takes a step that it cannot take. Ended holds stay readable until they are forgotten, at most [`ENDED_MAX`].

use std::collections::{BTreeMap, VecDeque};

use super::HoldState;
use super::places::Spots;
use super::roster::{Roster, Who};
use super::shelf::Shelf;
use crate::ids::{Customer, HoldId, OrderId};
use crate::money::Money;
use crate::time::Millis;

/// Most ended holds a block remembers; the one that ended first is forgotten first.
pub const ENDED_MAX: usize = 100_000;

/// A hold as it is kept: 56 bytes, because a sold-out block keeps one for every two seats or so.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) spots: Spots,
    pub(super) until: Millis,
    order: Packed,
    pub(super) who: Who,
    /// Which of [`Holds::prices`].
    price: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Held,
    Bound,
    Sold,
    Released,
    Expired,
}

/// An order's id without its alignment; zero for none.
#[derive(Clone, Copy, Debug)]
struct Packed([u64; 2]);

/// A reminder that was sent for a bound hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reminder {
    pub(super) due: Millis,
    pub(super) times: u32,
}

/// All holds of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds {
    shelf: Shelf<HoldId, Hold>,
    pub(super) roster: Roster,
    prices: Vec<Money>,
    /// What is due when: the end of held ones, a reminder for bound ones.
    queue: Shelf<(Millis, HoldId), ()>,
    /// Bound holds whose order was reminded already.
    reminders: BTreeMap<HoldId, Reminder>,
    /// Ended holds in the order in which they are forgotten, and when.
    ended: VecDeque<(Millis, HoldId)>,
}

impl Hold {
    pub(super) fn state(&self) -> HoldState {
        match self.stage {
            Stage::Held => HoldState::Held,
            Stage::Bound => HoldState::Bound(self.order.order()),
            Stage::Sold => HoldState::Sold(self.order.order()),
            Stage::Released => HoldState::Released,
            Stage::Expired => HoldState::Expired,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        match self.stage {
            Stage::Held | Stage::Bound | Stage::Sold => true,
            Stage::Released | Stage::Expired => false,
        }
    }
}

impl Packed {
    fn order(self) -> OrderId {
        let bits = (u128::from(self.0[1]) << 64) | u128::from(self.0[0]);
        OrderId(bits.try_into().expect("a bound hold names its order"))
    }
}

impl From<OrderId> for Packed {
    fn from(order: OrderId) -> Self {
        let bits = order.0.get();
        Self([bits as u64, (bits >> 64) as u64])
    }
}

impl Holds {
    pub(super) fn get(&self, id: HoldId) -> Option<&Hold> {
        self.shelf.get(id)
    }

    /// The hold if it is this customer's.
    pub(super) fn of(&self, id: HoldId, customer: &Customer) -> Option<&Hold> {
        self.get(id).filter(|hold| self.roster.name(hold.who) == customer)
    }

    pub(super) fn price(&self, hold: &Hold) -> Money {
        self.prices[hold.price as usize]
    }

    /// Held, bound and sold places of a customer.
    pub(super) fn places(&self, customer: &Customer) -> u32 {
        self.roster.find(customer).map_or(0, |who| self.roster.places(who))
    }

    /// All holds above `after`, ended ones too, in order of their ids.
    pub(super) fn iter_after(&self, after: Option<HoldId>) -> impl Iterator<Item = (HoldId, &Hold)> {
        self.shelf.iter_after(after)
    }

    pub(super) fn len(&self) -> usize {
        self.shelf.len()
    }

    /// What is due by now, the earliest first.
    pub(super) fn due_by(&self, now: Millis) -> impl Iterator<Item = (HoldId, &Hold)> {
        let due = self.queue.iter_after(None).map(|(due, ())| due).take_while(move |(due, _)| *due <= now);
        due.map(|(_, id)| (id, self.get(id).expect("what is due is a hold")))
    }

    pub(super) fn reminder(&self, id: HoldId) -> Option<Reminder> {
        self.reminders.get(&id).copied()
    }

    /// When the first ended hold is forgotten.
    pub(super) fn forget_next(&self) -> Option<Millis> {
        self.ended.front().map(|(due, _)| *due)
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        let due = self.queue.first().map(|(due, _)| due);
        due.into_iter().chain(self.forget_next()).min()
    }

    /// Ended holds in the order in which they are forgotten, and when.
    pub(super) fn ended(&self) -> impl Iterator<Item = (Millis, HoldId)> {
        self.ended.iter().copied()
    }

    /// Whether exactly the held and bound ones are due, each at its time, and exactly the ended ones wait to be forgotten.
    pub(super) fn is_due_once_each(&self) -> bool {
        let (mut due, mut ended) = (0, 0);
        let right = self.shelf.iter_after(None).all(|(id, hold)| match hold.stage {
            Stage::Held | Stage::Bound => {
                due += 1;
                self.queue.get((self.due(id, hold), id)).is_some()
            }
            Stage::Sold => true,
            Stage::Released | Stage::Expired => {
                ended += 1;
                true
            }
        });
        right && due == self.queue.len() && ended == self.ended.len()
    }

    fn due(&self, id: HoldId, hold: &Hold) -> Millis {
        self.reminders.get(&id).map_or(hold.until, |reminder| reminder.due)
    }

    /// A new hold; panics when the id is known.
    pub(super) fn insert(&mut self, id: HoldId, customer: &Customer, spots: Spots, price: Money, until: Millis) {
        let who = self.roster.enter(customer);
        self.roster.add(who, spots.quantity());
        let price = self.price_number(price);
        let hold = Hold { spots, until, order: Packed([0, 0]), who, price, stage: Stage::Held };
        self.shelf.insert(id, hold);
        self.queue.insert((until, id), ());
    }

    fn price_number(&mut self, price: Money) -> u32 {
        let known = self.prices.iter().rposition(|known| *known == price);
        let number = known.unwrap_or_else(|| {
            self.prices.push(price);
            self.prices.len() - 1
        });
        number as u32
    }

    pub(super) fn bind(&mut self, id: HoldId, order: OrderId) {
        let hold = self.shelf.get_mut(id).expect("a hold that is bound is known");
        assert_eq!(hold.stage, Stage::Held, "only a held hold is bound: {id}");
        (hold.stage, hold.order) = (Stage::Bound, order.into());
    }

    /// The hold's spots, for the caller to move.
    pub(super) fn sell(&mut self, id: HoldId, order: OrderId) -> &Spots {
        let hold = self.shelf.get_mut(id).expect("a hold that is sold is known");
        assert_eq!(hold.state(), HoldState::Bound(order), "only a hold bound to the order is sold: {id}");
        hold.stage = Stage::Sold;
        let due = self.reminders.remove(&id).map_or(hold.until, |reminder| reminder.due);
        self.queue.remove((due, id));
        &hold.spots
    }

    /// Ends a hold; the caller moves its spots. An expired hold was held, a released one held, bound or sold.
    pub(super) fn end(&mut self, id: HoldId, expired: Expired, forget_at: Millis) -> (&Spots, HoldState) {
        let hold = self.shelf.get_mut(id).expect("a hold that ends is known");
        let before = hold.state();
        assert!(hold.is_live(), "a hold ends once: {id}");
        hold.stage = match expired {
            Expired::Yes => Stage::Expired,
            Expired::No => Stage::Released,
        };
        self.roster.subtract(hold.who, hold.spots.quantity());
        let due = self.reminders.remove(&id).map_or(hold.until, |reminder| reminder.due);
        self.queue.remove((due, id));
        // The time of a turn never runs backwards; the maximum keeps the queue sorted also under a shorter time to live.
        let forget_at = self.ended.back().map_or(forget_at, |(last, _)| forget_at.max(*last));
        self.ended.push_back((forget_at, id));
        (&self.shelf.get(id).expect("it was here").spots, before)
    }

    /// Forgets the first ended ones when there are too many.
    pub(super) fn trim(&mut self) {
        while self.ended.len() > ENDED_MAX {
            self.forget_first();
        }
    }

    pub(super) fn forget(&mut self, until: Millis) {
        while self.forget_next().is_some_and(|due| due <= until) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.ended.pop_front() {
            let hold = self.shelf.remove(id).expect("an ended hold is known");
            self.roster.leave(hold.who);
        }
    }

    pub(super) fn remind(&mut self, id: HoldId, next: Millis) {
        let hold = self.shelf.get(id).expect("a reminder is of a known hold");
        assert_eq!(hold.stage, Stage::Bound, "reminders are of bound holds: {id}");
        let sent = self.reminders.get(&id).copied().unwrap_or(Reminder { due: hold.until, times: 0 });
        self.queue.remove((sent.due, id));
        self.reminders.insert(id, Reminder { due: next, times: sent.times + 1 });
        self.queue.insert((next, id), ());
    }

    /// Puts a stored hold back, in any state.
    pub(super) fn restore(&mut self, id: HoldId, hold: Restored) {
        let Restored { customer, spots, price, until, state, reminder } = hold;
        let who = self.roster.enter(&customer);
        let price = self.price_number(price);
        let (stage, order) = match state {
            HoldState::Held => (Stage::Held, None),
            HoldState::Bound(order) => (Stage::Bound, Some(order)),
            HoldState::Sold(order) => (Stage::Sold, Some(order)),
            HoldState::Released => (Stage::Released, None),
            HoldState::Expired => (Stage::Expired, None),
        };
        if stage == Stage::Held || stage == Stage::Bound {
            self.queue.insert((reminder.map_or(until, |reminder| reminder.due), id), ());
        }
        if let Some(reminder) = reminder {
            self.reminders.insert(id, reminder);
        }
        let order = order.map_or(Packed([0, 0]), Packed::from);
        let hold = Hold { spots, until, order, who, price, stage };
        if hold.is_live() {
            self.roster.add(who, hold.spots.quantity());
        }
        self.shelf.insert(id, hold);
    }

    pub(super) fn restore_ended(&mut self, ended: impl IntoIterator<Item = (Millis, HoldId)>) {
        self.ended = ended.into_iter().collect();
    }
}

/// Why a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Yes,
    No,
}

/// A hold as a snapshot knows it.
pub(super) struct Restored {
    pub(super) customer: Customer,
    pub(super) spots: Spots,
    pub(super) price: Money,
    pub(super) until: Millis,
    pub(super) state: HoldState,
    pub(super) reminder: Option<Reminder>,
}
