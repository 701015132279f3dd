//! What a key promises whatever happened meanwhile: the first answer to the same request, and a refusal to any other.

use serde_json::{Value, json};

use super::story;

#[test]
fn a_key_is_for_one_request_whichever_way_its_desk_keeps_it() {
    story(&[], |office| async move {
        office.concert("e").await;
        let hold = office.hold("ann", "e", json!({"block": "A", "seats": ["1-1"]})).await;
        let order = json!({"holds": [hold.id()], "email": "a@example.org", "payment": {"token": "tok_ok"}});
        let best = json!({"best_available": {"quantity": 2}});
        let ask =
            |path: &'static str, key: &str, body: &Value| office.buyer("ann", "POST", path).key(key).json(body).send();
        let (holds, orders) = ("/v1/events/e/holds", "/v1/orders");

        let found = ask(holds, "search-first", &best).await;
        assert_eq!(found.status, 201, "{}", found.text());
        ask(orders, "search-first", &order).await.is_problem(422, "idempotency_key_reused");
        assert_eq!(ask(holds, "search-first", &best).await.text(), found.text());

        let placed = ask(orders, "order-first", &order).await;
        assert_eq!(placed.status, 202, "{}", placed.text());
        ask(holds, "order-first", &best).await.is_problem(422, "idempotency_key_reused");
        assert_eq!(ask(orders, "order-first", &order).await.text(), placed.text());
        office
    });
}

#[test]
fn a_hold_whose_answer_was_lost_is_told_again_after_the_price_rose() {
    story(&[], |office| async move {
        office.concert("e").await;
        let best = json!({"best_available": {"quantity": 2, "block": "A", "max_price": 9000}});
        let ask = |key: &str| office.buyer("ann", "POST", "/v1/events/e/holds").key(key).json(&best).send();
        let first = ask("k").await;
        assert_eq!(first.status, 201, "{}", first.text());
        let dearer = json!({"blocks": [{"id": "A", "price": 9001}]});
        assert_eq!(office.seller("PATCH", "/v1/events/e").json(&dearer).send().await.status, 200);
        // The block hears of its price a moment after the organizer was answered.
        loop {
            let seen = office.hold("bob", "e", json!({"block": "A", "seats": ["2-1"]})).await;
            office.buyer("bob", "DELETE", &format!("/v1/holds/{}", seen.id())).send().await;
            if seen.json["price"]["amount"] == 9001 {
                break;
            }
        }
        let again = ask("k").await;
        assert_eq!((again.text(), again.header("idempotent-replayed")), (first.text(), Some("true")));
        ask("another").await.is_problem(409, "sold_out");
        office
    });
}
