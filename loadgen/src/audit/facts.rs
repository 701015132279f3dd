//! What the server says it has: ledgers, orders, money, and single holds and orders where these do not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use super::claims::Claims;
use crate::client::{Client, unexpected};
use crate::failure::Failure;
use crate::journal::Money;
use crate::plan::Access;
use crate::stage::{self, Event};
use crate::token;

/// Pause between two looks at orders that have not come to their end.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Rounds in which ledger and orders may change under the audit, before it judges what it has.
const ROUNDS_MAX: u32 = 5;
/// Orders of a page.
const PAGE: u32 = 1_000;

/// The server's side of the comparison.
#[derive(Debug, Default)]
pub struct Facts {
    /// By event id.
    pub events: BTreeMap<String, EventFacts>,
    /// States of acknowledged holds that no ledger has, as their customers see them; none: `404`.
    pub holds: BTreeMap<String, Option<String>>,
    /// States of acknowledged orders that no event's orders have, as their customers see them; none: `404`.
    pub orders: BTreeMap<String, Option<String>>,
}

/// One event.
#[derive(Debug, Default)]
pub struct EventFacts {
    /// Blocks with their prices and capacities.
    pub blocks: Vec<stage::Block>,
    /// Every seat that is not free.
    pub ledger: Vec<LedgerLine>,
    /// All orders.
    pub orders: Vec<OrderItem>,
    /// Minor units.
    pub captured: i64,
    /// Minor units.
    pub refunded: i64,
    /// What the server itself found wrong.
    pub violations: Vec<String>,
}

/// A line of the ledger.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct LedgerLine {
    /// The block.
    pub block: String,
    /// The seat; none in a standing block.
    pub seat: Option<String>,
    /// `held`, `bound`, `sold`, `blocked`.
    pub state: String,
    /// Whose hold.
    pub hold: Option<String>,
    /// Whose order.
    pub order: Option<String>,
    /// Whose.
    pub customer: Option<String>,
    /// Places of a standing hold.
    pub quantity: Option<u64>,
}

/// An order as the organizer sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct OrderItem {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: String,
    /// What it costs.
    pub total: Money,
    /// Whose it is.
    pub customer: Option<String>,
}

/// Waits until orders have come to their end (bounded), then fetches everything.
pub fn fetch(access: &Access, claims: &Claims) -> Result<Facts, Failure> {
    let mut client = Client::new(access.targets.clone(), access.give_up);
    let mut facts = Facts::default();
    let events: BTreeMap<&str, &Event> = claims.events.iter().map(|event| (event.id.as_str(), event)).collect();
    for (id, event) in events {
        facts.events.insert(id.to_owned(), fetch_event(&mut client, access, event)?);
    }
    look_up_the_missing(&mut client, access, claims, &mut facts)?;
    Ok(facts)
}

fn fetch_event(client: &mut Client, access: &Access, event: &Event) -> Result<EventFacts, Failure> {
    let organizer = access.organizer();
    let mut orders = settled_orders(client, access, &event.id)?;
    let mut round = 1;
    loop {
        let ledger = fetch_ledger(client, &organizer, &event.id)?;
        let path = format!("/v1/events/{}/audit", event.id);
        let audit: Value = client.get(&path, Some(&organizer))?;
        let after = fetch_orders(client, &organizer, &event.id)?;
        if states(&after) == states(&orders) || round == ROUNDS_MAX {
            let (captured, refunded) = (money(&audit, "captured", &path)?, money(&audit, "refunded", &path)?);
            let violations = violations(&audit, &path)?;
            return Ok(EventFacts {
                blocks: event.blocks.clone(),
                ledger,
                orders: after,
                captured,
                refunded,
                violations,
            });
        }
        orders = after;
        round += 1;
    }
}

fn states(orders: &[OrderItem]) -> BTreeSet<(&str, &str)> {
    orders.iter().map(|order| (order.id.as_str(), order.state.as_str())).collect()
}

fn settled_orders(client: &mut Client, access: &Access, event: &str) -> Result<Vec<OrderItem>, Failure> {
    let started = Instant::now();
    loop {
        let orders = fetch_orders(client, &access.organizer(), event)?;
        if started.elapsed() > access.settle || !orders.iter().any(|order| is_pending(&order.state)) {
            return Ok(orders);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether an order will still change by itself.
pub fn is_pending(state: &str) -> bool {
    matches!(state, "placed" | "paying" | "refunding")
}

fn fetch_orders(client: &mut Client, organizer: &str, event: &str) -> Result<Vec<OrderItem>, Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<OrderItem>,
        next: Option<String>,
    }
    let mut orders = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/events/{event}/orders?limit={PAGE}{after}");
        let page: Page = client.get(&path, Some(organizer))?;
        orders.extend(page.items);
        match page.next {
            Some(next) => after = format!("&after={}", escape(&next)),
            None => return Ok(orders),
        }
    }
}

/// Opaque strings in a query: everything but letters, digits and `-_.~` as `%XX`.
fn escape(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn fetch_ledger(client: &mut Client, organizer: &str, event: &str) -> Result<Vec<LedgerLine>, Failure> {
    let path = format!("/v1/events/{event}/ledger");
    let answer = client.ask("GET", &path, Some(organizer), b"")?;
    if answer.status != 200 {
        return Err(unexpected("GET", &path, &answer));
    }
    let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| crate::client::read_json(&path, line)).collect()
}

/// Reads an amount of the audit: an object with `amount` or a plain number, at the top or under `money`.
fn money(audit: &Value, name: &str, path: &str) -> Result<i64, Failure> {
    let found = [&audit[name], &audit["money"][name]]
        .into_iter()
        .find_map(|value| value["amount"].as_i64().or_else(|| value.as_i64()));
    found.ok_or_else(|| Failure::Unreadable { request: format!("GET {path}"), reason: format!("no amount `{name}`") })
}

fn violations(audit: &Value, path: &str) -> Result<Vec<String>, Failure> {
    let list = audit["violations"].as_array().ok_or_else(|| Failure::Unreadable {
        request: format!("GET {path}"),
        reason: "no list `violations`".to_owned(),
    })?;
    Ok(list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect())
}

/// Asks as the customer for every acknowledged hold and order that ledgers and lists do not have.
fn look_up_the_missing(
    client: &mut Client,
    access: &Access,
    claims: &Claims,
    facts: &mut Facts,
) -> Result<(), Failure> {
    let lines = facts.events.values().flat_map(|event| &event.ledger);
    let in_ledger: BTreeSet<&str> = lines.filter_map(|line| line.hold.as_deref()).collect();
    let mut holds = BTreeMap::new();
    for (id, hold) in claims.holds.iter().filter(|(id, _)| !in_ledger.contains(id.as_str())) {
        holds.insert(id.clone(), state_of(client, access, &format!("/v1/holds/{id}"), &hold.line.customer)?);
    }
    let listed = facts.events.values().flat_map(|event| &event.orders);
    let listed: BTreeSet<&str> = listed.map(|order| order.id.as_str()).collect();
    let mut orders = BTreeMap::new();
    for (id, order) in claims.orders.iter().filter(|(id, _)| !listed.contains(id.as_str())) {
        orders.insert(id.clone(), state_of(client, access, &format!("/v1/orders/{id}"), &order.line.customer)?);
    }
    (facts.holds, facts.orders) = (holds, orders);
    Ok(())
}

fn state_of(client: &mut Client, access: &Access, path: &str, customer: &str) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct State {
        state: String,
    }
    let bearer = token::bearer(&access.auth_secret, customer, SystemTime::now());
    let answer = client.ask("GET", path, Some(&bearer), b"")?;
    match answer.status {
        200 => Ok(Some(crate::client::read_json::<State>(path, &answer.body)?.state)),
        404 | 410 => Ok(None),
        _ => Err(unexpected("GET", path, &answer)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn amounts_are_read_where_a_server_may_put_them_and_missed_when_they_are_not_there() {
        for audit in [r#"{"captured":{"amount":5}}"#, r#"{"captured":5}"#, r#"{"money":{"captured":{"amount":5}}}"#] {
            assert_eq!(money(&serde_json::from_str(audit).unwrap(), "captured", "p").unwrap(), 5);
        }
        assert!(money(&Value::Null, "captured", "/p").unwrap_err().to_string().contains("no amount `captured`"));
        assert!(violations(&Value::Null, "/p").is_err());
    }

    #[test]
    fn cursors_survive_a_query() {
        assert_eq!(escape("a+/=b-1"), "a%2B%2F%3Db-1");
    }
}
