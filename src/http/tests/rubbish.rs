//! What no client should send, and what surrounds every answer: the right 4xx, never a 5xx.

use serde_json::json;

use super::super::routes::{ROUTES, Who};
use super::client::Answer;
use super::story;

#[test]
fn every_route_knows_who_may_call_it() {
    story(&[], |office| async move {
        for route in ROUTES.iter().filter(|route| route.who != Who::Open) {
            let path = route.path.replace(['{', '}'], "");
            let method = route.method.to_uppercase();
            let nobody = office.ask(&method, &path).send().await;
            nobody.is_problem(401, "unauthenticated");
            assert!(nobody.header("www-authenticate").is_some());
            office.ask(&method, &path).bearer("rubbish").send().await.is_problem(401, "unauthenticated");
            match route.who {
                Who::Buyer => office.seller(&method, &path).send().await.is_problem(403, "customer_required"),
                Who::Seller => office.buyer("ann", &method, &path).send().await.is_problem(403, "organizer_required"),
                Who::Viewer | Who::Open => &nobody,
            };
        }
        office
    });
}

#[test]
fn every_route_of_the_table_is_served() {
    story(&[], |office| async move {
        for route in ROUTES {
            let path = route.path.replace(['{', '}'], "");
            let answer = office.ask(&route.method.to_uppercase(), &path).send().await;
            let code = answer.code();
            assert!(!matches!(code, "not_found" | "method_not_allowed"), "{} {path}: {code}", route.method);
            assert!(answer.header("x-request-id").is_some());
        }
        office
    });
}

#[test]
fn unknown_ids_paths_and_methods() {
    story(&[], |office| async move {
        office.ask("GET", "/v1/nothing").send().await.is_problem(404, "not_found");
        office.ask("POST", "/").send().await.is_problem(405, "method_not_allowed");
        let wrong = office.ask("PUT", "/v1/orders").send().await;
        assert_eq!(wrong.is_problem(405, "method_not_allowed").header("allow"), Some("GET, POST, HEAD"));
        let order = "ord_7zzzzzzzzzzzzzzzzzzzzzzzzz";
        for id in ["x", "ord_x", order, "%00", "ord_%ff%fe", "%F0%9F%8E%AB"] {
            office.buyer("ann", "GET", &format!("/v1/orders/{id}")).send().await.is_problem(404, "unknown_order");
            office.buyer("ann", "GET", &format!("/v1/holds/{id}")).send().await.is_problem(404, "unknown_hold");
            office.seller("GET", &format!("/v1/events/{id}/audit")).send().await.is_problem(404, "unknown_event");
        }
        let hold = order.replace("ord_", "hld_");
        office.buyer("ann", "GET", &format!("/v1/holds/{hold}")).send().await.is_problem(404, "unknown_hold");
        office
    });
}

#[test]
fn bodies_that_are_none() {
    story(&["http.body_timeout=200ms", "http.body_max=2KiB"], |office| async move {
        let post = || office.buyer("ann", "POST", "/v1/orders");
        let json = || post().header("content-type", "application/json");
        post().bytes("{}").send().await.is_problem(415, "unsupported_media_type");
        post().header("content-type", "text/plain").bytes("{}").send().await.is_problem(415, "unsupported_media_type");
        json().header("content-encoding", "gzip").bytes("{}").send().await.is_problem(415, "unsupported_media_type");
        for body in ["", "{", "[1", "\u{feff}{}"] {
            json().bytes(body).send().await.is_problem(400, "malformed_json");
        }
        json().bytes(b"{\"email\":\"\xff\"}".to_vec()).send().await.is_problem(400, "malformed_json");
        json().bytes(format!("{{\"holds\":{}", "[".repeat(500))).send().await;
        json().bytes("[]").send().await.is_problem(422, "invalid_request");
        let large = json().bytes("x".repeat(2049)).send().await;
        assert_eq!(large.is_problem(413, "body_too_large").json["most"], 2048);
        json().send_announcing(1 << 30).await.is_problem(413, "body_too_large");
        json().bytes("{").send_announcing(10).await.is_problem(408, "request_timeout");
        for key in ["a b", &"k".repeat(256)] {
            json().key(key).bytes("{}").send().await.is_problem(400, "invalid_idempotency_key");
        }
        office
    });
}

#[test]
fn heads_that_are_too_large() {
    story(&["http.head_max=2KiB"], |office| async move {
        let long = "x".repeat(2049);
        office.ask("GET", "/healthz").header("cookie", &long).send().await.is_problem(431, "head_too_large");
        office.ask("GET", &format!("/{long}")).send().await.is_problem(414, "uri_too_long");
        office
    });
}

#[test]
fn limits_are_told_and_kept() {
    story(&["limits.customer=1/h", "limits.customer_burst=2"], |office| async move {
        let cancel = || office.buyer("ann", "POST", "/v1/orders/x/cancel").send();
        let first = cancel().await;
        first.is_problem(404, "unknown_order");
        assert_eq!(first.header("ratelimit-policy"), Some("\"customer\";q=2;w=7200"));
        assert!(first.header("ratelimit").unwrap().starts_with("\"customer\";r=1;"));
        cancel().await.is_problem(404, "unknown_order");
        let over = cancel().await;
        over.is_problem(429, "rate_limited");
        assert!(over.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
        assert!(over.header("ratelimit").unwrap().starts_with("\"customer\";r=0;"));
        assert_eq!(office.buyer("ann", "GET", "/v1/orders").send().await.status, 200, "reading is not limited");
        office
    });
}

#[test]
fn pages_of_other_origins_are_let_in_by_name_only() {
    story(&["http.cors_origins=[\"https://tickets.example\"]"], |office| async move {
        let preflight = |origin: &str| {
            let ask = office.ask("OPTIONS", "/v1/orders").header("origin", origin);
            ask.header("access-control-request-method", "POST").send()
        };
        let allowed = |answer: &Answer| answer.header("access-control-allow-origin").map(str::to_owned);
        let known = preflight("https://tickets.example").await;
        assert_eq!((known.status, allowed(&known).as_deref()), (204, Some("https://tickets.example")));
        let other = preflight("https://evil.example").await;
        assert_eq!((other.status, allowed(&other)), (405, None));
        let read = office.ask("GET", "/healthz").header("origin", "https://tickets.example").send().await;
        assert_eq!((read.header("vary"), allowed(&read).as_deref()), (Some("Origin"), Some("https://tickets.example")));
        let long = format!("/{}", "x".repeat(20_000));
        let refused = office.ask("GET", &long).header("origin", "https://tickets.example").send().await;
        assert_eq!((refused.status, allowed(&refused).as_deref()), (414, Some("https://tickets.example")));
        office
    });
}

#[test]
fn what_operators_and_readers_look_at() {
    story(&[], |office| async move {
        let get = |path: &str| office.ask("GET", path).send();
        assert_eq!(get("/healthz").await.text(), "ok\n");
        assert_eq!(get("/readyz").await.status, 200);
        office.state.readiness.not_ready("disk full");
        assert_eq!(get("/readyz").await.is_problem(503, "not_ready").json["reason"], "disk full");
        assert_eq!(get("/").await.json["openapi"], "/openapi.json");
        assert_eq!(get("/openapi.json").await.json["openapi"], "3.1.0");
        assert_eq!(get("/docs").await.header("location"), Some("/docs/"));
        let page = get("/docs/").await;
        assert!(page.text().contains("swagger-ui"), "{}", page.text());
        assert!(get("/docs/swagger-initializer.js").await.text().contains("/openapi.json"));
        assert!(get("/docs/swagger-ui-bundle.js").await.body.len() > 100_000);
        assert!(get("/docs/errors").await.text().contains("id=\"seat_taken\""));
        get("/docs/nothing").await.is_problem(404, "not_found");
        let keys = get("/v1/keys").await;
        assert_eq!((keys.status, &keys.json["keys"][0]["crv"]), (200, &json!("Ed25519")));
        let id = office.ask("GET", "/healthz").header("x-request-id", "mine-1").send().await;
        assert_eq!(id.header("x-request-id"), Some("mine-1"));
        let head = office.ask("HEAD", "/v1/keys").send().await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        let metrics = get("/metrics").await;
        assert!(metrics.text().contains("route=\"/readyz\",status=\"503\""), "{}", metrics.text());
        office
    });
}
