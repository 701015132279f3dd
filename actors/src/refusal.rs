//! Refusals: the business says no. Part of the public API: every variant has a stable code and a status there.
//!
//! A refusal is never logged as an error. That the world broke is a failure, which machines do not know.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::block::SeatIx;
use crate::time::Millis;

/// The seats a refusal names, by index in their block.
pub type SeatList = SmallVec<[SeatIx; 4]>;

/// Why a command was not accepted. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No such event.
    UnknownEvent,
    /// No such block in the event.
    UnknownBlock,
    /// A seat that the block does not have; the edge says it by the name that was asked.
    UnknownSeat,
    /// No such hold, or somebody else's.
    UnknownHold,
    /// No such order, or somebody else's.
    UnknownOrder,
    /// The event's id is taken by another description.
    EventExists,
    /// The event's sale is closed for good: it cannot be opened, paused or changed.
    EventClosed,
    /// A change of the event names a block it does not have, or breaks a rule; field and rule.
    BadChange {
        /// The field.
        field: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// Seats that are held, sold or blocked.
    SeatTaken(SeatList),
    /// Seats that are named twice in one request.
    SeatTwice(SeatList),
    /// Fewer places are free than were asked for, or none as cheap.
    SoldOut,
    /// The choice would leave these single seats alone.
    OrphanSeat(SeatList),
    /// More places than one hold may have.
    TooManySeats {
        /// How many it may have.
        most: u32,
    },
    /// More places than one customer may have in this event.
    CustomerLimit {
        /// How many that is.
        most: u32,
    },
    /// Named seats in a standing block, or a bare quantity in a seated one.
    WrongKind,
    /// The sale is not open.
    NotOnSale {
        /// When it will open, if that is known.
        on_sale_at: Option<Millis>,
    },
    /// The hold's time is over.
    HoldExpired,
    /// The hold was released.
    HoldReleased,
    /// The hold belongs to an order already.
    HoldInOrder,
    /// The holds of one order must be of one event.
    MixedEvents,
    /// A payment of this order is running.
    PaymentInProgress,
    /// The order cannot do that in its present state; the state's public name.
    OrderState(crate::order::State),
    /// The ticket was used before.
    AlreadyCheckedIn {
        /// When.
        at: Millis,
    },
    /// The ticket's order was refunded, or the ticket is not of that order.
    TicketVoid,
    /// The seat cannot be unblocked because it is not blocked.
    NotBlocked(SeatList),
    /// The key was used before for another request.
    IdempotencyKeyReused,
}
