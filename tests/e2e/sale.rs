//! From a clean start to a sold seat and its ticket at the gate.

use serde_json::json;

use crate::client::{order_body, small_event};
use crate::server::Server;

#[test]
fn a_seat_is_held_bought_ticketed_and_admitted_once() {
    let server = Server::start();
    let organizer = server.organizer();
    let event = organizer.post("/v1/events", &small_event("gig")).expect(201);
    assert_eq!(event["status"], "on_sale");

    let ann = server.customer("ann");
    let hold = ann.hold("gig", "A", &["1-5", "1-6"]);
    assert_eq!((hold["state"].as_str(), hold["quantity"].as_u64()), (Some("held"), Some(2)));
    let placed = ann.order(&hold, "tok_ok");
    assert_eq!(placed["total"], json!({"amount": 17000, "currency": "EUR"}));
    let paid = ann.await_state(placed["id"].as_str().unwrap(), "paid");
    assert_eq!(paid["tickets"].as_array().unwrap().len(), 2);

    let token = json!({"token": paid["tickets"][0]["token"]});
    organizer.post("/v1/tickets/check-in", &token).expect(200);
    organizer.post("/v1/tickets/check-in", &token).expect_problem(409, "already_checked_in");

    let availability = server.client().get("/v1/events/gig/availability").expect(200);
    assert_eq!(availability["blocks"][0]["sold"], 2);
    let audit = organizer.get("/v1/events/gig/audit").expect(200);
    assert_eq!(audit["violations"], json!([]));
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let mut server = Server::start();
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let order = ann.buy("gig", "A", &["1-5", "1-6"]);
    let held = ann.hold("gig", "A", &["2-5", "2-6"]);
    server.kill();
    server.restart();
    let ann = server.customer("ann");
    let after = ann.get(&format!("/v1/orders/{}", order["id"].as_str().unwrap())).expect(200);
    assert_eq!(after["state"], "paid");
    let same = ann.get(&format!("/v1/holds/{}", held["id"].as_str().unwrap())).expect(200);
    assert_eq!(same, held);
    let bob = server.customer("bob");
    let taken = bob.post("/v1/events/gig/holds", &json!({"block": "A", "seats": ["2-5"]}));
    assert_eq!(taken.expect_problem(409, "seat_taken")["seats"], json!(["2-5"]));
    let again = ann.post("/v1/orders", &order_body(&[&held], "tok_ok")).expect(202);
    ann.await_state(again["id"].as_str().unwrap(), "paid");
}
