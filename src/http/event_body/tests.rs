//! Rubbish in every field, one at a time and all together.
#![allow(clippy::unwrap_used)]

use actors::block::SeatIx;
use serde_json::{Value, json};

use super::super::body::parse;
use super::super::problem::Code;
use super::*;

fn good() -> Value {
    json!({
        "id": "aurora-night-1", "name": "Aurora, Night One", "venue": "Harbour Stadium", "starts_at": "2027-06-12T19:00:00Z",
        "currency": "EUR", "on_sale_at": "2026-12-01T10:00:00Z",
        "rules": {"hold_ttl_s": 420, "max_per_hold": 10, "max_per_customer": 6, "no_orphans": true},
        "blocks": [
            {"id": "A", "name": "Block A", "kind": "seated", "price": 8500, "rows": 25, "seats_per_row": 40},
            {"id": "B", "kind": "seated", "price": 6500, "rows": [{"row": "AA", "seats": 18}, {"row": "BB", "seats": 22}]},
            {"id": "FLOOR", "name": "Floor", "kind": "standing", "price": 7000, "capacity": 5000},
        ],
    })
}

/// Everything as large as it may be, in bytes: names of the longest characters, prices, blocks, and rows one by one.
pub(in crate::http) fn largest() -> Value {
    let name = "\u{10348}".repeat(NAME_MAX);
    let rows = |block: usize| {
        let row = |row: usize| json!({"row": format!("{block:0>8}{row:0>8}"), "seats": 24});
        (0..EVENT_ROWS_MAX / BLOCKS_MAX).map(row).collect::<Vec<_>>()
    };
    let block = |at: usize| {
        let id = format!("{at:0>BLOCK_ID_MAX$}");
        json!({"id": id, "name": name, "kind": "seated", "price": PRICE_MAX, "rows": rows(at)})
    };
    json!({
        "id": "e".repeat(64), "name": name, "venue": name, "starts_at": "9999-06-12T19:00:00Z", "currency": "EUR",
        "on_sale_at": "2026-12-01T10:00:00Z", "blocks": (0..BLOCKS_MAX).map(block).collect::<Vec<_>>(),
    })
}

fn read(body: &Value) -> Result<EventSpec, Problem> {
    let request: EventRequest = parse(body.to_string().as_bytes())?;
    request.checked(|| "evt-1".to_owned(), Span::seconds(420))
}

#[test]
fn the_contracts_example_is_read() {
    let spec = read(&good()).unwrap();
    let places: Vec<u32> = spec.blocks.iter().map(|block| block.layout.capacity()).collect();
    assert_eq!(places, [1000, 40, 5000]);
    assert_eq!(spec.blocks[1].name, "B", "a block without a name is called by its id");
    assert_eq!(spec.blocks[1].layout.seat_name(SeatIx(18)).unwrap(), "BB-1");
    assert_eq!(spec.rules.max_per_customer, Some(6));
}

#[test]
fn what_is_absent_has_a_default_and_null_means_no_limit() {
    let mut body = good();
    for field in ["id", "on_sale_at", "rules"] {
        body.as_object_mut().unwrap().remove(field);
    }
    let spec = read(&body).unwrap();
    assert_eq!((spec.id.as_str(), spec.on_sale_at), ("evt-1", None));
    let defaults =
        Rules { hold_ttl: Span::seconds(420), max_per_hold: 10, max_per_customer: Some(10), no_orphans: true };
    assert_eq!(spec.rules, defaults);
    body["rules"] = json!({"max_per_customer": null});
    assert_eq!(read(&body).unwrap().rules.max_per_customer, None);
}

#[test]
fn rubbish_in_any_field_is_refused_by_its_name() {
    let rubbish = [
        ("/id", json!("Aurora"), "id"),
        ("/id", json!(""), "id"),
        ("/id", json!("a".repeat(65)), "id"),
        ("/id", json!(7), "id"),
        ("/name", json!(""), "name"),
        ("/name", json!("a\u{0}b"), "name"),
        ("/name", json!("n".repeat(201)), "name"),
        ("/name", Value::Null, "name"),
        ("/venue", json!(" padded "), "venue"),
        ("/starts_at", json!("tomorrow"), "starts_at"),
        ("/starts_at", json!(1), "starts_at"),
        ("/currency", json!("euro"), "currency"),
        ("/currency", json!("eur"), "currency"),
        ("/on_sale_at", json!("2026-12-01"), "on_sale_at"),
        ("/rules", json!([]), "rules"),
        ("/rules/hold_ttl_s", json!(0), "rules.hold_ttl_s"),
        ("/rules/hold_ttl_s", json!(86_401), "rules.hold_ttl_s"),
        ("/rules/max_per_hold", json!(0), "rules.max_per_hold"),
        ("/rules/max_per_hold", json!(101), "rules.max_per_hold"),
        ("/rules/max_per_customer", json!(0), "rules.max_per_customer"),
        ("/rules/no_orphans", json!("yes"), "rules.no_orphans"),
        ("/rules/more", json!(1), "rules.more"),
        ("/blocks", json!([]), "blocks"),
        ("/blocks", json!({}), "blocks"),
        ("/blocks/0/id", json!("A B"), "blocks[0].id"),
        ("/blocks/1/id", json!("A"), "blocks[1].id"),
        ("/blocks/0/name", json!(""), "blocks[0].name"),
        ("/blocks/0/kind", json!("lying"), "blocks[0].kind"),
        ("/blocks/0/price", json!(-1), "blocks[0].price"),
        ("/blocks/0/price", json!(1_000_000_001), "blocks[0].price"),
        ("/blocks/0/price", json!(85.5), "blocks[0].price"),
        ("/blocks/0/rows", json!(0), "blocks[0].rows"),
        ("/blocks/0/rows", json!(1001), "blocks[0].rows"),
        ("/blocks/0/rows", json!("25"), "blocks[0].rows"),
        ("/blocks/0/rows", Value::Null, "blocks[0].rows"),
        ("/blocks/0/seats_per_row", json!(0), "blocks[0].seats_per_row"),
        ("/blocks/0/seats_per_row", json!(1001), "blocks[0].seats_per_row"),
        ("/blocks/0/seats_per_row", Value::Null, "blocks[0].seats_per_row"),
        ("/blocks/0/capacity", json!(5), "blocks[0].capacity"),
        ("/blocks/1/rows", json!([]), "blocks[1].rows"),
        ("/blocks/1/rows/0/row", json!("A A"), "blocks[1].rows[0].row"),
        ("/blocks/1/rows/1/row", json!("AA"), "blocks[1].rows[1].row"),
        ("/blocks/1/rows/1/seats", json!(0), "blocks[1].rows[1].seats"),
        ("/blocks/1/seats_per_row", json!(5), "blocks[1].seats_per_row"),
        ("/blocks/2/capacity", json!(0), "blocks[2].capacity"),
        ("/blocks/2/capacity", json!(100_001), "blocks[2].capacity"),
        ("/blocks/2/capacity", Value::Null, "blocks[2].capacity"),
        ("/blocks/2/rows", json!(5), "blocks[2].rows"),
        ("/surprise", json!(1), "surprise"),
    ];
    for (pointer, value, field) in rubbish {
        let mut body = good();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).unwrap();
        match name.parse::<usize>() {
            Ok(at) => parent[at] = value.clone(),
            Err(_) => parent[name] = value.clone(),
        }
        let problem = read(&body).unwrap_err();
        assert_eq!(problem.code(), Code::InvalidRequest, "{pointer} = {value}");
        assert!(
            problem.to_string().starts_with(&format!("invalid_request: {field}")),
            "{pointer} = {value}: {problem}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let mut body = good();
    body["id"] = json!("NO");
    body["currency"] = json!("?");
    body["blocks"][0]["price"] = json!(2_000_000_000);
    assert!(read(&body).unwrap_err().to_string().ends_with("(and 2 more)"));
}

#[test]
fn sizes_have_bounds() {
    let mut body = good();
    body["blocks"][0]["rows"] = json!(1000);
    body["blocks"][0]["seats_per_row"] = json!(101);
    assert!(read(&body).unwrap_err().to_string().contains("blocks[0].rows must have at most 100000 seats"));
    let big: Vec<Value> = (0..11)
        .map(|at| json!({"id": format!("S{at}"), "kind": "standing", "price": 1, "capacity": 100_000}))
        .collect();
    body["blocks"] = json!(big);
    assert!(read(&body).unwrap_err().to_string().contains("blocks must have at most 1000000 places"));
}

#[test]
fn the_largest_event_and_its_answer_fit_into_one_record_beside_what_others_changed() {
    let mut largest = largest();
    let spec = read(&largest).unwrap();
    let bytes = bincode::serde::encode_to_vec(&spec, bincode::config::standard()).unwrap().len();
    assert!(2 * bytes + (1 << 20) + 10_000 < 4 << 20, "{bytes}");
    largest["blocks"][1]["rows"].as_array_mut().unwrap().push(json!({"row": "one", "seats": 1}));
    assert_eq!(
        read(&largest).unwrap_err().to_string(),
        "invalid_request: blocks must have at most 40000 rows together"
    );
    let many_rows =
        |at: usize| json!({"id": at.to_string(), "kind": "seated", "price": 1, "rows": 1000, "seats_per_row": 1});
    largest["blocks"] = (0..BLOCKS_MAX).map(many_rows).collect();
    assert!(largest.to_string().len() < 100_000, "few bytes can ask for much");
    assert!(read(&largest).unwrap_err().to_string().contains("40000 rows"));
}

#[test]
fn a_patch_tells_null_from_absent() {
    let patch = |text: &str| parse::<PatchRequest>(text.as_bytes()).unwrap().checked();
    assert_eq!(patch("{}").unwrap(), Patch::default());
    assert_eq!(patch(r#"{"on_sale_at": null}"#).unwrap().on_sale_at, Some(None));
    let rules = patch(r#"{"rules": {"max_per_customer": null}}"#).unwrap().rules.unwrap();
    assert_eq!(rules, RulesPatch { max_per_customer: Some(None), ..RulesPatch::default() });
    let problem = patch(r#"{"starts_at": "x", "blocks": [{"id": "?", "price": 2000000000}]}"#).unwrap_err();
    assert!(problem.to_string().ends_with("(and 2 more)"), "{problem}");
}
