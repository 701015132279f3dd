//! The model: what the durable changes add up to, worked out a second time and far more simply than the machines do.
//!
//! It is fed every entry of every record once that record is durable, with the moment of its turn, and refuses what may
//! never happen: a seat with two claims, a hold that ends early, a capture that the provider does not know of. It never
//! looks into a machine; comparing the two is [`crate::invariants`]'.

mod blocks;
mod debts;
mod orders;

use std::collections::{BTreeMap, BTreeSet};

use actors::address::BlockRef;
use actors::block::{Claim, Terms, Want};
use actors::event::{self, EventDesk};
use actors::ids::{Customer, HoldId, OrderId, PaymentId, TicketId};
use actors::keyed::{Entry, KeyDigest};
use actors::machine::Machine;
use actors::notice::LetterKind;
use actors::order::State;
use actors::policy::Policy;
use actors::time::Millis;

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
    forgotten: BTreeSet<HoldId>,
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
    /// When the id of a letter that is done may be forgotten.
    letters_forgotten: BTreeMap<(OrderId, LetterKind), Millis>,
    /// Letters that were written again because the order desk could not be reached until their ids were forgotten.
    pub(crate) letters_again: u64,
    /// How far each search is, and when it may be forgotten.
    pub(crate) seeks: BTreeMap<KeyDigest, (SeekStage, Millis)>,
    /// When each key that was answered may be forgotten.
    keys: BTreeMap<KeyDigest, Millis>,
    /// Holds of searches that were made again because the order desk could not be told until the block had forgotten them.
    pub(crate) holds_again: BTreeSet<HoldId>,
    /// What was wanted of a hold, noted by the customers who asked.
    pub(crate) wants: BTreeMap<HoldId, Want>,
    /// The highest limit that was ever in force.
    limit: Option<u32>,
    pub(crate) event_revision: u64,
}

impl Model {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            blocks: BTreeMap::new(),
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            letters: BTreeMap::new(),
            letters_forgotten: BTreeMap::new(),
            letters_again: 0,
            seeks: BTreeMap::new(),
            keys: BTreeMap::new(),
            holds_again: BTreeSet::new(),
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

    pub(crate) fn hold_of(&self, hold: HoldId, block: &BlockRef) -> Option<&HoldModel> {
        self.blocks.get(block)?.holds.get(&hold)
    }

    pub(crate) fn is_checked_in(&self, ticket: TicketId, at: Millis) -> bool {
        self.orders.get(&ticket.order).is_some_and(|order| order.checked_in.get(&ticket.place) == Some(&at))
    }
}
