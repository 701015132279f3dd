//! Holding places: the three ways to ask, every way to be refused, the rules, and what a hold becomes.

use serde_json::{Value, json};

use crate::client::{Client, id, order_body, small_event};
use crate::server::Server;

/// A concert of its own for a test, on the node that tests share.
fn concert(event: &str) -> (std::sync::Arc<Server>, Client) {
    concert_with(event, &json!({}))
}

/// The same with other rules.
fn concert_with(event: &str, rules: &Value) -> (std::sync::Arc<Server>, Client) {
    let server = Server::shared();
    let organizer = server.organizer();
    let mut body = small_event(event);
    for (rule, value) in rules.as_object().unwrap() {
        body["rules"][rule] = value.clone();
    }
    organizer.post("/v1/events", &body).expect(201);
    (server, organizer)
}

fn counts(client: &Client, event: &str, block: &str) -> (u64, u64, u64, u64) {
    let now = client.get(&format!("/v1/events/{event}/availability")).expect(200);
    let block = now["blocks"].as_array().unwrap().iter().find(|known| known["block"] == block).unwrap().clone();
    let count = |name: &str| block[name].as_u64().unwrap();
    (count("free"), count("held"), count("sold"), count("blocked"))
}

#[test]
fn seats_by_name_the_best_there_are_or_places_to_stand() {
    let (server, organizer) = concert("ways");
    let ann = server.customer("ways-ann");
    let answer = ann.try_hold("ways", "A", &["2-6", "2-5"]);
    let location = answer.header("location").unwrap().to_owned();
    let named = answer.expect(201);
    assert_eq!(named["seats"], json!(["2-5", "2-6"]), "in the order of the row");
    assert_eq!((&named["event"], &named["block"], &named["quantity"]), (&json!("ways"), &json!("A"), &json!(2)));
    assert_eq!(named["price"], json!({"amount": 8500, "currency": "EUR"}));
    assert_eq!(ann.get(&location).expect(200), named, "it is where the Location says");

    let best = json!({"best_available": {"quantity": 3, "block": "B"}});
    let best = ann.post("/v1/events/ways/holds", &best).expect(201);
    assert_eq!((best["block"].as_str(), best["seats"].as_array().unwrap().len()), (Some("B"), 3));
    let anywhere = json!({"best_available": {"quantity": 2, "max_price": 8000}});
    let anywhere = server.customer("ways-bob").post("/v1/events/ways/holds", &anywhere).expect(201);
    assert_ne!(anywhere["block"], "A", "A costs more");
    let standing = ann.post("/v1/events/ways/holds", &json!({"block": "FLOOR", "quantity": 4})).expect(201);
    assert_eq!((&standing["seats"], &standing["quantity"]), (&json!([]), &json!(4)));

    let floor: Vec<Value> =
        organizer.ledger("ways").into_iter().filter(|line| line["block"] == "FLOOR" && line["quantity"] == 4).collect();
    assert_eq!(floor.len(), 1, "one line per hold of standing places");
    assert_eq!((&floor[0]["seat"], &floor[0]["hold"]), (&Value::Null, &standing["id"]));
}

#[test]
fn a_hold_is_given_back_once_and_is_nobody_elses_business() {
    let (server, _) = concert("back");
    let (ann, bob) = (server.customer("back-ann"), server.customer("back-bob"));
    let path = format!("/v1/holds/{}", id(&ann.hold("back", "A", &["1-1", "1-2"])));
    bob.get(&path).expect_problem(404, "unknown_hold");
    bob.delete(&path).expect_problem(404, "unknown_hold");
    assert_eq!(counts(&ann, "back", "A"), (38, 2, 0, 0));
    assert_eq!(ann.delete(&path).expect(200)["state"], "released");
    assert_eq!(ann.delete(&path).expect(200)["state"], "released", "again is no error");
    assert_eq!(ann.get(&path).expect(200)["state"], "released");
    assert_eq!(counts(&ann, "back", "A"), (40, 0, 0, 0));
    bob.hold("back", "A", &["1-1", "1-2"]);
    let order = json!({"holds": [path.rsplit('/').next()], "email": "a@example.org", "payment": {"token": "tok_ok"}});
    ann.post("/v1/orders", &order).expect_problem(409, "hold_released");
}

#[test]
fn every_refusal_of_a_hold_says_what_to_do_better() {
    let (server, _) = concert("no");
    let ann = server.customer("no-ann");
    let ask = |event: &str, body: Value| ann.post(&format!("/v1/events/{event}/holds"), &body);
    ask("nowhere", json!({"block": "A", "seats": ["1-1"]})).expect_problem(404, "unknown_event");
    ask("no", json!({"block": "Z", "seats": ["1-1"]})).expect_problem(404, "unknown_block");
    ask("no", json!({"best_available": {"quantity": 1, "block": "Z"}})).expect_problem(404, "unknown_block");
    let unknown = ask("no", json!({"block": "A", "seats": ["1-1", "5-1", "1-11", "x"]}));
    assert_eq!(unknown.expect_problem(404, "unknown_seat")["seats"], json!(["5-1", "1-11", "x"]));
    let twice = ask("no", json!({"block": "A", "seats": ["1-1", "1-1"]})).expect_problem(422, "invalid_request");
    assert_eq!(twice["errors"][0]["field"], "seats");
    let many = ask("no", json!({"block": "FLOOR", "quantity": 7}));
    assert_eq!(many.expect_problem(422, "too_many_seats")["most"], 6);
    let many = ask("no", json!({"best_available": {"quantity": 7}}));
    assert_eq!(many.expect_problem(422, "too_many_seats")["most"], 6);
    ask("no", json!({"block": "FLOOR", "seats": ["1-1"]})).expect_problem(422, "wrong_kind");
    ask("no", json!({"block": "A", "quantity": 1})).expect_problem(422, "wrong_kind");
    ask("no", json!({"best_available": {"quantity": 2, "max_price": 100}})).expect_problem(409, "sold_out");
    ask("no", json!({"best_available": {"quantity": 2, "block": "A", "max_price": 100}}))
        .expect_problem(409, "sold_out");

    server.customer("no-bob").hold("no", "A", &["3-3", "3-4"]);
    let taken = ask("no", json!({"block": "A", "seats": ["3-2", "3-3", "3-4"]}));
    assert_eq!(taken.expect_problem(409, "seat_taken")["seats"], json!(["3-3", "3-4"]));
    let alone = ask("no", json!({"block": "A", "seats": ["1-2", "1-3"]}));
    assert_eq!(alone.expect_problem(409, "orphan_seat")["seats"], json!(["1-1"]));
    assert_eq!(counts(&ann, "no", "A"), (38, 2, 0, 0), "what was refused changed nothing");
}

#[test]
fn a_row_may_be_left_with_a_single_seat_only_where_that_is_the_rule_or_cannot_be_helped() {
    let (server, _) = concert_with("loose", &json!({"no_orphans": false}));
    server.customer("loose-ann").hold("loose", "A", &["1-2", "1-3"]);

    let server = Server::shared();
    let mut tight = small_event("tight");
    tight["blocks"] = json!([{"id": "S", "kind": "seated", "price": 100, "rows": 1, "seats_per_row": 3}]);
    server.organizer().post("/v1/events", &tight).expect(201);
    let ann = server.customer("tight-ann");
    let alone = ann.try_hold("tight", "S", &["1-2"]).expect_problem(409, "orphan_seat");
    assert_eq!(alone["seats"], json!(["1-1", "1-3"]));
    ann.hold("tight", "S", &["1-1", "1-2"]);
    server.customer("tight-bob").hold("tight", "S", &["1-3"]);
}

#[test]
fn a_customer_has_at_most_so_many_places() {
    let (server, _) = concert("most");
    let ann = server.customer("most-ann");
    let first = ann.hold("most", "A", &["1-1", "1-2", "1-3", "1-4", "1-5", "1-6"]);
    let more = ann.try_hold("most", "A", &["2-1", "2-2", "2-3"]);
    assert_eq!(more.expect_problem(409, "customer_limit")["most"], 8);
    let other = ann.hold("most", "B", &["AA-1", "AA-2", "AA-3"]);
    ann.order(&first, "tok_ok");
    let cut = ann.post("/v1/orders", &order_body(&[&other], "tok_ok"));
    assert_eq!(cut.expect_problem(409, "customer_limit")["most"], 8, "over all blocks once it becomes an order");
    server.customer("most-bob").hold("most", "A", &["2-1", "2-2", "2-3"]);
}

#[test]
fn a_hold_that_nobody_buys_is_over_and_its_seats_are_free() {
    let (server, organizer) = concert_with("short", &json!({"hold_ttl_s": 1}));
    let (ann, bob) = (server.customer("short-ann"), server.customer("short-bob"));
    let hold = ann.hold("short", "A", &["1-1", "1-2"]);
    bob.try_hold("short", "A", &["1-1", "1-2"]).expect_problem(409, "seat_taken");
    ann.await_that(&format!("/v1/holds/{}", id(&hold)), |now| now.json()["state"] == "expired");
    assert_eq!(organizer.ledger("short"), Vec::<Value>::new());
    let free = ann.await_that("/v1/events/short/availability", |now| now.json()["blocks"][0]["free"] == 40);
    assert_eq!(free.json()["free"], 110);
    ann.post("/v1/orders", &order_body(&[&hold], "tok_ok")).expect_problem(409, "hold_expired");
    bob.hold("short", "A", &["1-1", "1-2"]);
    assert_eq!(organizer.get("/v1/events/short/audit").expect(200)["violations"], json!([]));
}

#[test]
fn a_hold_in_an_order_can_neither_be_given_back_nor_bought_again() {
    let (server, _) = concert("bound");
    let ann = server.customer("bound-ann");
    let hold = ann.hold("bound", "A", &["1-1", "1-2"]);
    let order = ann.order(&hold, "tok_ok");
    let path = format!("/v1/holds/{}", id(&hold));
    ann.post("/v1/orders", &order_body(&[&hold], "tok_ok")).expect_problem(409, "hold_in_order");
    ann.await_state(id(&order), "paid");
    assert_eq!(ann.get(&path).expect(200)["state"], "sold");
    ann.delete(&path).expect_problem(409, "hold_in_order");
    ann.post("/v1/orders", &order_body(&[&hold], "tok_ok")).expect_problem(409, "hold_in_order");
}

#[test]
fn nobody_holds_before_the_sale_in_a_pause_or_after_it() {
    let (server, organizer) = concert("times");
    let ann = server.customer("times-ann");
    let mut later = small_event("times-later");
    later["on_sale_at"] = json!("2999-01-01T00:00:00Z");
    assert_eq!(organizer.post("/v1/events", &later).expect(201)["status"], "scheduled");
    let early = ann.try_hold("times-later", "A", &["1-1"]).expect_problem(409, "not_on_sale");
    assert_eq!(early["on_sale_at"], "2999-01-01T00:00:00Z");
    let best = json!({"best_available": {"quantity": 2}});
    ann.post("/v1/events/times-later/holds", &best).expect_problem(409, "not_on_sale");
    organizer.post("/v1/events/times-later/open", &json!({})).expect(200);
    ann.hold("times-later", "A", &["1-1"]);

    let kept = ann.hold("times", "A", &["1-1"]);
    assert_eq!(organizer.post("/v1/events/times/pause", &json!({})).expect(200)["status"], "paused");
    ann.try_hold("times", "A", &["2-1"]).expect_problem(409, "not_on_sale");
    let order = ann.order(&kept, "tok_ok");
    ann.await_state(id(&order), "paid");
    organizer.post("/v1/events/times/open", &json!({})).expect(200);
    ann.hold("times", "A", &["2-1"]);
    assert_eq!(organizer.post("/v1/events/times/close", &json!({})).expect(200)["status"], "closed");
    ann.try_hold("times", "A", &["3-1"]).expect_problem(409, "not_on_sale");
    organizer.post("/v1/events/times/open", &json!({})).expect_problem(409, "event_closed");
    organizer.post("/v1/events/times/pause", &json!({})).expect_problem(409, "event_closed");
    organizer.post("/v1/events/times/close", &json!({})).expect(200);
    organizer.patch("/v1/events/times", &json!({"name": "Too late"})).expect_problem(409, "event_closed");
}

#[test]
fn house_seats_leave_the_sale_and_come_back() {
    let (server, organizer) = concert("house");
    let ann = server.customer("house-ann");
    let ask = |block: &str, verb: &str, body: Value| {
        organizer.post(&format!("/v1/events/house/blocks/{block}/{verb}-seats"), &body)
    };
    let after = ask("A", "block", json!({"seats": ["1-1", "1-2"]})).expect(200);
    assert_eq!((&after["free"], &after["blocked"]), (&json!(38), &json!(2)));
    ask("FLOOR", "block", json!({"quantity": 45})).expect(200);
    assert_eq!(counts(&ann, "house", "A"), (38, 0, 0, 2));
    assert_eq!(counts(&ann, "house", "FLOOR"), (5, 0, 0, 45));
    ann.try_hold("house", "A", &["1-2"]).expect_problem(409, "seat_taken");
    let six = json!({"block": "FLOOR", "quantity": 6});
    ann.post("/v1/events/house/holds", &six).expect_problem(409, "sold_out");
    let blocked = organizer.ledger("house");
    assert_eq!(blocked.iter().filter(|line| line["state"] == "blocked" && line["block"] == "A").count(), 2);
    assert!(blocked.iter().all(|line| line["hold"].is_null() && line["customer"].is_null()), "{blocked:?}");

    ann.hold("house", "A", &["2-1"]);
    let taken = ask("A", "block", json!({"seats": ["2-1", "2-2"]})).expect_problem(409, "seat_taken");
    assert_eq!(taken["seats"], json!(["2-1"]));
    let free = ask("A", "unblock", json!({"seats": ["1-1", "3-3"]})).expect_problem(409, "not_blocked");
    assert_eq!(free["seats"], json!(["3-3"]));
    ask("A", "block", json!({"seats": ["9-9"]})).expect_problem(404, "unknown_seat");
    ask("A", "unblock", json!({"seats": ["9-9"]})).expect_problem(404, "unknown_seat");
    ask("A", "block", json!({"quantity": 1})).expect_problem(422, "wrong_kind");
    ask("A", "unblock", json!({"quantity": 1})).expect_problem(422, "wrong_kind");
    ask("FLOOR", "block", json!({"seats": ["1-1"]})).expect_problem(422, "wrong_kind");
    ask("FLOOR", "block", json!({"quantity": 6})).expect_problem(409, "sold_out");
    ask("FLOOR", "unblock", json!({"quantity": 46})).expect_problem(409, "not_blocked");
    ask("Z", "block", json!({"seats": ["1-1"]})).expect_problem(404, "unknown_block");
    ask("Z", "unblock", json!({"seats": ["1-1"]})).expect_problem(404, "unknown_block");
    let elsewhere = "/v1/events/nowhere/blocks/A/block-seats";
    organizer.post(elsewhere, &json!({"seats": ["1-1"]})).expect_problem(404, "unknown_event");

    ask("A", "unblock", json!({"seats": ["1-1", "1-2"]})).expect(200);
    ask("FLOOR", "unblock", json!({"quantity": 45})).expect(200);
    ann.hold("house", "A", &["1-1", "1-2"]);
    assert_eq!(counts(&ann, "house", "A"), (37, 3, 0, 0));
    ann.post("/v1/events/house/holds", &json!({"block": "FLOOR", "quantity": 4})).expect(201);
}
