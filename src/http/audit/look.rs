//! One look at all machines of an event, and what in it contradicts itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use actors::address::BlockRef;
use actors::block::{self, Census, LineState};
use actors::ids::{EventId, HoldId, OrderId, Shard};
use actors::keyed::Asked;
use actors::message::Message;
use actors::order::{self, State as OrderState, Summary};
use actors::payment;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::State;
use super::super::problem::Problem;
use super::super::refused::wrong_reply;
use super::{OrdersByState, SeatsByState};
use crate::board::Described;

/// Machines asked at the same time.
const ASKS_AT_ONCE: usize = 16;
/// Claims read from a block at once.
const CLAIMS_AT_ONCE: u32 = 1000;

/// What two machines do not agree about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contradiction {
    /// A block sold a hold to an order that does not count as paid.
    SoldUnpaid { hold: HoldId, order: OrderId },
    /// A paid order has a hold that its block did not sell to it.
    PaidUnsold { hold: HoldId, order: OrderId },
    /// They do not agree how many places a hold has.
    Places { hold: HoldId, order: OrderId, sold: u32, paid: u32 },
    /// Nothing is under way, and still the money does not add up.
    Money { captured: u64, refunded: u64, paid: u64 },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldUnpaid { hold, order } => write!(f, "hold {hold} is sold to order {order}, which is not paid"),
            Self::PaidUnsold { hold, order } => {
                write!(f, "order {order} is paid, but its hold {hold} is not sold to it")
            }
            Self::Places { hold, order, sold, paid } => {
                write!(f, "hold {hold} has {sold} sold places, and order {order} paid for {paid}")
            }
            Self::Money { captured, refunded, paid } => {
                write!(f, "captured {captured} less refunded {refunded} is not what paid orders are worth: {paid}")
            }
        }
    }
}

/// Everything at one look.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) seats: SeatsByState,
    pub(super) orders: OrdersByState,
    pub(super) captured: u64,
    pub(super) refunded: u64,
    pub(super) paid: u64,
    pub(super) open_payments: u64,
    /// What one machine says against itself: certain at once.
    pub(super) violations: Vec<String>,
    /// What two machines do not agree about: may only be a matter of moments.
    pub(super) contradictions: BTreeSet<Contradiction>,
}

type Sold = BTreeMap<HoldId, (Option<OrderId>, u32)>;
type Paid = BTreeMap<HoldId, (OrderId, u32)>;

impl Look {
    /// Asks every block, order desk and payment desk.
    ///
    /// # Errors
    /// One of them could not be asked: half an audit is none.
    pub(super) async fn take(state: &State, event: &Described) -> Result<Look, Problem> {
        let mut look = Look::default();
        let mut under_way = 0;
        let mut paid = Paid::new();
        let desks: Vec<Shard> = (0..state.shards()).map(Shard).collect();
        for summary in summaries(state, &desks, &event.spec.id).await? {
            under_way += look.add_orders(&summary, &mut paid);
        }
        let blocks: Vec<(BlockRef, u32)> =
            event.blocks().map(|(spec, block)| (block.at().clone(), spec.layout.capacity())).collect();
        let sold = look.add_blocks(state, &blocks).await?;
        for payment::Summary { captured, refunded, open } in payments(state, &desks, &event.spec.id).await? {
            look.captured += captured;
            look.refunded += refunded;
            look.open_payments += open;
        }
        look.compare(&sold, &paid);
        let is_quiet = under_way == 0 && look.open_payments == 0;
        if is_quiet && look.captured.checked_sub(look.refunded) != Some(look.paid) {
            let Look { captured, refunded, paid, .. } = look;
            look.contradictions.insert(Contradiction::Money { captured, refunded, paid });
        }
        Ok(look)
    }

    /// Adds the orders of one desk; says how many of them are under way.
    fn add_orders(&mut self, summary: &Summary, paid: &mut Paid) -> u64 {
        let mut under_way = 0;
        for (state, orders) in OrderState::ALL.iter().zip(summary.orders) {
            self.orders.add(*state, orders);
            under_way += if state.is_settled() { 0 } else { orders };
        }
        self.paid += summary.paid;
        for (hold, order, places) in &summary.claims {
            if let Some((other, _)) = paid.insert(*hold, (*order, *places)) {
                self.violations.push(format!("hold {hold} is in two paid orders: {order} and {other}"));
            }
        }
        under_way
    }

    async fn add_blocks(&mut self, state: &State, blocks: &[(BlockRef, u32)]) -> Result<Sold, Problem> {
        let asks = stream::iter(blocks).map(|(at, capacity)| async move {
            let census = census(state, at).await?;
            Ok::<_, Problem>((at, *capacity, census, sold(state, at).await?))
        });
        let mut asks = std::pin::pin!(asks.buffer_unordered(ASKS_AT_ONCE));
        let mut all = Sold::new();
        while let Some((at, capacity, census, sold)) = asks.try_next().await? {
            self.add_census(at, capacity, &census);
            for (hold, claim) in sold {
                if all.insert(hold, claim).is_some() {
                    self.violations.push(format!("hold {hold} is sold twice, in block {} as well", at.block));
                }
            }
        }
        Ok(all)
    }

    fn add_census(&mut self, at: &BlockRef, capacity: u32, census: &Census) {
        let Census { counts, bound, capacity: counted, violations } = census;
        let sum = counts.free + counts.held + counts.sold + counts.blocked;
        if sum != capacity || *counted != capacity {
            self.violations.push(format!("block {} has {capacity} places and counts {sum}", at.block));
        }
        self.violations.extend(violations.iter().map(|violation| format!("block {}: {violation}", at.block)));
        self.seats.capacity += u64::from(capacity);
        self.seats.free += u64::from(counts.free);
        self.seats.held += u64::from(counts.held.saturating_sub(*bound));
        self.seats.bound += u64::from(*bound);
        self.seats.sold += u64::from(counts.sold);
        self.seats.blocked += u64::from(counts.blocked);
    }

    /// Every sold hold must be in exactly one paid order, and the other way round.
    fn compare(&mut self, sold: &Sold, paid: &Paid) {
        for (hold, (buyer, places)) in sold {
            match (buyer, paid.get(hold)) {
                (Some(buyer), Some((order, wanted))) if buyer == order => {
                    if places != wanted {
                        let (hold, order) = (*hold, *order);
                        self.contradictions.insert(Contradiction::Places { hold, order, sold: *places, paid: *wanted });
                    }
                }
                (Some(buyer), _) => {
                    self.contradictions.insert(Contradiction::SoldUnpaid { hold: *hold, order: *buyer });
                }
                (None, _) => self.violations.push(format!("hold {hold} is sold to no order")),
            }
        }
        for (hold, (order, _)) in paid {
            if sold.get(hold).is_none_or(|(buyer, _)| *buyer != Some(*order)) {
                self.contradictions.insert(Contradiction::PaidUnsold { hold: *hold, order: *order });
            }
        }
    }

    /// Drops what an order that is still on its way explains: its seats are sold one by one before it is paid, and given
    /// back one by one after a refund has begun.
    pub(super) async fn drop_explained(&mut self, state: &State) -> Result<(), Problem> {
        for contradiction in std::mem::take(&mut self.contradictions) {
            let explained = match &contradiction {
                Contradiction::SoldUnpaid { order, .. } => {
                    matches!(state_of(state, *order).await?, OrderState::Selling | OrderState::Refunding)
                }
                Contradiction::PaidUnsold { .. } | Contradiction::Places { .. } | Contradiction::Money { .. } => false,
            };
            if !explained {
                self.contradictions.insert(contradiction);
            }
        }
        Ok(())
    }
}

async fn state_of(state: &State, order: OrderId) -> Result<OrderState, Problem> {
    let command = order::Command::Show { order, customer: None };
    match state.ask_orders(order.shard(), Asked::from(Message::from(command))).await?.reply {
        order::Reply::Order(view) => Ok(view.state),
        order::Reply::Orders { .. }
        | order::Reply::CheckedIn { .. }
        | order::Reply::Summary(_)
        | order::Reply::Sought { .. }
        | order::Reply::Noted => Err(wrong_reply("order desk")),
    }
}

async fn summaries(state: &State, desks: &[Shard], event: &EventId) -> Result<Vec<Summary>, Problem> {
    let asks = stream::iter(desks).map(|desk| async move {
        let command = order::Command::Audit { event: event.clone() };
        match state.ask_orders(*desk, Asked::from(Message::from(command))).await?.reply {
            order::Reply::Summary(summary) => Ok(*summary),
            order::Reply::Order(_)
            | order::Reply::Orders { .. }
            | order::Reply::CheckedIn { .. }
            | order::Reply::Sought { .. }
            | order::Reply::Noted => Err(wrong_reply("order desk")),
        }
    });
    asks.buffer_unordered(ASKS_AT_ONCE).try_collect().await
}

async fn payments(state: &State, desks: &[Shard], event: &EventId) -> Result<Vec<payment::Summary>, Problem> {
    let asks = stream::iter(desks).map(|desk| async move {
        match state.ask_payments(*desk, payment::Command::Audit { event: event.clone() }).await? {
            payment::Reply::Summary(summary) => Ok(summary),
            payment::Reply::Noted => Err(wrong_reply("payment desk")),
        }
    });
    asks.buffer_unordered(ASKS_AT_ONCE).try_collect().await
}

async fn census(state: &State, at: &BlockRef) -> Result<Census, Problem> {
    let names = state.names(at)?;
    match state.ask_block(at, &names, Asked::from(Message::from(block::Command::Audit))).await?.reply {
        block::Reply::Census(census) => Ok(*census),
        block::Reply::Held(_)
        | block::Reply::Hold(_)
        | block::Reply::Counts(_)
        | block::Reply::Ledger { .. }
        | block::Reply::Noted => Err(wrong_reply("block")),
    }
}

/// The sold holds of a block.
async fn sold(state: &State, at: &BlockRef) -> Result<Vec<(HoldId, (Option<OrderId>, u32))>, Problem> {
    let names = state.names(at)?;
    let mut sold = Vec::new();
    let mut after = None;
    loop {
        let command = block::Command::Ledger { after, limit: CLAIMS_AT_ONCE };
        let told = state.ask_block(at, &names, Asked::from(Message::from(command))).await?;
        let block::Reply::Ledger { lines, next } = told.reply else { return Err(wrong_reply("block")) };
        for line in lines.iter().filter(|line| line.state == LineState::Sold) {
            sold.extend(line.hold.map(|hold| (hold, (line.order, line.claim.quantity()))));
        }
        after = next;
        if next.is_none() {
            return Ok(sold);
        }
    }
}
