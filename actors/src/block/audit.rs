//! Reading a block as a whole: the ledger page by page, and the recount.
//!
//! The recount starts from the claims and believes nothing else; what the bits and counters say is compared with it.

use std::collections::BTreeMap;

use super::holds::Hold;
use super::places::Places;
use super::stock::Stock;
use super::{Census, Claim, Counts, HoldState, Line, LineState, Reply, SeatState};
use crate::ids::{Customer, HoldId};

/// Most claims of one page of the ledger.
pub const LEDGER_MAX: u32 = 10_000;

impl Stock {
    /// Claims above `after` in order of their holds' ids, then house seats.
    pub(super) fn ledger(&self, after: Option<HoldId>, limit: u32) -> Reply {
        let limit = limit.clamp(1, LEDGER_MAX) as usize;
        let mut claims = self.holds.iter_after(after).filter(|(_, hold)| hold.is_live());
        let mut lines: Vec<Line> = claims.by_ref().take(limit).map(|(id, hold)| self.line(id, hold)).collect();
        if claims.next().is_some() {
            let next = lines.last().and_then(|line| line.hold);
            return Reply::Ledger { lines, next };
        }
        let house = self.places.house();
        lines.extend(house.map(|claim| Line {
            claim,
            state: LineState::Blocked,
            hold: None,
            order: None,
            customer: None,
        }));
        Reply::Ledger { lines, next: None }
    }

    fn line(&self, id: HoldId, hold: &Hold) -> Line {
        let (state, order) = match hold.state() {
            HoldState::Held | HoldState::Released | HoldState::Expired => (LineState::Held, None),
            HoldState::Bound(order) => (LineState::Bound, Some(order)),
            HoldState::Sold(order) => (LineState::Sold, Some(order)),
        };
        let customer = Some(self.holds.roster.name(hold.who).clone());
        Line { claim: Claim::from(&hold.spots), state, hold: Some(id), order, customer }
    }

    /// Recounts everything from the claims. Linear in seats and holds.
    pub(super) fn census(&self) -> Census {
        let mut recount = Recount::of(&self.places);
        for (id, hold) in self.holds.iter_after(None) {
            recount.claim(id, hold, self.holds.roster.name(hold.who));
        }
        recount.compare(self);
        let Recount { counts, bound, violations, .. } = recount;
        Census { counts, bound, capacity: self.places.capacity(), violations }
    }
}

/// What the claims add up to.
struct Recount<'a> {
    /// By seat; empty for a standing block.
    states: Vec<SeatState>,
    counts: Counts,
    bound: u32,
    customers: BTreeMap<&'a Customer, u32>,
    violations: Vec<String>,
}

impl<'a> Recount<'a> {
    /// House seats are the only claims without a hold.
    fn of(places: &Places) -> Self {
        let blocked = places.counts().blocked;
        let mut states = Vec::new();
        if let Places::Seated(seats) = places {
            states.resize(seats.capacity() as usize, SeatState::Free);
            seats.house().for_each(|seat| states[seat.0 as usize] = SeatState::Blocked);
        }
        Self {
            states,
            counts: Counts { free: places.capacity().saturating_sub(blocked), blocked, ..Counts::default() },
            bound: 0,
            customers: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    fn claim(&mut self, id: HoldId, hold: &Hold, customer: &'a Customer) {
        let quantity = hold.spots.quantity();
        let state = match hold.state() {
            HoldState::Held => SeatState::Held,
            HoldState::Bound(_) => {
                self.bound += quantity;
                SeatState::Held
            }
            HoldState::Sold(_) => SeatState::Sold,
            HoldState::Released | HoldState::Expired => return,
        };
        *self.customers.entry(customer).or_default() += quantity;
        *self.counts.of(state) += quantity;
        match self.counts.free.checked_sub(quantity) {
            Some(free) => self.counts.free = free,
            None => self
                .violations
                .push(format!("hold {id} claims {quantity} places and only {} are left", self.counts.free)),
        }
        for seat in hold.spots.seats() {
            match self.states.get_mut(seat.0 as usize) {
                Some(known @ SeatState::Free) => *known = state,
                Some(taken) => {
                    self.violations.push(format!("seat {} of hold {id} is claimed twice, it is {taken:?}", seat.0))
                }
                None => self.violations.push(format!("seat {} of hold {id} does not exist", seat.0)),
            }
        }
    }

    fn compare(&mut self, stock: &Stock) {
        let counted = stock.places.counts();
        if counted != self.counts {
            self.violations.push(format!("the counters say {counted:?} and the claims {:?}", self.counts));
        }
        if let Places::Seated(seats) = &stock.places {
            for (at, (bits, claimed)) in seats.states().zip(&self.states).enumerate() {
                if bits != *claimed {
                    self.violations.push(format!("seat {at} is {bits:?} and the claims say {claimed:?}"));
                }
            }
            self.violations.extend(seats.wrong_summaries().map(|row| format!("the summary of row {row} is wrong")));
        }
        let claimed: u32 = self.customers.values().sum();
        if stock.holds.roster.all_places() != u64::from(claimed) {
            self.violations
                .push(format!("customers are counted {} places and have {claimed}", stock.holds.roster.all_places()));
        }
        if !stock.holds.is_due_once_each() {
            self.violations.push("a hold is due that is over, or one is not due that is held or bound".to_owned());
        }
        for (customer, places) in &self.customers {
            let counted = stock.holds.places(customer);
            if counted != *places {
                self.violations.push(format!("a customer has {places} places and is counted {counted}"));
            }
        }
    }
}
