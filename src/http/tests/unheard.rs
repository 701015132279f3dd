//! A node among others that has not heard of a block yet: what another node acknowledged is not denied.

use actors::ids::{HoldId, Shard, Tag};
use actors::time::{Millis, Span};
use serde_json::json;

use super::{Office, story};
use crate::board::fixture::{description, opening, seated};
use crate::clock;

/// Has an office know of a cluster; its machines are its own all the same.
const AMONG_OTHERS: &[&str] = &["cluster.seeds=[\"nats://127.0.0.1:4222\"]"];

/// What the buyer is told of a hold of that age whose block nobody has told of.
async fn told(office: &Office, made_at: Millis, status: u16, code: &str) {
    let hold = HoldId::new(made_at, Shard(1), Tag(5), 1).to_string();
    let path = format!("/v1/holds/{hold}");
    office.buyer("ann", "GET", &path).send().await.is_problem(status, code);
    office.buyer("ann", "DELETE", &path).send().await.is_problem(status, code);
    let order = json!({"holds": [hold], "email": "a@example.org", "payment": {"token": "tok_ok"}});
    let place = || office.buyer("ann", "POST", "/v1/orders").key(&hold).json(&order).send();
    place().await.is_problem(status, code);
    let is_stored = place().await.header("idempotent-replayed").is_some();
    assert_eq!(is_stored, status == 404, "{code}");
}

#[test]
fn a_hold_in_a_block_that_others_may_sell_is_not_denied() {
    let long_ago = || Millis(clock::now().0 - Span::seconds(2 * 3600).0);
    story(AMONG_OTHERS, |office| async move {
        told(&office, clock::now(), 503, "unavailable").await;
        told(&office, long_ago(), 404, "unknown_hold").await;
        office
    });
    story(&[], |office| async move {
        told(&office, clock::now(), 404, "unknown_hold").await;
        office
    });
}

#[test]
fn a_block_without_a_picture_is_not_sold_out() {
    story(AMONG_OTHERS, |office| async move {
        let mut feed = opening(&description("e", vec![seated("A", 1, 10)]));
        let picture = feed.pop().unwrap();
        office.state.board.publish(feed);
        let best = json!({"best_available": {"quantity": 2}});
        let ask = || office.buyer("ann", "POST", "/v1/events/e/holds").key("k").json(&best).send();
        ask().await.is_problem(503, "unavailable");
        office.state.board.publish(vec![picture]);
        // The block that is asked now is not of this office; what counts is that nothing was stored before.
        assert_eq!(ask().await.header("idempotent-replayed"), None);
        office
    });
}
