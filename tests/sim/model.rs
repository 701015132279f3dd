//! The model: what the durable changes add up to, worked out a second time and far more simply than the machines do.
//!
//! It is fed every entry of every record once that record is durable, with the moment of its turn, and refuses what may
//! never happen: a seat with two claims, a hold that ends early, a capture that the provider does not know of. It never
//! looks into a machine; comparing the two is [`crate::invariants`]'.

use std::collections::BTreeMap;

use actors::address::BlockRef;
use actors::block::{self, Claim, House, SeatBlock, SeatIx, Shape, Terms, Want};
use actors::event::{self, EventDesk, Sale};
use actors::ids::{Customer, HoldId, OrderId, PaymentId, TicketId};
use actors::keyed::{Entry, KeyDigest};
use actors::machine::Machine;
use actors::notice::{self, LetterKind, Notifier};
use actors::order::{self, OrderDesk, Settlement, State};
use actors::payment::{self, PaymentDesk};
use actors::policy::Policy;
use actors::time::Millis;

use crate::gateway::Provider;

/// Something happened that may never happen.
pub(crate) type Violation = String;

macro_rules! must {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use must;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HoldStage {
    Held,
    Bound(OrderId),
    Sold(OrderId),
    Released,
    Expired,
}

#[derive(Clone, Debug)]
pub(crate) struct HoldModel {
    pub(crate) customer: Customer,
    pub(crate) claim: Claim,
    pub(crate) until: Millis,
    pub(crate) stage: HoldStage,
    forget_at: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Free,
    Hold(HoldId),
    House,
}

#[derive(Debug)]
pub(crate) struct BlockModel {
    /// Seats of each row; empty for a standing block.
    rows: Vec<u32>,
    pub(crate) seats: Vec<Owner>,
    /// Of a standing block.
    pub(crate) standing: Option<Standing>,
    terms: Terms,
    pub(crate) holds: BTreeMap<HoldId, HoldModel>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) free: u32,
    pub(crate) house: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct OrderModel {
    pub(crate) customer: Customer,
    pub(crate) lines: Vec<(HoldId, BlockRef, u32)>,
    pub(crate) total: u64,
    pub(crate) state: State,
    pub(crate) payments: Vec<PaymentId>,
    pub(crate) checked_in: BTreeMap<u16, Millis>,
    pay_by: Millis,
    bound: usize,
    sold: usize,
    returned: Vec<HoldId>,
}

/// Where a payment is, as the changes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PaymentStage {
    Calling,
    Waiting,
    Doubtful,
    Captured,
    Failed,
    Refunding,
    Refunded,
}

/// Where a letter is, as the changes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LetterStage {
    Waiting,
    Delivered,
    Dead,
}

/// Where a search under a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SeekStage {
    Asking,
    Answered,
}

/// See the module's charter.
#[derive(Debug)]
pub(crate) struct Model {
    policy: Policy,
    pub(crate) blocks: BTreeMap<BlockRef, BlockModel>,
    pub(crate) orders: BTreeMap<OrderId, OrderModel>,
    pub(crate) payments: BTreeMap<PaymentId, (OrderId, PaymentStage)>,
    pub(crate) letters: BTreeMap<(OrderId, LetterKind), LetterStage>,
    /// How far each search is, and when it may be forgotten.
    pub(crate) seeks: BTreeMap<KeyDigest, (SeekStage, Millis)>,
    /// When each key that was answered may be forgotten.
    keys: BTreeMap<KeyDigest, Millis>,
    /// What was wanted of a hold, noted by the customers who asked.
    pub(crate) wants: BTreeMap<HoldId, Want>,
    /// The highest limit that was ever in force.
    limit: Option<u32>,
    pub(crate) event_revision: u64,
}

fn places(claim: &Claim) -> u32 {
    match claim {
        Claim::Seats(seats) => seats.len() as u32,
        Claim::Standing(quantity) => *quantity,
    }
}

impl BlockModel {
    fn new(shape: &Shape, terms: Terms) -> Self {
        let (rows, standing) = match shape {
            Shape::Seated(rows) => (rows.iter().map(|seats| u32::from(*seats)).collect(), None),
            Shape::Standing(places) => (Vec::new(), Some(Standing { free: *places, house: 0 })),
        };
        let seats = vec![Owner::Free; rows.iter().sum::<u32>() as usize];
        Self { rows, seats, standing, terms, holds: BTreeMap::new() }
    }

    fn take(&mut self, hold: HoldId, claim: &Claim) -> Result<(), Violation> {
        match (claim, &mut self.standing) {
            (Claim::Seats(seats), None) => {
                must!(!seats.is_empty(), "hold {hold} of nothing");
                for seat in seats {
                    let owner = self.seats.get_mut(seat.0 as usize).ok_or(format!("hold {hold}: no seat {}", seat.0))?;
                    must!(*owner == Owner::Free, "seat {} has two claims: {hold} and {owner:?}", seat.0);
                    *owner = Owner::Hold(hold);
                }
            }
            (Claim::Standing(quantity), Some(standing)) => {
                must!(standing.free >= *quantity, "hold {hold} of {quantity} places, {} are free", standing.free);
                standing.free -= quantity;
            }
            _ => return Err(format!("hold {hold} of the wrong kind: {claim:?}")),
        }
        Ok(())
    }

    fn give_back(&mut self, hold: HoldId, claim: &Claim) -> Result<(), Violation> {
        match (claim, &mut self.standing) {
            (Claim::Seats(seats), None) => {
                for seat in seats {
                    let owner = &mut self.seats[seat.0 as usize];
                    must!(*owner == Owner::Hold(hold), "hold {hold} gives back seat {} of {owner:?}", seat.0);
                    *owner = Owner::Free;
                }
            }
            (Claim::Standing(quantity), Some(standing)) => standing.free += quantity,
            _ => return Err(format!("hold {hold} of the wrong kind: {claim:?}")),
        }
        Ok(())
    }

    fn house(&mut self, house: &House, from: Owner, to: Owner) -> Result<(), Violation> {
        match (house, &mut self.standing) {
            (House::Seats(seats), None) => {
                for SeatIx(seat) in seats {
                    let owner = &mut self.seats[*seat as usize];
                    must!(*owner == from, "house seat {seat} is {owner:?}");
                    *owner = to;
                }
            }
            (House::Standing(quantity), Some(standing)) => {
                let (less, more) = match to {
                    Owner::House => (&mut standing.free, &mut standing.house),
                    _ => (&mut standing.house, &mut standing.free),
                };
                must!(*less >= *quantity, "house takes {quantity} places of {less}");
                *less -= quantity;
                *more += quantity;
            }
            _ => return Err("house of the wrong kind".to_owned()),
        }
        Ok(())
    }

    pub(crate) fn counts(&self) -> block::Counts {
        let mut counts = block::Counts::default();
        if let Some(standing) = self.standing {
            counts.free = standing.free;
            counts.blocked = standing.house;
        }
        for owner in &self.seats {
            match owner {
                Owner::Free => counts.free += 1,
                Owner::House => counts.blocked += 1,
                Owner::Hold(_) => {}
            }
        }
        for hold in self.holds.values() {
            match hold.stage {
                HoldStage::Held | HoldStage::Bound(_) => counts.held += places(&hold.claim),
                HoldStage::Sold(_) => counts.sold += places(&hold.claim),
                HoldStage::Released | HoldStage::Expired => {}
            }
        }
        counts
    }

    fn free_runs(&self) -> Vec<(usize, u32)> {
        let mut runs = Vec::new();
        let mut first = 0;
        for width in &self.rows {
            let mut start = None;
            for at in first..=first + *width as usize {
                let free = at < first + *width as usize && self.seats[at] == Owner::Free;
                match (free, start) {
                    (true, None) => start = Some(at),
                    (false, Some(from)) => {
                        runs.push((from, (at - from) as u32));
                        start = None;
                    }
                    _ => {}
                }
            }
            first += *width as usize;
        }
        runs
    }

    /// The orphan rule and the promise of best available, judged against the seats before the hold.
    fn judge_choice(&self, hold: HoldId, claim: &Claim, want: &Want) -> Result<(), Violation> {
        let Claim::Seats(seats) = claim else { return Ok(()) };
        let quantity = seats.len() as u32;
        let runs = self.free_runs();
        let fits = runs.iter().any(|(_, length)| *length == quantity || *length >= quantity + 2);
        let adjacent_possible = runs.iter().any(|(_, length)| *length >= quantity);
        let taken = |at: usize| seats.iter().any(|seat| seat.0 as usize == at);
        let leaves_alone = runs.iter().any(|(from, length)| {
            let end = from + *length as usize;
            let free = |at: usize| at >= *from && at < end && !taken(at);
            let touched = (*from..end).any(taken);
            touched && *length > 1 && (*from..end).any(|at| free(at) && !(at > 0 && free(at - 1)) && !free(at + 1))
        });
        match want {
            Want::Seats(_) => {
                let broken = self.terms.rules.no_orphans && leaves_alone && fits;
                must!(!broken, "hold {hold} of {seats:?} leaves a seat alone");
            }
            Want::Best { .. } => {
                must!(!(leaves_alone && fits), "best available {hold} of {seats:?} leaves a seat alone");
                let run = |(from, length): &(usize, u32)| seats.iter().all(|s| (s.0 as usize) >= *from && (s.0 as usize) < from + *length as usize);
                let adjacent = runs.iter().any(run) && seats.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
                must!(adjacent || !adjacent_possible, "best available {hold} of {seats:?} is not side by side");
            }
            Want::Standing { .. } => {}
        }
        Ok(())
    }
}

impl Model {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            blocks: BTreeMap::new(),
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            letters: BTreeMap::new(),
            seeks: BTreeMap::new(),
            keys: BTreeMap::new(),
            wants: BTreeMap::new(),
            limit: Some(0),
            event_revision: 0,
        }
    }

    fn key<C, R>(&mut self, at: Millis, entry: &Entry<C, R>) -> Result<(), Violation> {
        match entry {
            Entry::Change(_) => {}
            Entry::Answered { key, forget_at, .. } => {
                must!(*forget_at >= at + self.policy.idempotency_ttl, "a key is forgotten too early");
                let known = self.keys.insert(key.digest, *forget_at);
                must!(known.is_none(), "key {:x} is answered a second time", key.digest.0);
            }
            Entry::Forgotten { until } => {
                must!(*until <= at, "keys are forgotten ahead of time");
                // Each desk has keys of its own; those of others that are due go with their own word.
                self.keys.retain(|_, forget_at| *forget_at > *until);
            }
        }
        Ok(())
    }

    fn limit_is(&mut self, limit: Option<u32>) {
        self.limit = match (self.limit, limit) {
            (Some(known), Some(new)) => Some(known.max(new)),
            _ => None,
        };
    }

    pub(crate) fn event(
        &mut self,
        at: Millis,
        entry: &Entry<<EventDesk as Machine>::Change, event::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        match change {
            event::Change::Created { spec, .. } => {
                must!(self.event_revision == 0, "the event is created twice");
                self.event_revision = 1;
                self.limit_is(spec.rules.max_per_customer);
            }
            event::Change::Patched { patch, .. } => {
                self.event_revision += 1;
                if let Some(rules) = patch.rules {
                    self.limit_is(rules.max_per_customer);
                }
            }
            event::Change::SaleSet { .. } => self.event_revision += 1,
            event::Change::BlockConfigured { .. } | event::Change::Reminded { .. } | event::Change::SaleBegan => {}
        }
        Ok(())
    }

    pub(crate) fn block(
        &mut self,
        at: Millis,
        name: &BlockRef,
        entry: &Entry<<SeatBlock as Machine>::Change, block::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        if let block::Change::Configured { shape, terms } = change {
            let known = self.blocks.insert(name.clone(), BlockModel::new(shape, terms.clone()));
            must!(known.is_none(), "block {} is configured twice", name.block);
            return Ok(());
        }
        let ended_ttl = self.policy.ended_hold_ttl;
        let block = self.blocks.get_mut(name).ok_or("a block that changes was configured")?;
        match change {
            block::Change::Configured { .. } => {}
            block::Change::Revised(terms) => {
                must!(terms.revision > block.terms.revision, "block {} goes back to old terms", name.block);
                block.terms = terms.clone();
            }
            block::Change::Held { hold, customer, claim, until } => {
                let rules = block.terms.rules;
                let open = block.terms.sale == Sale::Open && block.terms.on_sale_at.is_none_or(|opens| opens <= at);
                must!(open, "hold {hold} outside of the sale");
                must!(*until == at + rules.hold_ttl, "hold {hold} lasts until {until:?}, made at {at:?}");
                must!(places(claim) <= rules.max_per_hold, "hold {hold} has too many places");
                let mine = block.holds.values().filter(|other| other.customer == *customer && other.is_live());
                let mine: u32 = mine.map(|other| places(&other.claim)).sum();
                let most = rules.max_per_customer.unwrap_or(u32::MAX);
                must!(mine + places(claim) <= most, "hold {hold}: {customer} has too many places");
                if let Some(want) = self.wants.get(hold) {
                    block.judge_choice(*hold, claim, want)?;
                }
                block.take(*hold, claim)?;
                let made = HoldModel {
                    customer: customer.clone(),
                    claim: claim.clone(),
                    until: *until,
                    stage: HoldStage::Held,
                    forget_at: None,
                };
                must!(block.holds.insert(*hold, made).is_none(), "hold {hold} is made twice");
            }
            block::Change::Bound { hold, order } => {
                let known = block.hold(*hold)?;
                must!(known.stage == HoldStage::Held, "hold {hold} is bound, it was {:?}", known.stage);
                must!(at < known.until, "hold {hold} is bound at {at:?}, it ended at {:?}", known.until);
                known.stage = HoldStage::Bound(*order);
            }
            block::Change::Sold { hold, order } => {
                let known = block.hold(*hold)?;
                must!(known.stage == HoldStage::Bound(*order), "hold {hold} is sold to {order}, it was {:?}", known.stage);
                known.stage = HoldStage::Sold(*order);
            }
            block::Change::Released { hold, forget_at } => {
                block.end(*hold, HoldStage::Released, at, *forget_at, |stage| stage == HoldStage::Held)?;
                must!(*forget_at >= at + ended_ttl, "hold {hold} is forgotten too early");
            }
            block::Change::Returned { hold, forget_at } => {
                let taken = |stage| matches!(stage, HoldStage::Bound(_) | HoldStage::Sold(_));
                block.end(*hold, HoldStage::Released, at, *forget_at, taken)?;
            }
            block::Change::Expired { holds, forget_at } => {
                for hold in holds {
                    let until = block.hold(*hold)?.until;
                    must!(until <= at, "hold {hold} expires at {at:?}, it lasts until {until:?}");
                    block.end(*hold, HoldStage::Expired, at, *forget_at, |stage| stage == HoldStage::Held)?;
                }
            }
            block::Change::Forgotten { until } => {
                must!(*until <= at, "holds are forgotten ahead of time");
                block.holds.retain(|_, hold| hold.forget_at.is_none_or(|due| due > *until));
            }
            block::Change::Reminded { holds } => {
                for (hold, _) in holds {
                    let known = block.hold(*hold)?;
                    must!(matches!(known.stage, HoldStage::Bound(_)), "reminder of hold {hold} that is {:?}", known.stage);
                }
            }
            block::Change::Blocked(house) => block.house(house, Owner::Free, Owner::House)?,
            block::Change::Unblocked(house) => block.house(house, Owner::House, Owner::Free)?,
        }
        Ok(())
    }

    pub(crate) fn hold_of(&self, hold: HoldId, block: &BlockRef) -> Option<&HoldModel> {
        self.blocks.get(block)?.holds.get(&hold)
    }

    pub(crate) fn order(
        &mut self,
        at: Millis,
        provider: &Provider,
        entry: &Entry<<OrderDesk as Machine>::Change, order::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        use order::Change;
        match change {
            Change::Placed { order, customer, event, payment, lines, at: when, pay_by, .. } => {
                must!(*when == at, "order {order} is placed at another time than its turn");
                let line = |line: &order::Line| {
                    let block = BlockRef { event: event.clone(), block: line.block.clone() };
                    (line.hold, block, places(&line.claim))
                };
                let placed = OrderModel {
                    customer: customer.clone(),
                    lines: lines.iter().map(line).collect(),
                    total: lines.iter().map(|line| line.price.amount * u64::from(places(&line.claim))).sum(),
                    state: State::Placed,
                    payments: vec![*payment],
                    checked_in: BTreeMap::new(),
                    pay_by: *pay_by,
                    bound: 0,
                    sold: 0,
                    returned: Vec::new(),
                };
                must!(self.orders.insert(*order, placed).is_none(), "order {order} is placed twice");
                let theirs = self.orders.values().filter(|other| other.customer == *customer && other.state.counts());
                let bought: u32 = theirs.flat_map(|other| other.lines.iter().map(|(_, _, places)| places)).sum();
                must!(bought <= self.limit.unwrap_or(u32::MAX), "{customer} orders {bought} places");
            }
            Change::LineBound { order, hold, .. } => {
                let block = self.line(*order, *hold)?.1.clone();
                let stage = self.hold_of(*hold, &block).map(|known| known.stage);
                must!(stage == Some(HoldStage::Bound(*order)), "order {order} has hold {hold}, which is {stage:?}");
                let known = self.known(*order)?;
                must!(known.state == State::Placed, "a hold is bound to order {order}, which is {:?}", known.state);
                known.bound += 1;
                if known.bound == known.lines.len() {
                    known.state = if known.total == 0 { State::Selling } else { State::Paying };
                }
            }
            Change::BindRefused { order, hold, .. } => {
                let block = self.line(*order, *hold)?.1.clone();
                let stage = self.hold_of(*hold, &block).map(|known| known.stage);
                let lost = stage != Some(HoldStage::Held) && stage != Some(HoldStage::Bound(*order));
                must!(lost, "order {order} is refused hold {hold}, which is {stage:?}");
                let known = self.known(*order)?;
                must!(known.state == State::Placed, "order {order} is refused a hold as {:?}", known.state);
                known.state = State::Expired;
            }
            Change::Settled { order, settlement, .. } => {
                let known = self.known(*order)?;
                must!(known.state == State::Paying, "order {order} is settled as {:?}", known.state);
                let payment = known.payments.last().copied();
                match settlement {
                    Settlement::Captured => {
                        let captured = payment.is_some_and(|payment| provider.has_kept(payment));
                        must!(captured, "order {order} is paid for with money that the provider does not have");
                        known.state = State::Selling;
                    }
                    Settlement::Failed(_) => known.state = State::PaymentFailed,
                }
            }
            Change::LineSold { order, hold, .. } => {
                let block = self.line(*order, *hold)?.1.clone();
                let stage = self.hold_of(*hold, &block).map(|known| known.stage);
                must!(stage == Some(HoldStage::Sold(*order)), "order {order} buys hold {hold}, which is {stage:?}");
                let known = self.known(*order)?;
                must!(known.state == State::Selling, "order {order} buys as {:?}", known.state);
                known.sold += 1;
                if known.sold == known.lines.len() {
                    known.state = State::Paid;
                }
            }
            Change::LineReturned { order, hold, .. } => {
                let known = self.known(*order)?;
                let over = matches!(known.state, State::Expired | State::Cancelled | State::Refunding);
                must!(over, "order {order} lets go of a hold as {:?}", known.state);
                known.returned.push(*hold);
                if known.state == State::Refunding && known.returned.len() == known.lines.len() {
                    known.state = State::Refunded;
                }
            }
            Change::PaidAgain { order, payment, .. } => {
                let known = self.known(*order)?;
                must!(known.state == State::PaymentFailed, "order {order} is paid again as {:?}", known.state);
                must!(at < known.pay_by, "order {order} is paid again after its time");
                known.payments.push(*payment);
                known.state = State::Paying;
            }
            Change::Ended { order, state, .. } => {
                let known = self.known(*order)?;
                let may = matches!(known.state, State::Placed | State::PaymentFailed);
                must!(may, "order {order} ends as {:?}", known.state);
                let early = *state == State::Expired && at < known.pay_by;
                must!(!early, "order {order} expires at {at:?}, it lasts until {:?}", known.pay_by);
                known.state = *state;
            }
            Change::RefundBegun { order, reason, .. } => {
                let known = self.known(*order)?;
                // Money without seats needs a bug: the other way to a refund must stay shut.
                must!(reason.is_none(), "order {order} lost its seats after it was paid: {reason:?}");
                must!(known.state == State::Paid, "order {order} is refunded as {:?}", known.state);
                known.state = State::Refunding;
            }
            Change::MoneyReturned { order, .. } => {
                let known = self.known(*order)?;
                must!(known.state == State::Refunding, "order {order} gets money back as {:?}", known.state);
                let kept = known.payments.iter().any(|payment| provider.has_kept(*payment));
                must!(!kept, "order {order} is said to have its money back");
            }
            Change::LetterTaken { order, kind } => {
                must!(self.letters.contains_key(&(*order, *kind)), "nobody has the letter about {order}");
            }
            Change::CheckedIn { order, place, at: when } => {
                let known = self.known(*order)?;
                must!(known.state == State::Paid, "a ticket of order {order} is used as {:?}", known.state);
                must!(known.checked_in.insert(*place, *when).is_none(), "a ticket of order {order} is used twice");
            }
            Change::Reminded { order, .. } => {
                self.known(*order)?;
            }
            Change::SeekBegun { key, forget_at, .. } => {
                must!(*forget_at >= at + self.policy.idempotency_ttl, "a search is forgotten too early");
                let known = self.seeks.insert(key.digest, (SeekStage::Asking, *forget_at));
                must!(known.is_none(), "a search begins twice");
            }
            Change::SeekEnded { key, answer } => {
                let known = self.seeks.get_mut(key).ok_or("a search that ends was begun")?;
                let before = std::mem::replace(&mut known.0, SeekStage::Answered);
                must!(before == SeekStage::Asking, "a search ends twice");
                if let Ok(view) = &**answer {
                    let known = self.hold_of(view.hold, &view.block).is_some();
                    must!(known, "a search found hold {} that does not exist", view.hold);
                }
            }
            Change::SeekMoved { .. } | Change::SeekReminded { .. } => {}
            Change::SeeksForgotten { until } => {
                must!(*until <= at, "searches are forgotten ahead of time");
                self.seeks.retain(|_, (_, forget_at)| *forget_at > *until);
            }
        }
        Ok(())
    }

    fn known(&mut self, order: OrderId) -> Result<&mut OrderModel, Violation> {
        self.orders.get_mut(&order).ok_or_else(|| format!("order {order} changes and was never placed"))
    }

    fn line(&self, order: OrderId, hold: HoldId) -> Result<&(HoldId, BlockRef, u32), Violation> {
        let lines = self.orders.get(&order).map(|known| known.lines.as_slice()).unwrap_or_default();
        lines.iter().find(|line| line.0 == hold).ok_or_else(|| format!("order {order} has no hold {hold}"))
    }

    pub(crate) fn payment(
        &mut self,
        at: Millis,
        provider: &Provider,
        entry: &Entry<<PaymentDesk as Machine>::Change, payment::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        use payment::Change;
        let (id, stage) = match change {
            Change::Asked { payment, order, .. } => {
                let known = self.payments.insert(*payment, (*order, PaymentStage::Calling));
                must!(known.is_none(), "payment {payment} is asked for twice");
                return Ok(());
            }
            Change::Called { payment, .. } => (*payment, PaymentStage::Calling),
            Change::Postponed { payment, .. } => (*payment, PaymentStage::Waiting),
            Change::Doubted { payment, .. } => (*payment, PaymentStage::Doubtful),
            Change::Captured { payment, .. } => {
                must!(provider.has_kept(*payment), "payment {payment} is captured, the provider says no");
                (*payment, PaymentStage::Captured)
            }
            Change::Failed { payment, .. } => (*payment, PaymentStage::Failed),
            Change::Refunding { payment, .. } => (*payment, PaymentStage::Refunding),
            Change::Refunded { payment, .. } => {
                must!(provider.has_returned(*payment), "payment {payment} is refunded, the provider says no");
                (*payment, PaymentStage::Refunded)
            }
            Change::Heard { payment } | Change::Reminded { payment, .. } => {
                must!(self.payments.contains_key(payment), "payment {payment} was never asked for");
                return Ok(());
            }
        };
        let known = self.payments.get_mut(&id).ok_or_else(|| format!("payment {id} was never asked for"))?;
        known.1 = stage;
        Ok(())
    }

    pub(crate) fn notice(
        &mut self,
        at: Millis,
        entry: &Entry<<Notifier as Machine>::Change, notice::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        use notice::Change;
        let (id, stage) = match change {
            Change::Taken { letter, .. } => {
                let id = (letter.order, letter.kind);
                let known = self.letters.insert(id, LetterStage::Waiting);
                must!(known.is_none(), "the letter {:?} about {} is written twice", id.1, id.0);
                return Ok(());
            }
            Change::Delivered { order, kind, .. } => ((*order, *kind), LetterStage::Delivered),
            Change::Died { order, kind, .. } => ((*order, *kind), LetterStage::Dead),
            Change::Postponed { order, kind, .. } | Change::Retried { order, kind, .. } => {
                let stage = self.letters.get(&(*order, *kind));
                must!(stage == Some(&LetterStage::Waiting), "a letter about {order} is tried again as {stage:?}");
                return Ok(());
            }
            Change::Forgotten { until } => {
                must!(*until <= at, "letters are forgotten ahead of time");
                return Ok(());
            }
        };
        let known = self.letters.insert(id, stage);
        must!(known == Some(LetterStage::Waiting), "a letter about {} ends as {stage:?}, it was {known:?}", id.0);
        Ok(())
    }

    pub(crate) fn is_checked_in(&self, ticket: TicketId, at: Millis) -> bool {
        self.orders.get(&ticket.order).is_some_and(|order| order.checked_in.get(&ticket.place) == Some(&at))
    }
}

impl HoldModel {
    pub(crate) fn is_live(&self) -> bool {
        match self.stage {
            HoldStage::Held | HoldStage::Bound(_) | HoldStage::Sold(_) => true,
            HoldStage::Released | HoldStage::Expired => false,
        }
    }
}

impl BlockModel {
    fn hold(&mut self, hold: HoldId) -> Result<&mut HoldModel, Violation> {
        self.holds.get_mut(&hold).ok_or_else(|| format!("hold {hold} changes and was never made"))
    }

    fn end(
        &mut self,
        hold: HoldId,
        stage: HoldStage,
        at: Millis,
        forget_at: Millis,
        may: impl Fn(HoldStage) -> bool,
    ) -> Result<(), Violation> {
        let known = self.hold(hold)?;
        must!(may(known.stage), "hold {hold} ends as {stage:?} at {at:?}, it was {:?}", known.stage);
        known.stage = stage;
        known.forget_at = Some(forget_at);
        let claim = known.claim.clone();
        self.give_back(hold, &claim)
    }
}
