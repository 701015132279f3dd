//! Begins steps: which customer, which event, which seats.
//!
//! A step that lacks what it needs does the one before it: without a hold to buy, an order is a hold.

use std::borrow::Cow;
use std::io::Write as _;

use rand::RngExt;

use super::{Basket, Books, Buyers};
use crate::clock::Nanos;
use crate::engine::What;
use crate::engine::flow::Step;
use crate::journal::Line;
use crate::mix::Operation;
use crate::stage::{Block, Event, Shape};

/// Share of holds that are taken to be bought together with an earlier one.
const JOINED: f64 = 0.2;
/// Most holds of one order.
const JOINED_MAX: usize = 3;
/// Share of best-available holds that name their block.
const BLOCK_NAMED: f64 = 0.75;
/// Most seats that are picked by name in one hold.
const PICKED_MAX: u32 = 2;

impl<'a> Buyers<'a> {
    /// Begins an operation of the mix that was meant to start at `intended`.
    pub(crate) fn draw(&mut self, intended: Nanos, now: Nanos, books: &mut Books) -> (Operation, What) {
        let mix = &self.scene.plan.mix;
        let operation = mix.draw(self.rng.random_range(0..mix.total()));
        match operation {
            Operation::Availability | Operation::Event | Operation::Seats => {
                let event = self.any_event();
                let blocks = self.scene.stage.events[usize::from(event)].blocks.len();
                let block = if operation == Operation::Seats { self.rng.random_range(0..blocks) as u16 } else { 0 };
                (operation, What::Read { operation, event, block })
            }
            Operation::Hold => self.begin(Step::Hold, intended, now, books),
            Operation::Order => self.begin(Step::Order, intended, now, books),
            Operation::OrderStatus => self.begin(Step::Look, intended, now, books),
            Operation::Release => self.begin(Step::Release, intended, now, books),
        }
    }

    fn begin(&mut self, wanted: Step, intended: Nanos, now: Nanos, books: &mut Books) -> (Operation, What) {
        let step = self.possible(wanted);
        let place = self.flows.open();
        let key = self.next_key();
        let flow = &mut self.flows[place];
        (flow.step, flow.intended, flow.started, flow.key) = (step, intended, now, key);
        match step {
            Step::Hold => self.begin_hold(place),
            Step::Order => self.begin_order(place),
            Step::Release => self.begin_release(place, now, books),
            Step::Look | Step::Follow | Step::GiveBack | Step::Cancel => self.begin_look(place),
        }
        (step.operation(), What::Flow(place))
    }

    /// A key that no other step of any run has.
    pub(super) fn next_key(&mut self) -> String {
        self.keys += 1;
        format!("{}-{}-{}", self.scene.stage.run, self.number, self.keys)
    }

    fn possible(&self, wanted: Step) -> Step {
        match wanted {
            Step::Look | Step::Follow if self.recent.is_empty() => self.possible(Step::Order),
            Step::Order | Step::Release if self.baskets.is_empty() => Step::Hold,
            Step::Hold | Step::Order | Step::Release | Step::GiveBack | Step::Cancel | Step::Look | Step::Follow => {
                wanted
            }
        }
    }

    fn begin_hold(&mut self, place: u32) {
        let basket = self.basket_to_join().unwrap_or_else(|| self.new_basket());
        let event = &self.scene.stage.events[usize::from(basket.event)];
        let mut body = std::mem::take(&mut self.flows[place].body);
        self.wish(event, basket.event, &mut body);
        let flow = &mut self.flows[place];
        (flow.body, flow.event, flow.customer, flow.holds) = (body, basket.event, basket.customer, basket.holds);
    }

    fn basket_to_join(&mut self) -> Option<Basket> {
        let joins = self.rng.random_bool(JOINED) && self.baskets.back()?.holds.len() < JOINED_MAX;
        if joins { self.baskets.pop_back() } else { None }
    }

    /// An empty basket for a customer of this thread, at any event.
    fn new_basket(&mut self) -> Basket {
        let (all, threads) = (self.scene.stage.customers.len() as u32, self.scene.plan.threads);
        let own = (all - self.number).div_ceil(threads);
        let customer = self.number + threads * self.rng.random_range(0..own);
        Basket { event: self.any_event(), customer, holds: Vec::new() }
    }

    fn begin_order(&mut self, place: u32) {
        let Some(basket) = self.baskets.pop_back() else { return };
        let payment = self.payment();
        let customer = &self.scene.stage.customers[basket.customer as usize].name;
        let flow = &mut self.flows[place];
        flow.body.extend_from_slice(b"{\"holds\":");
        // A Vec takes every write, and strings are always JSON.
        let _ = serde_json::to_writer(&mut flow.body, &basket.holds);
        let _ = write!(flow.body, ",\"email\":\"{customer}@example.com\",\"payment\":{{\"token\":\"{payment}\"}}}}");
        (flow.event, flow.customer, flow.holds) = (basket.event, basket.customer, basket.holds);
    }

    fn begin_release(&mut self, place: u32, now: Nanos, books: &mut Books) {
        let Some(mut basket) = self.baskets.pop_back() else { return };
        let Some(hold) = basket.holds.pop() else { return };
        books.scribe.note(&Line::ReleaseAsked { at: self.wall(now), hold: Cow::from(&hold) });
        let flow = &mut self.flows[place];
        (flow.event, flow.customer, flow.subject) = (basket.event, basket.customer, hold);
        if !basket.holds.is_empty() {
            self.keep(basket);
        }
    }

    fn begin_look(&mut self, place: u32) {
        let any = self.rng.random_range(0..self.recent.len());
        let (customer, order) = &self.recent[any];
        let flow = &mut self.flows[place];
        flow.customer = *customer;
        flow.subject.push_str(order);
    }

    /// Writes what a buyer wants of an event: standing places, picked seats, or the best there is.
    fn wish(&mut self, event: &Event, place: u16, body: &mut Vec<u8>) {
        let quantity = self.rng.random_range(1..=self.scene.plan.habits.seats_max);
        let block = self.any_block(event, place);
        let written = match &block.shape {
            Shape::Standing { .. } => write!(body, "{{\"block\":\"{}\",\"quantity\":{quantity}}}", block.id),
            Shape::Seated { rows } if !rows.is_empty() && self.rng.random_bool(self.scene.plan.habits.picked) => {
                let row = &rows[self.rng.random_range(0..rows.len())];
                let count = quantity.min(PICKED_MAX).min(row.seats);
                let first = self.rng.random_range(1..=row.seats - count + 1);
                let seats: Vec<String> = (first..first + count).map(|seat| format!("\"{}-{seat}\"", row.row)).collect();
                write!(body, "{{\"block\":\"{}\",\"seats\":[{}]}}", block.id, seats.join(","))
            }
            Shape::Seated { .. } if self.rng.random_bool(BLOCK_NAMED) => {
                write!(body, "{{\"best_available\":{{\"quantity\":{quantity},\"block\":\"{}\"}}}}", block.id)
            }
            Shape::Seated { .. } => write!(body, "{{\"best_available\":{{\"quantity\":{quantity}}}}}"),
        };
        debug_assert!(written.is_ok(), "a vec takes every write");
    }

    /// A block, the larger the likelier.
    fn any_block<'e>(&mut self, event: &'e Event, place: u16) -> &'e Block {
        let sums = &self.scene.sizes[usize::from(place)];
        let number = self.rng.random_range(0..sums.last().copied().unwrap_or(1));
        &event.blocks[sums.partition_point(|sum| *sum <= number).min(event.blocks.len() - 1)]
    }

    fn any_event(&mut self) -> u16 {
        self.rng.random_range(0..self.scene.stage.events.len()) as u16
    }

    fn payment(&mut self) -> &'a str {
        let payments: &'a [(String, u32)] = &self.scene.plan.habits.payments;
        let mut number = self.rng.random_range(0..payments.iter().map(|(_, weight)| weight).sum());
        for (token, weight) in payments {
            match number.checked_sub(*weight) {
                Some(rest) => number = rest,
                None => return token,
            }
        }
        &payments[0].0
    }
}
