//! A bug in one machine: it is thrown away and rebuilt from what is durable, and nobody else notices.

use serde_json::{Value, json};

use crate::client::small_event;
use crate::server::Server;

#[test]
fn a_block_that_panics_is_back_with_everything_it_promised() {
    let server = Server::start_with(&["runtime.fault_injection=true"]);
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    ann.buy("gig", "A", &["1-1", "1-2"]);
    let held = ann.hold("gig", "A", &["2-1", "2-2"]);
    let want = json!({"block": "A", "seats": ["3-1", "3-2"]});
    let first = ann.post_with_key("/v1/events/gig/holds", "k", &want).expect(201);
    let ledger = organizer.ledger("gig");

    for round in 1..=3_u64 {
        organizer.post("/v1/faults/panic", &json!({"event": "gig", "block": "A"})).expect(202);
        // The turn that panics has this in it: surely not done, and nobody says that it was.
        let bob = server.customer(&format!("bob-{round}"));
        let seat = format!("4-{}", 2 * round);
        let seats = json!({"block": "A", "seats": [format!("4-{}", 2 * round - 1), seat]});
        let caught = bob.post_with_key("/v1/events/gig/holds", "k", &seats);
        assert!(caught.header("retry-after").is_some(), "{}", caught.text());
        caught.expect_problem(503, "unavailable");
        let mine = bob.await_that("/healthz", |_| bob.post_with_key("/v1/events/gig/holds", "k", &seats).status == 201);
        assert_eq!(mine.status, 200);
        let restarts = organizer.get("/v1/cluster").expect(200)["nodes"][0]["restarts"]["seat_block"].clone();
        assert_eq!(restarts, round);
    }
    let metrics = server.client().get("/metrics").text();
    let restarts =
        metrics.lines().find(|line| line.starts_with("stampede_cell_restarts_total") && line.contains("block"));
    assert!(restarts.is_some_and(|line| line.ends_with(" 3")), "{restarts:?}");

    let again = ann.post_with_key("/v1/events/gig/holds", "k", &want);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(201), first);
    assert_eq!(ann.get(&format!("/v1/holds/{}", held["id"].as_str().unwrap())).expect(200), held);
    let after = organizer.ledger("gig");
    assert!(ledger.iter().all(|line| after.contains(line)), "{after:?}");
    assert_eq!(after.len(), ledger.len() + 6, "and one hold of two seats a round");
    assert_eq!(organizer.get("/v1/events/gig/audit").expect(200)["violations"], json!([]));
    let seats = ann.get("/v1/events/gig/availability").expect(200)["blocks"][0].clone();
    assert_eq!((&seats["free"], &seats["held"], &seats["sold"]), (&json!(28), &json!(10), &json!(2)));
}

#[test]
fn nobody_breaks_anything_on_a_node_that_sells() {
    let server = Server::shared();
    let body = json!({"event": "gig", "block": "A"});
    for client in [server.organizer(), server.customer("breaker"), server.client()] {
        client.post("/v1/faults/panic", &body).expect_problem(404, "not_found");
    }
    let document: Value = server.client().get("/openapi.json").expect(200);
    assert!(document["paths"].as_object().unwrap().keys().all(|path| !path.contains("fault")));
}
