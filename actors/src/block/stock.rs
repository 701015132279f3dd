//! A configured block: its terms, places and holds together, and how changes fold into them.
//!
//! Owns folding, and that places and holds say the same after every change. Must never judge: that is [`super::judge`]'s.

use smallvec::SmallVec;

use super::change::{Change, Shape, Terms};
use super::holds::{Expired, Holds};
use super::places::{Places, Spots};
use super::{HoldState, House, SeatIx, SeatState};
use crate::ids::HoldId;
use crate::time::Millis;

/// See the module's charter.
#[derive(Clone, Debug)]
pub(super) struct Stock {
    pub(super) terms: Terms,
    pub(super) places: Places,
    pub(super) holds: Holds,
    /// How many visible changes there were.
    pub(super) seq: u64,
}

/// What the public sees of a change.
pub(super) type Visible = SmallVec<[(SeatIx, SeatState); 4]>;

impl Stock {
    pub(super) fn new(shape: &Shape, terms: &Terms) -> Self {
        Self { terms: terms.clone(), places: Places::new(shape), holds: Holds::default(), seq: 0 }
    }

    /// Folds any change but the first in.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Configured { .. } => panic!("a block is configured once"),
            Change::Revised(terms) => {
                assert!(terms.revision > self.terms.revision, "terms replace older ones");
                self.terms = terms.clone();
            }
            Change::Held { hold, customer, claim, until } => {
                let spots = Spots::from(claim);
                self.places.set(&spots, SeatState::Free, SeatState::Held);
                self.holds.insert(*hold, customer, spots, self.terms.price, *until);
            }
            Change::Released { hold, forget_at } => {
                let before = self.end(*hold, Expired::No, *forget_at);
                assert_eq!(before, HoldState::Held, "a hold of an order is not released: {hold}");
            }
            Change::Bound { hold, order } => self.holds.bind(*hold, *order),
            Change::Sold { hold, order } => {
                let spots = self.holds.sell(*hold, *order);
                self.places.set(spots, SeatState::Held, SeatState::Sold);
            }
            Change::Returned { hold, forget_at } => {
                let before = self.end(*hold, Expired::No, *forget_at);
                assert_ne!(before, HoldState::Held, "only an order returns a hold: {hold}");
            }
            Change::Expired { holds, forget_at } => {
                for hold in holds {
                    let before = self.end(*hold, Expired::Yes, *forget_at);
                    assert_eq!(before, HoldState::Held, "a hold of an order does not expire: {hold}");
                }
            }
            Change::Forgotten { until } => self.holds.forget(*until),
            Change::Reminded { holds } => holds.iter().for_each(|(hold, next)| self.holds.remind(*hold, *next)),
            Change::Blocked(house) => self.places.set(&house.spots(), SeatState::Free, SeatState::Blocked),
            Change::Unblocked(house) => self.places.set(&house.spots(), SeatState::Blocked, SeatState::Free),
        }
        self.places.settle();
        self.holds.trim();
        self.seq += u64::from(is_visible(change));
    }

    fn end(&mut self, hold: HoldId, expired: Expired, forget_at: Millis) -> HoldState {
        let (spots, before) = self.holds.end(hold, expired, forget_at);
        let from = match before {
            HoldState::Sold(_) => SeatState::Sold,
            HoldState::Held | HoldState::Bound(_) | HoldState::Released | HoldState::Expired => SeatState::Held,
        };
        self.places.set(spots, from, SeatState::Free);
        before
    }

    /// The seats of a visible change that was just folded in, with their states now; `None` when nobody sees it.
    pub(super) fn visible(&self, change: &Change) -> Option<Visible> {
        let of = |hold: &HoldId| self.holds.get(*hold).map(|hold| &hold.spots);
        let all = |spots: &Spots, state| spots.seats().map(|seat| (seat, state)).collect();
        Some(match change {
            Change::Held { hold, .. } => all(of(hold)?, SeatState::Held),
            Change::Sold { hold, .. } => all(of(hold)?, SeatState::Sold),
            Change::Released { hold, .. } | Change::Returned { hold, .. } => all(of(hold)?, SeatState::Free),
            Change::Expired { holds, .. } => {
                holds.iter().filter_map(of).flat_map(Spots::seats).map(|seat| (seat, SeatState::Free)).collect()
            }
            Change::Blocked(house) => all(&house.spots(), SeatState::Blocked),
            Change::Unblocked(house) => all(&house.spots(), SeatState::Free),
            Change::Configured { .. }
            | Change::Revised(_)
            | Change::Bound { .. }
            | Change::Forgotten { .. }
            | Change::Reminded { .. } => return None,
        })
    }
}

fn is_visible(change: &Change) -> bool {
    match change {
        Change::Held { .. }
        | Change::Sold { .. }
        | Change::Released { .. }
        | Change::Returned { .. }
        | Change::Expired { .. }
        | Change::Blocked(_)
        | Change::Unblocked(_) => true,
        Change::Configured { .. }
        | Change::Revised(_)
        | Change::Bound { .. }
        | Change::Forgotten { .. }
        | Change::Reminded { .. } => false,
    }
}

impl House {
    pub(super) fn spots(&self) -> Spots {
        match self {
            House::Seats(seats) => Spots::of_seats(seats),
            House::Standing(quantity) => Spots::Standing(*quantity),
        }
    }
}
