//! Compares claims with facts. Pure: no request is made here, the time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::claims::{Claims, Hold};
use super::facts::{EventFacts, Facts, LedgerLine, is_pending};
use super::{Kind, Verdict};
use crate::stage::Shape;

/// How far the server's clock and ours may be apart when an expiry is judged, in milliseconds.
const SKEW_MS: u64 = 2_000;

/// Ended holds that a block remembers at least (the server's page on `unknown_hold` says so).
const ENDED_KEPT: usize = 100_000;

/// Event, block, seat.
type SeatOf<'a> = (&'a str, &'a str, &'a str);

/// What the facts say about one order.
#[derive(Clone, Copy)]
struct Known<'a> {
    state: &'a str,
    total: Option<i64>,
}

/// The facts, found by id, and what of the claims is about all of them.
struct Index<'a> {
    holds: HashMap<&'a str, Vec<&'a LedgerLine>>,
    orders: HashMap<&'a str, Known<'a>>,
    /// Event and block of those that were promised more holds than they remember when these end.
    forgetful: HashSet<(&'a str, &'a str)>,
    /// Every run of the journal came to its end.
    is_complete: bool,
}

/// Judges everything. `now` is in Unix milliseconds and not earlier than the facts were fetched.
pub fn judge(claims: &Claims, facts: &Facts, now: u64) -> Verdict {
    let index = Index::new(claims, facts);
    let mut verdict = Verdict { acknowledged: (claims.holds.len() + claims.orders.len()) as u64, ..Verdict::default() };
    for (id, hold) in &claims.holds {
        judge_hold(id, hold, &index, facts, now, &mut verdict);
    }
    judge_orders(claims, &index, &mut verdict);
    judge_keys(claims, &mut verdict);
    judge_overlaps(claims, &index, &mut verdict);
    judge_unclaimed(claims, facts, &mut verdict);
    for (id, event) in &facts.events {
        judge_ledger(id, event, &mut verdict);
        judge_books(id, event, &mut verdict);
    }
    verdict.checked.holds = claims.holds.len() as u64;
    verdict.checked.orders = claims.orders.len() as u64;
    verdict.checked.unresolved = claims.holds_unresolved + claims.orders_unresolved;
    verdict.checked.journal_complete = claims.complete;
    verdict.passed = verdict.lost + verdict.doubled + verdict.violations == 0;
    verdict
}

impl<'a> Index<'a> {
    fn new(claims: &'a Claims, facts: &'a Facts) -> Self {
        let mut holds: HashMap<&str, Vec<&LedgerLine>> = HashMap::new();
        for line in facts.events.values().flat_map(|event| &event.ledger) {
            if let Some(hold) = &line.hold {
                holds.entry(hold).or_default().push(line);
            }
        }
        let mut orders = HashMap::new();
        for (id, state) in &facts.orders {
            if let Some(state) = state {
                orders.insert(id.as_str(), Known { state, total: None });
            }
        }
        for order in facts.events.values().flat_map(|event| &event.orders) {
            orders.insert(&order.id, Known { state: &order.state, total: Some(order.total.amount) });
        }
        let mut promised: HashMap<(&str, &str), usize> = HashMap::new();
        for hold in claims.holds.values() {
            *promised.entry((&hold.line.event, &hold.line.block)).or_default() += 1;
        }
        promised.retain(|_, holds| *holds > ENDED_KEPT);
        Self { holds, orders, forgetful: promised.into_keys().collect(), is_complete: claims.complete }
    }

    fn is_paid(&self, order: &str) -> bool {
        self.orders.get(order).is_some_and(|known| known.state == "paid")
    }
}

fn judge_hold(id: &str, hold: &Hold, index: &Index<'_>, facts: &Facts, now: u64, verdict: &mut Verdict) {
    if let Some(lines) = index.holds.get(id) {
        if let Some(why) = differs(hold, lines) {
            verdict.find(Kind::Lost, id, why);
        } else if hold.released && lines.iter().any(|line| line.state == "held") {
            verdict.find(Kind::Violation, id, "its release was acknowledged, but the ledger still has it held");
        }
        return;
    }
    // The order's own check reports a paid order whose seats are gone.
    if hold.orders.iter().any(|order| index.is_paid(order)) {
        return;
    }
    let may_have_ended = hold.release_asked.is_some() || !hold.orders.is_empty() || hold.perhaps_ordered;
    let expired = hold.expires_at <= now + SKEW_MS;
    // Of a journal that was cut off, the line that says who asked for a release may be missing.
    let perhaps_asked = expired && !index.is_complete;
    match facts.holds.get(id).and_then(Option::as_deref) {
        Some("expired") if may_have_ended || expired => {}
        Some("released") if may_have_ended || perhaps_asked => {}
        Some("expired") => verdict.find(Kind::Lost, id, format!("expired before {}", hold.line.expires_at)),
        Some("released") => verdict.find(Kind::Lost, id, "released, but nobody asked for that"),
        Some(state) if is_over(hold, index) => {
            verdict.find(Kind::Violation, id, format!("its order has ended, but the hold is {state} without a seat"));
        }
        Some(state) => {
            verdict.find(Kind::Lost, id, format!("the server says {state}, but the ledger does not have it"))
        }
        // Known when its release was acknowledged, and forgotten since.
        None if hold.released => {}
        None if expired && index.forgetful.contains(&(&hold.line.event, &hold.line.block)) => {}
        None => verdict.find(Kind::Lost, id, "the server does not know it"),
    }
}

fn is_over(hold: &Hold, index: &Index<'_>) -> bool {
    let ended = |order: &String| index.orders.get(order.as_str()).is_some_and(|known| !is_pending(known.state));
    !hold.orders.is_empty() && hold.orders.iter().all(ended)
}

/// What the ledger has otherwise than it was promised.
fn differs(hold: &Hold, lines: &[&LedgerLine]) -> Option<String> {
    let promised = &hold.line;
    if let Some(other) =
        lines.iter().find(|line| line.customer.as_deref().is_some_and(|name| name != promised.customer))
    {
        return Some(format!("the ledger gives it to {}", other.customer.as_deref().unwrap_or_default()));
    }
    if let Some(other) = lines.iter().find(|line| line.block != promised.block) {
        return Some(format!("promised in block {}, the ledger has it in {}", promised.block, other.block));
    }
    let there: BTreeSet<&str> = lines.iter().filter_map(|line| line.seat.as_deref()).collect();
    let wanted: BTreeSet<&str> = promised.seats.iter().map(String::as_str).collect();
    if there != wanted {
        return Some(format!("promised {wanted:?}, the ledger has {there:?}"));
    }
    let places: u64 = lines.iter().map(|line| line.quantity.unwrap_or(1)).sum();
    (places != promised.quantity).then(|| format!("promised {} places, the ledger has {places}", promised.quantity))
}

fn judge_orders(claims: &Claims, index: &Index<'_>, verdict: &mut Verdict) {
    for (id, order) in &claims.orders {
        let Some(known) = index.orders.get(id.as_str()) else {
            verdict.find(Kind::Lost, id, "the server does not know it");
            continue;
        };
        let unsold = || order.line.holds.iter().find(|hold| !is_sold_to(hold, id, index));
        if order.seen_paid && known.state != "paid" {
            verdict.find(Kind::Lost, id, format!("was seen paid and is {}", known.state));
        } else if known.state == "paid"
            && let Some(hold) = unsold()
        {
            verdict.find(Kind::Lost, id, format!("is paid, but the seats of {hold} are not sold to it"));
        }
        if known.total.is_none() {
            verdict.find(Kind::Violation, id, "its customer sees it, but the event's orders do not list it");
        }
        if known.total.is_some_and(|total| total != order.line.total.amount) {
            verdict.find(
                Kind::Violation,
                id,
                format!("acknowledged for {}, booked for {:?}", order.line.total.amount, known.total),
            );
        }
    }
}

fn is_sold_to(hold: &str, order: &str, index: &Index<'_>) -> bool {
    let is_sold = |line: &&LedgerLine| line.state == "sold" && line.order.as_deref() == Some(order);
    index.holds.get(hold).is_some_and(|lines| lines.iter().all(is_sold))
}

/// A key asked several times has one effect.
fn judge_keys(claims: &Claims, verdict: &mut Verdict) {
    for (key, ids) in claims.keys.iter().filter(|(_, ids)| ids.len() > 1) {
        verdict.find(Kind::Doubled, key, format!("one key was answered with {ids:?}"));
    }
}

/// No seat was promised to a second hold while the promise to the first one stood.
fn judge_overlaps(claims: &Claims, index: &Index<'_>, verdict: &mut Verdict) {
    let mut by_seat: BTreeMap<SeatOf<'_>, Vec<(&str, &Hold)>> = BTreeMap::new();
    for (id, hold) in &claims.holds {
        for seat in hold.line.seats.iter() {
            by_seat.entry((&hold.line.event, &hold.line.block, seat)).or_default().push((id, hold));
        }
    }
    for ((event, block, seat), mut holds) in by_seat {
        holds.sort_by_key(|(_, hold)| hold.line.at);
        let mut standing: Vec<(&str, &Hold)> = Vec::new();
        for (second_id, second) in holds {
            standing.retain(|(_, first)| !may_have_ended_by(first, second.line.at, index));
            // An answer that came late, after a retry, may be about a promise that had ended before.
            let came_late = |first: &Hold| second.expires_at <= first.line.at + SKEW_MS;
            for (first_id, _) in standing.iter().filter(|(_, first)| !came_late(first)) {
                let why = format!("promised to {second_id} while it belonged to {first_id}");
                verdict.find(Kind::Doubled, format!("{event}/{block}/{seat}"), why);
            }
            standing.push((second_id, second));
        }
    }
}

fn may_have_ended_by(hold: &Hold, at: u64, index: &Index<'_>) -> bool {
    if hold.orders.iter().any(|order| index.is_paid(order)) {
        return false;
    }
    let released = hold.release_asked.is_some_and(|asked| asked <= at);
    released || hold.expires_at <= at + SKEW_MS || !hold.orders.is_empty() || hold.perhaps_ordered
}

/// Holds and orders of our customers that nobody acknowledged: each needs a key without a final answer. One more means
/// that a repeated key had two effects.
fn judge_unclaimed(claims: &Claims, facts: &Facts, verdict: &mut Verdict) {
    if !claims.complete {
        return;
    }
    let ours = |customer: &Option<String>| customer.as_deref().is_some_and(|customer| claims.is_ours(customer));
    let lines = facts.events.values().flat_map(|event| &event.ledger).filter(|line| ours(&line.customer));
    let holds: BTreeSet<&str> = lines.filter_map(|line| line.hold.as_deref()).collect();
    let unclaimed = holds.into_iter().filter(|hold| !claims.holds.contains_key(*hold));
    for hold in unclaimed.skip(claims.holds_unresolved as usize) {
        verdict.find(Kind::Doubled, hold, "the ledger has it, but no key of ours was answered with it");
    }
    let orders = facts.events.values().flat_map(|event| &event.orders).filter(|order| ours(&order.customer));
    let unclaimed = orders.filter(|order| !claims.orders.contains_key(&order.id));
    for order in unclaimed.skip(claims.orders_unresolved as usize) {
        verdict.find(Kind::Doubled, &order.id, "the event's orders have it, but no key of ours was answered with it");
    }
}

/// One owner a seat, and no more places than there are.
fn judge_ledger(id: &str, event: &EventFacts, verdict: &mut Verdict) {
    let mut seats = BTreeSet::new();
    let mut places: BTreeMap<&str, u64> = BTreeMap::new();
    for line in &event.ledger {
        let count = if line.seat.is_some() { 1 } else { line.quantity.unwrap_or(1) };
        *places.entry(&line.block).or_default() += count;
        verdict.checked.seats_sold += if line.state == "sold" { count } else { 0 };
        if let Some(seat) = &line.seat
            && !seats.insert((&line.block, seat))
        {
            verdict.find(Kind::Doubled, format!("{id}/{}/{seat}", line.block), "the ledger has two owners for it");
        }
    }
    for block in &event.blocks {
        let taken = places.get(block.id.as_str()).copied().unwrap_or_default();
        let is_told = match &block.shape {
            Shape::Seated { rows } => !rows.is_empty(),
            Shape::Standing { .. } => true,
        };
        if is_told && taken > block.size() {
            verdict.find(Kind::Doubled, format!("{id}/{}", block.id), format!("{taken} taken of {}", block.size()));
        }
    }
}

/// Ledger = orders = money.
fn judge_books(id: &str, event: &EventFacts, verdict: &mut Verdict) {
    verdict.checked.money += event.captured - event.refunded;
    for violation in &event.violations {
        verdict.find(Kind::Violation, id, format!("the server's own audit says: {violation}"));
    }
    let states: HashMap<&str, &str> =
        event.orders.iter().map(|order| (order.id.as_str(), order.state.as_str())).collect();
    let prices: HashMap<&str, u64> =
        event.blocks.iter().filter_map(|block| Some((block.id.as_str(), block.price?))).collect();
    let mut sold: HashMap<&str, Option<u64>> = HashMap::new();
    for line in event.ledger.iter().filter(|line| line.state == "sold") {
        let order = line.order.as_deref().unwrap_or_default();
        if !matches!(states.get(order), Some(&("paid" | "refunding"))) {
            let seat = line.seat.as_deref().or(line.hold.as_deref()).unwrap_or_default();
            let why = format!("sold to `{order}`, which is {}", states.get(order).unwrap_or(&"unknown"));
            verdict.find(Kind::Violation, format!("{id}/{}/{seat}", line.block), why);
        }
        let price = prices.get(line.block.as_str()).map(|price| price * line.quantity.unwrap_or(1));
        let worth = sold.entry(order).or_insert(Some(0));
        *worth = worth.and_then(|sum| Some(sum + price?));
    }
    let (mut paid, mut pending) = (0, 0);
    for order in &event.orders {
        if order.state == "paid" {
            verdict.checked.orders_paid += 1;
            paid += order.total.amount;
            match sold.get(order.id.as_str()) {
                None => verdict.find(Kind::Violation, &order.id, "is paid, but the ledger has nothing sold to it"),
                Some(Some(worth)) if *worth as i64 != order.total.amount => {
                    let why = format!("costs {}, but its seats are worth {worth}", order.total.amount);
                    verdict.find(Kind::Violation, &order.id, why);
                }
                Some(_) => {}
            }
        } else if is_pending(&order.state) {
            pending += order.total.amount;
        }
    }
    let net = event.captured - event.refunded;
    if net < paid || net > paid + pending {
        let why = format!("captured - refunded is {net}, paid orders are worth {paid}, pending ones {pending}");
        verdict.find(Kind::Violation, id, why);
    }
}

#[cfg(test)]
mod tests;
