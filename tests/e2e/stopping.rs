//! Told to stop, killed, started again, and started twice: what is answered, what is kept, what is said.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, id, small_event};
use crate::server::Server;

/// The value of a metric without labels.
fn metric(client: &Client, name: &str) -> f64 {
    let text = client.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// Everything that can be read of an event, as one value.
fn everything(server: &Server, event: &str, customers: &[&str]) -> Value {
    let organizer = server.organizer();
    let path = |rest: &str| format!("/v1/events/{event}{rest}");
    let availability = organizer.get(&path("/availability")).expect(200);
    let mut ledger: Vec<String> = organizer.ledger(event).iter().map(Value::to_string).collect();
    ledger.sort();
    let mut audit = organizer.get(&path("/audit")).expect(200);
    audit["at"] = Value::Null;
    let orders: Vec<Value> = customers.iter().map(|name| server.customer(name).get("/v1/orders").expect(200)).collect();
    json!({
        "event": organizer.get(&path("")).expect(200),
        "blocks": availability["blocks"],
        "seats": organizer.get(&path("/blocks/A/seats")).expect(200)["seats"],
        "layout": organizer.get(&path("/blocks/B/layout")).expect(200),
        "ledger": ledger, "audit": audit, "orders": orders,
        "keys": organizer.get("/v1/keys").expect(200),
    })
}

#[test]
fn told_to_stop_a_node_answers_who_waits_writes_snapshots_and_is_back_at_once() {
    let mut server = Server::start_with(&["payments.simulated.slow_latency=60s"]);
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let placed = ann.order(&ann.hold("gig", "A", &["1-1", "1-2"]), "tok_slow");
    let path = format!("/v1/orders/{}", id(&placed));
    ann.await_that(&path, |now| now.json()["state"] == "paying");
    let before = ann.hold("gig", "A", &["2-1", "2-2"]);

    let waiting = ann.apart();
    let waited_for = path.clone();
    let waiter = std::thread::spawn(move || waiting.get_with(&waited_for, &[("Prefer", "wait=30")]));
    let in_flight = |client: &Client| metric(client, "stampede_http_in_flight") >= 2.0;
    ann.await_that("/healthz", |_| in_flight(&ann));
    let began = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "the waiter did not hold it up: {:?}", began.elapsed());
    assert_eq!(waiter.join().unwrap().expect(200)["state"], "paying");

    server.set("payments.simulated.slow_latency=10ms");
    server.restart();
    let ann = server.customer("ann");
    assert!(metric(&ann, "stampede_recovery_changes") <= 1.0, "the snapshots had everything");
    assert!(metric(&ann, "stampede_recovery_seconds") < 5.0);
    assert_eq!(ann.get(&format!("/v1/holds/{}", id(&before))).expect(200), before);
    ann.await_state(id(&placed), "paid");
    assert_eq!(server.organizer().get("/v1/events/gig/audit").expect(200)["violations"], json!([]));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_stop_and_a_kill_leave_everything_as_it_was() {
    let mut server = Server::start();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("gig")).expect(201);
    let (ann, bob) = (server.customer("ann"), server.customer("bob"));
    let paid = ann.buy("gig", "A", &["1-1", "1-2"]);
    organizer.post("/v1/tickets/check-in", &json!({"token": paid["tickets"][0]["token"]})).expect(200);
    let refunded = bob.buy("gig", "B", &["AA-1", "AA-2"]);
    organizer.post(&format!("/v1/orders/{}/refund", id(&refunded)), &json!({})).expect(202);
    bob.await_state(id(&refunded), "refunded");
    let failed = bob.order(&bob.hold("gig", "A", &["4-1", "4-2"]), "tok_declined");
    bob.await_state(id(&failed), "payment_failed");
    ann.hold("gig", "A", &["2-1", "2-2"]);
    bob.post("/v1/events/gig/holds", &json!({"block": "FLOOR", "quantity": 3})).expect(201);
    organizer.post("/v1/events/gig/blocks/A/block-seats", &json!({"seats": ["3-1", "3-2"]})).expect(200);
    organizer.patch("/v1/events/gig", &json!({"name": "Renamed", "blocks": [{"id": "B", "price": 100}]})).expect(200);
    organizer.post("/v1/events/gig/pause", &json!({})).expect(200);
    let before = everything(&server, "gig", &["ann", "bob"]);
    server.kill();
    server.restart();
    assert_eq!(everything(&server, "gig", &["ann", "bob"]), before, "after a kill");
    assert_eq!(server.stop(), Some(0));
    server.restart();
    assert_eq!(everything(&server, "gig", &["ann", "bob"]), before, "after a stop");
    server.kill();
    server.restart();
    assert_eq!(everything(&server, "gig", &["ann", "bob"]), before, "after a kill behind the snapshots");
    let door = json!({"token": paid["tickets"][0]["token"]});
    server.organizer().post("/v1/tickets/check-in", &door).expect_problem(409, "already_checked_in");
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let server = Server::shared();
    let second = server.command().args(["--set", "http.listen=127.0.0.1:0"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success(), "{said}");
    assert!(said.contains("data directory is in use") && said.contains(&server.pid().to_string()), "{said}");
    assert_eq!(server.client().get("/readyz").status, 200, "the first one does not mind");
}
