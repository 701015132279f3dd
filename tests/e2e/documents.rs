//! What the node says about itself: documents for programs and people, health, metrics.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{id, small_event};
use crate::contract;
use crate::server::Server;

/// Every `$ref` below a value.
fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_for_programs_is_whole() {
    let server = Server::shared();
    let document = server.client().get("/openapi.json").expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    for field in ["title", "version", "license"] {
        assert!(!document["info"][field].is_null(), "info.{field}");
    }
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let mut placed: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        for (method, operation) in methods.as_object().unwrap() {
            let at = format!("{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{at}: its name is taken");
            assert!(operation["summary"].is_string() || operation["description"].is_string(), "{at} says nothing");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let described: BTreeSet<&str> =
                in_path.clone().map(|parameter| parameter["name"].as_str().unwrap()).collect();
            assert_eq!(described, placed, "{at}");
            assert!(in_path.clone().all(|parameter| parameter["required"] == true), "{at}");
            let key = parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key");
            assert_eq!(key, method == "post", "{at}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with(['1', '2', '3'])), "{at}: no success");
            for (status, response) in responses {
                assert!(response["description"].is_string(), "{at} {status}");
                let is_problem = response["content"]["application/problem+json"].is_object();
                assert_eq!(status.starts_with(['4', '5']), is_problem, "{at} {status}");
            }
            for scheme in
                operation["security"].as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap().keys())
            {
                assert!(document["components"]["securitySchemes"][scheme].is_object(), "{at}: {scheme}");
            }
        }
        placed.clear();
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{reference} is not there");
    }
}

#[test]
fn the_contract_of_the_design_is_all_there() {
    let server = Server::shared();
    let document = server.client().get("/openapi.json").expect(200);
    for (method, path) in [
        ("GET", "/v1/events"),
        ("POST", "/v1/events"),
        ("GET", "/v1/events/x"),
        ("PATCH", "/v1/events/x"),
        ("POST", "/v1/events/x/open"),
        ("POST", "/v1/events/x/pause"),
        ("POST", "/v1/events/x/close"),
        ("GET", "/v1/events/x/availability"),
        ("GET", "/v1/events/x/blocks/A/layout"),
        ("GET", "/v1/events/x/blocks/A/seats"),
        ("POST", "/v1/events/x/blocks/A/block-seats"),
        ("POST", "/v1/events/x/blocks/A/unblock-seats"),
        ("GET", "/v1/events/x/live"),
        ("GET", "/v1/events/x/ledger"),
        ("GET", "/v1/events/x/orders"),
        ("GET", "/v1/events/x/audit"),
        ("POST", "/v1/events/x/holds"),
        ("GET", "/v1/holds/x"),
        ("DELETE", "/v1/holds/x"),
        ("GET", "/v1/orders"),
        ("POST", "/v1/orders"),
        ("GET", "/v1/orders/x"),
        ("POST", "/v1/orders/x/payment"),
        ("POST", "/v1/orders/x/cancel"),
        ("POST", "/v1/orders/x/refund"),
        ("POST", "/v1/tickets/check-in"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/cluster"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    ] {
        assert!(contract::operation(&document, method, path).is_some(), "{method} {path}");
    }
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    let event = server.organizer().post("/v1/events", &small_event("described")).expect(201);
    let fits = contract::fits(&document, &schema("Event"), &event, "event");
    assert_eq!(fits, Ok(()), "and the checker that all tests use is not asleep:");
    let mut wrong = event;
    wrong["surprise"] = json!(1);
    assert!(contract::fits(&document, &schema("Event"), &wrong, "event").is_err());
}

#[test]
fn the_pages_for_people_load_nothing_from_elsewhere() {
    let server = Server::shared();
    let client = server.client();
    let moved = client.send("GET", "/docs/", &[], None);
    assert_eq!(moved.status, 200);
    let page = moved.text();
    let mut assets: Vec<&str> =
        page.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")).collect();
    assets.retain(|asset| !asset.contains(char::is_whitespace));
    assert!(assets.len() >= 2, "{page}");
    for asset in assets {
        assert!(!asset.contains("//"), "{asset} is elsewhere");
        let file = client.get(&format!("/docs/{}", asset.trim_start_matches("./")));
        assert_eq!(file.status, 200, "{asset}");
        assert!(!file.body.is_empty(), "{asset}");
    }
    assert_eq!(client.get("/docs/none.js").status, 404);
    assert_eq!(client.get("/docs/../Cargo.toml").status, 404);

    let errors = client.get("/docs/errors");
    let policy = errors.header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
    let errors = errors.text();
    assert!(!errors.contains("http://") && !errors.contains("https://"), "{errors}");
    let problem = client.get("/v1/events/nowhere").expect_problem(404, "unknown_event");
    assert_eq!(problem["type"], "/docs/errors#unknown_event");
    let document = client.get("/openapi.json").expect(200);
    for code in document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap() {
        let place = format!("id=\"{}\"", code.as_str().unwrap());
        assert!(errors.contains(&place), "{code} has no place on the page");
    }
}

#[test]
fn a_node_says_whether_it_lives_and_is_ready() {
    let server = Server::shared();
    let client = server.client();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).status, 200, "{path}");
        assert_eq!(client.send("HEAD", path, &[], None).status, 200, "{path}");
    }
    let root = client.get("/").expect(200);
    for link in ["events", "docs", "openapi", "errors", "health", "ready", "metrics"] {
        assert!(matches!(client.get(root[link].as_str().unwrap()).status, 200 | 308), "{link}");
    }
    let mine = client.get_with("/v1/events", &[("x-request-id", "mine-1")]);
    assert_eq!(mine.header("x-request-id"), Some("mine-1"));
    let lost = client.get_with("/v1/events/nowhere", &[("x-request-id", "mine-2")]);
    assert_eq!(lost.expect_problem(404, "unknown_event")["request_id"], "mine-2");
    for odd in ["", "two words", &"x".repeat(65)] {
        let made = client.get_with("/v1/events", &[("x-request-id", odd)]);
        assert!(made.header("x-request-id").unwrap().starts_with("req_"), "{odd}");
    }
}

#[test]
fn the_metrics_show_what_happened() {
    let server = Server::start_with(&["snapshots.interval=100ms"]);
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let paid = ann.buy("gig", "A", &["1-1", "1-2"]);
    server.customer("bob").try_hold("gig", "A", &["1-1"]).expect_problem(409, "seat_taken");
    let failed = ann.order(&ann.hold("gig", "A", &["2-1", "2-2"]), "tok_declined");
    ann.await_state(id(&failed), "payment_failed");
    server.client().get("/v1/orders").expect_problem(401, "unauthenticated");
    ann.get("/v1/events/gig/availability").expect(200);
    ann.get("/v1/events/gig/availability").expect(200);
    let told = |text: &str| {
        text.contains("stampede_notices_total{outcome=\"sent\"} 1") && text.contains("\nstampede_snapshot_age_seconds ")
    };
    let text = ann.await_that("/metrics", |now| told(&now.text())).text();
    let value = |series: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    };
    let route =
        r#"stampede_http_request_duration_seconds_count{method="post",route="/v1/events/{event}/holds",status="2xx"}"#;
    assert_eq!(value(route), 2.0);
    assert_eq!(value(r#"stampede_holds_total{outcome="held"}"#), 2.0);
    assert_eq!(value(r#"stampede_holds_total{outcome="seat_taken"}"#), 1.0);
    assert_eq!(value(r#"stampede_orders_total{outcome="paid"}"#), 1.0);
    assert_eq!(value(r#"stampede_orders_total{outcome="payment_failed"}"#), 1.0);
    assert_eq!(value(r#"stampede_auth_failures_total{reason="missing"}"#), 1.0);
    assert_eq!(value("stampede_gateway_breaker_state"), 0.0);
    assert_eq!(value("stampede_ready"), 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 5.0);
    assert!(value("process_cpu_seconds_total") > 0.0);
    for family in [
        "stampede_journal_commit_seconds",
        "stampede_journal_fsync_seconds",
        "stampede_journal_batch_records",
        "stampede_journal_batch_bytes",
        "stampede_mailbox_depth",
        "stampede_cache_requests",
        "stampede_gateway_calls",
        "stampede_gateway_call_seconds",
        "stampede_websocket_sessions",
        "stampede_cell_restarts",
        "stampede_snapshot_age_seconds",
        "stampede_recovery_seconds",
        "stampede_recovery_changes",
    ] {
        assert!(text.contains(&format!("# TYPE {family} ")), "no {family} in\n{text}");
    }
    assert!(value(r#"stampede_cache_requests_total{cache="public_answers",result="hit"}"#) >= 1.0);
    assert!(text.ends_with("# EOF\n"));
    drop(paid);
}
