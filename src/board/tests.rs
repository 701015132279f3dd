//! The board's promises: what it folds is what was published, and answers are rendered once per change.

#![allow(clippy::unwrap_used)]

mod finding;
mod reach;
mod source;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actors::address::{Address, BlockRef};
use actors::block::{Counts, Layout, Row, SeatIx, SeatState, pack};
use actors::event::Sale;
use actors::feed::{Feed, SeatsChanged};
use actors::time::{Millis, Span};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::{self, EVENT, Owner, StoppedClock, at, description, opening, seated, standing};
use super::ring::Kept;
use super::*;
use crate::encoding::Encoding;

#[derive(Default)]
struct Counting {
    rendered: AtomicUsize,
    served: AtomicUsize,
    gaps: Mutex<Vec<BlockRef>>,
}

impl Observer for Counting {
    fn served(&self, how: Served, times: u64) {
        let times = usize::try_from(times).unwrap();
        self.served.fetch_add(times, Ordering::SeqCst);
        self.rendered.fetch_add(if how == Served::Rendered { times } else { 0 }, Ordering::SeqCst);
    }

    fn gap(&self, block: &BlockRef) {
        self.gaps.lock().unwrap().push(block.clone());
    }
}

impl Counting {
    fn rendered(&self) -> usize {
        self.rendered.load(Ordering::SeqCst)
    }
}

/// A board with one event of a seated block `A` of 25 rows of 40 and a standing block `FLOOR` of 5,000.
fn concert() -> (Board, StoppedClock, Arc<Counting>) {
    let observer = Arc::new(Counting::default());
    let (board, clock) = fixture::board(observer.clone());
    board.publish(opening(&description(EVENT, vec![seated("A", 25, 40), standing("FLOOR", 5000)])));
    (board, clock, observer)
}

fn said(rendered: &Rendered) -> Value {
    serde_json::from_slice(&rendered.variant(Encoding::Identity).body).unwrap()
}

fn availability(board: &Board) -> Value {
    said(&board.answer(Subject::Availability(&EVENT.into())).unwrap())
}

/// The seats of block `A` and the number of the last change in them.
fn seats(board: &Board) -> (u64, Vec<u8>) {
    let rendered = board.answer(Subject::SeatsBytes(&EVENT.into(), &"A".into())).unwrap();
    (rendered.version, rendered.variant(Encoding::Identity).body.to_vec())
}

#[test]
fn an_event_is_described_with_its_places_and_prices() {
    let (board, ..) = concert();
    let event = said(&board.answer(Subject::Event(&EVENT.into())).unwrap());
    assert_eq!(event["status"], "on_sale");
    assert_eq!(event["starts_at"], "2027-06-12T19:00:00Z");
    assert_eq!(event["on_sale_at"], Value::Null);
    assert_eq!(event["rules"]["hold_ttl_s"], 420);
    assert_eq!(
        event["blocks"][0],
        json!({"id": "A", "name": "Block A", "kind": "seated", "price": {"amount": 8500, "currency": "EUR"},
            "capacity": 1000, "rows": 25})
    );
    assert_eq!(
        availability(&board)["blocks"][1],
        json!({"block": "FLOOR", "free": 5000, "held": 0, "sold": 0, "blocked": 0,
            "price": {"amount": 7000, "currency": "EUR"}})
    );
    assert_eq!(availability(&board)["free"], 6000);
    assert_eq!(board.answer(Subject::Event(&"other".into())).unwrap_err(), Missing::Event);
    assert_eq!(board.layout(&EVENT.into(), &"Z".into()).unwrap_err(), Missing::Block);
}

#[test]
fn a_layout_says_where_every_seat_is() {
    let (board, ..) = concert();
    let layout = said(&board.layout(&EVENT.into(), &"A".into()).unwrap());
    assert_eq!((&layout["kind"], &layout["capacity"]), (&json!("seated"), &json!(1000)));
    let row = &layout["rows"][11];
    assert_eq!((&row["row"], &row["first"], &row["y"]), (&json!("12"), &json!(440), &json!(11)));
    assert_eq!((&row["numbers"][6], &row["x"][0], &row["x"][39]), (&json!(7), &json!(-19.5), &json!(19.5)));
    let floor = board.layout(&EVENT.into(), &"FLOOR".into()).unwrap();
    assert_eq!(said(&floor), json!({"event": EVENT, "block": "FLOOR", "kind": "standing", "capacity": 5000}));
    assert!(floor.cache_control.contains("immutable"));
}

#[test]
fn a_change_shows_in_seats_and_counts() {
    let (board, ..) = concert();
    let mut owner = Owner::new("A", 1000);
    board.publish(vec![owner.set([17, 18], SeatState::Held), owner.set([18], SeatState::Sold)]);
    assert_eq!(seats(&board), (2, pack(owner.seats.iter().copied())));
    assert_eq!(availability(&board)["blocks"][0]["held"], 1);
    assert_eq!(availability(&board)["blocks"][0]["sold"], 1);
    let seats = said(&board.answer(Subject::Seats(&EVENT.into(), &"A".into())).unwrap());
    assert_eq!((&seats["event"], &seats["block"], &seats["seq"]), (&json!(EVENT), &json!("A"), &json!(2)));
    assert!(seats["seats"].as_str().unwrap().starts_with("AAAAACQA"));
}

#[test]
fn places_of_a_standing_block_are_counted() {
    let (board, ..) = concert();
    let counts = Counts { free: 4998, held: 2, sold: 0, blocked: 0 };
    let change = SeatsChanged { block: at(EVENT, "FLOOR"), seq: 1, seats: Default::default(), counts };
    board.publish(vec![Feed::Seats(change)]);
    assert_eq!(availability(&board)["blocks"][1]["held"], 2);
    let event = board.event(&EVENT.into()).unwrap();
    let (_, floor) = event.block(&"FLOOR".into()).unwrap();
    assert_eq!(
        floor.texts_after(0).unwrap(),
        [r#"{"type":"change","block":"FLOOR","seq":1,"seats":[],"free":4998,"held":2,"sold":0,"blocked":0}"#]
    );
    let seats = said(&board.answer(Subject::Seats(&EVENT.into(), &"FLOOR".into())).unwrap());
    assert_eq!(seats, json!({"event": EVENT, "block": "FLOOR", "seq": 1, "seats": ""}));
}

#[test]
fn a_thousand_readers_cost_one_rendering() {
    let (board, clock, observer) = concert();
    let mut owner = Owner::new("A", 1000);
    for _ in 0..1000 {
        availability(&board);
    }
    assert_eq!(observer.rendered(), 1);
    clock.advance(Span(50));
    board.publish(vec![owner.set([1], SeatState::Held)]);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| (0..125).for_each(|_| drop(board.answer(Subject::Availability(&EVENT.into())))));
        }
    });
    assert_eq!(observer.rendered(), 2);
    assert_eq!(observer.served.load(Ordering::SeqCst), 2000);
}

#[test]
fn constant_change_is_rendered_at_the_pace_and_the_last_change_is_shown() {
    let (board, clock, observer) = concert();
    let mut owner = Owner::new("A", 1000);
    for seat in 0..1000 {
        board.publish(vec![owner.set([seat], SeatState::Held)]);
        availability(&board);
        clock.advance(Span(1));
    }
    assert_eq!(observer.rendered(), 20, "a second of changes at 50 ms each");
    clock.advance(Span(50));
    assert_eq!(availability(&board)["blocks"][0]["free"], 0);
    assert_eq!(observer.rendered(), 21);
}

#[test]
fn after_a_quiet_time_a_burst_is_up_to_date_at_once() {
    let (board, clock) = fixture::board(Arc::new(Silent));
    let settings = Settings { pace: Pace { interval: Span(50), burst: 4 }, ..board.settings };
    let board = Board::new(settings);
    board.publish(opening(&description(EVENT, vec![seated("A", 1, 10)])));
    let mut owner = Owner::new("A", 10);
    let fresh = |board: &Board, owner: &Owner| seats(board).0 == owner.seq;
    let burst: Vec<bool> = (0..6)
        .map(|seat| {
            board.publish(vec![owner.set([seat], SeatState::Held)]);
            fresh(&board, &owner)
        })
        .collect();
    assert_eq!(burst, [true, true, true, true, false, false]);
    clock.advance(Span(50));
    assert!(fresh(&board, &owner));
}

#[test]
fn versions_grow_and_etags_tell_answers_apart() {
    let (board, clock, _) = concert();
    let mut owner = Owner::new("A", 1000);
    let mut last = board.answer(Subject::Availability(&EVENT.into())).unwrap();
    for seat in 0..5 {
        board.publish(vec![owner.set([seat], SeatState::Held)]);
        clock.advance(Span(50));
        let next = board.answer(Subject::Availability(&EVENT.into())).unwrap();
        assert!(next.version > last.version);
        for encoding in Encoding::ALL {
            assert_ne!(next.variant(encoding).etag, last.variant(encoding).etag);
        }
        assert_eq!(said(&next)["version"], next.version);
        last = next;
    }
}

#[test]
fn a_sale_opens_by_the_clock_alone() {
    let (board, clock) = fixture::board(Arc::new(Silent));
    let mut event = description(EVENT, vec![seated("A", 1, 10)]);
    event.spec.on_sale_at = Some(Millis(1_010_000));
    board.publish(opening(&event));
    let status = |board: &Board| {
        let list = said(&board.event_list(None, LIMIT_DEFAULT));
        let event = said(&board.answer(Subject::Event(&EVENT.into())).unwrap());
        assert_eq!(event["on_sale_at"], "1970-01-01T00:16:50Z");
        assert_eq!(list["items"][0]["status"], event["status"]);
        assert_eq!(availability(board)["status"], event["status"]);
        (event["status"].as_str().unwrap().to_owned(), availability(board)["version"].as_u64().unwrap())
    };
    let (scheduled, before) = status(&board);
    clock.advance(Span(9_999));
    assert_eq!(status(&board).0, scheduled);
    clock.advance(Span(1));
    let (open, after) = status(&board);
    assert_eq!((scheduled.as_str(), open.as_str()), ("scheduled", "on_sale"));
    assert!(after > before);
}

#[test]
fn an_older_description_changes_nothing() {
    let (board, clock, _) = concert();
    let mut paused = description(EVENT, vec![seated("A", 25, 40), standing("FLOOR", 5000)]);
    (paused.sale, paused.revision) = (Sale::Paused, 3);
    board.publish(vec![Feed::Event(Box::new(paused.clone()))]);
    (paused.sale, paused.revision) = (Sale::Open, 2);
    board.publish(vec![Feed::Event(Box::new(paused))]);
    clock.advance(Span(50));
    assert_eq!(availability(&board)["status"], "paused");
}

#[test]
fn events_are_listed_by_id_a_page_at_a_time() {
    let (board, clock) = fixture::board(Arc::new(Silent));
    let create = |name: &str| board.publish(opening(&description(name, vec![seated("A", 1, 10)])));
    ["c", "a", "e", "d"].into_iter().for_each(create);
    // Feeds of blocks may be ahead of the event's own.
    board.publish(vec![Feed::Board(Box::new(actors::feed::Board {
        block: at("0", "A"),
        seq: 0,
        seats: vec![0],
        counts: Counts::default(),
    }))]);
    let page = |after: Option<&str>, limit| {
        let page = said(&board.event_list(after.map(Into::into), limit));
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
        (ids, page["next"].clone())
    };
    assert_eq!(page(None, 2), (vec![json!("a"), json!("c")], json!("c")));
    assert_eq!(page(Some("c"), 2), (vec![json!("d"), json!("e")], Value::Null));
    assert_eq!(page(Some("b"), 1000).0.len(), 3);
    create("b");
    clock.advance(Span(50));
    assert_eq!(page(None, 2), (vec![json!("a"), json!("b")], json!("b")));
    for other in 0..2 * PAGES_MAX {
        assert_eq!(page(Some(&format!("b{other}")), 1).1, json!("c"), "also when no page more is kept");
    }
}

#[test]
fn a_block_that_is_being_created_is_free_and_one_that_is_not_known_is_not_answered() {
    let (board, _) = fixture::board(Arc::new(Silent));
    let mut event = description(EVENT, vec![seated("A", 1, 10)]);
    event.ready = false;
    board.publish(vec![Feed::Event(Box::new(event.clone()))]);
    assert_eq!(seats(&board), (0, vec![0, 0, 0]));
    assert_eq!(availability(&board)["status"], "scheduled");
    event.ready = true;
    board.publish(vec![Feed::Event(Box::new(event))]);
    assert_eq!(board.answer(Subject::Seats(&EVENT.into(), &"A".into())).unwrap_err(), Missing::Seats);
}

#[test]
fn a_missing_change_is_asked_for_and_nothing_wrong_is_shown_meanwhile() {
    let (board, clock, observer) = concert();
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = asked.clone();
    board.on_gap(move |_| {
        asking.fetch_add(1, Ordering::SeqCst);
    });
    let mut owner = Owner::new("A", 1000);
    let first = owner.set([1], SeatState::Held);
    let picture = owner.picture();
    let lost = owner.set([2], SeatState::Held);
    let third = owner.set([3], SeatState::Held);
    let fourth = owner.set([4], SeatState::Held);
    board.publish(vec![first.clone(), third.clone(), fourth, third, first]);
    assert_eq!(seats(&board).0, 1);
    assert_eq!((asked.load(Ordering::SeqCst), observer.gaps.lock().unwrap().clone()), (1, vec![at(EVENT, "A")]));
    board.publish(vec![picture]);
    clock.advance(PICTURE_WAIT);
    assert_eq!(seats(&board).0, 1, "an older picture does not help");
    let fifth = owner.set([5], SeatState::Held);
    board.publish(vec![fifth]);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "asked again when no picture comes");
    board.publish(vec![lost]);
    clock.advance(Span(50));
    assert_eq!(seats(&board), (5, pack(owner.seats.iter().copied())), "what waited follows");
}

#[test]
fn a_picture_bridges_a_gap_and_what_came_after_it_is_kept() {
    let (board, clock, _) = concert();
    let mut owner = Owner::new("A", 1000);
    let _lost = owner.set([1], SeatState::Held);
    let second = owner.set([2], SeatState::Sold);
    let picture = owner.picture();
    let third = owner.set([3], SeatState::Held);
    board.publish(vec![second, third, picture]);
    clock.advance(Span(50));
    assert_eq!(seats(&board), (3, pack(owner.seats.iter().copied())));
    let beyond = SeatsChanged {
        block: at(EVENT, "A"),
        seq: 4,
        seats: [(SeatIx(1000), SeatState::Held)].into_iter().collect(),
        counts: owner.counts(),
    };
    board.publish(vec![Feed::Seats(beyond)]);
    clock.advance(Span(50));
    assert_eq!(seats(&board).0, 3, "a seat that the block does not have is a gap, not a panic");
}

#[test]
fn who_comes_back_gets_the_missing_changes_while_they_are_kept() {
    let (board, ..) = concert();
    let event = board.event(&EVENT.into()).unwrap();
    let (_, block) = event.block(&"A".into()).unwrap();
    let mut owner = Owner::new("A", 1000);
    let changes = CHANGES_MAX as u32 + 10;
    for n in 0..changes {
        board.publish(vec![owner.set([n % 1000], if n < 1000 { SeatState::Held } else { SeatState::Sold })]);
    }
    let last = u64::from(changes);
    let oldest = last - CHANGES_MAX as u64;
    assert_eq!(block.texts_after(last), Some(vec![]));
    assert_eq!(
        block.texts_after(last - 2).unwrap(),
        [
            r#"{"type":"change","block":"A","seq":1033,"seats":[[32,2]]}"#,
            r#"{"type":"change","block":"A","seq":1034,"seats":[[33,2]]}"#
        ]
    );
    assert_eq!(block.texts_after(oldest).map(|texts| texts.len()), Some(CHANGES_MAX));
    assert_eq!(block.texts_after(oldest - 1), None, "gone");
    assert_eq!(block.texts_after(last + 1), None, "of the future");
    let five = block.texts_after(last - 5).unwrap();
    let one = block.texts_after(last - 1).unwrap();
    assert_eq!(one[0].as_ptr(), five[4].as_ptr(), "rendered once for all");
}

#[test]
fn a_change_of_too_many_seats_is_not_kept() {
    let (board, _) = fixture::board(Arc::new(Silent));
    board.publish(opening(&description(EVENT, vec![seated("A", 20, 1000)])));
    let mut owner = Owner::new("A", 20_000);
    board.publish(vec![owner.set([1], SeatState::Held), owner.set(0..20_000, SeatState::Blocked)]);
    let event = board.event(&EVENT.into()).unwrap();
    let (_, block) = event.block(&"A".into()).unwrap();
    assert_eq!(block.texts_after(0), None);
    assert_eq!(block.board_text().unwrap().0, 2);
    board.publish(vec![owner.set([1], SeatState::Free)]);
    assert_eq!(block.texts_after(2).unwrap().len(), 1);
}

#[test]
fn a_watch_is_told_once_until_it_looked() {
    let (board, ..) = concert();
    let event = board.event(&EVENT.into()).unwrap();
    let (_, block) = event.block(&"A".into()).unwrap();
    let inbox = Arc::new(Inbox::default());
    let watch = Arc::new(Watch::new(7, inbox.clone()));
    block.watch(&watch);
    let mut owner = Owner::new("A", 1000);
    board.publish((0..10).map(|seat| owner.set([seat], SeatState::Held)).collect());
    assert_eq!(inbox.take(), [7]);
    board.publish(vec![owner.set([10], SeatState::Held)]);
    assert!(inbox.take().is_empty(), "it was told and has not looked");
    watch.seen();
    board.publish(vec![owner.set([11], SeatState::Held)]);
    assert_eq!(inbox.take(), [7]);
    block.unwatch(&watch);
    watch.seen();
    board.publish(vec![owner.set([12], SeatState::Held)]);
    assert!(inbox.take().is_empty());
}

fn layouts() -> impl Strategy<Value = Layout> {
    let row = ("[A-Z]{1,2}(-[0-9])?", 1_u16..60).prop_map(|(name, seats)| Row { name, seats });
    prop::collection::vec(row, 1..20).prop_map(Layout::Seated)
}

fn changes() -> impl Strategy<Value = Vec<(u8, Vec<(u32, u8)>)>> {
    prop::collection::vec((0_u8..20, prop::collection::vec((0_u32..61, 0_u8..4), 1..6)), 1..200)
}

fn state(number: u8) -> SeatState {
    [SeatState::Free, SeatState::Held, SeatState::Sold, SeatState::Blocked][number as usize]
}

proptest! {
    #[test]
    fn names_agree_with_the_layout(layout in layouts(), seat in 0_u32..1300, rubbish in "[A-Z]{0,2}-?[0-9+]{0,3}") {
        let names = SeatNames::new(&layout);
        prop_assert_eq!(names.capacity(), layout.capacity());
        prop_assert_eq!(names.name(SeatIx(seat)).map(String::from), layout.seat_name(SeatIx(seat)));
        prop_assert_eq!(names.index(&rubbish), layout.seat_named(&rubbish));
        if let Some(name) = names.name(SeatIx(seat)) {
            prop_assert_eq!(names.index(&name), layout.seat_named(&name));
        }
    }

    /// Whatever is lost, doubled or late on the way: with a picture at the end, the board is what the owner has; and a reader
    /// who applies texts from any point gets there too.
    #[test]
    fn a_lossy_feed_ends_where_the_owner_is(changes in changes(), picture_every in 5_usize..40) {
        let (board, clock) = fixture::board(Arc::new(Silent));
        board.publish(opening(&description(EVENT, vec![seated("A", 1, 61)])));
        let event = board.event(&EVENT.into()).unwrap();
        let (_, block) = event.block(&"A".into()).unwrap();
        let mut owner = Owner::new("A", 61);
        let mut history = vec![owner.seats.clone()];
        let mut last = None;
        for (n, (fate, seats)) in changes.iter().enumerate() {
            let change = owner.change(seats.iter().map(|(seat, number)| (SeatIx(*seat), state(*number))).collect());
            history.push(owner.seats.clone());
            match fate {
                0 => {}
                1 => board.publish(vec![change.clone(), change]),
                2 => last = Some(change),
                _ => board.publish(last.take().into_iter().chain([change]).collect()),
            }
            if n % picture_every == 0 {
                board.publish(vec![owner.picture()]);
            }
            let shown = block.read();
            prop_assert_eq!(&shown.seats, &pack(history[shown.seq as usize].iter().copied()), "what is shown was true at its number");
        }
        board.publish(vec![owner.picture()]);
        clock.advance(Span(50));
        prop_assert_eq!(seats(&board), (owner.seq, pack(owner.seats.iter().copied())));
        prop_assert_eq!(block.counts(), owner.counts());
        for (from, mut reader) in history.into_iter().enumerate() {
            if let Some(kept) = block.kept_after(from as u64) {
                for Kept { seats, .. } in &kept {
                    seats.iter().for_each(|(seat, state)| reader[seat.0 as usize] = *state);
                }
                prop_assert_eq!(&reader, &owner.seats);
            }
        }
    }
}
