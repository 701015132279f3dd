//! The events on sale and the customers who come for them. Everything is made here before the first measured request;
//! what is on sale already is looked up in [`existing`].

mod existing;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{Client, read_json, unexpected};
use crate::failure::Failure;
use crate::plan::{Access, NewEvents, Plan, Show};
use crate::token;

/// How long a new event may take until it is on sale.
const ON_SALE_WITHIN: Duration = Duration::from_secs(60);
/// How long a node that does not answer is asked again before the run starts.
const NODE_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks at a new event.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Price of the first block, minor units; each further block costs a little less.
const PRICE_FIRST: u64 = 9_500;

/// What is on sale, and to whom.
#[derive(Debug)]
pub struct Stage {
    /// Marks everything this run creates: events, customers, keys.
    pub run: String,
    /// At least one.
    pub events: Vec<Event>,
    /// At least one.
    pub customers: Vec<Customer>,
}

/// A buyer.
#[derive(Debug)]
pub struct Customer {
    /// `sub` of the token.
    pub name: String,
    /// The whole `authorization` value.
    pub bearer: String,
}

/// A concert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its blocks, in the organizer's order.
    pub blocks: Vec<Block>,
}

/// A part of the venue with one price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Its id.
    pub id: String,
    /// Price of a seat in minor units, when the server says it.
    pub price: Option<u64>,
    /// Its seats.
    #[serde(flatten)]
    pub shape: Shape,
}

/// The seats of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shape {
    /// Rows of numbered seats, front first. Empty when the server does not tell: then no seat is picked by name.
    Seated {
        /// Front first.
        rows: Vec<Row>,
    },
    /// Places without numbers.
    Standing {
        /// How many.
        capacity: u64,
    },
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What seat ids begin with: seat 7 is `row-7`.
    pub row: String,
    /// Seats, numbered from 1.
    pub seats: u32,
}

impl Block {
    /// Seats or places.
    pub fn size(&self) -> u64 {
        match &self.shape {
            Shape::Seated { rows } => rows.iter().map(|row| u64::from(row.seats)).sum(),
            Shape::Standing { capacity } => *capacity,
        }
    }
}

/// Finds or creates the events and mints the customers' tokens.
pub fn set(plan: &Plan) -> Result<Stage, Failure> {
    set_up(&plan.access, &plan.show, plan.customers)
}

/// The same without a plan, for so many customers.
pub fn set_up(access: &Access, show: &Show, customers: u32) -> Result<Stage, Failure> {
    let run = run_id();
    let mut client = Client::new(access.targets.clone(), NODE_PATIENCE);
    let events = match show {
        Show::Existing(id) => vec![existing::look_up(&mut client, id)?],
        Show::New(new) => create_all(&mut client, access, new, &run)?,
    };
    let now = SystemTime::now();
    let customer = |number| {
        let name = customer_name(&run, number);
        let bearer = token::bearer(&access.auth_secret, &name, now);
        Customer { name, bearer }
    };
    Ok(Stage { events, customers: (0..customers).map(customer).collect(), run })
}

/// What the names of a run's customers begin with.
pub fn customer_prefix(run: &str) -> String {
    format!("{run}-c")
}

fn customer_name(run: &str, number: u32) -> String {
    format!("{}{number}", customer_prefix(run))
}

/// Different for every run, also for runs with the same seed: keys and events must not be those of an earlier run.
fn run_id() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mixed = (nanos ^ (u64::from(std::process::id()) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("lg{:010x}", mixed >> 24)
}

fn create_all(client: &mut Client, access: &Access, new: &NewEvents, run: &str) -> Result<Vec<Event>, Failure> {
    let organizer = access.organizer();
    let mut events = Vec::new();
    for number in 1..=new.events {
        let event = design(new, format!("{run}-{number}"));
        let body = description(new, &event).to_string();
        let answer = client.ask("POST", "/v1/events", Some(&organizer), body.as_bytes())?;
        if !matches!(answer.status, 200 | 201) {
            return Err(unexpected("POST", "/v1/events", &answer));
        }
        events.push(event);
    }
    for target in &access.targets {
        wait_until_on_sale(&mut Client::new(vec![target.clone()], NODE_PATIENCE), &events)?;
    }
    Ok(events)
}

/// Lays the seats out in blocks and rows; what does not divide evenly goes to the first blocks and the last rows.
fn design(new: &NewEvents, id: String) -> Event {
    let (each, over) = (new.seats / new.blocks, new.seats % new.blocks);
    let mut blocks: Vec<Block> = (0..new.blocks)
        .map(|place| {
            let seats = each + u32::from(place < over);
            let price = PRICE_FIRST.saturating_sub(u64::from(place) * 500).max(1_500);
            Block {
                id: block_name(place),
                price: Some(price),
                shape: Shape::Seated { rows: rows(seats, new.seats_per_row) },
            }
        })
        .filter(|block| block.size() > 0)
        .collect();
    if new.standing > 0 {
        let shape = Shape::Standing { capacity: new.standing.into() };
        blocks.push(Block { id: "FLOOR".to_owned(), price: Some(7_000), shape });
    }
    Event { id, blocks }
}

fn rows(seats: u32, per_row: u32) -> Vec<Row> {
    let count = seats.div_ceil(per_row);
    (0..count).map(|row| Row { row: (row + 1).to_string(), seats: per_row.min(seats - row * per_row) }).collect()
}

/// `A` … `Z`, `AA` …, as columns of a spreadsheet.
fn block_name(mut place: u32) -> String {
    let mut name = String::new();
    loop {
        name.insert(0, char::from(b'A' + (place % 26) as u8));
        match (place / 26).checked_sub(1) {
            Some(rest) => place = rest,
            None => return name,
        }
    }
}

fn description(new: &NewEvents, event: &Event) -> Value {
    let blocks: Vec<Value> = event.blocks.iter().map(block_description).collect();
    json!({
        "id": event.id, "name": format!("Load test {}", event.id), "venue": "Test Ground",
        "starts_at": "2099-06-12T19:00:00Z", "currency": "EUR",
        "rules": {
            "hold_ttl_s": new.hold_ttl.as_secs(), "max_per_hold": 10,
            "max_per_customer": new.max_per_customer, "no_orphans": new.no_orphans,
        },
        "blocks": blocks,
    })
}

fn block_description(block: &Block) -> Value {
    let (id, name, price) = (&block.id, format!("Block {}", block.id), block.price);
    match &block.shape {
        Shape::Standing { capacity } => {
            json!({"id": id, "name": name, "kind": "standing", "price": price, "capacity": capacity})
        }
        Shape::Seated { rows } => {
            let width = rows.first().map_or(0, |row| row.seats);
            if rows.iter().all(|row| row.seats == width) {
                let count = rows.len();
                json!({"id": id, "name": name, "kind": "seated", "price": price, "rows": count, "seats_per_row": width})
            } else {
                json!({"id": id, "name": name, "kind": "seated", "price": price, "rows": rows})
            }
        }
    }
}

/// Waits until a node knows that all events are on sale: it may hear of them later than the one that made them. A node
/// that is down is not waited for, as the run itself goes on without it.
fn wait_until_on_sale(client: &mut Client, events: &[Event]) -> Result<(), Failure> {
    for event in events {
        match wait_until_one_is(client, &event.id) {
            Err(Failure::Unreachable { .. }) => return Ok(()),
            known => known?,
        }
    }
    Ok(())
}

fn wait_until_one_is(client: &mut Client, event: &str) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Status {
        status: String,
    }
    let path = format!("/v1/events/{event}");
    let started = Instant::now();
    loop {
        let answer = client.ask("GET", &path, None, b"")?;
        if answer.status == 200 && read_json::<Status>(&path, &answer.body)?.status == "on_sale" {
            return Ok(());
        }
        if started.elapsed() > ON_SALE_WITHIN || !matches!(answer.status, 200 | 404) {
            return Err(unexpected("GET", &path, &answer));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn new(seats: u32, blocks: u32) -> NewEvents {
        let hold_ttl = Duration::from_secs(420);
        NewEvents {
            events: 1,
            blocks,
            seats,
            seats_per_row: 10,
            standing: 0,
            places_wanted: None,
            hold_ttl,
            max_per_customer: None,
            no_orphans: true,
        }
    }

    #[test]
    fn every_seat_asked_for_is_laid_out() {
        for (seats, blocks) in [(60_000, 6), (1, 1), (101, 4), (7, 3), (2, 5)] {
            let event = design(&new(seats, blocks), "e".to_owned());
            assert_eq!(event.blocks.iter().map(Block::size).sum::<u64>(), u64::from(seats), "{seats} in {blocks}");
        }
    }

    #[test]
    fn blocks_are_named_as_columns_are() {
        assert_eq!([0, 25, 26, 27, 701, 702].map(block_name), ["A", "Z", "AA", "AB", "ZZ", "AAA"]);
    }

    /// What is sent to create an event is what is understood when an event is looked up.
    #[test]
    fn a_description_is_read_as_it_is_written() {
        let mut asked = new(47, 2);
        asked.standing = 500;
        let event = design(&asked, "e".to_owned());
        let written = description(&asked, &event);
        let read: Vec<Block> = written["blocks"].as_array().unwrap().iter().filter_map(existing::read_block).collect();
        assert_eq!(read, event.blocks);
        assert_eq!(written["rules"]["max_per_customer"], Value::Null);
    }

    #[test]
    fn two_runs_do_not_share_a_name() {
        assert_ne!(run_id(), run_id());
    }
}
