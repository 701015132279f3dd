//! The fast lane: it answers as the slow way does, in the order of the requests, and nobody may sit on its connections.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::LANES;
use super::answers::{Answers, To, is_last};
use super::stream::Stream;
use crate::client::{Answer, id, order_body, small_event, token};
use crate::server::Server;

/// An answer as it is compared. A connection that ended instead has the status 0.
#[derive(Debug, PartialEq)]
struct Plain {
    status: u16,
    /// Sorted; what differs between two nodes is left out.
    headers: Vec<(String, String)>,
    id: String,
    body: String,
}

fn to(node: &Server) -> Answers {
    Answers::of(Stream::to_port(node.listen()))
}

fn send(wire: &mut Answers, bytes: &str) {
    wire.stream().send(bytes.as_bytes(), usize::MAX);
}

/// The next answer, to this request.
#[track_caller]
fn answer(wire: &mut Answers, to: &str) -> Plain {
    let kind = if to.starts_with("HEAD") { To::Head } else { To::Other };
    let Some(answer) = wire.next(kind).expect("an answer or the end") else {
        return Plain { status: 0, headers: Vec::new(), id: String::new(), body: String::new() };
    };
    let id = answer.header("x-request-id").unwrap_or_default().to_owned();
    // Moments differ between two nodes, and so may tags and lengths of bodies that have any; the bodies are compared.
    let differs = ["date", "x-request-id", "ratelimit", "location", "connection", "etag", "content-length"];
    let mut headers = answer.headers;
    headers.retain(|(name, _)| !differs.contains(&name.as_str()));
    headers.sort();
    Plain { status: answer.status, headers, id, body: without_ids(&answer.body) }
}

/// A body without what two nodes cannot agree about: ids and moments.
fn without_ids(body: &[u8]) -> String {
    let Ok(mut json) = serde_json::from_slice::<Value>(body) else { return String::from_utf8_lossy(body).into_owned() };
    if let Some(fields) = json.as_object_mut() {
        for name in ["id", "request_id", "expires_at", "created_at"] {
            fields.remove(name);
        }
    }
    json.to_string()
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}{length}\r\n{body}")
}

fn node(settings: &[&str]) -> Server {
    let server = Server::start_with(settings);
    server.organizer().post("/v1/events", &small_event("lane")).expect(201);
    // Whoever made the event may read before the board shows it as on sale.
    server.organizer().await_that("/v1/events/lane", |answer| answer.json()["status"] == "on_sale");
    server
}

/// Requests of every kind, most of them hot, and what each is about.
fn requests() -> Vec<String> {
    let ann = format!("authorization: Bearer {}\r\n", token("ann"));
    let json = "content-type: application/json\r\n";
    let hold = |headers: &str, body: &str| request("POST", "/v1/events/lane/holds", headers, body);
    let get = |path: &str, headers: &str| request("GET", path, headers, "");
    let seats = "/v1/events/lane/blocks/A/seats";
    let mut all = vec![
        get("/v1/events/lane", ""),
        get("/v1/events/lane/availability", ""),
        request("HEAD", "/v1/events/lane/availability", "", ""),
        get(seats, "accept: application/octet-stream\r\n"),
        get(seats, "Accept-Encoding: br;q=0.5, gzip\r\n"),
        get("/v1/events/lane/availability", "if-none-match: *\r\n"),
        get("/v1/events/lane/availability", "accept-encoding: *;q=0\r\n"),
        get("/v1/events/lane/availability?x=1", ""),
        get("/v1/events/l%61ne/availability", ""),
        get("/v1/events/none/availability", "x-request-id: mine\r\n"),
        get("/v1/events/lane/blocks/none/seats", ""),
        get("/v1/orders/ord_none", &ann),
        get("/v1/orders/ord_none", ""),
        get("/healthz", ""),
        request("DELETE", "/v1/events/lane", "", ""),
        hold(json, r#"{"block":"A","seats":["1-1"]}"#),
        hold(&format!("{json}authorization: Bearer x\r\n"), "{}"),
        hold(&format!("{json}{ann}"), "{}"),
        hold(&format!("{json}{ann}"), "nonsense"),
        hold(&ann, r#"{"block":"A","seats":["1-1"]}"#),
        hold(&format!("{json}{ann}idempotency-key: \r\n"), r#"{"block":"A","seats":["1-1"]}"#),
        request("POST", "/v1/orders", &format!("{json}{ann}"), r#"{"holds":[],"email":"a","payment":{"token":""}}"#),
        request(
            "POST",
            "/v1/orders",
            &format!("{json}{ann}"),
            r#"{"holds":["hld_1"],"email":"a@b.example","payment":{"token":"t"}}"#,
        ),
    ];
    for body in [
        r#"{"block":"A","seats":["1-1","1-2"]}"#,
        r#"{"block":"A","seats":["1-1","1-2"]}"#,
        r#"{"block":"A","seats":["1-3"]}"#,
    ] {
        all.push(hold(&format!("{json}{ann}idempotency-key: k\r\n"), body));
    }
    all.push(hold(&format!("{json}{ann}"), r#"{"block":"A","seats":["1-2"]}"#));
    all.push(hold(&format!("{json}{ann}"), r#"{"block":"none","seats":["1-2"]}"#));
    all
}

#[test]
fn both_ways_answer_alike() {
    let nodes = [node(&["http.fast_lane=true"]), node(&["http.fast_lane=false"])];
    let mut wires = nodes.each_ref().map(to);
    for sent in requests() {
        let answers = [0, 1].map(|at| {
            send(&mut wires[at], &sent);
            let first = answer(&mut wires[at], &sent);
            if first.status != 0 {
                return Plain { id: String::new(), ..first };
            }
            // actix-web ends the connection behind a body that nobody read.
            wires[at] = to(&nodes[at]);
            send(&mut wires[at], &sent);
            Plain { id: String::new(), ..answer(&mut wires[at], &sent) }
        });
        assert_ne!(answers[0].status, 0, "{sent}");
        assert_eq!(answers[0], answers[1], "{sent}");
    }
}

#[test]
fn a_pipeline_is_answered_in_its_order() {
    let node = node(&[]);
    let headers = |id: usize| {
        format!("x-request-id: r{id}\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\n", token("ann"))
    };
    let seats = |id| request("GET", "/v1/events/lane/blocks/A/seats", &headers(id), "");
    let hold = |id, seat: &str| {
        request("POST", "/v1/events/lane/holds", &headers(id), &format!(r#"{{"block":"A","seats":["{seat}"]}}"#))
    };
    let sent = [
        seats(0),
        hold(1, "1-1"),
        hold(2, "1-2"),
        hold(3, "1-1"),
        seats(4),
        request("GET", "/healthz", &headers(5), ""),
        request("HEAD", "/v1/events/lane", &headers(6), ""),
        hold(7, "1-3"),
        seats(8),
    ];
    for piece in [usize::MAX, 1, 100] {
        let mut wire = to(&node);
        wire.stream().send(sent.concat().as_bytes(), piece);
        let answers: Vec<Plain> = sent.iter().map(|sent| answer(&mut wire, sent)).collect();
        let ids: Vec<&str> = answers.iter().map(|answer| answer.id.as_str()).collect();
        assert_eq!(ids, ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"]);
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let held = if piece == usize::MAX { 201 } else { 409 };
        assert_eq!(statuses, [200, held, held, 409, 200, 200, 200, held, 200], "{answers:?}");
    }
}

/// What is sent later is judged later, also when it could be judged first: an order of three holds of three blocks reads
/// more than the one behind it, which wants one of them too.
#[test]
fn orders_of_a_pipeline_are_judged_in_its_order() {
    let node = node(&[]);
    let mut wire = to(&node);
    for round in 1..=8 {
        let name = format!("buyer-{round}");
        let headers = format!("content-type: application/json\r\nauthorization: Bearer {}\r\n", token(&name));
        let hold = |body: Value| node.customer(&name).post("/v1/events/lane/holds", &body).expect(201);
        let floor = json!({"block": "FLOOR", "quantity": 1});
        let code = |answer: &Answer| if answer.status < 400 { String::new() } else { answer.code() };
        let held = [
            hold(floor.clone()),
            hold(json!({"block": "A", "seats": [format!("1-{round}")]})),
            hold(json!({"block": "B", "seats": [format!("BB-{round}")]})),
        ];
        let order =
            |holds: &[&Value]| request("POST", "/v1/orders", &headers, &order_body(holds, "tok_ok").to_string());
        let look = |order: &str| request("GET", &format!("/v1/orders/{order}"), &headers, "");
        let mut ask = |sent: &[String]| -> Vec<Answer> {
            send(&mut wire, &sent.concat());
            sent.iter().map(|_| wire.next(To::Other).expect("HTTP").expect("an answer")).collect()
        };
        let answers = ask(&[
            order(&held.each_ref()),
            order(&[&held[0]]),
            request("POST", "/v1/events/lane/holds", &headers, &floor.to_string()),
            request("GET", "/v1/events/lane", "", ""),
        ]);
        let told: Vec<(u16, String)> = answers.iter().map(|answer| (answer.status, code(answer))).collect();
        let expected = [(202, ""), (409, "hold_in_order"), (201, ""), (200, "")];
        assert_eq!(told, expected.map(|(status, code)| (status, code.to_owned())), "round {round}");
        let placed = answers[0].json();
        let looks = ask(&[look(id(&placed)), order(&held.each_ref()), look(id(&placed))]);
        assert_eq!(looks.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 409, 200]);
    }
}

/// Whoever polls sends the same bytes again and again, and gets what is true now each time.
#[test]
fn the_same_bytes_get_the_answer_of_the_moment() {
    let node = node(&[]);
    let ann = format!("content-type: application/json\r\nauthorization: Bearer {}\r\n", token("ann"));
    let mut wire = to(&node);
    let mut ask = |sent: &str| {
        send(&mut wire, sent);
        answer(&mut wire, sent)
    };
    let free = |answer: &Plain| serde_json::from_str::<Value>(&answer.body).expect("JSON")["blocks"][0]["free"].clone();
    let polls = [
        request("GET", "/v1/events/lane/availability", "", ""),
        request("GET", "/v1/events/lane/availability", "accept: */*\r\n", ""),
    ];
    let mut ids = std::collections::HashSet::new();
    for seat in 1..=6 {
        let hold = request("POST", "/v1/events/lane/holds", &ann, &format!(r#"{{"block":"A","seats":["1-{seat}"]}}"#));
        assert_eq!(ask(&hold).status, 201);
        // Rendered at most so often, so the change may take a moment; it must come, and stay.
        node.client()
            .await_that("/v1/events/lane/availability", |answer| answer.json()["blocks"][0]["free"] == 40 - seat);
        for poll in polls.iter().cycle().take(8) {
            let answer = ask(poll);
            assert_eq!((answer.status, free(&answer)), (200, Value::from(40 - seat)));
            assert!(ids.insert(answer.id), "every answer has an id of its own");
        }
    }
    let head = request("HEAD", "/v1/events/lane/availability", "", "");
    let whole = ask(&polls[0]);
    for _ in 0..4 {
        let answer = ask(&head);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        assert_eq!(answer.headers, whole.headers);
    }
    assert_eq!(ask(&request("GET", "/v1/events/lane/availability", "x-request-id: mine\r\n", "")).id, "mine");
    assert_eq!(ask(&request("GET", "/v1/events/lane/availability", "x-request-id: other\r\n", "")).id, "other");
}

/// Answers that are sent again are counted like any other.
#[test]
fn every_read_is_counted_once() {
    let node = node(&[]);
    let counted = || node.answered("get", "/v1/events/{event}/availability", "2xx");
    let before = counted();
    let poll = request("GET", "/v1/events/lane/availability", "", "");
    let mut wire = to(&node);
    send(&mut wire, &poll.repeat(100));
    for _ in 0..100 {
        assert_eq!(answer(&mut wire, &poll).status, 200);
    }
    assert_eq!(counted() - before, 100);
}

#[test]
fn every_request_of_a_connection_has_deadlines() {
    let node = node(&["http.head_timeout=300ms", "http.body_timeout=300ms", "http.keep_alive=1s"]);
    let whole = request("GET", "/v1/events/lane", "", "");
    let begun = || {
        let mut wire = to(&node);
        send(&mut wire, &whole);
        assert_eq!(answer(&mut wire, &whole).status, 200);
        wire
    };
    let mut half_head = begun();
    send(&mut half_head, &whole[..20]);
    let mut half_body = begun();
    let hold = request("POST", "/v1/events/lane/holds", "", "{}");
    send(&mut half_body, &hold[..hold.len() - 1]);
    let mut idle = begun();
    let mut silent = to(&node);
    for (wire, status) in [(&mut half_head, 408), (&mut half_body, 408), (&mut idle, 0), (&mut silent, 0)] {
        assert_eq!(answer(wire, "").status, status);
        assert_eq!(answer(wire, "").status, 0, "the connection has ended");
    }
    // Whose head is there is counted where it wanted to go.
    assert_eq!(node.answered("post", "/v1/events/{event}/holds", "4xx"), 1);
    assert_eq!(node.answered("other", "other", "4xx"), 1);
}

/// Also where more came in the same packet, of which nothing is executed (`smuggling`).
#[test]
fn the_last_answer_of_a_connection_says_so() {
    for lane in LANES {
        let node = node(lane);
        let chunked = request("GET", "/healthz", "transfer-encoding: chunked\r\n", "") + "0\r\n\r\n";
        for before in [String::new(), request("GET", "/v1/events/lane", "", ""), chunked] {
            let mut wire = to(&node);
            let last = request("GET", "/v1/events/lane", "connection: close\r\n", "");
            send(&mut wire, &(before.clone() + &last + &request("DELETE", "/v1/events/lane", "", "")));
            if !before.is_empty() {
                assert_eq!(answer(&mut wire, &before).status, 200, "{lane:?}");
            }
            let told = wire.next(To::Other).expect("HTTP").expect("an answer");
            assert!(told.status == 200 && is_last(&told), "{lane:?}, behind {before:?}: {told:?}");
        }
    }
}

/// actix-web keeps a connection whose request the lane would not read, and gives a time to its first head only.
#[test]
fn a_connection_that_was_given_away_has_deadlines_too() {
    let times = ["http.head_timeout=500ms", "http.body_timeout=500ms", "http.wait_max=500ms", "http.keep_alive=1s"];
    let others = ["runtime.deadline=2s", "cluster.owner_wait=1s", "live.idle_timeout=1s"];
    let node = node(&[times.as_slice(), &others].concat());
    let chunked = request("POST", "/v1/events/lane/holds", "transfer-encoding: chunked\r\n", "")
        .replace("\r\n\r\n", "\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    let whole = request("GET", "/v1/events/lane", "", "");
    for behind in ["", &whole[..20]] {
        let mut wire = to(&node);
        send(&mut wire, &(chunked.clone() + &whole + behind));
        assert_eq!(answer(&mut wire, &chunked).status, 401);
        assert_eq!(answer(&mut wire, &whole).status, 200);
        // A byte now and then of a head that never ends: the connection does. Otherwise it takes all of them.
        let mut taken = 0;
        while taken < 600 && wire.stream().write_all(b"x").is_ok() {
            taken += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(taken < 600, "behind {behind:?}");
    }
}
