//! The seat block: one owner of the seats of one block of one event, its holds and their expiries.
//!
//! Owns which seat belongs to whom; a seat is claimed by one hold at a time. Seats move
//! `free → held → bound → sold`, back to free by release, expiry or return, and between free and blocked by the organizer.
//! It never expires a bound hold: only the order desk lets go of it. Money and orders are [`crate::order`]'s.
//!
//! Where to go next: `judge` (what is accepted and why not), `stock` (how changes fold in), `best` and `orphans` (which
//! seats), `seats` (the bits), `holds` with `shelf` and `roster` (who has them), `audit` and `record` (the whole, read and stored).
//!
//! Long because it is the contract of the block in one place; what it does is in `block/`.

mod audit;
mod best;
mod change;
mod holds;
mod judge;
mod numbers;
mod orphans;
mod places;
mod record;
mod roster;
mod seats;
mod shelf;
mod stock;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use audit::LEDGER_MAX;
pub use change::{Change, Shape, Terms};
pub use holds::ENDED_MAX;

use crate::address::{Address, BlockRef};
use crate::event::{Rules, Sale};
use crate::feed::{Board, Feed, SeatsChanged};
use crate::ids::{Customer, HoldId, OrderId};
use crate::machine::{Machine, Moment, Outbox};
use crate::money::Money;
use crate::planted::{self, Bug};
use crate::refusal::Refusal;
use crate::time::Millis;
use judge::Judge;
use places::Places;
use stock::Stock;

/// A seat of a block: its index in row-major order, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeatIx(pub u32);

/// What the public sees of a seat. The numbers are the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum SeatState {
    /// Can be had.
    Free = 0,
    /// Promised to somebody: held, or bound to an order.
    Held = 1,
    /// Sold.
    Sold = 2,
    /// A house seat: not for sale.
    Blocked = 3,
}

/// A row of seats, numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name: `7`, `AA`.
    pub name: String,
    /// How many seats it has, 1 to 1,000.
    pub seats: u16,
}

/// The places of a block. A seat's name is `row-number`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Rows from the front to the back.
    Seated(Vec<Row>),
    /// A number of places without names.
    Standing(u32),
}

impl Layout {
    /// How many places there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        match self {
            Layout::Seated(rows) => rows.iter().map(|row| u32::from(row.seats)).sum(),
            Layout::Standing(places) => *places,
        }
    }

    /// The name of a seat, `row-number`; `None` for a standing block or a seat it does not have. Linear in rows.
    #[must_use]
    pub fn seat_name(&self, seat: SeatIx) -> Option<String> {
        let Layout::Seated(rows) = self else { return None };
        let mut first = 0;
        for row in rows {
            if seat.0 < first + u32::from(row.seats) {
                return Some(format!("{}-{}", row.name, seat.0 - first + 1));
            }
            first += u32::from(row.seats);
        }
        None
    }

    /// The seat of that name, cut at the last `-`. Linear in rows.
    #[must_use]
    pub fn seat_named(&self, name: &str) -> Option<SeatIx> {
        let Layout::Seated(rows) = self else { return None };
        let (row_name, number) = name.rsplit_once('-')?;
        let number: u32 = number.parse().ok().filter(|_| !number.starts_with(['0', '+']))?;
        let mut first = 0;
        for row in rows {
            if row.name == row_name {
                return (number <= u32::from(row.seats)).then(|| SeatIx(first + number - 1));
            }
            first += u32::from(row.seats);
        }
        None
    }
}

/// What a block is told by its event desk. A higher revision replaces a lower one; the layout never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Its places.
    pub layout: Layout,
    /// Price of a place.
    pub price: Money,
    /// The event's rules.
    pub rules: Rules,
    /// What the organizer decided about the sale.
    pub sale: Sale,
    /// When the sale opens; `None`: it has.
    pub on_sale_at: Option<Millis>,
    /// Which revision of the event's description this follows from.
    pub revision: u64,
}

/// What is wanted of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Want {
    /// These seats.
    Seats(SmallVec<[SeatIx; 4]>),
    /// The best seats there are, side by side if at all possible.
    Best {
        /// How many.
        quantity: u32,
        /// Only if a place costs at most this much, in minor units.
        max_price: Option<u64>,
    },
    /// Places of a standing block.
    Standing {
        /// How many.
        quantity: u32,
    },
}

/// The places of one hold.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// Seats, in row-major order.
    Seats(SmallVec<[SeatIx; 4]>),
    /// Places of a standing block.
    Standing(u32),
}

impl Clone for Claim {
    /// As derived, but the seats are copied as they lie, not one by one.
    fn clone(&self) -> Self {
        match self {
            Claim::Seats(seats) => Claim::Seats(SmallVec::from_slice(seats)),
            Claim::Standing(quantity) => Claim::Standing(*quantity),
        }
    }
}

impl Claim {
    /// How many places.
    #[must_use]
    pub fn quantity(&self) -> u32 {
        match self {
            Claim::Seats(seats) => seats.len() as u32,
            Claim::Standing(quantity) => *quantity,
        }
    }
}

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldState {
    /// Promised until its time.
    Held,
    /// Part of an order; does not expire by itself.
    Bound(OrderId),
    /// Sold to that order.
    Sold(OrderId),
    /// Given back: by its customer, by its order, or by a refund.
    Released,
    /// Its time was over.
    Expired,
}

impl HoldState {
    /// The state's public name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HoldState::Held => "held",
            HoldState::Bound(_) => "bound",
            HoldState::Sold(_) => "sold",
            HoldState::Released => "released",
            HoldState::Expired => "expired",
        }
    }
}

/// A hold as its customer sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoldView {
    /// Its id.
    pub hold: HoldId,
    /// Where.
    pub block: BlockRef,
    /// Whose.
    pub customer: Customer,
    /// Its places.
    pub claim: Claim,
    /// Price of one place.
    pub price: Money,
    /// Where it is in its life.
    pub state: HoldState,
    /// When it ends if it is not bought.
    pub expires_at: Millis,
    /// The event's limit for one customer, for the order desk.
    pub max_per_customer: Option<u32>,
}

/// Places of a block by state. `held` includes bound ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Can be had.
    pub free: u32,
    /// Held or bound.
    pub held: u32,
    /// Sold.
    pub sold: u32,
    /// House seats.
    pub blocked: u32,
}

/// One line of the ledger: a claim on places, or house seats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The places.
    pub claim: Claim,
    /// Their state.
    pub state: LineState,
    /// The hold that claims them; `None` for house seats.
    pub hold: Option<HoldId>,
    /// The order they belong to.
    pub order: Option<OrderId>,
    /// Whose.
    pub customer: Option<Customer>,
}

/// The states a ledger line can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LineState {
    /// Held, no order yet.
    Held,
    /// Bound to an order.
    Bound,
    /// Sold.
    Sold,
    /// House seats.
    Blocked,
}

/// What a block counts when it is audited: everything recomputed from the claims, not from the counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Census {
    /// Places by state.
    pub counts: Counts,
    /// Of the held ones, how many are bound.
    pub bound: u32,
    /// All places.
    pub capacity: u32,
    /// What is wrong: contradictions between claims, bits and counters. Empty unless there is a bug.
    pub violations: Vec<String>,
}

/// Which seats or how many places the organizer blocks or unblocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum House {
    /// Seats.
    Seats(Vec<SeatIx>),
    /// Places of a standing block.
    Standing(u32),
}

/// What a block can be asked or told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// From the event desk: layout, price, rules, sale. Answered with [`crate::event::Command::Configured`].
    Configure(Box<Setup>),
    /// Promise places to a customer. The same hold id again answers the same, whatever became of the hold since.
    Hold {
        /// Id of the hold, made at the edge.
        hold: HoldId,
        /// For whom.
        customer: Customer,
        /// What.
        want: Want,
    },
    /// A best-available search of an order desk, under a key that the desk keeps: like `Hold`, answered with
    /// [`crate::order::Command::SeekAnswered`].
    Seek {
        /// Id of the hold, made at the edge for this block.
        hold: HoldId,
        /// For whom.
        customer: Customer,
        /// How many.
        quantity: u32,
        /// The desk that asks.
        desk: crate::ids::Shard,
        /// Under which key it asks.
        key: crate::keyed::KeyDigest,
    },
    /// Give a hold back. Releasing what was released is no error.
    Release {
        /// Which hold.
        hold: HoldId,
        /// Whose it must be.
        customer: Customer,
    },
    /// Read a hold.
    Show {
        /// Which hold.
        hold: HoldId,
        /// Whose it must be.
        customer: Customer,
    },
    /// From an order desk: the hold becomes part of an order. Answered with `Bound` or `BindRefused`.
    Bind {
        /// Which hold.
        hold: HoldId,
        /// Of which order.
        order: OrderId,
        /// Whose it must be.
        customer: Customer,
    },
    /// From an order desk: the money is there. Answered with `Sold` or `SellRefused`.
    Sell {
        /// Which hold.
        hold: HoldId,
        /// For which order.
        order: OrderId,
    },
    /// From an order desk: the order lets go of the hold, bound or sold. Answered with `Returned`.
    Return {
        /// Which hold.
        hold: HoldId,
        /// Of which order.
        order: OrderId,
    },
    /// Take free places out of the sale.
    Block(House),
    /// Put house seats back on sale.
    Unblock(House),
    /// Read the ledger: claims with an id after `after`, then house seats at the end.
    Ledger {
        /// Continue after this hold; `None`: from the start.
        after: Option<HoldId>,
        /// At most so many claims.
        limit: u32,
    },
    /// Recount everything.
    Audit,
}

/// What a block answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Places are promised.
    Held(Box<HoldView>),
    /// A hold as it is.
    Hold(Box<HoldView>),
    /// Places were blocked or unblocked; the counts after it.
    Counts(Counts),
    /// Part of the ledger, and whether there is more.
    Ledger {
        /// Claims in order of their hold's id; with the last part, one line of house seats if there are any.
        lines: Vec<Line>,
        /// Continue after this hold; `None`: that was all.
        next: Option<HoldId>,
    },
    /// The recount.
    Census(Box<Census>),
    /// A message was dealt with; the answer went to its sender.
    Noted,
}

/// One block of one event. See the module's charter.
#[derive(Clone, Debug)]
pub struct SeatBlock {
    block: BlockRef,
    /// `None` until it is configured.
    stock: Option<Box<Stock>>,
}

impl SeatBlock {
    /// Places by state; `None` until it is configured.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        self.stock.as_ref().map(|stock| stock.places.counts())
    }

    /// How many holds it remembers, ended ones too.
    #[must_use]
    pub fn holds(&self) -> usize {
        self.stock.as_ref().map_or(0, |stock| stock.holds.len())
    }

    fn judge(&self) -> Option<Judge<'_>> {
        self.stock.as_deref().map(|stock| Judge { block: &self.block, stock })
    }

    /// What can be said to a block that has no places yet.
    fn decide_bare(&self, command: Command, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        match command {
            Command::Configure(setup) => {
                self.block.tell_configured(setup.revision, out);
                out.change(Change::Configured { shape: Shape::from(&setup.layout), terms: Terms::from(&*setup) });
                Ok(Reply::Noted)
            }
            Command::Seek { hold, desk, key, .. } => {
                let answer = Err(Refusal::UnknownBlock);
                out.tell(Address::Orders(desk), crate::order::Command::SeekAnswered { key, hold, answer });
                Ok(Reply::Noted)
            }
            Command::Hold { .. }
            | Command::Release { .. }
            | Command::Show { .. }
            | Command::Bind { .. }
            | Command::Sell { .. }
            | Command::Return { .. }
            | Command::Block(_)
            | Command::Unblock(_)
            | Command::Ledger { .. }
            | Command::Audit => Err(Refusal::UnknownBlock),
        }
    }
}

impl Machine for SeatBlock {
    type Command = Command;
    type Change = Change;
    type Reply = Reply;

    fn new(address: &Address) -> Self {
        let block = match address {
            Address::Block(block) => block.clone(),
            Address::Event(_) | Address::Orders(_) | Address::Payments(_) | Address::Notifier(_) => {
                panic!("a seat block lives at the address of a block, not at {address:?}")
            }
        };
        Self { block, stock: None }
    }

    fn decide(&self, at: Moment<'_>, command: Command, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        match self.judge() {
            Some(judge) => judge.decide(at, command, out),
            None => self.decide_bare(command, out),
        }
    }

    /// A customer's slot is the one place that a hold goes to by chance and not in order.
    fn foresee(&self, command: &Command) -> u64 {
        match (&self.stock, command) {
            (Some(stock), Command::Hold { customer, .. } | Command::Seek { customer, .. }) => {
                stock.holds.roster.foresee(customer)
            }
            (Some(_) | None, _) => 0,
        }
    }

    fn apply(&mut self, change: &Change) {
        match (&mut self.stock, change) {
            (None, Change::Configured { shape, terms }) => self.stock = Some(Box::new(Stock::new(shape, terms))),
            (None, _) => panic!("a block that changes was configured"),
            (Some(stock), _) => stock.apply(change),
        }
    }

    fn wake(&self, at: Moment<'_>, out: &mut Outbox<Change>) {
        if let Some(judge) = self.judge() {
            judge.wake(at, out);
        }
    }

    fn deadline(&self) -> Option<Millis> {
        self.stock.as_ref()?.holds.deadline()
    }

    fn publish(&self, change: &Change, feed: &mut Vec<Feed>) {
        if matches!(change, Change::Configured { .. }) {
            self.picture(feed);
        }
        let Some(stock) = &self.stock else { return };
        if planted::is(Bug::BoardMissesExpiry) && matches!(change, Change::Expired { .. }) {
            return;
        }
        if let Some(seats) = stock.visible(change) {
            let counts = stock.places.counts();
            feed.push(Feed::Seats(SeatsChanged { block: self.block.clone(), seq: stock.seq, seats, counts }));
        }
    }

    fn picture(&self, feed: &mut Vec<Feed>) {
        let Some(stock) = &self.stock else { return };
        let seats = match &stock.places {
            Places::Seated(seats) => pack(seats.states()),
            Places::Standing(_) => Vec::new(),
        };
        let counts = stock.places.counts();
        feed.push(Feed::Board(Box::new(Board { block: self.block.clone(), seq: stock.seq, seats, counts })));
    }
}

/// Packs seat states, 2 bits each, first seat in the lowest bits of the first byte.
#[must_use]
pub fn pack(states: impl IntoIterator<Item = SeatState>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, state) in states.into_iter().enumerate() {
        if at % 4 == 0 {
            bytes.push(0);
        }
        bytes[at / 4] |= (state as u8) << (2 * (at % 4));
    }
    bytes
}
