//! What follows from an answer that did what was asked: an acknowledgement is noted in the journal, a hold waits to be
//! bought, an order is followed to its end.

use std::borrow::Cow;
use std::cmp::Reverse;

use rand::RngExt;
use serde::Deserialize;

use super::{Basket, Books, Buyers};
use crate::clock::Nanos;
use crate::engine::Moments;
use crate::engine::fate;
use crate::engine::flow::Step;
use crate::journal::{HoldLine, Line, Money, OrderLine};

/// Own orders that are looked at again at random.
const RECENT_MAX: usize = 1_024;

#[derive(Deserialize)]
struct HoldBody<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    block: Cow<'a, str>,
    seats: Option<Vec<String>>,
    quantity: Option<u64>,
    #[serde(borrow)]
    expires_at: Cow<'a, str>,
}

#[derive(Deserialize)]
struct OrderBody<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    total: Money,
}

#[derive(Deserialize)]
struct StateBody<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
}

impl Buyers<'_> {
    pub(super) fn held(&mut self, flow: u32, body: &[u8], now: Nanos, books: &mut Books) -> Option<String> {
        let hold: HoldBody<'_> = serde_json::from_slice(body).ok()?;
        let at = self.wall(now);
        let asked = &mut self.flows[flow];
        let seats = hold.seats.unwrap_or_default();
        books.scribe.note(&Line::Hold(HoldLine {
            at,
            id: Cow::from(&*hold.id),
            event: Cow::from(&self.scene.stage.events[usize::from(asked.event)].id),
            block: Cow::from(&*hold.block),
            quantity: hold.quantity.unwrap_or(seats.len() as u64),
            seats: Cow::from(&seats),
            customer: Cow::from(&self.scene.stage.customers[asked.customer as usize].name),
            key: Cow::from(&asked.key),
            expires_at: hold.expires_at,
            replayed: asked.first_answer.is_some(),
        }));
        if asked.first_answer.is_none() {
            let mut holds = std::mem::take(&mut asked.holds);
            holds.push(hold.id.clone().into_owned());
            let basket = Basket { event: asked.event, customer: asked.customer, holds };
            self.keep(basket);
        }
        Some(hold.id.into_owned())
    }

    pub(super) fn ordered(&mut self, flow: u32, body: &[u8], now: Nanos, books: &mut Books) -> Option<String> {
        let order: OrderBody<'_> = serde_json::from_slice(body).ok()?;
        let at = self.wall(now);
        let asked = &self.flows[flow];
        let (event, customer, first) = (asked.event, asked.customer, asked.first_answer.is_none());
        books.scribe.note(&Line::Order(OrderLine {
            at,
            id: Cow::from(&*order.id),
            event: Cow::from(&self.scene.stage.events[usize::from(event)].id),
            holds: Cow::from(&asked.holds),
            total: order.total,
            customer: Cow::from(&self.scene.stage.customers[customer as usize].name),
            key: Cow::from(&asked.key),
            replayed: !first,
        }));
        if first {
            self.follow(event, customer, &order.id, now);
        }
        Some(order.id.into_owned())
    }

    fn follow(&mut self, event: u16, customer: u32, order: &str, now: Nanos) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((customer, order.to_owned()));
        let place = self.flows.open();
        let flow = &mut self.flows[place];
        (flow.step, flow.event, flow.customer) = (Step::Follow, event, customer);
        flow.subject.push_str(order);
        self.look_later(place, now);
    }

    fn look_later(&mut self, place: u32, now: Nanos) {
        let flow = &mut self.flows[place];
        let at = now + fate::next_look(flow.looks, self.rng.random());
        flow.looks += 1;
        (flow.intended, flow.started, flow.attempts) = (at, at, 0);
        self.later.push(Reverse((at, place)));
    }

    pub(super) fn looked(&mut self, flow: u32, moments: Moments, body: &[u8], now: Nanos, books: &mut Books) -> bool {
        let step = self.flows[flow].step;
        let Ok(order) = serde_json::from_slice::<StateBody<'_>>(body) else {
            books.tally.error(step.operation(), "unreadable_answer");
            self.flows.close(flow);
            return true;
        };
        books.tally.measure(step.operation(), moments, now);
        if step == Step::Follow {
            if !fate::is_terminal(&order.state) {
                self.look_later(flow, now);
                return false;
            }
            books.tally.paid += u64::from(order.state == "paid");
            let (at, id) = (self.wall(now), Cow::from(&self.flows[flow].subject));
            let is_unpaid = order.state == "payment_failed";
            books.scribe.note(&Line::State { at, order: id, state: order.state });
            if is_unpaid {
                self.cancel(flow, now);
                return false;
            }
        }
        self.flows.close(flow);
        true
    }

    /// The follower of an order becomes its canceller.
    fn cancel(&mut self, place: u32, now: Nanos) {
        let key = self.next_key();
        let flow = &mut self.flows[place];
        (flow.step, flow.key, flow.intended, flow.started, flow.attempts) = (Step::Cancel, key, now, now, 0);
        self.due.push_back(place);
    }
}
