//! The same request sent again, at once or after a crash: one effect, the first answer.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::client::{Answer, Client, id, order_body, small_event};
use crate::server::Server;

const TIMES: usize = 100;

/// Sends one request many times at once, each on a connection of its own, and returns the one body they all got.
#[track_caller]
fn all_at_once(client: &Client, path: &str, key: &str, body: &Value) -> Value {
    let start = Barrier::new(TIMES);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let send = || {
            let client = client.apart();
            start.wait();
            client.post_with_key(path, key, body)
        };
        let threads: Vec<_> = (0..TIMES).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == Some("true")).count();
    assert_eq!(replayed, TIMES - 1, "all but the first are replays");
    for answer in &answers {
        assert_eq!((answer.status, answer.text()), (answers[0].status, answers[0].text()));
    }
    answers[0].json()
}

#[test]
fn a_hundred_times_the_same_request_is_one_hold_one_order_one_payment() {
    let server = Server::start();
    let organizer = server.organizer();
    let mut event = small_event("once");
    event["rules"]["max_per_customer"] = Value::Null;
    organizer.post("/v1/events", &event).expect(201);
    let ann = server.customer("ann");
    let holds = "/v1/events/once/holds";
    let named = all_at_once(&ann, holds, "k-named", &json!({"block": "A", "seats": ["1-1", "1-2"]}));
    let best = all_at_once(&ann, holds, "k-best", &json!({"best_available": {"quantity": 4}}));
    let standing = all_at_once(&ann, holds, "k-floor", &json!({"block": "FLOOR", "quantity": 3}));
    let places: u64 = organizer.ledger("once").iter().map(|line| line["quantity"].as_u64().unwrap_or(1)).sum();
    assert_eq!(places, 2 + 4 + 3);

    let placed = all_at_once(&ann, "/v1/orders", "k-order", &order_body(&[&named, &best], "tok_declined"));
    ann.await_state(id(&placed), "payment_failed");
    let pay = format!("/v1/orders/{}/payment", id(&placed));
    all_at_once(&ann, &pay, "k-pay", &json!({"payment": {"token": "tok_ok"}}));
    ann.await_state(id(&placed), "paid");
    let audit = organizer.get("/v1/events/once/audit").expect(200);
    assert_eq!(audit["violations"], json!([]));
    assert_eq!((&audit["captured"], &audit["orders"]["paid"]), (&placed["total"], &json!(1)));

    let again = ann.post_with_key(holds, "k-floor", &json!({"block": "FLOOR", "quantity": 3}));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(201), standing);
    let sold_out = ann.post_with_key(holds, "k-named", &json!({"block": "A", "seats": ["1-1", "1-2"]}));
    assert_eq!(sold_out.expect(201), named, "the first answer, although the seats are sold by now");
}

#[test]
fn a_key_belongs_to_one_request_of_one_caller() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("keys")).expect(201);
    let (ann, bob) = (server.customer("keys-ann"), server.customer("keys-bob"));
    let holds = "/v1/events/keys/holds";
    let seats = |seats: &[&str]| json!({"block": "A", "seats": seats});
    let first = ann.post_with_key(holds, "k", &seats(&["1-1", "1-2"])).expect(201);
    ann.post_with_key(holds, "k", &seats(&["2-1", "2-2"])).expect_problem(422, "idempotency_key_reused");
    let his = bob.post_with_key(holds, "k", &seats(&["2-1", "2-2"]));
    assert_eq!(his.header("idempotent-replayed"), None);
    assert_ne!(his.expect(201)["id"], first["id"]);

    let best = |quantity: u32| json!({"best_available": {"quantity": quantity}});
    let found = ann.post_with_key(holds, "best", &best(2)).expect(201);
    ann.post_with_key(holds, "best", &best(3)).expect_problem(422, "idempotency_key_reused");
    assert_eq!(ann.post_with_key(holds, "best", &best(2)).expect(201), found);

    let order = ann.post_with_key("/v1/orders", "o", &order_body(&[&first], "tok_declined")).expect(202);
    let other = ann.post_with_key("/v1/orders", "o", &order_body(&[&first], "tok_ok"));
    other.expect_problem(422, "idempotency_key_reused");
    ann.await_state(id(&order), "payment_failed");
    let cancel = format!("/v1/orders/{}/cancel", id(&order));
    ann.post_with_key(&cancel, "o", &json!({})).expect_problem(422, "idempotency_key_reused");
    let cancelled = ann.post_with_key(&cancel, "c", &json!({})).expect(200);
    assert_eq!(ann.post_with_key(&cancel, "c", &json!({})).expect(200), cancelled);
}

#[test]
fn a_refusal_is_an_answer_too_and_is_given_again() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("same-no")).expect(201);
    let (ann, bob) = (server.customer("same-no-ann"), server.customer("same-no-bob"));
    let his = bob.hold("same-no", "A", &["1-1", "1-2"]);
    let want = json!({"block": "A", "seats": ["1-1", "1-2"]});
    let ask = |key: &str| ann.post_with_key("/v1/events/same-no/holds", key, &want);
    ask("no").expect_problem(409, "seat_taken");
    bob.delete(&format!("/v1/holds/{}", id(&his))).expect(200);
    let again = ask("no");
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    again.expect_problem(409, "seat_taken");
    ask("another").expect(201);
    let key = [("Idempotency-Key", "fixed")];
    let bad = ann.send("POST", "/v1/events/same-no/holds", &key, Some(b"{}"));
    bad.expect_problem(422, "invalid_request");
    let mended = json!({"block": "A", "seats": ["2-1", "2-2"]});
    let mended = ann.post_with_key("/v1/events/same-no/holds", "fixed", &mended);
    mended.expect(201);
}

#[test]
fn organizers_may_repeat_themselves() {
    let server = Server::shared();
    let organizer = server.organizer();
    let mut unnamed = small_event("x");
    unnamed.as_object_mut().unwrap().remove("id");
    let first = organizer.post_with_key("/v1/events", "again-create", &unnamed).expect(201);
    let again = organizer.post_with_key("/v1/events", "again-create", &unnamed);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(201), first, "one event, although nobody gave it an id");
    let event = format!("/v1/events/{}", id(&first));
    let paused = organizer.post_with_key(&format!("{event}/pause"), "again-pause", &json!({})).expect(200);
    organizer.post(&format!("{event}/open"), &json!({})).expect(200);
    let again = organizer.post_with_key(&format!("{event}/pause"), "again-pause", &json!({})).expect(200);
    assert_eq!(again, paused);
    assert_eq!(organizer.get(&event).expect(200)["status"], "on_sale", "a replay does nothing");
    let block = format!("{event}/blocks/A/block-seats");
    let seats = json!({"seats": ["1-1", "1-2"]});
    let counts = organizer.post_with_key(&block, "again-house", &seats).expect(200);
    assert_eq!(organizer.post_with_key(&block, "again-house", &seats).expect(200), counts);
    let ann = server.customer("again-ann");
    let paid = ann.buy(id(&first), "A", &["2-1", "2-2"]);
    let ticket = json!({"token": paid["tickets"][0]["token"]});
    let used = organizer.post_with_key("/v1/tickets/check-in", "again-door", &ticket).expect(200);
    let again = organizer.post_with_key("/v1/tickets/check-in", "again-door", &ticket);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(200), used, "the scanner asks again after its network was away, and the door opens");
    let refund = format!("/v1/orders/{}/refund", id(&paid));
    let told = organizer.post_with_key(&refund, "again-refund", &json!({})).expect(202);
    ann.await_state(id(&paid), "refunded");
    assert_eq!(organizer.post_with_key(&refund, "again-refund", &json!({})).expect(202), told);
}

#[test]
fn what_was_answered_before_a_kill_is_answered_after_it() {
    let mut server = Server::start();
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let key = |server: &Server, path: &str, key: &str, body: &Value| {
        let answer = server.customer("ann").post_with_key(path, key, body);
        let replayed = answer.header("idempotent-replayed").is_some();
        (answer.status, answer.json(), replayed)
    };
    let (holds, want) = ("/v1/events/gig/holds", json!({"block": "A", "seats": ["1-1", "1-2"]}));
    let best = json!({"best_available": {"quantity": 2}});
    let hold = key(&server, holds, "h", &want);
    let found = key(&server, holds, "b", &best);
    let body = order_body(&[&hold.1], "tok_declined");
    let order = key(&server, "/v1/orders", "o", &body);
    let pay_path = format!("/v1/orders/{}/payment", id(&order.1));
    server.customer("ann").await_state(id(&order.1), "payment_failed");
    let pay = json!({"payment": {"token": "tok_ok"}});
    let payment = key(&server, &pay_path, "p", &pay);
    for (attempt, kill) in [true, false].into_iter().enumerate() {
        if kill {
            server.kill();
        } else {
            assert_eq!(server.stop(), Some(0));
        }
        server.restart();
        for (path, name, body, first) in [
            (holds, "h", &want, &hold),
            (holds, "b", &best, &found),
            ("/v1/orders", "o", &body, &order),
            (&pay_path, "p", &pay, &payment),
        ] {
            let again = key(&server, path, name, body);
            assert_eq!((again.0, &again.1, again.2), (first.0, &first.1, true), "{name}, start {attempt}");
        }
    }
    server.customer("ann").await_state(id(&order.1), "paid");
    let audit = server.organizer().get("/v1/events/gig/audit").expect(200);
    assert_eq!((&audit["violations"], &audit["captured"]["amount"]), (&json!([]), &json!(17000)));
}

#[test]
fn a_key_is_1_to_255_visible_characters_and_there_is_one() {
    let server = Server::shared();
    let (organizer, ann) = (server.organizer(), server.customer("bad-keys"));
    let long = "k".repeat(256);
    for (client, path, body) in [
        (&ann, "/v1/events/nowhere/holds", r#"{"block":"A","quantity":1}"#),
        (&ann, "/v1/orders", r#"{"holds":["x"],"email":"a@example.org","payment":{"token":"t"}}"#),
        (&organizer, "/v1/events/nowhere/open", "{}"),
        (&organizer, "/v1/tickets/check-in", r#"{"token":"x"}"#),
    ] {
        for bad in [vec![""], vec!["two words"], vec![long.as_str()], vec!["one", "two"], vec!["ü"]] {
            let headers: Vec<(&str, &str)> = bad.iter().map(|key| ("Idempotency-Key", *key)).collect();
            let answer = client.send("POST", path, &headers, Some(body.as_bytes()));
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_idempotency_key"), "{path} {bad:?}");
        }
    }
}
