//! What the journal says the server has promised.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::journal::{HoldLine, Line, OrderLine, unix_ms};
use crate::stage::Event;

/// The promises of a journal.
#[derive(Debug, Default)]
pub struct Claims {
    /// What was on sale.
    pub events: Vec<Event>,
    /// What the names of the journal's customers begin with.
    pub customers: Vec<String>,
    /// By id.
    pub holds: BTreeMap<String, Hold>,
    /// By id.
    pub orders: BTreeMap<String, Order>,
    /// All ids that a key was answered with.
    pub keys: HashMap<String, BTreeSet<String>>,
    /// Holds asked for without a final answer.
    pub holds_unresolved: u64,
    /// Orders asked for without a final answer.
    pub orders_unresolved: u64,
    /// Every run came to its end.
    pub complete: bool,
}

/// A promised hold.
#[derive(Debug)]
pub struct Hold {
    /// The first acknowledgement.
    pub line: HoldLine<'static>,
    /// Until when it was promised, Unix milliseconds.
    pub expires_at: u64,
    /// When we asked for its release.
    pub release_asked: Option<u64>,
    /// Its release was acknowledged.
    pub released: bool,
    /// Acknowledged orders that joined it.
    pub orders: Vec<String>,
    /// An order with it may or may not have been placed.
    pub perhaps_ordered: bool,
}

/// A promised order.
#[derive(Debug)]
pub struct Order {
    /// The first acknowledgement.
    pub line: OrderLine<'static>,
    /// It was seen paid.
    pub seen_paid: bool,
}

impl Claims {
    /// Folds a journal's lines.
    pub fn fold(lines: Vec<Line<'static>>) -> Self {
        let mut claims = Self::default();
        let mut runs_open = 0u32;
        // Lines of several threads may be a turn out of order: what refers to a hold or an order comes second.
        let (promises, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_promise);
        for line in promises.into_iter().chain(others) {
            match line {
                Line::Run { customers, events, .. } => {
                    runs_open += 1;
                    claims.customers.push(customers.into_owned());
                    claims.events.extend(events.into_owned());
                }
                Line::Hold(line) => claims.add_hold(line),
                Line::Order(line) => claims.add_order(line),
                Line::State { order, state, .. } => {
                    if let Some(order) = claims.orders.get_mut(&*order) {
                        order.seen_paid |= state == "paid";
                    }
                }
                Line::ReleaseAsked { at, hold } => {
                    if let Some(hold) = claims.holds.get_mut(&*hold) {
                        hold.release_asked = Some(at);
                    }
                }
                Line::Released { hold, .. } => {
                    if let Some(hold) = claims.holds.get_mut(&*hold) {
                        hold.released = true;
                    }
                }
                Line::Unresolved { operation, holds, .. } => claims.add_unresolved(&operation, &holds),
                Line::End { .. } => runs_open = runs_open.saturating_sub(1),
            }
        }
        claims.complete = runs_open == 0 && !claims.customers.is_empty();
        claims.connect_orders();
        claims
    }

    /// Whether a customer is one of this journal's.
    pub fn is_ours(&self, customer: &str) -> bool {
        self.customers.iter().any(|prefix| customer.starts_with(prefix.as_str()))
    }

    fn add_hold(&mut self, line: HoldLine<'static>) {
        let expires_at = humantime::parse_rfc3339_weak(&line.expires_at).map_or(u64::MAX, unix_ms);
        self.keys.entry(line.key.to_string()).or_default().insert(line.id.to_string());
        self.holds.entry(line.id.to_string()).or_insert_with(|| Hold {
            line,
            expires_at,
            release_asked: None,
            released: false,
            orders: Vec::new(),
            perhaps_ordered: false,
        });
    }

    fn add_order(&mut self, line: OrderLine<'static>) {
        self.keys.entry(line.key.to_string()).or_default().insert(line.id.to_string());
        self.orders.entry(line.id.to_string()).or_insert(Order { line, seen_paid: false });
    }

    fn add_unresolved(&mut self, operation: &str, holds: &[String]) {
        if operation == "order" {
            self.orders_unresolved += 1;
            for hold in holds {
                if let Some(hold) = self.holds.get_mut(hold) {
                    hold.perhaps_ordered = true;
                }
            }
        } else {
            self.holds_unresolved += 1;
        }
    }

    fn connect_orders(&mut self) {
        for (id, order) in &self.orders {
            for hold in order.line.holds.iter() {
                if let Some(hold) = self.holds.get_mut(hold) {
                    hold.orders.push(id.clone());
                }
            }
        }
    }
}

fn is_promise(line: &Line<'_>) -> bool {
    match line {
        Line::Run { .. } | Line::Hold(_) | Line::Order(_) => true,
        Line::State { .. }
        | Line::ReleaseAsked { .. }
        | Line::Released { .. }
        | Line::Unresolved { .. }
        | Line::End { .. } => false,
    }
}
