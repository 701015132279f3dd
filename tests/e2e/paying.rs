//! From an order to money and tickets: declines, silence, second attempts, giving up, refunds, notices, doors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::client::{Client, id, order_body, small_event};
use crate::server::Server;

fn concert(event: &str) -> (Arc<Server>, Client, Client) {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event(event)).expect(201);
    let ann = server.customer(&format!("{event}-ann"));
    (server, organizer, ann)
}

fn books(organizer: &Client, event: &str) -> Value {
    let audit = organizer.get(&format!("/v1/events/{event}/audit")).expect(200);
    assert_eq!(audit["violations"], json!([]));
    audit
}

fn another(client: &Client, order: &Value, verb: &str, body: &Value) -> crate::client::Answer {
    client.post(&format!("/v1/orders/{}/{verb}", id(order)), body)
}

fn with(token: &str) -> Value {
    json!({"payment": {"token": token}})
}

#[test]
fn a_declined_card_is_told_and_another_one_pays() {
    let (_server, organizer, ann) = concert("declined");
    let hold = ann.hold("declined", "A", &["1-1", "1-2"]);
    let placed = ann.order(&hold, "tok_declined");
    let failed = ann.await_state(id(&placed), "payment_failed");
    assert_eq!(failed["reason"], "card_declined");
    assert!(failed["pay_by"].is_string(), "there is time for another attempt: {failed}");
    let refunded = another(&organizer, &placed, "refund", &json!({}));
    assert_eq!(refunded.expect_problem(409, "order_state")["state"], "payment_failed");
    another(&ann, &placed, "payment", &with("tok_declined")).expect(202);
    ann.await_state(id(&placed), "payment_failed");
    another(&ann, &placed, "payment", &with("tok_ok")).expect(202);
    let paid = ann.await_state(id(&placed), "paid");
    assert_eq!(paid["tickets"].as_array().unwrap().len(), 2);
    assert!(paid.get("reason").is_none() && paid.get("pay_by").is_none(), "that is settled: {paid}");
    let again = another(&ann, &placed, "payment", &with("tok_ok")).expect_problem(409, "order_state");
    assert_eq!(again["state"], "paid");
    let audit = books(&organizer, "declined");
    assert_eq!(audit["captured"], json!({"amount": 17000, "currency": "EUR"}), "once, whatever was tried before");
}

#[test]
fn a_provider_that_does_not_answer_is_asked_and_never_charged_twice() {
    let (_server, organizer, ann) = concert("silent");
    let hold = ann.hold("silent", "A", &["1-1", "1-2"]);
    let placed = ann.order(&hold, "tok_timeout");
    ann.await_that(&format!("/v1/orders/{}", id(&placed)), |now| now.json()["state"] == "paying");
    for (verb, body) in [("cancel", json!({})), ("payment", with("tok_ok"))] {
        another(&ann, &placed, verb, &body).expect_problem(409, "payment_in_progress");
    }
    another(&organizer, &placed, "refund", &json!({})).expect_problem(409, "payment_in_progress");
    ann.await_state(id(&placed), "paid");
    assert_eq!(books(&organizer, "silent")["captured"]["amount"], 17000);
}

#[test]
fn prefer_wait_answers_at_the_change_or_at_its_time() {
    let (_server, _, ann) = concert("patient");
    let hold = ann.hold("patient", "A", &["1-1", "1-2"]);
    let placed = ann.order(&hold, "tok_slow");
    let path = format!("/v1/orders/{}", id(&placed));
    let look = |prefer: &str| {
        let began = Instant::now();
        let answer = ann.get_with(&path, &[("Prefer", prefer)]);
        let applied = answer.header("preference-applied").map(str::to_owned);
        (answer.expect(200), applied, began.elapsed())
    };
    ann.await_that(&path, |now| now.json()["state"] == "paying");
    let (same, applied, waited) = look("wait=1");
    assert_eq!((same["state"].as_str(), applied.as_deref()), (Some("paying"), Some("wait=1")));
    assert!(waited >= Duration::from_millis(990), "{waited:?}");
    let (changed, applied, waited) = look("respond-async, wait=30; x=y");
    assert_eq!((changed["state"].as_str(), applied.as_deref()), (Some("paid"), Some("wait=30")));
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    for ignored in ["wait", "wait=", "wait=-1", "wait=soon", "wait=99999999999999999999", "waiting=9", ",;=", "wait=0"]
    {
        assert_eq!(look(ignored).1, None, "{ignored}");
    }
    let (_, applied, waited) = look("wait=3600");
    assert_eq!(applied.as_deref(), Some("wait=30"), "no longer than the node allows");
    assert!(waited < Duration::from_secs(10), "a settled order is told at once: {waited:?}");
}

#[test]
fn an_order_given_up_sets_its_seats_free() {
    let (server, organizer, ann) = concert("given-up");
    let hold = ann.hold("given-up", "A", &["1-1", "1-2"]);
    let placed = ann.order(&hold, "tok_declined");
    ann.await_state(id(&placed), "payment_failed");
    assert_eq!(another(&ann, &placed, "cancel", &json!({})).expect(200)["state"], "cancelled");
    assert_eq!(another(&ann, &placed, "cancel", &json!({})).expect(200)["state"], "cancelled", "again is no error");
    let late = another(&ann, &placed, "payment", &with("tok_ok")).expect_problem(409, "order_state");
    assert_eq!(late["state"], "cancelled");
    let free = |now: &crate::client::Answer| now.json()["blocks"][0]["free"] == 40;
    ann.await_that("/v1/events/given-up/availability", free);
    let bob = server.customer("given-up-bob");
    let paid = bob.buy("given-up", "A", &["1-1", "1-2"]);
    let kept = another(&bob, &paid, "cancel", &json!({})).expect_problem(409, "order_state");
    assert_eq!(kept["state"], "paid");
    assert_eq!(books(&organizer, "given-up")["orders"]["cancelled"], 1);
}

#[test]
fn a_refund_gives_the_money_back_and_the_seats_free_and_both_are_told() {
    let (server, organizer, ann) = concert("refund");
    let paid = ann.buy("refund", "A", &["1-1", "1-2"]);
    another(&ann, &paid, "refund", &json!({})).expect_problem(403, "organizer_required");
    another(&organizer, &paid, "refund", &json!({})).expect(202);
    let refunded = ann.await_state(id(&paid), "refunded");
    assert_eq!(refunded["tickets"], json!([]), "its tickets open nothing any more");
    another(&organizer, &paid, "refund", &json!({})).expect(202);
    let void = json!({"token": paid["tickets"][0]["token"]});
    organizer.post("/v1/tickets/check-in", &void).expect_problem(409, "ticket_void");
    ann.await_that("/v1/events/refund/availability", |now| now.json()["blocks"][0]["free"] == 40);
    let audit = books(&organizer, "refund");
    assert_eq!((&audit["captured"]["amount"], &audit["refunded"]["amount"]), (&json!(17000), &json!(17000)));
    assert_eq!((&audit["paid"]["amount"], &audit["orders"]["refunded"]), (&json!(0), &json!(1)));

    let notices = || -> Vec<Value> {
        let text = std::fs::read_to_string(server.data().join("notices.ndjson")).unwrap_or_default();
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.filter(|notice| notice["order"] == paid["id"]).collect()
    };
    ann.await_that("/healthz", |_| notices().len() >= 2);
    let of_kind = |kind: &str| notices().into_iter().find(|notice| notice["kind"] == kind).expect(kind);
    let confirmation = of_kind("order_confirmation");
    assert_eq!((&confirmation["to"], &confirmation["event"]), (&json!("buyer@example.org"), &json!("refund")));
    assert_eq!(confirmation["data"]["tickets"][1]["token"], paid["tickets"][1]["token"]);
    assert_eq!(of_kind("refund")["data"]["amount"]["amount"], 17000);
}

#[test]
fn the_letter_and_every_look_at_an_order_have_the_same_tokens() {
    let (server, organizer, ann) = concert("letter");
    let seats = ann.hold("letter", "A", &["2-3", "2-4"]);
    let floor = ann.post("/v1/events/letter/holds", &json!({"block": "FLOOR", "quantity": 2})).expect(201);
    let placed = ann.post("/v1/orders", &order_body(&[&seats, &floor], "tok_ok")).expect(202);
    let paid = ann.await_state(id(&placed), "paid");
    let letter = || -> Option<Value> {
        let text = std::fs::read_to_string(server.data().join("notices.ndjson")).unwrap_or_default();
        let mut whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.find(|notice| notice["order"] == paid["id"])
    };
    ann.await_that("/healthz", |_| letter().is_some());
    let letter = letter().unwrap();
    let told = |tickets: &Value| -> Vec<Value> {
        let tickets = tickets.as_array().unwrap().iter();
        tickets.map(|of| json!([of["id"], of["block"], of["seat"], of["token"]])).collect()
    };
    let mine = told(&paid["tickets"]);
    assert_eq!(mine.len(), 4);
    assert_eq!(told(&letter["data"]["tickets"]), mine);
    let again = ann.get(&format!("/v1/orders/{}", id(&paid))).expect(200);
    assert_eq!(told(&again["tickets"]), mine);
    let check_in = |ticket: &Value| organizer.post("/v1/tickets/check-in", &json!({"token": ticket["token"]}));
    for (nth, ticket) in paid["tickets"].as_array().unwrap().iter().enumerate() {
        assert!(letter["text"].as_str().unwrap().contains(ticket["token"].as_str().unwrap()), "{letter}");
        assert!(!mine[..nth].iter().any(|other| other[3] == ticket["token"]), "each has its own");
        assert_eq!(check_in(ticket).expect(200)["ticket"], ticket["id"]);
    }
}

#[test]
fn a_ticket_is_verified_offline_and_opens_the_door_once() {
    let (_server, organizer, ann) = concert("door");
    let paid = ann.buy("door", "A", &["1-1", "1-2"]);
    let ticket = &paid["tickets"][0];
    let token = ticket["token"].as_str().unwrap();
    let keys = ann.anonymous().get("/v1/keys").expect(200);
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header.kid.as_deref().unwrap()).unwrap();
    let public = DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(token, &public, &rules).unwrap().claims;
    assert_eq!((&claims["event"], &claims["block"], &claims["seat"]), (&json!("door"), &json!("A"), &json!("1-1")));
    assert_eq!((&claims["order"], &claims["ticket"]), (&paid["id"], &ticket["id"]));

    let check_in = |token: &str| organizer.post("/v1/tickets/check-in", &json!({"token": token}));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let swapped: String = signature.chars().rev().collect();
    for forged in [format!("{head}.{swapped}"), head.to_owned(), "x.y.z".to_owned(), crate::client::token("door-ann")] {
        check_in(&forged).expect_problem(422, "ticket_invalid");
    }
    let used = check_in(token).expect(200);
    assert_eq!((&used["ticket"], &used["seat"]), (&ticket["id"], &json!("1-1")));
    let again = check_in(token).expect_problem(409, "already_checked_in");
    assert_eq!(again["at"], used["checked_in_at"]);
    let seen = ann.get(&format!("/v1/orders/{}", id(&paid))).expect(200);
    assert_eq!(seen["tickets"][0]["checked_in_at"], used["checked_in_at"]);
    assert_eq!(seen["tickets"][1]["checked_in_at"], Value::Null);
    ann.post("/v1/tickets/check-in", &json!({"token": token})).expect_problem(403, "organizer_required");
}

#[test]
fn an_order_takes_holds_of_several_blocks_of_one_event() {
    let (server, organizer, ann) = concert("several");
    organizer.post("/v1/events", &small_event("several-2")).expect(201);
    let seats = ann.hold("several", "A", &["1-1", "1-2"]);
    let floor = ann.post("/v1/events/several/holds", &json!({"block": "FLOOR", "quantity": 3})).expect(201);
    let other = ann.hold("several-2", "A", &["1-1", "1-2"]);
    let bob = server.customer("several-bob");
    let body = order_body(&[&seats, &other], "tok_ok");
    ann.post("/v1/orders", &body).expect_problem(422, "mixed_events");
    bob.post("/v1/orders", &order_body(&[&seats], "tok_ok")).expect_problem(404, "unknown_hold");

    let answer = ann.post("/v1/orders", &order_body(&[&seats, &floor], "tok_ok"));
    let location = answer.header("location").unwrap().to_owned();
    let placed = answer.expect(202);
    assert_eq!(placed["total"], json!({"amount": 2 * 8500 + 3 * 7000, "currency": "EUR"}));
    assert_eq!(location, format!("/v1/orders/{}", id(&placed)));
    let paid = ann.await_state(id(&placed), "paid");
    assert_eq!(paid["tickets"].as_array().unwrap().len(), 5);
    assert_eq!(paid["tickets"].as_array().unwrap().iter().filter(|ticket| ticket["seat"].is_null()).count(), 3);
    bob.get(&location).expect_problem(404, "unknown_order");
    another(&bob, &paid, "cancel", &json!({})).expect_problem(404, "unknown_order");
    another(&bob, &paid, "payment", &with("tok_ok")).expect_problem(404, "unknown_order");
    let seen = organizer.get(&location).expect(200);
    assert_eq!(seen["state"], "paid");
    assert!(seen["tickets"][0].get("token").is_none(), "what opens the door is the customer's alone");
}

#[test]
fn orders_are_read_in_pages() {
    let (_server, organizer, ann) = concert("pages");
    let bought: Vec<Value> =
        (1..=3).map(|row| ann.buy("pages", "A", &[&format!("{row}-1"), &format!("{row}-2")])).collect();
    let pages = |client: &Client, path: &str| {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("{path}?limit=2{after}")).expect(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            ids.extend(items.iter().map(|order| order["id"].clone()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return ids,
            }
        }
    };
    let newest_first: Vec<Value> = bought.iter().rev().map(|order| order["id"].clone()).collect();
    assert_eq!(pages(&ann, "/v1/orders"), newest_first);
    let mut all = pages(&organizer, "/v1/events/pages/orders");
    all.reverse();
    assert_eq!(all, newest_first);
    for path in ["/v1/orders", "/v1/events/pages/orders"] {
        let client = if path == "/v1/orders" { &ann } else { &organizer };
        for bad in ["limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "after=rubbish", "after=%00"] {
            let problem = client.get(&format!("{path}?{bad}")).expect_problem(422, "invalid_request");
            assert_eq!(problem["errors"][0]["field"], bad.split('=').next().unwrap(), "{bad}");
        }
        client.get(&format!("{path}?limit=1&limit=2")).expect_problem(400, "bad_request");
        client.get(&format!("{path}?limit=%FF")).expect_problem(422, "invalid_request");
    }
    organizer.get("/v1/events/nowhere/orders").expect_problem(404, "unknown_event");
    organizer.get("/v1/events/nowhere/ledger").expect_problem(404, "unknown_event");
    organizer.get("/v1/events/nowhere/audit").expect_problem(404, "unknown_event");
}

#[test]
fn an_order_whose_time_is_over_expires_and_frees_its_seats() {
    let server = Server::shared();
    let organizer = server.organizer();
    let mut short = small_event("brief");
    short["rules"]["hold_ttl_s"] = json!(1);
    organizer.post("/v1/events", &short).expect(201);
    let ann = server.customer("brief-ann");
    let placed = ann.order(&ann.hold("brief", "A", &["1-1", "1-2"]), "tok_declined");
    ann.await_state(id(&placed), "expired");
    another(&ann, &placed, "payment", &with("tok_ok")).expect_problem(409, "hold_expired");
    let late = another(&ann, &placed, "cancel", &json!({})).expect_problem(409, "order_state");
    assert_eq!(late["state"], "expired");
    ann.await_that("/v1/events/brief/availability", |now| now.json()["blocks"][0]["free"] == 40);
    books(&organizer, "brief");
}

#[test]
fn while_the_provider_is_away_buyers_are_told_that_their_seats_are_safe() {
    let settings =
        ["payments.simulated.error_rate=100%", "payments.breaker.failures=1", "payments.breaker.open_for=60s"];
    let mut server = Server::start_with(&settings);
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let placed = ann.order(&ann.hold("gig", "A", &["1-1", "1-2"]), "tok_ok");
    let path = format!("/v1/orders/{}", id(&placed));
    let told = ann.await_that(&path, |now| now.json()["payment"]["state"] == "waiting").json();
    assert!(told["payment"]["detail"].as_str().unwrap().contains("your seats are safe"), "{told}");
    assert_eq!(told["state"], "paying");
    assert!(server.client().get("/metrics").text().contains("stampede_gateway_breaker_state 2"));
    server.customer("bob").try_hold("gig", "A", &["1-1"]).expect_problem(409, "seat_taken");
    assert_eq!(server.stop(), Some(0));
    server.set("payments.simulated.error_rate=0%");
    server.restart();
    let paid = server.customer("ann").await_state(id(&placed), "paid");
    assert!(paid.get("payment").is_none(), "{paid}");
    assert_eq!(books(&server.organizer(), "gig")["captured"]["amount"], 17000);
}
