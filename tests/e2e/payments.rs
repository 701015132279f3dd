//! A payment provider in every kind of trouble: nobody is charged twice, and everything comes to its end.

use serde_json::json;

use crate::client::small_event;
use crate::load::Load;
use crate::process::until;
use crate::provider::Provider;
use crate::server::Server;

const QUICK: [&str; 4] = [
    "payments.timeout=200ms",
    "payments.backoff_min=50ms",
    "payments.backoff_max=1s",
    "payments.simulated.latency_p50=5ms",
];

/// More than half of all charges go wrong in one way or another.
#[test]
fn a_provider_in_trouble_charges_nobody_twice() {
    let mut server = Server::start_with(&QUICK);
    for setting in [
        "payments.simulated.timeout_before_capture_rate=10%",
        "payments.simulated.timeout_after_capture_rate=15%",
        "payments.simulated.late_rate=10%",
        "payments.simulated.late_delay=600ms",
        "payments.simulated.duplicate_rate=20%",
        "payments.simulated.decline_rate=10%",
        "payments.simulated.error_rate=10%",
        "payments.breaker.failures=100000",
    ] {
        server.set(setting);
    }
    server.kill();
    server.restart();
    let flags = "--closed --connections 16 --mix hold=4,order=4,order_status=1 --duration 6s --blocks 4 --seats 40000 \
         --customers 5000 --payments tok_ok=8,tok_timeout=2,tok_declined=1,tok_slow=1";
    let mut load = Load::start(&server, flags);
    load.note_more(100_000);
    server.kill();
    server.restart();
    let report = load.finish().clean();
    assert!(report["orders_paid"].as_u64() > Some(50), "{report:#}");
    let mut provider = Provider::default();
    provider.expect(&server.organizer(), &format!("{}-1", report["run"].as_str().unwrap()));
    provider.agrees_with(&server.data());
}

#[test]
fn during_an_outage_orders_wait_with_their_seats_and_are_paid_after_it() {
    let mut server = Server::start_with(&QUICK);
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    for setting in ["payments.simulated.error_rate=100%", "payments.breaker.failures=3", "payments.attempts_max=1000"] {
        server.set(setting);
    }
    server.kill();
    server.restart();
    let ann = server.customer("ann");
    let orders: Vec<String> = ["1", "2", "3"]
        .map(|row| {
            let hold = ann.hold("gig", "A", &[&format!("{row}-5"), &format!("{row}-6")]);
            ann.order(&hold, "tok_ok")["id"].as_str().unwrap().to_owned()
        })
        .to_vec();
    until("the breaker opens", || server.metric("stampede_gateway_breaker_state") == 2.0);
    let calm = "your seats are safe";
    let shows = |order: &String| ann.get(&format!("/v1/orders/{order}")).text();
    until("buyers are told", || orders.iter().all(|order| shows(order).contains(calm)));
    let waiting = ann.get(&format!("/v1/orders/{}", orders[0])).expect(200);
    assert_eq!(waiting["state"], "paying");
    let bob = server.customer("bob");
    let taken = bob.post("/v1/events/gig/holds", &json!({"block": "A", "seats": ["1-5", "1-6"]}));
    taken.expect_problem(409, "seat_taken");

    server.set("payments.simulated.error_rate=0%");
    server.kill();
    server.restart();
    for order in &orders {
        let paid = server.customer("ann").await_state(order, "paid");
        assert!(!paid.to_string().contains(calm), "{paid}");
    }
    let mut provider = Provider::default();
    provider.expect(&server.organizer(), "gig");
    provider.agrees_with(&server.data());
}

/// The money is taken, the answer never comes, and the node is killed while it waits for it.
#[test]
fn a_kill_between_capture_and_answer_ends_in_one_payment() {
    let mut server = Server::start_with(&["payments.timeout=2s"]);
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let hold = ann.hold("gig", "A", &["1-5", "1-6"]);
    let order = ann.order(&hold, "tok_timeout");
    let books = server.data().join("provider.ndjson");
    until("the money is taken", || std::fs::read_to_string(&books).is_ok_and(|books| books.contains("captured")));
    let before = ann.get(&format!("/v1/orders/{}", order["id"].as_str().unwrap())).expect(200);
    assert_eq!(before["state"], "paying");
    server.kill();
    server.restart();
    let paid = server.customer("ann").await_state(order["id"].as_str().unwrap(), "paid");
    assert_eq!(paid["tickets"].as_array().unwrap().len(), 2);
    let mut provider = Provider::default();
    provider.expect(&server.organizer(), "gig");
    provider.agrees_with(&server.data());
}
