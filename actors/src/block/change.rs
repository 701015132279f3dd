//! What the journal stores of a block. Every variant is stored for good: new ones go to the end, and the bytes are pinned
//! by a test. Must hold everything that folding needs: no policy, no time, no choice is left to `apply`.

use serde::{Deserialize, Serialize};

use super::{Claim, House, Layout, Setup};
use crate::event::{Rules, Sale};
use crate::ids::{Customer, HoldId, OrderId};
use crate::money::Money;
use crate::time::Millis;

/// The places of a block without their names: those are the event desk's and the board's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Seats of each row, from the front to the back.
    Seated(Vec<u16>),
    /// A number of standing places.
    Standing(u32),
}

impl From<&Layout> for Shape {
    fn from(layout: &Layout) -> Self {
        match layout {
            Layout::Seated(rows) => Shape::Seated(rows.iter().map(|row| row.seats).collect()),
            Layout::Standing(places) => Shape::Standing(*places),
        }
    }
}

/// What can change about a block's sale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Price of a place held from now on.
    pub price: Money,
    /// The event's rules.
    pub rules: Rules,
    /// What the organizer decided about the sale.
    pub sale: Sale,
    /// When the sale opens; `None`: it has.
    pub on_sale_at: Option<Millis>,
    /// Which revision of the event's description these are.
    pub revision: u64,
}

impl From<&Setup> for Terms {
    fn from(setup: &Setup) -> Self {
        let Setup { layout: _, price, rules, sale, on_sale_at, revision } = setup;
        Self { price: *price, rules: *rules, sale: *sale, on_sale_at: *on_sale_at, revision: *revision }
    }
}

/// One change of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// The block has its places. Happens once, before anything else.
    Configured {
        /// Its places.
        shape: Shape,
        /// Price, rules and sale.
        terms: Terms,
    },
    /// Price, rules or sale are new.
    Revised(Terms),
    /// Free places were promised, at the price of the present terms.
    Held {
        /// By which hold.
        hold: HoldId,
        /// To whom.
        customer: Customer,
        /// Which places.
        claim: Claim,
        /// Until when.
        until: Millis,
    },
    /// A hold was given back by its customer; its places are free.
    Released {
        /// Which hold.
        hold: HoldId,
        /// From when on it may be forgotten.
        forget_at: Millis,
    },
    /// A hold became part of an order.
    Bound {
        /// Which hold.
        hold: HoldId,
        /// Of which order.
        order: OrderId,
    },
    /// Bound places were sold.
    Sold {
        /// Which hold.
        hold: HoldId,
        /// To which order.
        order: OrderId,
    },
    /// An order let go of a hold, bound or sold; its places are free.
    Returned {
        /// Which hold.
        hold: HoldId,
        /// From when on it may be forgotten.
        forget_at: Millis,
    },
    /// The time of these holds was over; their places are free.
    Expired {
        /// Which holds, the earliest first.
        holds: Vec<HoldId>,
        /// From when on they may be forgotten.
        forget_at: Millis,
    },
    /// Ended holds whose time to be forgotten had come.
    Forgotten {
        /// Up to and including this moment.
        until: Millis,
    },
    /// Orders were reminded of holds that are bound longer than they were promised.
    Reminded {
        /// Which holds, and when their order is reminded next.
        holds: Vec<(HoldId, Millis)>,
    },
    /// Free places were taken out of the sale.
    Blocked(House),
    /// House seats were put back on sale.
    Unblocked(House),
}
