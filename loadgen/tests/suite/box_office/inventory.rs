//! Seats, holds, orders and money of the box office, and the ways to be wrong about them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Fault, Reply, Request};

const HOUR: Duration = Duration::from_secs(3600);

/// Everything the box office knows.
pub(super) struct Inventory {
    faults: Vec<Fault>,
    events: BTreeMap<String, Value>,
    holds: BTreeMap<String, Hold>,
    orders: BTreeMap<String, Order>,
    answers: HashMap<(String, String), (u16, String)>,
    holds_given: usize,
    orders_taken: usize,
    orders_refused: usize,
}

#[derive(Clone)]
struct Hold {
    event: String,
    block: String,
    seats: Vec<String>,
    quantity: u64,
    customer: String,
    state: &'static str,
    order: Option<String>,
}

struct Order {
    event: String,
    holds: Vec<String>,
    total: u64,
    customer: String,
    looks: u32,
    declined: bool,
    cancelled: bool,
}

impl Order {
    /// A payment comes to its end when it was looked at twice.
    fn state(&self) -> &'static str {
        if self.cancelled {
            return "cancelled";
        }
        if self.declined && self.looks > 1 {
            return "payment_failed";
        }
        ["placed", "paying", "paid"][self.looks.min(2) as usize]
    }
}

impl Inventory {
    pub(super) fn new(faults: &[Fault]) -> Self {
        Self {
            faults: faults.to_vec(),
            events: BTreeMap::new(),
            holds: BTreeMap::new(),
            orders: BTreeMap::new(),
            answers: HashMap::new(),
            holds_given: 0,
            orders_taken: 0,
            orders_refused: 0,
        }
    }

    pub(super) fn holds_given(&self) -> usize {
        self.holds_given
    }

    pub(super) fn orders_taken(&self) -> usize {
        self.orders_taken
    }

    /// Answers a request; a key that is known gets its first answer.
    pub(super) fn act(&mut self, request: &Request) -> Reply {
        let known = request.customer.clone().zip(request.key.clone());
        if let Some((status, body)) = known.as_ref().and_then(|known| self.answers.get(known)) {
            return Reply::new(*status, body);
        }
        let reply = self.route(request);
        if let Some(known) = known.filter(|_| !self.has(Fault::ForgetKeys)) {
            self.answers.insert(known, (reply.status, reply.body.clone()));
        }
        reply
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn route(&mut self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap();
        let parts: Vec<&str> = path.split('/').skip(2).collect();
        let customer = request.customer.clone().unwrap_or_default();
        match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["events"]) => self.create(&request.body),
            ("GET", ["events", id]) => self.describe(id),
            ("GET", ["events", id, "blocks", block, "layout"]) => self.layout(id, block),
            ("GET", ["events", id, "availability"]) => self.availability(id),
            ("GET", ["events", id, "blocks", _, "seats"]) => Reply::new(200, json!({"event": id, "seats": "AAAA"})),
            ("POST", ["events", id, "holds"]) => self.hold(id, &request.body, customer),
            ("GET", ["holds", id]) => self.see_hold(id, &customer),
            ("DELETE", ["holds", id]) => self.release(id, &customer),
            ("POST", ["orders"]) => self.order(&request.body, customer),
            ("POST", ["orders", id, "cancel"]) => self.cancel(id, &customer),
            ("GET", ["orders", id]) => self.see_order(id, &customer),
            ("GET", ["events", id, "ledger"]) => self.ledger(id),
            ("GET", ["events", id, "orders"]) => self.list_orders(id, &request.path),
            ("GET", ["events", id, "audit"]) => self.audit(id),
            _ => Reply::refuse(404, "not_found"),
        }
    }

    fn create(&mut self, body: &Value) -> Reply {
        self.events.insert(body["id"].as_str().unwrap().to_owned(), body.clone());
        Reply::new(201, body)
    }

    fn describe(&self, id: &str) -> Reply {
        let Some(event) = self.events.get(id) else { return Reply::refuse(404, "unknown_event") };
        let mut event = event.clone();
        event["status"] = "on_sale".into();
        // As the real one: the length of rows is in the layout only.
        for block in event["blocks"].as_array_mut().unwrap().iter_mut().filter(|block| block["kind"] == "seated") {
            let rows = layout_rows(block).len();
            (block["capacity"], block["rows"]) = (size(block).into(), rows.into());
            block.as_object_mut().unwrap().remove("seats_per_row");
        }
        Reply::new(200, event)
    }

    fn layout(&self, event: &str, block: &str) -> Reply {
        let blocks = self.blocks(event);
        let rows = layout_rows(blocks.iter().find(|known| known["id"] == block).unwrap());
        let numbered =
            |(row, seats): &(String, u64)| json!({"row": row, "numbers": (1..=*seats).collect::<Vec<u64>>()});
        Reply::new(200, json!({"rows": rows.iter().map(numbered).collect::<Vec<Value>>()}))
    }

    fn availability(&self, id: &str) -> Reply {
        let blocks: Vec<Value> = self
            .blocks(id)
            .iter()
            .map(|block| {
                let name = block["id"].as_str().unwrap();
                let taken = |state| {
                    self.taken(id, name)
                        .filter(|hold| (hold.state == "sold") == state)
                        .map(|hold| hold.quantity)
                        .sum::<u64>()
                };
                let (sold, held) = (taken(true), taken(false));
                json!({"block": name, "free": (size(block)).saturating_sub(sold + held), "held": held, "sold": sold})
            })
            .collect();
        Reply::new(200, json!({"event": id, "version": 1, "blocks": blocks}))
    }

    fn blocks(&self, event: &str) -> Vec<Value> {
        self.events[event]["blocks"].as_array().unwrap().clone()
    }

    fn taken<'a>(&'a self, event: &'a str, block: &'a str) -> impl Iterator<Item = &'a Hold> {
        let is_taken = move |hold: &&Hold| hold.event == event && hold.block == block && hold.is_live();
        self.holds.values().filter(is_taken)
    }

    fn hold(&mut self, event: &str, body: &Value, customer: String) -> Reply {
        let wish = if body["best_available"].is_null() { body } else { &body["best_available"] };
        let wanted = wish["quantity"].as_u64().unwrap_or_default();
        let named: Option<Vec<String>> = serde_json::from_value(wish["seats"].clone()).ok();
        for block in self.blocks(event) {
            let name = block["id"].as_str().unwrap().to_owned();
            if wish["block"].as_str().is_some_and(|only| only != name) {
                continue;
            }
            if block["kind"] == "standing" {
                let taken: u64 = self.taken(event, &name).map(|hold| hold.quantity).sum();
                if wish["block"].is_string() && taken + wanted <= size(&block) {
                    return self.give(event, name, Vec::new(), wanted, customer);
                }
                continue;
            }
            let taken: Vec<String> = self.taken(event, &name).flat_map(|hold| hold.seats.clone()).collect();
            if let Some(seats) = &named {
                if seats.iter().any(|seat| taken.contains(seat)) {
                    return Reply::refuse(409, "seat_taken");
                }
                return self.give(event, name, seats.clone(), seats.len() as u64, customer);
            }
            let free: Vec<String> = seats(&block).into_iter().filter(|seat| !taken.contains(seat)).collect();
            if free.len() as u64 >= wanted {
                return self.give(event, name, free[..wanted as usize].to_vec(), wanted, customer);
            }
        }
        Reply::refuse(409, "sold_out")
    }

    fn give(
        &mut self,
        event: &str,
        mut block: String,
        mut seats: Vec<String>,
        mut quantity: u64,
        customer: String,
    ) -> Reply {
        self.holds_given += 1;
        let (number, id) = (self.holds_given as u64, format!("hld_{:06}", self.holds_given));
        if self.has(Fault::DoubleSeat(number))
            && let Some(other) = self.holds.values().next_back()
        {
            (block, seats, quantity) = (other.block.clone(), other.seats.clone(), other.quantity);
        }
        let expires_at = SystemTime::now() + HOUR;
        let body = json!({
            "id": id, "event": event, "block": block, "seats": seats, "quantity": quantity, "state": "held",
            "price": {"amount": 1, "currency": "EUR"}, "expires_at": humantime::format_rfc3339(expires_at).to_string(),
        });
        let state = if self.has(Fault::ExpireEarly(number)) { "expired" } else { "held" };
        let event = event.to_owned();
        if !self.has(Fault::LoseHold(number)) {
            self.holds.insert(id, Hold { event, block, seats, quantity, customer, state, order: None });
        }
        Reply::new(201, body)
    }

    fn see_hold(&self, id: &str, customer: &str) -> Reply {
        match self.holds.get(id).filter(|hold| hold.customer == customer) {
            Some(hold) => Reply::new(200, json!({"id": id, "state": hold.state})),
            None => Reply::refuse(404, "unknown_hold"),
        }
    }

    fn release(&mut self, id: &str, customer: &str) -> Reply {
        match self.holds.get_mut(id).filter(|hold| hold.customer == customer && hold.state == "held") {
            Some(hold) => {
                hold.state = "released";
                Reply::new(200, json!({"id": id, "state": "released"}))
            }
            None => Reply::refuse(404, "unknown_hold"),
        }
    }

    fn order(&mut self, body: &Value, customer: String) -> Reply {
        let holds: Vec<String> = serde_json::from_value(body["holds"].clone()).unwrap();
        let declined = body["payment"]["token"] == "tok_declined";
        let is_own =
            |id: &String| self.holds.get(id).is_some_and(|hold| hold.customer == customer && hold.state == "held");
        if !holds.iter().all(is_own) {
            return Reply::refuse(409, "hold_expired");
        }
        let refuses = |fault: &Fault| matches!(fault, Fault::RefuseOrders(most) if self.orders_refused < *most);
        if self.faults.iter().any(refuses) {
            self.orders_refused += 1;
            return Reply::refuse(409, "customer_limit");
        }
        self.orders_taken += 1;
        let id = format!("ord_{:06}", self.orders_taken);
        let total: u64 = holds.iter().map(|id| self.worth(&self.holds[id])).sum();
        let body = json!({"id": id, "state": "placed", "holds": holds, "total": {"amount": total, "currency": "EUR"}});
        if self.has(Fault::LoseOrder(self.orders_taken as u64)) {
            return Reply::new(202, body);
        }
        for hold in &holds {
            let hold = self.holds.get_mut(hold).unwrap();
            (hold.state, hold.order) = ("bound", Some(id.clone()));
        }
        let event = self.holds[&holds[0]].event.clone();
        self.orders.insert(id, Order { event, holds, total, customer, looks: 0, declined, cancelled: false });
        Reply::new(202, body)
    }

    fn worth(&self, hold: &Hold) -> u64 {
        let blocks = self.blocks(&hold.event);
        let block = blocks.iter().find(|block| block["id"] == hold.block.as_str()).unwrap();
        block["price"].as_u64().unwrap() * hold.quantity
    }

    fn see_order(&mut self, id: &str, customer: &str) -> Reply {
        if self.orders.get(id).is_none_or(|order| order.customer != customer) {
            return Reply::refuse(404, "unknown_order");
        }
        self.look_at(id);
        Reply::new(200, self.order_json(id))
    }

    fn cancel(&mut self, id: &str, customer: &str) -> Reply {
        let Some(order) = self.orders.get_mut(id).filter(|order| order.customer == customer && order.declined) else {
            return Reply::refuse(409, "not_cancellable");
        };
        order.cancelled = true;
        for hold in &order.holds {
            self.holds.get_mut(hold).unwrap().state = "released";
        }
        Reply::new(200, self.order_json(id))
    }

    fn look_at(&mut self, id: &str) {
        let order = self.orders.get_mut(id).unwrap();
        order.looks += 1;
        if order.state() == "paid" {
            for hold in &order.holds {
                self.holds.get_mut(hold).unwrap().state = "sold";
            }
        }
    }

    fn order_json(&self, id: &str) -> Value {
        let order = &self.orders[id];
        json!({"id": id, "state": order.state(), "holds": order.holds, "customer": order.customer,
            "total": {"amount": order.total, "currency": "EUR"}, "tickets": []})
    }

    fn ledger(&self, event: &str) -> Reply {
        let mut lines = String::new();
        for (id, hold) in self.holds.iter().filter(|(_, hold)| hold.event == event && hold.is_live()) {
            let line = |seat: Option<&String>| {
                json!({"block": hold.block, "seat": seat, "state": hold.state, "hold": id, "order": hold.order,
                    "customer": hold.customer, "quantity": seat.is_none().then_some(hold.quantity)})
            };
            let seats = hold.seats.iter().map(Some).chain(hold.seats.is_empty().then_some(None));
            lines.extend(seats.map(|seat| format!("{}\n", line(seat))));
        }
        Reply::new(200, lines)
    }

    /// Pages of two, so that paging is used; every look moves payments on.
    fn list_orders(&mut self, event: &str, path: &str) -> Reply {
        let after = path.split_once("after=").map(|(_, after)| after.to_owned()).unwrap_or_default();
        let of_event = self.orders.iter().filter(|(id, order)| order.event == event && **id > after);
        let ids: Vec<String> = of_event.map(|(id, _)| id.clone()).take(2).collect();
        for id in &ids {
            self.look_at(id);
        }
        let items: Vec<Value> = ids.iter().map(|id| self.order_json(id)).collect();
        let next = (ids.len() == 2).then(|| ids[1].clone());
        Reply::new(200, json!({"items": items, "next": next}))
    }

    fn audit(&self, event: &str) -> Reply {
        let paid = self.orders.values().filter(|order| order.event == event && order.state() == "paid");
        let captured = paid.map(|order| order.total).sum::<u64>() + u64::from(self.has(Fault::MiscountMoney));
        let violations = if self.has(Fault::ConfessViolation) { vec!["seat A/1-1 has two holds"] } else { vec![] };
        Reply::new(
            200,
            json!({
                "captured": {"amount": captured, "currency": "EUR"}, "refunded": {"amount": 0, "currency": "EUR"},
                "violations": violations,
            }),
        )
    }
}

impl Hold {
    fn is_live(&self) -> bool {
        matches!(self.state, "held" | "bound" | "sold")
    }
}

fn layout_rows(block: &Value) -> Vec<(String, u64)> {
    match block["rows"].as_u64() {
        Some(count) => (1..=count).map(|row| (row.to_string(), block["seats_per_row"].as_u64().unwrap())).collect(),
        None => block["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["row"].as_str().unwrap().to_owned(), row["seats"].as_u64().unwrap()))
            .collect(),
    }
}

fn seats(block: &Value) -> Vec<String> {
    let rows = layout_rows(block);
    rows.iter().flat_map(|(row, seats)| (1..=*seats).map(move |seat| format!("{row}-{seat}"))).collect()
}

fn size(block: &Value) -> u64 {
    block["capacity"].as_u64().unwrap_or_else(|| seats(block).len() as u64)
}
