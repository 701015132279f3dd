//! Reading an order desk: pages of orders and sums for audits. Changes nothing.

use std::num::NonZeroU128;
use std::ops::Bound;

use super::book::Order;
use super::desk::{OrderDesk, hash};
use super::{OrderView, Reply, State, Summary};
use crate::ids::{Customer, EventId, OrderId};
use crate::notice::LetterKind;

impl OrderDesk {
    /// A customer's orders with an id below `before`, oldest first.
    pub(super) fn orders_of(
        &self,
        customer: &Customer,
        before: Option<OrderId>,
    ) -> impl DoubleEndedIterator<Item = (OrderId, &Order)> {
        let hash = hash(customer);
        let first = OrderId(NonZeroU128::MIN);
        let end = before.unwrap_or(OrderId(NonZeroU128::MAX));
        let ids = self.by_customer.range((hash, first)..(hash, end));
        ids.filter_map(|(_, id)| Some((*id, self.orders.get(id)?.as_ref())))
            .filter(|(_, order)| order.customer == *customer)
    }

    pub(super) fn list(&self, customer: &Customer, before: Option<OrderId>, limit: u32) -> Reply {
        page(self.orders_of(customer, before).rev(), limit)
    }

    pub(super) fn list_event(&self, event: &EventId, after: Option<OrderId>, limit: u32) -> Reply {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let newer = self.orders.range((after, Bound::Unbounded)).map(|(id, order)| (*id, order.as_ref()));
        page(newer.filter(|(_, order)| order.event == *event), limit)
    }

    pub(super) fn audit(&self, event: &EventId) -> Summary {
        let mut summary = Summary::default();
        for (id, order) in self.orders.iter().filter(|(_, order)| order.event == *event) {
            summary.orders[order.state as usize] += 1;
            let total = order.total().amount;
            let (captured, refunded) = order.money();
            summary.captured += if captured { total } else { 0 };
            summary.refunded += if refunded { total } else { 0 };
            if order.state == State::Paid {
                summary.paid_places += u64::from(order.places());
                summary.paid += total;
                summary.claims.extend(order.holds().map(|(hold, places)| (hold, *id, places)));
            }
        }
        summary
    }

    /// Whether the notifier has everything a settled order owes in writing, for the simulation's end check.
    #[must_use]
    pub fn owes_nothing(&self) -> bool {
        let quiet = |order: &Order| match order.state {
            State::Paid => order.has_taken(LetterKind::Confirmation),
            State::Refunded => order.has_taken(LetterKind::Refund),
            State::PaymentFailed => false,
            State::Placed | State::Paying | State::Selling | State::Refunding => false,
            State::Expired | State::Cancelled => order.due().is_none(),
        };
        self.orders.values().all(|order| quiet(order))
    }
}

/// The first `limit` of `orders`, and where to continue.
fn page<'a>(orders: impl Iterator<Item = (OrderId, &'a Order)>, limit: u32) -> Reply {
    let mut orders: Vec<OrderView> = orders.take(limit as usize + 1).map(|(id, order)| order.view(id)).collect();
    let more = orders.len() > limit as usize;
    orders.truncate(limit as usize);
    let next = orders.last().map(|order| order.order).filter(|_| more);
    Reply::Orders { orders, next }
}
