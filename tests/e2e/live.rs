//! Live sessions: board first, then every change without a gap; resumed, counted, and ended in good order.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, id, small_event};
use crate::server::Server;
use crate::socket::{Seats, Session};

/// Places of block A of [`small_event`].
const A: usize = 40;

fn seats_now(client: &Client, event: &str) -> Seats {
    Seats::of(&client.get(&format!("/v1/events/{event}/blocks/A/seats")).expect(200), A)
}

/// Reads changes until the session has seen change `seq`.
#[track_caller]
fn follow(session: &mut Session, seats: &mut Seats, seq: u64) {
    while seats.seq < seq {
        seats.change(&session.next_of("change"));
    }
}

#[test]
fn a_board_and_then_every_change_is_the_truth() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("stream")).expect(201);
    let ann = server.customer("stream-ann");
    ann.hold("stream", "A", &["1-1", "1-2"]);
    let mut session = Session::open(server.listen(), "/v1/events/stream/live?blocks=A,FLOOR");
    let boards = [session.next(), session.next()];
    let board = |block: &str| boards.iter().find(|board| board["block"] == block).expect("a board").clone();
    assert!(boards.iter().all(|board| board["type"] == "board"), "{boards:?}");
    assert_eq!(board("FLOOR")["free"], 50);
    let mut seats = Seats::of(&board("A"), A);
    assert_eq!(seats.states[..3], [1, 1, 0]);

    let bob = server.customer("stream-bob");
    for row in 2..=4 {
        let hold = bob.hold("stream", "A", &[&format!("{row}-5"), &format!("{row}-6")]);
        bob.delete(&format!("/v1/holds/{}", id(&hold))).expect(200);
    }
    let paid = bob.buy("stream", "A", &["2-5", "2-6"]);
    organizer.post(&format!("/v1/orders/{}/refund", id(&paid)), &json!({})).expect(202);
    bob.await_state(id(&paid), "refunded");
    organizer.post("/v1/events/stream/blocks/A/block-seats", &json!({"seats": ["3-9", "3-10"]})).expect(200);
    bob.buy("stream", "A", &["4-1", "4-2"]);
    let now = seats_now(&ann, "stream");
    follow(&mut session, &mut seats, now.seq);
    assert_eq!(seats, now);
    assert_eq!((seats.states[28], seats.states[30]), (3, 2), "a house seat and a sold one");

    session.say(Message::text("what is on tonight?"));
    session.say(Message::Ping(vec![1].into()));
    bob.hold("stream", "A", &["2-1", "2-2"]);
    follow(&mut session, &mut seats, now.seq + 1);
    organizer.post("/v1/events/stream/pause", &json!({})).expect(200);
    assert_eq!(session.next_of("event")["status"], "paused");
}

#[test]
fn who_was_away_gets_what_was_missed() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("away")).expect(201);
    let ann = server.customer("away-ann");
    let before = seats_now(&ann, "away");
    for row in 1..=3 {
        let hold = ann.hold("away", "A", &[&format!("{row}-1"), &format!("{row}-2")]);
        ann.delete(&format!("/v1/holds/{}", id(&hold))).expect(200);
    }
    let now = seats_now(&ann, "away");
    assert_eq!(now.seq, before.seq + 6);
    let open = |query: &str| Session::open(server.listen(), &format!("/v1/events/away/live?{query}"));

    let mut session = open(&format!("resume=A:{}", before.seq));
    let mut seats = before.clone();
    for _ in 0..6 {
        seats.change(&session.next());
    }
    assert_eq!(seats, now);

    let mut session = open(&format!("resume=A:{}", now.seq));
    ann.hold("away", "A", &["4-1", "4-2"]);
    let mut seats = now.clone();
    seats.change(&session.next());

    for gone in [now.seq + 1000, u64::MAX] {
        let mut session = open(&format!("resume=A:{gone}"));
        assert_eq!(Seats::of(&session.next_of("board"), A), seats, "a number that never was is answered by a board");
    }
}

#[test]
fn places_are_counted_for_those_who_ask_no_more() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("counted")).expect(201);
    let ann = server.customer("counted-ann");
    let mut session = Session::open(server.listen(), "/v1/events/counted/live");
    assert_eq!(session.next()["blocks"], json!([["A", 40, 0, 0], ["B", 20, 0, 0], ["FLOOR", 50, 0, 0]]));
    ann.buy("counted", "A", &["1-1", "1-2"]);
    ann.post("/v1/events/counted/holds", &json!({"block": "FLOOR", "quantity": 2})).expect(201);
    let wanted = json!([["A", 38, 0, 2], ["B", 20, 0, 0], ["FLOOR", 48, 2, 0]]);
    let mut messages = 0;
    while session.next_of("counts")["blocks"] != wanted {
        messages += 1;
        assert!(messages < 10, "five a second at most, and the last is the truth");
    }
}

#[test]
fn what_cannot_be_followed_is_refused_before_the_upgrade() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("plain")).expect(201);
    let client = server.client();
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let ask = |path: &str| client.get_with(&format!("/v1/events/{path}"), &upgrade);
    ask("nowhere/live").expect_problem(404, "unknown_event");
    ask("plain/live?blocks=A,Z").expect_problem(404, "unknown_block");
    ask("plain/live?resume=Z:1").expect_problem(404, "unknown_block");
    for bad in ["blocks=", "blocks=A,,B", "resume=A", "resume=A:x", "resume=A:-1", "resume=:1", "blocks=A&blocks=B"] {
        let problem = ask(&format!("plain/live?{bad}")).expect_problem(400, "bad_request");
        assert!(problem["errors"][0]["field"].is_string(), "{bad}: {problem}");
    }
    client.get("/v1/events/plain/live").expect_problem(400, "bad_request");
    let old = [upgrade[0], upgrade[1], ("Sec-WebSocket-Version", "8"), upgrade[3]];
    client.get_with("/v1/events/plain/live", &old).expect_problem(400, "bad_request");
}

#[test]
fn too_many_sessions_are_told_to_come_back() {
    let server = Server::start_with(&["live.sessions_max=1"]);
    server.organizer().post("/v1/events", &small_event("full")).expect(201);
    let mut first = Session::open(server.listen(), "/v1/events/full/live?blocks=A");
    first.next_of("board");
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let second = server.client().get_with("/v1/events/full/live", &upgrade);
    assert!(second.header("retry-after").is_some());
    second.expect_problem(503, "overloaded");
}

#[test]
fn a_session_ends_with_its_node_and_goes_on_with_the_next() {
    let mut server = Server::start();
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    ann.hold("gig", "A", &["1-1", "1-2"]);
    let mut session = Session::open(server.listen(), "/v1/events/gig/live?blocks=A");
    let mut seats = Seats::of(&session.next_of("board"), A);
    let reader = std::thread::spawn(move || {
        loop {
            if let Err(end) = session.try_next() {
                return end;
            }
        }
    });
    assert_eq!(server.stop(), Some(0));
    let end = reader.join().unwrap().expect("a close frame");
    assert_eq!(u16::from(end.code), 1001, "going away");

    server.restart();
    let ann = server.customer("ann");
    let resume = format!("/v1/events/gig/live?resume=A:{}", seats.seq);
    let mut session = Session::open(server.listen(), &resume);
    ann.hold("gig", "A", &["2-1", "2-2"]);
    let mut message = session.next();
    while message["type"] == "event" {
        message = session.next();
    }
    if message["type"] == "board" {
        seats = Seats::of(&message, A);
    } else {
        seats.change(&message);
    }
    let now = seats_now(&ann, "gig");
    follow(&mut session, &mut seats, now.seq);
    assert_eq!(seats, now);
    assert_eq!(seats.states.iter().filter(|state| **state == 1).count(), 4);
    let _: Value = ann.get("/v1/events/gig").expect(200);
}
