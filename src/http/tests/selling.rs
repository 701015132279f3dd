//! What the organizer meets: events, house seats, the ledger and the audit.

use serde_json::{Value, json};

use super::super::event_body::tests::largest;
use super::story;

#[test]
fn an_event_is_created_once() {
    story(&[], |office| async move {
        let mut body = json!({"id": "e", "name": "n", "venue": "v", "starts_at": "2099-01-01T00:00:00Z", "currency": "EUR",
            "blocks": [{"id": "A", "kind": "standing", "price": 1, "capacity": 5}]});
        let create = |body: &Value| office.seller("POST", "/v1/events").json(body);
        let first = create(&body).key("k").send().await;
        assert_eq!((first.status, first.header("location")), (201, Some("/v1/events/e")), "{}", first.text());
        let replay = create(&body).key("k").send().await;
        assert_eq!((replay.status, replay.text()), (201, first.text()));
        assert_eq!(replay.header("idempotent-replayed"), Some("true"));
        assert_eq!(create(&body).send().await.status, 200, "the same again");
        body["name"] = json!("other");
        create(&body).send().await.is_problem(409, "event_exists");
        body.as_object_mut().unwrap().remove("id");
        let made_up = create(&body).key("k2").send().await;
        assert_eq!(made_up.status, 201, "{}", made_up.text());
        assert_eq!(create(&body).key("k2").send().await.text(), made_up.text());
        office
    });
}

#[test]
fn an_event_is_changed_paused_opened_and_closed() {
    story(&[], |office| async move {
        office.concert("e").await;
        let patch =
            json!({"name": "Aurora II", "blocks": [{"id": "A", "price": 9000}], "on_sale_at": "2098-01-01T00:00:00Z"});
        let changed = office.seller("PATCH", "/v1/events/e").json(&patch).send().await;
        assert_eq!((changed.status, &changed.json["name"]), (200, &json!("Aurora II")), "{}", changed.text());
        assert_eq!(changed.json["blocks"][0]["price"]["amount"], 9000);
        assert_eq!(changed.json["status"], "scheduled");
        let unknown = json!({"blocks": [{"id": "Z", "price": 1}]});
        let refused = office.seller("PATCH", "/v1/events/e").json(&unknown).send().await;
        assert_eq!(refused.is_problem(422, "invalid_request").json["errors"][0]["field"], "blocks[0].id");
        for (verb, status) in [("open", "on_sale"), ("pause", "paused"), ("open", "on_sale"), ("close", "closed")] {
            let answer =
                office.seller("POST", &format!("/v1/events/e/{verb}")).key(&format!("{verb}{status}")).send().await;
            assert_eq!((answer.status, &answer.json["status"]), (200, &json!(status)), "{}", answer.text());
        }
        office.seller("POST", "/v1/events/e/open").send().await.is_problem(409, "event_closed");
        office.seller("POST", "/v1/events/nowhere/open").send().await.is_problem(404, "unknown_event");
        office
    });
}

#[test]
fn two_who_change_different_rules_at_once_both_have_their_way() {
    story(&[], |office| async move {
        office.concert("e").await;
        let change = |rules: Value| office.seller("PATCH", "/v1/events/e").json(&json!({"rules": rules})).send();
        for round in 1..=20 {
            let (fewer, shorter) = (json!({"max_per_hold": round}), json!({"hold_ttl_s": round}));
            let both = futures_util::future::join(change(fewer), change(shorter)).await;
            assert_eq!((both.0.status, both.1.status), (200, 200), "{}", both.0.text());
            let rules = &change(json!({})).await.json["rules"];
            assert_eq!((&rules["max_per_hold"], &rules["hold_ttl_s"]), (&json!(round), &json!(round)));
        }
        office
    });
}

#[test]
fn the_largest_event_there_may_be_is_created_also_with_a_key() {
    story(&["http.body_max=4MiB"], |office| async move {
        let create = || office.seller("POST", "/v1/events").json(&largest()).key("k").send();
        let first = create().await;
        assert_eq!(first.status, 201, "{}", first.code());
        assert_eq!(create().await.header("idempotent-replayed"), Some("true"));
        office
    });
}

#[test]
fn house_seats_leave_the_sale_and_come_back() {
    story(&[], |office| async move {
        office.concert("e").await;
        let post =
            |path: &str, body: Value| office.seller("POST", &format!("/v1/events/e/blocks/{path}")).json(&body).send();
        let counts = post("A/block-seats", json!({"seats": ["1-1", "1-2"]})).await;
        assert_eq!((counts.status, &counts.json["blocked"]), (200, &json!(2)), "{}", counts.text());
        let not = post("A/unblock-seats", json!({"seats": ["1-1", "2-1"]})).await;
        assert_eq!(not.is_problem(409, "not_blocked").json["seats"], json!(["2-1"]));
        assert_eq!(post("A/unblock-seats", json!({"seats": ["1-1", "1-2"]})).await.json["blocked"], 0);
        assert_eq!(post("FLOOR/block-seats", json!({"quantity": 3})).await.json["blocked"], 3);
        post("FLOOR/block-seats", json!({"seats": ["1-1"]})).await.is_problem(422, "wrong_kind");
        post("A/block-seats", json!({"quantity": 1})).await.is_problem(422, "wrong_kind");
        post("A/block-seats", json!({})).await.is_problem(422, "invalid_request");
        post("A/block-seats", json!({"seats": ["9-9"]})).await.is_problem(404, "unknown_seat");
        office
    });
}

#[test]
fn ledger_orders_and_audit_tell_the_same_story() {
    story(&[], |office| async move {
        office.concert("e").await;
        let seats = office.hold("ann", "e", json!({"block": "A", "seats": ["1-1", "1-2"]})).await;
        let order = office.order("ann", &[seats.id()], "tok_ok").await;
        office.follow("ann", order.id(), "paid").await;
        let standing = office.hold("bob", "e", json!({"block": "FLOOR", "quantity": 2})).await;
        let second = office.order("bob", &[standing.id()], "tok_ok").await;
        office.follow("bob", second.id(), "paid").await;
        let held = office.hold("cyd", "e", json!({"block": "B", "seats": ["AA-1"]})).await;
        let house = json!({"seats": ["2-10"]});
        assert_eq!(office.seller("POST", "/v1/events/e/blocks/A/block-seats").json(&house).send().await.status, 200);

        let ledger = office.seller("GET", "/v1/events/e/ledger").send().await;
        assert_eq!((ledger.status, ledger.header("content-type")), (200, Some("application/x-ndjson")));
        let mut lines: Vec<Value> = ledger.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.sort_by_key(|line| format!("{}{}", line["block"], line["seat"]));
        let line = |block: &str, seat: Value, state: &str, hold: Value, order: Value, customer: Value| json!({"block": block, "seat": seat, "state": state, "hold": hold, "order": order, "customer": customer});
        let mut floor = line("FLOOR", Value::Null, "sold", json!(standing.id()), json!(second.id()), json!("bob"));
        floor["quantity"] = json!(2);
        assert_eq!(
            lines,
            [
                line("A", json!("1-1"), "sold", json!(seats.id()), json!(order.id()), json!("ann")),
                line("A", json!("1-2"), "sold", json!(seats.id()), json!(order.id()), json!("ann")),
                line("A", json!("2-10"), "blocked", Value::Null, Value::Null, Value::Null),
                line("B", json!("AA-1"), "held", json!(held.id()), Value::Null, json!("cyd")),
                floor,
            ]
        );

        let audit = office.seller("GET", "/v1/events/e/audit").send().await;
        assert_eq!(audit.status, 200, "{}", audit.text());
        assert_eq!(audit.json["violations"], json!([]));
        assert_eq!(
            audit.json["seats"],
            json!({"capacity": 34, "free": 28, "held": 1, "bound": 0, "sold": 4, "blocked": 1})
        );
        assert_eq!((&audit.json["orders"]["paid"], &audit.json["captured"]["amount"]), (&json!(2), &json!(31_000)));

        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = office.seller("GET", &format!("/v1/events/e/orders?limit=1{after}")).send().await;
            assert_eq!(page.status, 200, "{}", page.text());
            seen.extend(
                page.json["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page.json["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        seen.sort();
        let mut both = [order.id().to_owned(), second.id().to_owned()];
        both.sort();
        assert_eq!(seen, both);
        office
    });
}

#[test]
fn the_cluster_shows_its_shards_and_a_rebuilt_machine() {
    story(&[], |office| async move {
        office.concert("e").await;
        assert!(office.state.dispatch.panic_for_test(actors::address::Address::Event("e".into())));
        // The panic is met by the next command; which then is not known to be done.
        let met = office.seller("POST", "/v1/events/e/pause").send().await;
        assert!(matches!(met.status, 200 | 503), "{}", met.text());
        let mut restarts = 0;
        for _ in 0..100 {
            let view = office.seller("GET", "/v1/cluster").send().await;
            assert_eq!((view.status, view.json["shards"].as_array().unwrap().len()), (200, 4));
            restarts = view.json["nodes"][0]["restarts"]["event_desk"].as_u64().unwrap();
            if restarts > 0 {
                break;
            }
        }
        assert_eq!(restarts, 1);
        office
    });
}
