//! What a customer meets: holds, orders, keys, and everybody else's things.

use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use super::story;

#[test]
fn a_seat_is_held_bought_and_opens_the_door_once() {
    story(&[], |office| async move {
        office.concert("e").await;
        let hold = office.hold("ann", "e", json!({"block": "A", "seats": ["1-1", "1-2"]})).await;
        assert_eq!(hold.header("location"), Some(format!("/v1/holds/{}", hold.id()).as_str()));
        assert_eq!(hold.json["seats"], json!(["1-1", "1-2"]));
        assert_eq!(hold.json["price"], json!({"amount": 8500, "currency": "EUR"}));
        assert_eq!(hold.json["total"]["amount"], 17_000);
        assert_eq!(hold.json["state"], "held");

        let taken =
            office.buyer("bob", "POST", "/v1/events/e/holds").json(&json!({"block": "A", "seats": ["1-2", "1-3"]}));
        assert_eq!(taken.send().await.is_problem(409, "seat_taken").json["seats"], json!(["1-2"]));

        let order = office.order("ann", &[hold.id()], "tok_ok").await;
        assert_eq!((order.json["state"].as_str(), &order.json["holds"]), (Some("placed"), &json!([hold.id()])));
        let paid = office.follow("ann", order.id(), "paid").await;
        let tickets = paid["tickets"].as_array().unwrap();
        assert_eq!(tickets.iter().map(|ticket| &ticket["seat"]).collect::<Vec<_>>(), ["1-1", "1-2"]);

        let token = json!({"token": tickets[0]["token"]});
        let used = office.seller("POST", "/v1/tickets/check-in").json(&token).send().await;
        assert_eq!((used.status, used.json["seat"].as_str()), (200, Some("1-1")), "{}", used.json);
        let again = office.seller("POST", "/v1/tickets/check-in").json(&token).send().await;
        assert_eq!(again.is_problem(409, "already_checked_in").json["at"], used.json["checked_in_at"]);
        let forged = json!({"token": format!("{}x", tickets[1]["token"].as_str().unwrap())});
        office.seller("POST", "/v1/tickets/check-in").json(&forged).send().await.is_problem(422, "ticket_invalid");

        let refund = office.seller("POST", &format!("/v1/orders/{}/refund", order.id())).send().await;
        assert_eq!(refund.status, 202, "{}", refund.json);
        office.follow("ann", order.id(), "refunded").await;
        let void = json!({"token": tickets[1]["token"]});
        office.seller("POST", "/v1/tickets/check-in").json(&void).send().await.is_problem(409, "ticket_void");
        office
    });
}

#[test]
fn somebody_elses_things_are_not_there() {
    story(&[], |office| async move {
        office.concert("e").await;
        let hold = office.hold("ann", "e", json!({"block": "FLOOR", "quantity": 2})).await;
        assert_eq!((&hold.json["seats"], &hold.json["quantity"]), (&json!([]), &json!(2)));
        let path = format!("/v1/holds/{}", hold.id());
        office.buyer("bob", "GET", &path).send().await.is_problem(404, "unknown_hold");
        office.buyer("bob", "DELETE", &path).send().await.is_problem(404, "unknown_hold");
        let steal = json!({"holds": [hold.id()], "email": "b@example.org", "payment": {"token": "tok_ok"}});
        office.buyer("bob", "POST", "/v1/orders").json(&steal).send().await.is_problem(404, "unknown_hold");

        let order = office.order("ann", &[hold.id()], "tok_ok").await;
        let path = format!("/v1/orders/{}", order.id());
        office.buyer("bob", "GET", &path).send().await.is_problem(404, "unknown_order");
        office.buyer("bob", "POST", &format!("{path}/cancel")).send().await.is_problem(404, "unknown_order");
        let pay = json!({"payment": {"token": "tok_ok"}});
        office
            .buyer("bob", "POST", &format!("{path}/payment"))
            .json(&pay)
            .send()
            .await
            .is_problem(404, "unknown_order");
        assert_eq!(office.buyer("bob", "GET", "/v1/orders").send().await.json, json!({"items": [], "next": null}));
        office.follow("ann", order.id(), "paid").await;
        let seen = office.seller("GET", &path).send().await;
        assert_eq!((seen.status, &seen.json["customer"]), (200, &json!("ann")));
        assert_eq!(seen.json["tickets"][0].get("token"), None, "tickets are the customer's alone");
        office
    });
}

#[test]
fn a_key_makes_a_hold_repeatable() {
    story(&[], |office| async move {
        office.concert("e").await;
        for want in [
            json!({"block": "A", "seats": ["1-1"]}),
            json!({"best_available": {"quantity": 2}}),
            json!({"best_available": {"quantity": 1, "block": "B"}}),
            json!({"block": "FLOOR", "quantity": 1}),
        ] {
            let key = want.to_string().replace([' ', '"'], "");
            let ask = || office.buyer("ann", "POST", "/v1/events/e/holds").key(&key).json(&want);
            let first = ask().send().await;
            assert_eq!((first.status, first.header("idempotent-replayed")), (201, None), "{}", first.text());
            let again = ask().send().await;
            assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
            assert_eq!(again.text(), first.text());
            assert_eq!(again.header("location"), first.header("location"));
        }
        office
    });
}

#[test]
fn a_key_is_for_one_request_of_one_customer_and_keeps_refusals() {
    story(&[], |office| async move {
        office.concert("e").await;
        let ask = |who: &str, seat: &str| {
            let body = json!({"block": "A", "seats": [seat]});
            office.buyer(who, "POST", "/v1/events/e/holds").key("k").json(&body)
        };
        assert_eq!(ask("ann", "1-1").send().await.status, 201);
        ask("ann", "1-10").send().await.is_problem(422, "idempotency_key_reused");
        let taken = ask("bob", "1-1").send().await;
        taken.is_problem(409, "seat_taken");
        let hold = office.buyer("ann", "GET", "/v1/orders").key("ignored").send().await;
        assert_eq!(hold.status, 200, "reading takes no key");
        let again = ask("bob", "1-1").send().await;
        again.is_problem(409, "seat_taken");
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        office
    });
}

#[test]
fn the_same_key_a_hundred_times_in_parallel_holds_once() {
    story(&[], |office| async move {
        office.concert("e").await;
        let want = json!({"best_available": {"quantity": 2}});
        let asks = (0..100).map(|_| office.buyer("ann", "POST", "/v1/events/e/holds").key("k").json(&want).send());
        let answers = futures_util::future::join_all(asks).await;
        let mut ids: Vec<&str> = answers.iter().map(|answer| answer.id()).collect();
        ids.dedup();
        assert_eq!((ids.len(), answers[0].status), (1, 201), "{}", answers[0].text());
        let free = office.state.board.event(&"e".into()).unwrap().blocks().map(|(_, block)| block.free()).sum::<u32>();
        assert_eq!(free, 34 - 2);
        office
    });
}

#[test]
fn best_available_goes_through_the_blocks_in_order_and_respects_the_price() {
    story(&[], |office| async move {
        office.concert("e").await;
        let best =
            |quantity: u32, max_price: Value| json!({"best_available": {"quantity": quantity, "max_price": max_price}});
        let first = office.hold("ann", "e", best(2, Value::Null)).await;
        assert_eq!(first.json["block"], "A");
        let cheap = office.hold("ann", "e", best(2, json!(5000))).await;
        assert_eq!((&cheap.json["block"], &cheap.json["price"]["amount"]), (&json!("B"), &json!(4000)));
        let ask = |want: Value| office.buyer("bob", "POST", "/v1/events/e/holds").json(&want).send();
        ask(best(1, json!(10))).await.is_problem(409, "sold_out");
        ask(best(11, Value::Null)).await.is_problem(422, "too_many_seats");
        office.hold("eve", "e", json!({"block": "A", "seats": ["2-1", "2-2", "2-3", "2-4", "2-5", "2-6"]})).await;
        office.hold("kim", "e", json!({"block": "A", "seats": ["1-7", "1-8", "1-9", "1-10"]})).await;
        let many = ask(best(11, Value::Null)).await;
        assert_eq!(many.is_problem(422, "too_many_seats").json["most"], 10, "also where no block has so many free");
        let keyed = || office.buyer("bob", "POST", "/v1/events/e/holds").key("k").json(&best(11, Value::Null)).send();
        keyed().await.is_problem(422, "too_many_seats");
        keyed().await.is_problem(422, "too_many_seats");
        ask(json!({"best_available": {"quantity": 1, "block": "A", "max_price": 10}}))
            .await
            .is_problem(409, "sold_out");
        office
    });
}

#[test]
fn refusals_of_holds_have_their_codes_and_fields() {
    story(&[], |office| async move {
        office.concert("e").await;
        let ask = |want: Value| office.buyer("ann", "POST", "/v1/events/e/holds").json(&want).send();
        let orphan = ask(json!({"block": "A", "seats": ["1-2"]})).await;
        assert_eq!(orphan.is_problem(409, "orphan_seat").json["seats"], json!(["1-1"]));
        let unknown = ask(json!({"block": "A", "seats": ["1-1", "3-1", "1-11"]})).await;
        assert_eq!(unknown.is_problem(404, "unknown_seat").json["seats"], json!(["3-1", "1-11"]));
        let many = ask(json!({"block": "FLOOR", "quantity": 7})).await;
        assert_eq!(many.is_problem(409, "customer_limit").json["most"], 6);
        ask(json!({"block": "FLOOR", "seats": ["1-1"]})).await.is_problem(422, "wrong_kind");
        ask(json!({"block": "A", "quantity": 1})).await.is_problem(422, "wrong_kind");
        ask(json!({"block": "NONE", "quantity": 1})).await.is_problem(404, "unknown_block");
        let twice = ask(json!({"block": "A", "seats": ["1-1", "1-1"]})).await;
        assert_eq!(twice.is_problem(422, "invalid_request").json["errors"][0]["field"], "seats");
        let paused = office.seller("POST", "/v1/events/e/pause").send().await;
        assert_eq!((paused.status, &paused.json["status"]), (200, &json!("paused")));
        ask(json!({"block": "A", "seats": ["1-1"]})).await.is_problem(409, "not_on_sale");
        let nowhere =
            office.buyer("ann", "POST", "/v1/events/nowhere/holds").json(&json!({"block": "A", "quantity": 1}));
        nowhere.send().await.is_problem(404, "unknown_event");
        office
    });
}

#[test]
fn a_released_hold_is_shown_and_cannot_be_bought() {
    story(&[], |office| async move {
        office.concert("e").await;
        let hold = office.hold("ann", "e", json!({"block": "A", "seats": ["1-1"]})).await;
        let path = format!("/v1/holds/{}", hold.id());
        let released = office.buyer("ann", "DELETE", &path).send().await;
        assert_eq!((released.status, &released.json["state"]), (200, &json!("released")), "{}", released.text());
        assert_eq!(office.buyer("ann", "GET", &path).send().await.json["state"], "released");
        let body = json!({"holds": [hold.id()], "email": "a@example.org", "payment": {"token": "tok_ok"}});
        office.buyer("ann", "POST", "/v1/orders").json(&body).send().await.is_problem(409, "hold_released");
        office
    });
}

#[test]
fn a_declined_payment_is_tried_again_and_orders_are_listed() {
    story(&[], |office| async move {
        office.concert("e").await;
        let hold = office.hold("ann", "e", json!({"block": "A", "seats": ["1-1"]})).await;
        let order = office.order("ann", &[hold.id()], "tok_declined").await;
        let failed = office.follow("ann", order.id(), "payment_failed").await;
        assert_eq!(failed["reason"], "card_declined");
        let path = format!("/v1/orders/{}", order.id());
        let pay = json!({"payment": {"token": "tok_ok"}});
        let ask = || office.buyer("ann", "POST", &format!("{path}/payment")).key("pay").json(&pay).send();
        let (first, again) = (ask().await, ask().await);
        assert_eq!((first.status, again.header("idempotent-replayed")), (202, Some("true")), "{}", first.text());
        assert_eq!(first.text(), again.text());
        office.follow("ann", order.id(), "paid").await;
        let cancel = office.buyer("ann", "POST", &format!("{path}/cancel")).send().await;
        assert_eq!(cancel.is_problem(409, "order_state").json["state"], "paid");

        let second = office.hold("ann", "e", json!({"block": "B", "seats": ["AA-1"]})).await;
        let second = office.order("ann", &[second.id()], "tok_ok").await;
        office.follow("ann", second.id(), "paid").await;
        let page = office.buyer("ann", "GET", "/v1/orders?limit=1").send().await;
        assert_eq!(page.json["items"][0]["id"], second.json["id"], "newest first");
        let next = page.json["next"].as_str().unwrap();
        let page = office.buyer("ann", "GET", &format!("/v1/orders?limit=1&after={next}")).send().await;
        assert_eq!((&page.json["items"][0]["id"], &page.json["next"]), (&order.json["id"], &Value::Null));
        office
    });
}

#[test]
fn buyers_hear_that_their_seats_are_safe_while_the_provider_is_away() {
    story(&["http.wait_max=1s"], |office| async move {
        office.concert("e").await;
        office.provider.silent.store(true, Ordering::SeqCst);
        let hold = office.hold("ann", "e", json!({"block": "A", "seats": ["1-1"]})).await;
        let order = office.order("ann", &[hold.id()], "tok_ok").await;
        let paying = office.follow("ann", order.id(), "paying").await;
        assert_eq!(paying["payment"]["state"], "waiting");
        let path = format!("/v1/orders/{}", order.id());
        let waited = office.buyer("ann", "GET", &path).header("prefer", "wait=20").send().await;
        assert_eq!(waited.header("preference-applied"), Some("wait=1"), "the deployment's longest wait");
        assert_eq!(waited.json["state"], "paying", "the time was over");
        office.buyer("ann", "POST", &format!("{path}/cancel")).send().await.is_problem(409, "payment_in_progress");
        office
    });
}
