//! Every finding, and what looks like one and is none, as stories of a journal and a server's books.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::audit::facts::{LedgerLine, OrderItem};
use crate::journal::{HoldLine, Line, Money, OrderLine};
use crate::stage::{Block, Event, Row};

const SECOND: u64 = 1_000;
/// When the audit looks: long before a hold of ten minutes ends.
const NOW: u64 = 100 * SECOND;

/// A journal and a server's books that agree until a story makes them differ.
struct Story {
    journal: Vec<Line<'static>>,
    facts: Facts,
}

fn story() -> Story {
    let rows = vec![Row { row: "1".to_owned(), seats: 9 }];
    let seated = Block { id: "A".to_owned(), price: Some(10), shape: Shape::Seated { rows } };
    let floor = Block { id: "FLOOR".to_owned(), price: Some(7), shape: Shape::Standing { capacity: 5 } };
    let event = Event { id: "e".to_owned(), blocks: vec![seated, floor] };
    let facts = EventFacts { blocks: event.blocks.clone(), ..EventFacts::default() };
    let events = vec![event].into();
    let run = Line::Run { at: 0, run: "r".into(), url: "u".into(), customers: "r-c".into(), events };
    Story { journal: vec![run], facts: Facts { events: [("e".to_owned(), facts)].into(), ..Facts::default() } }
}

fn euros(amount: i64) -> Money {
    Money { amount, currency: "EUR".to_owned() }
}

impl Story {
    /// A hold was acknowledged; it ends ten minutes after the start.
    fn hold(mut self, at: u64, id: &'static str, seat: &str) -> Self {
        self.journal.push(hold_line(at, id, seat, "1970-01-01T00:10:00Z"));
        self
    }

    /// The ledger has a seat.
    fn ledger(mut self, hold: &str, seat: &str, state: &str, order: Option<&str>) -> Self {
        let line = LedgerLine {
            block: "A".to_owned(),
            seat: Some(seat.to_owned()),
            state: state.to_owned(),
            hold: Some(hold.to_owned()),
            order: order.map(str::to_owned),
            customer: Some("r-c1".to_owned()),
            quantity: None,
        };
        self.event().ledger.push(line);
        self
    }

    /// An order of one hold was acknowledged for ten cents.
    fn order(mut self, id: &'static str, hold: &str) -> Self {
        self.journal.push(Line::Order(OrderLine {
            at: 2 * SECOND,
            id: id.into(),
            event: "e".into(),
            holds: vec![hold.to_owned()].into(),
            total: euros(10),
            customer: "r-c1".into(),
            key: id.into(),
            replayed: false,
        }));
        self
    }

    /// The event's orders have one for ten cents, captured when paid.
    fn booked(mut self, id: &str, state: &str) -> Self {
        let customer = Some("r-c1".to_owned());
        let order = OrderItem { id: id.to_owned(), state: state.to_owned(), total: euros(10), customer };
        self.event().orders.push(order);
        self.event().captured += if state == "paid" { 10 } else { 0 };
        self
    }

    fn line(mut self, line: Line<'static>) -> Self {
        self.journal.push(line);
        self
    }

    /// What the customer sees of a hold that the ledger does not have.
    fn seen(mut self, hold: &str, state: Option<&str>) -> Self {
        self.facts.holds.insert(hold.to_owned(), state.map(str::to_owned));
        self
    }

    fn event(&mut self) -> &mut EventFacts {
        self.facts.events.get_mut("e").unwrap()
    }

    fn verdict(mut self) -> Verdict {
        self.journal.push(Line::End { at: NOW });
        judge(&Claims::fold(self.journal), &self.facts, NOW)
    }

    fn passes(self) {
        let verdict = self.verdict();
        assert!(verdict.passed, "{:?}", verdict.details);
    }

    /// Exactly one finding.
    fn finds(self, kind: Kind, why: &str) {
        let details = self.verdict().details;
        assert!(details.len() == 1 && details[0].kind == kind && details[0].why.contains(why), "{why}: {details:?}");
    }
}

fn hold_line(at: u64, id: &'static str, seat: &str, expires_at: &'static str) -> Line<'static> {
    Line::Hold(HoldLine {
        at,
        id: id.into(),
        event: "e".into(),
        block: "A".into(),
        seats: vec![seat.to_owned()].into(),
        quantity: 1,
        customer: "r-c1".into(),
        key: id.into(),
        expires_at: expires_at.into(),
        replayed: false,
    })
}

#[test]
fn what_was_promised_and_is_there_passes() {
    story().hold(1, "h", "1-1").ledger("h", "1-1", "held", None).passes();
    let sold = story().hold(1, "h", "1-1").order("o", "h").ledger("h", "1-1", "sold", Some("o")).booked("o", "paid");
    sold.line(Line::State { at: 3, order: "o".into(), state: "paid".into() }).passes();
}

#[test]
fn a_hold_may_end_by_release_expiry_or_its_order_and_not_otherwise() {
    let asked = || Line::ReleaseAsked { at: 2, hold: "h".into() };
    story().hold(1, "h", "1-1").line(asked()).seen("h", Some("released")).passes();
    story().line(hold_line(1, "h", "1-1", "1970-01-01T00:01:00Z")).seen("h", Some("expired")).passes();
    story().hold(1, "h", "1-1").order("o", "h").booked("o", "payment_failed").seen("h", Some("released")).passes();

    story().hold(1, "h", "1-1").seen("h", Some("expired")).finds(Kind::Lost, "expired before");
    story().hold(1, "h", "1-1").seen("h", Some("released")).finds(Kind::Lost, "nobody asked");
    story().hold(1, "h", "1-1").seen("h", Some("held")).finds(Kind::Lost, "the ledger does not have it");
    story()
        .line(hold_line(1, "h", "1-1", "1970-01-01T00:01:00Z"))
        .seen("h", None)
        .finds(Kind::Lost, "does not know it");
    story()
        .line(hold_line(1, "h", "1-1", "1970-01-01T00:01:00Z"))
        .seen("h", Some("released"))
        .finds(Kind::Lost, "nobody asked");
}

#[test]
fn a_hold_may_be_forgotten_once_its_end_is_known() {
    let asked = || story().hold(1, "h", "1-1").line(Line::ReleaseAsked { at: 2, hold: "h".into() }).seen("h", None);
    asked().line(Line::Released { at: 3, hold: "h".into() }).passes();
    asked().finds(Kind::Lost, "does not know it");

    let mut crowded = story().line(hold_line(1, "h", "1-1", "1970-01-01T00:01:00Z")).seen("h", None);
    for nth in 0..ENDED_KEPT {
        let Line::Hold(line) = hold_line(1, "", "1-2", "1970-01-01T00:01:00Z") else { unreachable!() };
        let id = format!("h{nth}");
        crowded.journal.push(Line::Hold(HoldLine {
            id: id.clone().into(),
            key: id.clone().into(),
            seats: vec![].into(),
            ..line
        }));
        crowded = crowded.seen(&id, Some("expired"));
    }
    crowded.passes();
}

#[test]
fn the_ledger_must_have_what_was_promised() {
    story().hold(1, "h", "1-1").ledger("h", "1-2", "held", None).finds(Kind::Lost, "promised {\"1-1\"}");
    let mut other = story().hold(1, "h", "1-1").ledger("h", "1-1", "held", None);
    other.event().ledger[0].customer = Some("r-c2".to_owned());
    other.finds(Kind::Lost, "gives it to r-c2");
    let released = Line::Released { at: 3, hold: "h".into() };
    let still = story().hold(1, "h", "1-1").line(released).ledger("h", "1-1", "held", None);
    still.finds(Kind::Violation, "release was acknowledged");
}

#[test]
fn an_order_seen_paid_stays_paid_with_its_seats() {
    let bought = || story().hold(1, "h", "1-1").order("o", "h");
    let paid = || Line::State { at: 3, order: "o".into(), state: "paid".into() };
    bought()
        .line(paid())
        .ledger("h", "1-1", "bound", Some("o"))
        .booked("o", "cancelled")
        .finds(Kind::Lost, "seen paid and is cancelled");
    bought().ledger("h", "1-1", "held", None).finds(Kind::Lost, "does not know it");
    let free = bought().booked("o", "paid").verdict();
    assert_eq!((free.lost, free.violations), (1, 1), "paid without a seat: {:?}", free.details);
}

#[test]
fn a_seat_has_one_owner_at_a_time() {
    let twice = story().hold(1, "h1", "1-1").hold(2, "h2", "1-1").ledger("h1", "1-1", "held", None);
    let twice = twice.ledger("h2", "1-1", "held", None).verdict();
    assert_eq!((twice.lost, twice.doubled), (0, 2), "in the ledger and among the promises: {:?}", twice.details);

    let released = Line::ReleaseAsked { at: 2, hold: "h1".into() };
    let passed_on = story().hold(1, "h1", "1-1").line(released).seen("h1", Some("released"));
    passed_on.hold(3, "h2", "1-1").ledger("h2", "1-1", "held", None).passes();
}

/// The second promise came late and excuses nothing: the first stands when the third is made.
#[test]
fn a_promise_is_held_against_all_that_stand_before_it() {
    let late = || hold_line(50 * SECOND, "h2", "1-1", "1970-01-01T00:00:30Z");
    let first = story().hold(40 * SECOND, "h1", "1-1").ledger("h1", "1-1", "held", None).line(late());
    let third = first.seen("h2", Some("expired")).hold(60 * SECOND, "h3", "1-1").seen("h3", Some("held"));
    let verdict = third.verdict();
    assert_eq!((verdict.lost, verdict.doubled), (1, 1), "{:?}", verdict.details);
}

/// The answer about the first hold was lost and came with a retry, after the hold had expired and its seat had gone to
/// another.
#[test]
fn an_answer_that_comes_late_is_no_second_owner() {
    let late = hold_line(90 * SECOND, "h1", "1-1", "1970-01-01T00:00:30Z");
    let after = story().hold(40 * SECOND, "h2", "1-1").ledger("h2", "1-1", "held", None);
    after.line(late).seen("h1", Some("expired")).passes();
}

#[test]
fn places_beyond_the_capacity_are_doubled() {
    let mut floor = story();
    let line = |hold: &str, quantity| LedgerLine {
        block: "FLOOR".to_owned(),
        state: "held".to_owned(),
        hold: Some(hold.to_owned()),
        customer: Some("somebody".to_owned()),
        quantity: Some(quantity),
        ..LedgerLine::default()
    };
    floor.event().ledger = vec![line("h1", 3), line("h2", 3)];
    floor.finds(Kind::Doubled, "6 taken of 5");
}

#[test]
fn an_effect_needs_an_answer_or_an_open_key() {
    let open = Line::Unresolved { at: 5, operation: "hold".into(), key: "k".into(), holds: vec![].into() };
    story().ledger("h", "1-1", "held", None).line(open.clone()).passes();
    let second = story().ledger("h", "1-1", "held", None).ledger("g", "1-2", "held", None).line(open);
    second.finds(Kind::Doubled, "no key of ours");
}

#[test]
fn a_journal_that_was_cut_off_does_not_judge_effects_it_cannot_know() {
    let story = story().ledger("h", "1-1", "held", None);
    let verdict = judge(&Claims::fold(story.journal), &story.facts, NOW);
    assert!(verdict.passed && !verdict.checked.journal_complete);
}

#[test]
fn ledger_orders_and_money_agree() {
    let bought = || story().hold(1, "h", "1-1").order("o", "h").ledger("h", "1-1", "sold", Some("o"));
    bought().booked("o", "expired").finds(Kind::Violation, "sold to `o`, which is expired");
    let mut uncaptured = bought().booked("o", "paid");
    uncaptured.event().captured = 0;
    uncaptured.finds(Kind::Violation, "captured - refunded is 0");
    let mut dearer = bought().booked("o", "paid");
    dearer.event().blocks[0].price = Some(11);
    dearer.finds(Kind::Violation, "its seats are worth 11");
}
