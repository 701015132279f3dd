//! Rubbish in bodies, paths and queries: always the right refusal with the field's name, never a failure, never growth.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::client::{Answer, Client, id, order_body, small_event};
use crate::server::Server;

/// One request with a body that would be accepted.
struct Good {
    client: Client,
    method: &'static str,
    path: String,
    body: Value,
}

impl Good {
    fn send(&self, body: &[u8]) -> Answer {
        self.client.send(self.method, &self.path, &[], Some(body))
    }
}

/// Every operation that has a body, with one that fits. None of them is ever sent whole.
fn goods(server: &Arc<Server>, event: &str) -> Vec<Good> {
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event(event)).expect(201);
    let ann = server.customer(&format!("{event}-ann"));
    let hold = ann.hold(event, "A", &["1-1", "1-2"]);
    let failed = ann.order(&hold, "tok_declined");
    ann.await_state(id(&failed), "payment_failed");
    let mut whole = small_event("never");
    whole["on_sale_at"] = json!("2026-12-01T10:00:00Z");
    let patch = json!({
        "name": "x", "venue": "y", "starts_at": "2027-06-12T19:00:00Z", "on_sale_at": "2020-01-01T00:00:00Z",
        "rules": {"hold_ttl_s": 420, "max_per_hold": 6, "max_per_customer": 8, "no_orphans": true},
        "blocks": [{"id": "A", "name": "n", "price": 1}]
    });
    let good = |client: &Client, method, path: String, body| Good { client: client.clone(), method, path, body };
    let holds = format!("/v1/events/{event}/holds");
    let blocks = format!("/v1/events/{event}/blocks");
    vec![
        good(&organizer, "POST", "/v1/events".to_owned(), whole),
        good(&organizer, "PATCH", format!("/v1/events/{event}"), patch),
        good(&organizer, "POST", format!("{blocks}/A/block-seats"), json!({"seats": ["2-1", "2-2"]})),
        good(&organizer, "POST", format!("{blocks}/FLOOR/unblock-seats"), json!({"quantity": 1})),
        good(&organizer, "POST", "/v1/tickets/check-in".to_owned(), json!({"token": "x.y.z"})),
        good(&ann, "POST", holds.clone(), json!({"block": "A", "seats": ["3-1", "3-2"]})),
        good(&ann, "POST", holds.clone(), json!({"block": "FLOOR", "quantity": 2})),
        good(&ann, "POST", holds, json!({"best_available": {"quantity": 2, "block": "A", "max_price": 9000}})),
        good(&ann, "POST", "/v1/orders".to_owned(), order_body(&[&hold], "tok_ok")),
        good(&ann, "POST", format!("/v1/orders/{}/payment", id(&failed)), json!({"payment": {"token": "tok_ok"}})),
    ]
}

/// The path of every value below this one, as JSON pointers; the value itself is "".
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| pointers(field, &format!("{at}/{name}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(nth, item)| pointers(item, &format!("{at}/{nth}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A pointer as problems name fields: `/blocks/0/id` is `blocks[0].id`.
fn field_of(pointer: &str) -> String {
    let mut field = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(nth) => field += &format!("[{nth}]"),
            Err(_) if field.is_empty() => part.clone_into(&mut field),
            Err(_) => field += &format!(".{part}"),
        }
    }
    field
}

fn rubbish() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(0),
        json!(""),
        json!(" "),
        json!("\u{0}\r\n\u{7f}"),
        json!("\u{202e}😀ü"),
        json!("../../etc/passwd"),
        json!("x".repeat(5000)),
        json!([]),
        json!([null]),
        json!([["x"]]),
        json!({}),
        json!({"extra": {"deep": [1]}}),
    ]
}

/// Whether a problem about this request's body names a field: the broken one, its parent or one inside.
fn names(problem: &Value, field: &str) -> bool {
    let named = problem["errors"].as_array().into_iter().flatten().filter_map(|error| error["field"].as_str());
    let list = field.split('[').next().unwrap_or(field);
    named
        .into_iter()
        .any(|named| named == "body" || field.is_empty() || named.starts_with(list) || field.starts_with(named))
}

/// Codes that rubbish in an existing field may get: the body is fine as JSON and what it names is not there, or is busy
/// since a means of payment of any name was taken.
const NAMED_NOTHING: &[&str] = &[
    "unknown_block",
    "unknown_seat",
    "unknown_hold",
    "wrong_kind",
    "too_many_seats",
    "ticket_invalid",
    "sold_out",
    "event_exists",
    "not_blocked",
    "hold_in_order",
    "payment_in_progress",
];

#[test]
fn every_field_of_every_body_takes_rubbish_with_the_right_refusal() {
    let server = Server::shared();
    let (mut asked, mut accepted) = (0, Vec::new());
    for good in goods(&server, "walk") {
        let mut fields = Vec::new();
        pointers(&good.body, "", &mut fields);
        for pointer in fields {
            let mut broken: Vec<Value> = rubbish().into_iter().collect();
            if pointer.is_empty() {
                broken.push(json!("a text"));
            }
            for value in broken {
                let mut body = good.body.clone();
                if body.pointer(&pointer) == Some(&value) {
                    continue;
                }
                body.pointer_mut(&pointer).unwrap().clone_from(&value);
                let answer = good.send(body.to_string().as_bytes());
                asked += 1;
                let at = format!("{} {} {pointer} = {value:.60}", good.method, good.path);
                if answer.status < 300 {
                    accepted.push(at);
                    continue;
                }
                assert!((400..500).contains(&answer.status), "{at}: {} {}", answer.status, answer.text());
                let (code, problem) = (answer.code(), answer.json());
                match code.as_str() {
                    "invalid_request" => assert!(names(&problem, &field_of(&pointer)), "{at}: {problem}"),
                    other => assert!(NAMED_NOTHING.contains(&other), "{at}: {problem}"),
                }
            }
        }
    }
    assert!(asked > 1000, "{asked}");
    // What is accepted is what the contract leaves free: null and absent are the same, names may be any letters, and an
    // empty change changes nothing.
    let free = |at: &String| {
        let text = ["/name", "/venue", "/payment/token"].iter().any(|field| at.contains(field));
        let optional = at.ends_with("= null") || at.starts_with("PATCH") || at.contains("max_price");
        let number = ["/price =", "/rules/", "/no_orphans", "/rules ="].iter().any(|field| at.contains(field));
        let room = at.contains("/id =") && at.contains("null");
        text || optional || number || room
    };
    let surprising: Vec<&String> = accepted.iter().filter(|at| !free(at)).collect();
    assert!(surprising.is_empty(), "{surprising:#?}");
}

#[test]
fn a_field_that_does_not_exist_or_is_missing_is_named() {
    let server = Server::shared();
    for good in goods(&server, "fields") {
        let mut fields = Vec::new();
        pointers(&good.body, "", &mut fields);
        for pointer in fields {
            let mut more = good.body.clone();
            if let Some(object) = more.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                object.insert("surprise".to_owned(), json!(1));
                let problem = good.send(more.to_string().as_bytes()).expect_problem(422, "invalid_request");
                let field = field_of(&format!("{pointer}/surprise"));
                assert_eq!(problem["errors"][0]["field"], field, "{} {}", good.method, good.path);
            }
            let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
            let mut less = good.body.clone();
            let removed =
                less.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|object| object.remove(name));
            let required =
                matches!(name, "venue" | "starts_at" | "currency" | "kind" | "email" | "payment" | "holds" | "token");
            if removed.is_some() && required && good.method == "POST" {
                let problem = good.send(less.to_string().as_bytes()).expect_problem(422, "invalid_request");
                assert_eq!(problem["errors"][0]["field"], field_of(&pointer), "{} {}", good.method, good.path);
            }
        }
    }
}

#[test]
fn what_is_not_json_is_malformed_and_what_is_not_called_json_is_not_read() {
    let server = Server::shared();
    let deep = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    for good in goods(&server, "syntax") {
        let malformed: [&[u8]; 12] = [
            b"",
            b"{",
            b"nonsense",
            b"{\"a\":}",
            b"{'a':1}",
            b"{\"a\":1,}",
            b"{} {}",
            b"{\"block\":\"\xff\xfe\"}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":NaN}",
            &deep("[", "]", 5000).into_bytes(),
            &deep("{\"a\":", "}", 5000).into_bytes(),
        ];
        for body in malformed {
            let answer = good.send(body);
            let about = format!("{} {}: {} {}", good.method, good.path, answer.status, answer.text());
            let known = answer.status == 400 && answer.code() == "malformed_json"
                || answer.status == 422 && answer.code() == "invalid_request";
            assert!(known, "{about}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(30_000));
        good.send(deep.as_bytes());
        for list in ["[]", "null", "7", "\"text\"", "[{}]"] {
            good.send(list.as_bytes()).expect_problem(422, "invalid_request");
        }
        let whole = good.body.to_string();
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "", "multipart/form-data"]
        {
            let answer = good.client.send(good.method, &good.path, &[("Content-Type", kind)], Some(whole.as_bytes()));
            answer.expect_problem(415, "unsupported_media_type");
        }
        let zipped = [("Content-Encoding", "gzip")];
        let answer = good.client.send(good.method, &good.path, &zipped, Some(whole.as_bytes()));
        answer.expect_problem(415, "unsupported_media_type");
        let large = format!("{}{}", " ".repeat(64 * 1024 + 1), whole);
        let problem = good.send(large.as_bytes()).expect_problem(413, "body_too_large");
        assert_eq!(problem["most"], 64 * 1024);
    }
    let organizer = server.organizer();
    let bytes =
        server.customer("syntax-bob").send("POST", "/v1/events/syntax/holds", &[], Some(b"{\"block\":\"\xff\"}"));
    bytes.expect_problem(400, "malformed_json");
    for verb in ["open", "pause", "close"] {
        let path = format!("/v1/events/syntax/{verb}");
        let body = organizer.send("POST", &path, &[], Some(b"{\"now\":true}"));
        body.expect_problem(422, "invalid_request");
    }
    assert_eq!(organizer.send("POST", "/v1/events/syntax/pause", &[], None).expect(200)["status"], "paused");
}

#[test]
fn ids_that_name_nothing_are_not_found_whatever_they_look_like() {
    let server = Server::shared();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("ids")).expect(201);
    let ann = server.customer("ids-ann");
    let hold = ann.hold("ids", "A", &["1-1", "1-2"]);
    let order = ann.buy("ids", "A", &["2-1", "2-2"]);
    let (hold, order) = (id(&hold).to_owned(), id(&order).to_owned());
    let ticket = format!("tkt_{}0000", &order[4..]);
    let kinds = [hold.as_str(), order.as_str(), ticket.as_str()];
    let odd = [
        "x".to_owned(),
        "hld_".to_owned(),
        "ord_".to_owned(),
        format!("hld_{}", "z".repeat(26)),
        format!("ord_{}", "z".repeat(26)),
        format!("hld_{}", "0".repeat(26)),
        format!("ord_{}", "7".repeat(26)),
        "%00".to_owned(),
        "%2e%2e".to_owned(),
        "..%2f..%2fetc%2fpasswd".to_owned(),
        "%FF%FE".to_owned(),
        "%".to_owned(),
        "%zz".to_owned(),
        "%F0%9F%98%80".to_owned(),
        "a%20b".to_owned(),
        "x".repeat(3000),
        hold.to_uppercase(),
        format!("{hold}0"),
        hold[..hold.len() - 1].to_owned(),
    ];
    let all = odd.iter().map(String::as_str).chain(kinds);
    for given in all {
        if given != hold && given.to_lowercase() != hold {
            for answer in [ann.get(&format!("/v1/holds/{given}")), ann.delete(&format!("/v1/holds/{given}"))] {
                assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_hold"), "{given}");
            }
            let body = json!({"holds": [given], "email": "a@example.org", "payment": {"token": "tok_ok"}});
            ann.post("/v1/orders", &body).expect_problem(404, "unknown_hold");
        }
        if given != order {
            let path = format!("/v1/orders/{given}");
            ann.get(&path).expect_problem(404, "unknown_order");
            ann.post(&format!("{path}/cancel"), &json!({})).expect_problem(404, "unknown_order");
            let pay = json!({"payment": {"token": "tok_ok"}});
            ann.post(&format!("{path}/payment"), &pay).expect_problem(404, "unknown_order");
            organizer.post(&format!("{path}/refund"), &json!({})).expect_problem(404, "unknown_order");
        }
        let event = format!("/v1/events/{given}");
        ann.get(&event).expect_problem(404, "unknown_event");
        ann.get(&format!("{event}/availability")).expect_problem(404, "unknown_event");
        organizer.get(&format!("{event}/audit")).expect_problem(404, "unknown_event");
        organizer.post(&format!("{event}/open"), &json!({})).expect_problem(404, "unknown_event");
        organizer.patch(&event, &json!({})).expect_problem(404, "unknown_event");
        ann.get(&format!("/v1/events/ids/blocks/{given}/seats")).expect_problem(404, "unknown_block");
        let house = format!("/v1/events/ids/blocks/{given}/block-seats");
        organizer.post(&house, &json!({"seats": ["1-1"]})).expect_problem(404, "unknown_block");
    }
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn thousands_of_bad_requests_leave_nothing_behind() {
    let server = Server::start();
    let organizer = server.organizer();
    organizer.post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let deep = format!("{{\"a\":{}", "[".repeat(30_000));
    let large = vec![b' '; 100_000];
    let round = |nth: usize| {
        let path = format!("/v1/events/gig/holds?{nth}");
        assert_eq!(ann.send("POST", &path, &[], Some(deep.as_bytes())).status, 422);
        assert_eq!(ann.send("POST", &path, &[], Some(&large)).status, 413);
        assert_eq!(ann.get(&format!("/v1/events/none-{nth}")).status, 404);
        assert_eq!(ann.get(&format!("/v1/holds/hld_{nth:026}")).status, 404);
        let key = format!("key-{nth}");
        let refused = ann.post_with_key("/v1/events/gig/holds", &key, &json!({"block": "A", "seats": ["9-9"]}));
        assert_eq!(refused.status, 404);
        let eve = ann.with_bearer(&format!("eve-{nth}"));
        assert_eq!(eve.get("/v1/orders").status, 401);
        assert_eq!(ann.get(&format!("/v1/events?limit={nth}x")).status, 422);
        assert_eq!(ann.get(&format!("/nothing/{nth}")).status, 404);
    };
    (0..50).for_each(round);
    let before = resident(server.pid());
    (50..550).for_each(round);
    let after = resident(server.pid());
    assert!(after < before + 24 * 1024, "from {before} to {after} KiB in 4,000 bad requests");
    let text = server.client().get("/metrics").text();
    assert!(!text.contains("none-77") && !text.contains("status=\"5"), "no label grows with what was asked");
}
