//! The desk itself: judges commands about orders, folds changes, wakes what is due.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::book::Order;
use super::seek::Seeks;
use super::{Change, Command, Line, Reply, Settlement, State};
use crate::address::Address;
use crate::block::{HoldState, HoldView};
use crate::feed::Feed;
use crate::ids::{Customer, EventId, HoldId, OrderId, PaymentId, TicketId};
use crate::keyed::{Key, KeyDigest};
use crate::machine::{Machine, Moment, Outbox};
use crate::payment;
use crate::planted::{self, Bug};
use crate::refusal::Refusal;
use crate::time::Millis;

/// All orders of the customers whose home is one shard. See the module's charter.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderDesk {
    pub(super) orders: BTreeMap<OrderId, Box<Order>>,
    seeks: Seeks,
    /// Derived from `orders`: hash of the customer, and the order.
    pub(super) by_customer: BTreeSet<(u64, OrderId)>,
    /// Derived from `orders`: the holds that orders are after, so that judging an order costs the same however many its
    /// customer has. See [`Order::is_after_its_holds`].
    wanted: BTreeSet<HoldId>,
    /// Derived from `orders`: when each running order wants attention.
    due: BTreeSet<(Millis, OrderId)>,
}

/// Only what is not derived is stored.
impl Serialize for OrderDesk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.orders, &self.seeks).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OrderDesk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (orders, seeks): (BTreeMap<OrderId, Box<Order>>, Seeks) = Deserialize::deserialize(deserializer)?;
        let by_customer = orders.iter().map(|(id, order)| (hash(&order.customer), *id)).collect();
        let after = orders.values().filter(|order| order.is_after_its_holds());
        let wanted = after.flat_map(|order| order.holds()).map(|(hold, _)| hold).collect();
        let due = orders.iter().filter_map(|(id, order)| Some((order.due()?, *id))).collect();
        Ok(Self { orders, seeks, by_customer, wanted, due })
    }
}

pub(super) fn hash(customer: &Customer) -> u64 {
    xxhash_rust::xxh3::xxh3_64(customer.as_str().as_bytes())
}

impl OrderDesk {
    fn order(&self, id: OrderId, customer: Option<&Customer>) -> Result<&Order, Refusal> {
        let order = self.orders.get(&id).ok_or(Refusal::UnknownOrder)?;
        match customer {
            Some(customer) if order.customer != *customer => Err(Refusal::UnknownOrder),
            _ => Ok(order),
        }
    }

    /// Records a fact about an order; when that brings it into another state, sends what it is owed there. The order as it
    /// is then.
    fn advance(at: Moment<'_>, (id, before): (OrderId, &Order), change: Change, out: &mut Outbox<Change>) -> Order {
        let mut after = before.clone();
        after.fold(&change);
        if (after.state, after.money()) != (before.state, before.money()) {
            after.send_debts(id, at.policy.payment_extension, out);
        }
        out.change(change);
        after
    }

    fn place(
        &self,
        at: Moment<'_>,
        order: OrderId,
        customer: Customer,
        holds: &[HoldView],
        pay: (String, String, PaymentId),
        out: &mut Outbox<Change>,
    ) -> Result<Reply, Refusal> {
        let event = holds.first().ok_or(Refusal::UnknownHold)?.block.event.clone();
        for (nth, hold) in holds.iter().enumerate() {
            self.judge_hold(at.now, hold, &customer)?;
            if holds[..nth].iter().any(|other| other.hold == hold.hold) {
                return Err(Refusal::HoldInOrder);
            }
            if hold.block.event != event || hold.price.currency != holds[0].price.currency {
                return Err(Refusal::MixedEvents);
            }
        }
        self.judge_limit(&customer, &event, holds)?;
        let line = |hold: &HoldView| Line {
            hold: hold.hold,
            block: hold.block.block.clone(),
            claim: hold.claim.clone(),
            price: hold.price,
        };
        let (email, token, payment) = pay;
        let placed = Change::Placed {
            order,
            customer,
            event,
            email,
            token,
            payment,
            lines: holds.iter().map(line).collect(),
            at: at.now,
            pay_by: holds.iter().map(|hold| hold.expires_at).min().unwrap_or(at.now),
            due: at.now + at.policy.resend_min,
        };
        let (_, new) = Order::placed(&placed).expect("it was placed");
        new.send_debts(order, at.policy.payment_extension, out);
        out.change(placed);
        Ok(Reply::Order(Box::new(new.view(order))))
    }

    fn judge_hold(&self, now: Millis, hold: &HoldView, customer: &Customer) -> Result<(), Refusal> {
        if hold.customer != *customer {
            return Err(Refusal::UnknownHold);
        }
        match hold.state {
            HoldState::Held if hold.expires_at <= now => Err(Refusal::HoldExpired),
            HoldState::Held if self.wanted.contains(&hold.hold) => Err(Refusal::HoldInOrder),
            HoldState::Held => Ok(()),
            HoldState::Bound(_) | HoldState::Sold(_) => Err(Refusal::HoldInOrder),
            HoldState::Released => Err(Refusal::HoldReleased),
            HoldState::Expired => Err(Refusal::HoldExpired),
        }
    }

    fn judge_limit(&self, customer: &Customer, event: &EventId, holds: &[HoldView]) -> Result<(), Refusal> {
        let Some(most) = holds.iter().filter_map(|hold| hold.max_per_customer).min() else { return Ok(()) };
        let live = self.orders_of(customer, None).filter(|(_, order)| order.event == *event && order.state.counts());
        let bought: u32 = live.map(|(_, order)| order.places()).sum();
        let wanted: u32 = holds.iter().map(|hold| hold.claim.quantity()).sum();
        if bought + wanted > most { Err(Refusal::CustomerLimit { most }) } else { Ok(()) }
    }

    fn pay_again(
        &self,
        at: Moment<'_>,
        id: OrderId,
        customer: &Customer,
        pay: (PaymentId, String),
        out: &mut Outbox<Change>,
    ) -> Result<Reply, Refusal> {
        let order = self.order(id, Some(customer))?;
        let (payment, token) = pay;
        match order.state {
            State::PaymentFailed if order.pay_by().is_some_and(|until| at.now < until) => {
                let change = Change::PaidAgain { order: id, payment, token, due: at.now + at.policy.resend_min };
                Ok(Reply::Order(Box::new(Self::advance(at, (id, order), change, out).view(id))))
            }
            State::PaymentFailed | State::Expired => Err(Refusal::HoldExpired),
            State::Placed | State::Paying | State::Selling => Err(Refusal::PaymentInProgress),
            State::Paid | State::Cancelled | State::Refunding | State::Refunded => {
                Err(Refusal::OrderState(order.state))
            }
        }
    }

    fn cancel(
        &self,
        at: Moment<'_>,
        id: OrderId,
        customer: &Customer,
        out: &mut Outbox<Change>,
    ) -> Result<Reply, Refusal> {
        let order = self.order(id, Some(customer))?;
        match order.state {
            State::Placed | State::PaymentFailed => {
                let due = at.now + at.policy.resend_min;
                let change = Change::Ended { order: id, state: State::Cancelled, due };
                Ok(Reply::Order(Box::new(Self::advance(at, (id, order), change, out).view(id))))
            }
            State::Cancelled => Ok(Reply::Order(Box::new(order.view(id)))),
            State::Paying | State::Selling => Err(Refusal::PaymentInProgress),
            State::Paid | State::Expired | State::Refunding | State::Refunded => Err(Refusal::OrderState(order.state)),
        }
    }

    fn refund(&self, at: Moment<'_>, id: OrderId, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        let order = self.order(id, None)?;
        match order.state {
            State::Paid => {
                let change = Change::RefundBegun { order: id, reason: None, due: at.now + at.policy.resend_min };
                Ok(Reply::Order(Box::new(Self::advance(at, (id, order), change, out).view(id))))
            }
            State::Refunding | State::Refunded => Ok(Reply::Order(Box::new(order.view(id)))),
            State::Paying | State::Selling => Err(Refusal::PaymentInProgress),
            State::Placed | State::PaymentFailed | State::Expired | State::Cancelled => {
                Err(Refusal::OrderState(order.state))
            }
        }
    }

    fn check_in(
        &self,
        at: Moment<'_>,
        ticket: TicketId,
        event: &EventId,
        out: &mut Outbox<Change>,
    ) -> Result<Reply, Refusal> {
        let order = self.order(ticket.order, None).map_err(|_| Refusal::TicketVoid)?;
        if order.state != State::Paid || order.event != *event {
            return Err(Refusal::TicketVoid);
        }
        match order.checked_in(ticket.place) {
            None => Err(Refusal::TicketVoid),
            Some(Some(at)) => Err(Refusal::AlreadyCheckedIn { at }),
            Some(None) => {
                if !planted::is(Bug::CheckInForgotten) {
                    out.change(Change::CheckedIn { order: ticket.order, place: ticket.place, at: at.now });
                }
                let mut view = order.tickets(ticket.order).swap_remove(usize::from(ticket.place));
                view.checked_in_at = Some(at.now);
                Ok(Reply::CheckedIn { ticket: Box::new(view), at: at.now })
            }
        }
    }

    /// What became of a payment. Money that this order is not waiting for goes back.
    fn settled(
        &self,
        at: Moment<'_>,
        id: OrderId,
        payment: PaymentId,
        settlement: Settlement,
        out: &mut Outbox<Change>,
    ) {
        let order = self.orders.get(&id).filter(|order| order.pays_with(payment));
        let waiting = order.filter(|order| order.state == State::Paying);
        let known = order.is_some_and(|order| order.money().0);
        let stray = settlement == Settlement::Captured && waiting.is_none() && !known;
        if let Some(order) = waiting {
            let change = Change::Settled { order: id, settlement, due: at.now + at.policy.resend_min };
            Self::advance(at, (id, order), change, out);
        }
        let to = Address::Payments(id.shard());
        if stray {
            out.tell(to, payment::Command::Refund { payment });
        } else {
            out.tell(to, payment::Command::SettlementHeard { payment });
        }
    }

    /// A block's or desk's word about an order: a step if the order waits for it, otherwise old news.
    fn heard(&self, at: Moment<'_>, command: &Command, out: &mut Outbox<Change>) {
        let due = at.now + at.policy.resend_min;
        match *command {
            Command::Bound { order: id, hold } => match self.orders.get(&id) {
                Some(order) if order.is_waiting_for(hold) => {
                    Self::advance(at, (id, order), Change::LineBound { order: id, hold, due }, out);
                }
                // The order let go of it before the block bound it: let go again.
                Some(order) if !order.state.counts() => order.return_hold(id, hold, out),
                Some(_) | None => {}
            },
            Command::BindRefused { order: id, hold, why } => {
                if let Some(order) = self.orders.get(&id).filter(|order| order.is_waiting_for(hold)) {
                    Self::advance(at, (id, order), Change::BindRefused { order: id, hold, why, due }, out);
                }
            }
            Command::Sold { order: id, hold } => {
                if let Some(order) = self.orders.get(&id).filter(|order| order.is_selling(hold)) {
                    Self::advance(at, (id, order), Change::LineSold { order: id, hold, due }, out);
                }
            }
            Command::SellRefused { order: id, hold } => {
                if let Some(order) = self.orders.get(&id).filter(|order| order.is_selling(hold)) {
                    let reason = Some("seat_lost".to_owned());
                    Self::advance(at, (id, order), Change::RefundBegun { order: id, reason, due }, out);
                }
            }
            Command::Returned { order: id, hold } => {
                if let Some(order) = self.orders.get(&id).filter(|order| order.is_returning(hold)) {
                    Self::advance(at, (id, order), Change::LineReturned { order: id, hold, due }, out);
                }
            }
            Command::RefundSettled { order: id, payment } => {
                let owed = self
                    .orders
                    .get(&id)
                    .filter(|order| order.state == State::Refunding && !order.money().1 && order.pays_with(payment));
                if let Some(order) = owed {
                    Self::advance(at, (id, order), Change::MoneyReturned { order: id, due }, out);
                }
                out.tell(Address::Payments(id.shard()), payment::Command::RefundHeard { payment });
            }
            Command::LetterTaken { order: id, kind } => {
                if self.orders.get(&id).is_some_and(|order| !order.has_taken(kind)) {
                    out.change(Change::LetterTaken { order: id, kind });
                }
            }
            Command::Place { .. }
            | Command::Show { .. }
            | Command::List { .. }
            | Command::ListEvent { .. }
            | Command::Pay { .. }
            | Command::Cancel { .. }
            | Command::Refund { .. }
            | Command::CheckIn { .. }
            | Command::Audit { .. }
            | Command::Seek { .. }
            | Command::SeekAnswered { .. }
            | Command::Settled { .. } => unreachable!("not a word about an order"),
        }
    }

    fn wake_order(&self, at: Moment<'_>, id: OrderId, out: &mut Outbox<Change>) {
        let order = &self.orders[&id];
        let over = order.pay_by().is_some_and(|until| until <= at.now);
        let due = at.now + at.policy.resend_min;
        let expires = match order.state {
            State::Placed | State::PaymentFailed => over,
            State::Paying
            | State::Selling
            | State::Paid
            | State::Expired
            | State::Cancelled
            | State::Refunding
            | State::Refunded => false,
        };
        if expires {
            Self::advance(at, (id, order), Change::Ended { order: id, state: State::Expired, due }, out);
        } else {
            let wait = order.pace(at.policy.resend_min, at.policy.resend_max);
            if !(planted::is(Bug::SellNotRepeated) && order.state == State::Selling) {
                order.send_debts(id, at.policy.payment_extension, out);
            }
            out.change(Change::Reminded { order: id, due: at.now + wait });
        }
    }

    fn fold(&mut self, id: OrderId, change: &Change) {
        let order = self.orders.get_mut(&id).expect("a change names an order of this desk");
        let (due, was_after) = (order.due(), order.is_after_its_holds());
        order.fold(change);
        if due != order.due() {
            due.map(|due| self.due.remove(&(due, id)));
            order.due().map(|due| self.due.insert((due, id)));
        }
        if was_after && !order.is_after_its_holds() {
            for (hold, _) in order.holds() {
                self.wanted.remove(&hold);
            }
        }
    }
}

impl Machine for OrderDesk {
    type Command = Command;
    type Change = Change;
    type Reply = Reply;

    fn new(_address: &Address) -> Self {
        Self {
            orders: BTreeMap::new(),
            seeks: Seeks::default(),
            by_customer: BTreeSet::new(),
            wanted: BTreeSet::new(),
            due: BTreeSet::new(),
        }
    }

    fn own_key(command: &Command) -> Option<Key> {
        if let Command::Seek { key, .. } = command { Some(*key) } else { None }
    }

    fn keeps(&self, key: KeyDigest) -> bool {
        self.seeks.knows(key)
    }

    fn decide(&self, at: Moment<'_>, command: Command, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        match command {
            Command::Place { order, customer, holds, email, token, payment } => {
                if let Some(known) = self.orders.get(&order) {
                    return Ok(Reply::Order(Box::new(known.view(order))));
                }
                let holds: Option<Vec<HoldView>> = holds.into_iter().collect();
                let holds = holds.ok_or(Refusal::UnknownHold)?;
                self.place(at, order, customer, &holds, (email, token, payment), out)
            }
            Command::Show { order, customer } => {
                Ok(Reply::Order(Box::new(self.order(order, customer.as_ref())?.view(order))))
            }
            Command::List { customer, before, limit } => Ok(self.list(&customer, before, limit)),
            Command::ListEvent { event, after, limit } => Ok(self.list_event(&event, after, limit)),
            Command::Pay { order, customer, payment, token } => {
                self.pay_again(at, order, &customer, (payment, token), out)
            }
            Command::Cancel { order, customer } => self.cancel(at, order, &customer, out),
            Command::Refund { order } => self.refund(at, order, out),
            Command::CheckIn { ticket, event } => self.check_in(at, ticket, &event, out),
            Command::Audit { event } => Ok(Reply::Summary(Box::new(self.audit(&event)))),
            Command::Seek { key, customer, quantity, candidates } => {
                self.seeks.begin(at, key, customer, quantity, candidates, out)
            }
            Command::SeekAnswered { key, hold, answer } => {
                self.seeks.answered(at, key, hold, answer, out);
                Ok(Reply::Noted)
            }
            Command::Settled { order, payment, settlement } => {
                self.settled(at, order, payment, settlement, out);
                Ok(Reply::Noted)
            }
            command @ (Command::Bound { .. }
            | Command::BindRefused { .. }
            | Command::Sold { .. }
            | Command::SellRefused { .. }
            | Command::Returned { .. }
            | Command::RefundSettled { .. }
            | Command::LetterTaken { .. }) => {
                self.heard(at, &command, out);
                Ok(Reply::Noted)
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Placed { .. } => {
                let (id, order) = Order::placed(change).expect("it was placed");
                self.by_customer.insert((hash(&order.customer), id));
                self.wanted.extend(order.holds().map(|(hold, _)| hold));
                order.due().map(|due| self.due.insert((due, id)));
                let known = self.orders.insert(id, Box::new(order));
                assert!(known.is_none(), "an order is placed once");
            }
            Change::LineBound { order, .. }
            | Change::BindRefused { order, .. }
            | Change::Settled { order, .. }
            | Change::LineSold { order, .. }
            | Change::LineReturned { order, .. }
            | Change::PaidAgain { order, .. }
            | Change::Ended { order, .. }
            | Change::RefundBegun { order, .. }
            | Change::MoneyReturned { order, .. }
            | Change::LetterTaken { order, .. }
            | Change::CheckedIn { order, .. }
            | Change::Reminded { order, .. } => self.fold(*order, change),
            Change::SeekBegun { .. }
            | Change::SeekMoved { .. }
            | Change::SeekReminded { .. }
            | Change::SeekEnded { .. }
            | Change::SeeksForgotten { .. } => self.seeks.fold(change),
        }
    }

    fn wake(&self, at: Moment<'_>, out: &mut Outbox<Change>) {
        for (_, id) in self.due.iter().take_while(|(due, _)| *due <= at.now) {
            self.wake_order(at, *id, out);
        }
        self.seeks.wake(at, out);
    }

    fn deadline(&self) -> Option<Millis> {
        let order = self.due.first().map(|(due, _)| *due);
        order.into_iter().chain(self.seeks.deadline()).min()
    }

    fn publish(&self, change: &Change, feed: &mut Vec<Feed>) {
        match change {
            Change::Placed { order, .. }
            | Change::LineBound { order, .. }
            | Change::BindRefused { order, .. }
            | Change::Settled { order, .. }
            | Change::LineSold { order, .. }
            | Change::LineReturned { order, .. }
            | Change::PaidAgain { order, .. }
            | Change::Ended { order, .. }
            | Change::RefundBegun { order, .. } => {
                feed.push(Feed::Order(*order, self.orders[order].state));
            }
            Change::SeekEnded { key, .. } => feed.push(Feed::Sought(*key)),
            Change::MoneyReturned { .. }
            | Change::LetterTaken { .. }
            | Change::CheckedIn { .. }
            | Change::Reminded { .. }
            | Change::SeekBegun { .. }
            | Change::SeekMoved { .. }
            | Change::SeekReminded { .. }
            | Change::SeeksForgotten { .. } => {}
        }
    }
}
