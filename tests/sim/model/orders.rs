//! Orders and searches as the changes of order desks add up, and what must be true elsewhere for each step.

use std::collections::BTreeMap;

use actors::address::BlockRef;
use actors::ids::{HoldId, OrderId};
use actors::keyed::Entry;
use actors::machine::Machine;
use actors::order::{self, OrderDesk, Settlement, State};
use actors::time::Millis;

use super::blocks::places;
use super::{HoldStage, Model, OrderModel, SeekStage, Violation, must};
use crate::gateway::Provider;

impl Model {
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
}
