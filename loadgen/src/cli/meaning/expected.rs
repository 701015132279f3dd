//! How much a run will want to buy, so that it does not run out of seats when nobody says how many there are, and how many
//! buyers that is.
//!
//! Seats that are sold cost the server about a kilobyte each, standing places that nobody holds cost nothing: beyond
//! [`EVENTS_MAX`] events it is better that a run hears `sold_out` than that the server runs out of memory.

use std::time::Duration;

use crate::cli::ShowArgs;
use crate::mix::{Mix, Operation};
use crate::plan::{Habits, Load, NewEvents, Show};

/// Places that do without a thought: one event as it is laid out when nobody says anything.
pub(super) const PLACES: u64 = 60_000;
/// Seats of an event of many: six blocks of 25 rows, whose answers stay below a kilobyte.
const SEATS: u32 = 15_000;
/// Standing places of an event of many.
const STANDING: u32 = 22_500;
/// Most events: just below two million seats and three million standing places.
const EVENTS_MAX: u64 = 133;
/// Requests a second of a closed loop, at most: with pipelining and without.
const CLOSED_PIPELINED: f64 = 1.2e6;
const CLOSED: f64 = 150e3;
/// Holds a second that a server makes durable on the cores it may have, at most.
const HOLDS_MAX: f64 = 300e3;
/// So much more than is expected is put on sale: near its end a sale answers mostly with refusals.
const MARGIN: f64 = 1.2;

/// Fewest customers, so that a limit of requests a customer is not what a short run measures.
const CUSTOMERS_MIN: f64 = 10_000.0;
/// Most customers: as many verified tokens as the server remembers by default (`auth.token_cache`), so that buyers who come
/// again are known. To mint them all takes a quarter of a second, to keep them 52 MB.
const CUSTOMERS_MAX: f64 = 150_000.0;

/// What is known of a run before it starts.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) load: &'a Load,
    pub(super) mix: &'a Mix,
    pub(super) habits: &'a Habits,
    pub(super) run: Duration,
    /// Requests in flight on a connection.
    pub(super) depth: u32,
}

impl Expected<'_> {
    /// Places that the run's holds will want, with some to spare.
    pub(super) fn places(&self) -> u64 {
        let seats = f64::from(1 + self.habits.seats_max) / 2.0;
        (self.holds() * seats * MARGIN) as u64
    }

    /// Customers who come for that: as on a real on-sale, few of them more than once.
    pub(super) fn customers(&self, show: &Show) -> u32 {
        let places = match show {
            Show::Existing(_) => PLACES,
            Show::New(new) => new.places(),
        };
        self.holds().min(places as f64).clamp(CUSTOMERS_MIN, CUSTOMERS_MAX) as u32
    }

    /// Holds that the run may make, at most.
    fn holds(&self) -> f64 {
        let rate = match self.load {
            Load::Open { profile } => profile.mean(self.run),
            Load::Closed if self.depth > 1 => CLOSED_PIPELINED,
            Load::Closed => CLOSED,
        };
        (rate * self.share_of_holds()).min(HOLDS_MAX) * self.run.as_secs_f64()
    }

    /// Of all operations. Orders, looks and releases that find nothing to work on are holds, too.
    fn share_of_holds(&self) -> f64 {
        let share = |operation| self.mix.share(operation);
        let needing = share(Operation::Order) + share(Operation::OrderStatus) + share(Operation::Release);
        share(Operation::Hold).max((share(Operation::Hold) + needing) / 2.0)
    }
}

impl ShowArgs {
    /// Events for so many places.
    pub(super) fn as_many_as(&self, places: u64) -> NewEvents {
        let events = places.div_ceil(u64::from(SEATS + STANDING));
        NewEvents {
            events: events.min(EVENTS_MAX) as u32,
            blocks: super::BLOCKS,
            seats: SEATS,
            seats_per_row: super::SEATS_PER_ROW,
            standing: STANDING,
            places_wanted: (events > EVENTS_MAX).then_some(places),
            hold_ttl: self.hold_ttl.unwrap_or(super::HOLD_TTL),
            max_per_customer: self.max_per_customer,
            no_orphans: !self.allow_orphans,
        }
    }
}
