//! The organizer's side: creating and changing events, the books, the cluster.

use serde_json::{Value, json};

use crate::client::{id, small_event};
use crate::server::Server;

#[test]
fn an_event_is_created_once_and_repeated_without_harm() {
    let server = Server::shared();
    let organizer = server.organizer();
    let body = small_event("create");
    let answer = organizer.post("/v1/events", &body);
    assert_eq!(answer.header("location"), Some("/v1/events/create"));
    let created = answer.expect(201);
    assert_eq!((&created["status"], &created["waiting_room"]["mode"]), (&json!("on_sale"), &json!("off")));
    assert_eq!(created["rules"], body["rules"]);
    assert_eq!(created["blocks"][2]["capacity"], 50);
    assert_eq!(organizer.get("/v1/events/create").expect(200), created);
    assert_eq!(organizer.post("/v1/events", &body).expect(200)["id"], "create", "the same body again");
    let mut other = body.clone();
    other["name"] = json!("Another concert");
    organizer.post("/v1/events", &other).expect_problem(409, "event_exists");

    let least = json!({
        "name": "Least", "venue": "Hall", "starts_at": "2027-06-12T21:00:00+02:00", "currency": "JPY",
        "rules": {"max_per_customer": null},
        "blocks": [{"id": "S", "kind": "standing", "price": 0, "capacity": 1}]
    });
    let least = organizer.post("/v1/events", &least).expect(201);
    assert_eq!(
        (&least["starts_at"], &least["rules"]["max_per_customer"]),
        (&json!("2027-06-12T19:00:00Z"), &Value::Null)
    );
    assert_eq!((&least["rules"]["hold_ttl_s"], &least["rules"]["no_orphans"]), (&json!(420), &json!(true)));
    let listed = organizer.get("/v1/events?limit=1000").expect(200);
    assert!(listed["items"].as_array().unwrap().iter().any(|event| event["id"] == least["id"]));
}

#[test]
fn events_are_listed_in_pages() {
    let server = Server::start();
    for nth in 1..=5 {
        server.organizer().post("/v1/events", &small_event(&format!("night-{nth}"))).expect(201);
    }
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.client().get(&format!("/v1/events?limit=2{after}")).expect(200);
        ids.extend(page["items"].as_array().unwrap().iter().map(|event| id(event).to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids, ["night-1", "night-2", "night-3", "night-4", "night-5"]);
}

#[test]
fn a_change_counts_from_then_on_and_leaves_what_was_promised() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("change")).expect(201);
    let ann = server.customer("change-ann");
    let before = ann.hold("change", "A", &["1-1", "1-2"]);
    let patch = json!({
        "name": "Renamed", "venue": "Elsewhere", "starts_at": "2028-01-01T00:00:00Z",
        "rules": {"max_per_hold": 2, "no_orphans": false}, "blocks": [{"id": "A", "name": "Best", "price": 9900}]
    });
    let after = organizer.patch("/v1/events/change", &patch).expect(200);
    assert_eq!((&after["name"], &after["venue"]), (&json!("Renamed"), &json!("Elsewhere")));
    assert_eq!((&after["rules"]["max_per_hold"], &after["rules"]["hold_ttl_s"]), (&json!(2), &json!(420)));
    assert_eq!((&after["blocks"][0]["name"], &after["blocks"][0]["price"]["amount"]), (&json!("Best"), &json!(9900)));
    let seen = |now: &crate::client::Answer| now.json()["name"] == "Renamed";
    ann.await_that("/v1/events/change", seen);
    assert_eq!(ann.get(&format!("/v1/holds/{}", id(&before))).expect(200)["price"]["amount"], 8500);
    assert_eq!(ann.order(&before, "tok_ok")["total"]["amount"], 17000, "at the price of the hold");

    let bob = server.customer("change-bob");
    let three = ["2-1", "2-2", "2-3"];
    let mended = |_: &crate::client::Answer| bob.try_hold("change", "A", &three).status == 422;
    ann.await_that("/healthz", mended);
    assert_eq!(bob.try_hold("change", "A", &three).expect_problem(422, "too_many_seats")["most"], 2);
    assert_eq!(bob.hold("change", "A", &["3-2", "3-3"])["price"]["amount"], 9900);

    let unknown = organizer.patch("/v1/events/change", &json!({"blocks": [{"id": "Z", "price": 1}]}));
    assert_eq!(unknown.expect_problem(422, "invalid_request")["errors"][0]["field"], "blocks[0].id");
    organizer.patch("/v1/events/nowhere", &json!({"name": "x"})).expect_problem(404, "unknown_event");
    for verb in ["open", "pause", "close"] {
        organizer.post(&format!("/v1/events/nowhere/{verb}"), &json!({})).expect_problem(404, "unknown_event");
    }
    let same = organizer.patch("/v1/events/change", &json!({})).expect(200);
    assert_eq!(same["name"], "Renamed");
    let later = json!({"on_sale_at": "2999-01-01T00:00:00Z"});
    assert_eq!(organizer.patch("/v1/events/change", &later).expect(200)["status"], "scheduled");
    assert_eq!(organizer.patch("/v1/events/change", &json!({"on_sale_at": null})).expect(200)["status"], "on_sale");
}

#[test]
fn the_books_balance() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("books")).expect(201);
    let (ann, bob) = (server.customer("books-ann"), server.customer("books-bob"));
    let paid = ann.buy("books", "A", &["1-1", "1-2"]);
    let held = bob.post("/v1/events/books/holds", &json!({"block": "FLOOR", "quantity": 3})).expect(201);
    let failed = bob.order(&bob.hold("books", "B", &["AA-1", "AA-2"]), "tok_declined");
    bob.await_state(id(&failed), "payment_failed");
    organizer.post("/v1/events/books/blocks/A/block-seats", &json!({"seats": ["4-9", "4-10"]})).expect(200);

    let audit = organizer.get("/v1/events/books/audit").expect(200);
    let seats = json!({"capacity": 110, "free": 101, "held": 3, "bound": 2, "sold": 2, "blocked": 2});
    assert_eq!((&audit["violations"], &audit["seats"]), (&json!([]), &seats));
    assert_eq!((&audit["orders"]["paid"], &audit["orders"]["payment_failed"]), (&json!(1), &json!(1)));
    assert_eq!((&audit["captured"]["amount"], &audit["paid"]["amount"]), (&json!(17000), &json!(17000)));
    assert_eq!(audit["open_payments"], 0);

    let ledger = organizer.ledger("books");
    let line = |block: &str, seat: Value| {
        let found: Vec<&Value> = ledger.iter().filter(|line| line["block"] == block && line["seat"] == seat).collect();
        assert_eq!(found.len(), 1, "{block} {seat}");
        found[0].clone()
    };
    let sold = json!({"block": "A", "seat": "1-1", "state": "sold", "hold": paid["holds"][0], "order": paid["id"],
        "customer": "books-ann"});
    assert_eq!(line("A", json!("1-1")), sold);
    let floor = json!({"block": "FLOOR", "seat": null, "quantity": 3, "state": "held", "hold": held["id"],
        "order": null, "customer": "books-bob"});
    assert_eq!(line("FLOOR", Value::Null), floor);
    assert_eq!(line("B", json!("AA-2"))["state"], "bound");
    assert_eq!(line("A", json!("4-10"))["state"], "blocked");
    assert_eq!(ledger.len(), 2 + 1 + 2 + 2);
}

#[test]
fn the_cluster_of_one_says_how_it_stands() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("cluster")).expect(201);
    let cluster = organizer.get("/v1/cluster").expect(200);
    let node = &cluster["nodes"][0];
    assert_eq!((&node["name"], &node["state"], &node["shards"]), (&json!("node-1"), &json!("ready"), &json!(64)));
    assert!(node["machines"]["seat_block"].as_u64().unwrap() >= 3, "{node}");
    let shards = cluster["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 64);
    assert!(shards.iter().all(|shard| shard["owner"] == "node-1" && shard["writable"] == true));
    assert!(shards.iter().map(|shard| shard["seq"].as_u64().unwrap()).sum::<u64>() > 0);
}

#[test]
fn a_layout_says_where_the_places_are() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("layout")).expect(201);
    let layout = server.client().get("/v1/events/layout/blocks/B/layout").expect(200);
    let rows = layout["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["row"], &rows[1]["row"]), (2, &json!("AA"), &json!("BB")));
    let standing = server.client().get("/v1/events/layout/blocks/FLOOR/layout").expect(200);
    assert_eq!(standing["kind"], "standing");
}
