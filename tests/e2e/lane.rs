//! The fast lane: it answers as the slow way does, in the order of the requests, and nobody may sit on its connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::client::{small_event, token};
use crate::server::Server;

/// How long an answer may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection, below any client.
struct Wire {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

/// One answer as it came. An ended connection has the status 0.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    /// Sorted; what differs between two nodes is left out.
    headers: Vec<String>,
    id: String,
    body: String,
}

impl Wire {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { answers: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    fn send(&mut self, bytes: &str) {
        // The node may have closed it already: then no answer comes.
        let _ = self.stream.write_all(bytes.as_bytes());
    }

    /// The next answer; `HEAD` has no body.
    fn answer(&mut self, to: &str) -> Answer {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let count = self.answers.read_line(&mut line).unwrap_or(0);
            let line = line.trim_end().to_owned();
            if count == 0 || line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let Some(first) = lines.first() else {
            return Answer { status: 0, headers: Vec::new(), id: String::new(), body: String::new() };
        };
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let of = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let length = of("content-length: ").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if to.starts_with("HEAD") { 0 } else { length }];
        self.answers.read_exact(&mut body).unwrap();
        // Moments differ between two nodes, and so may tags and lengths of bodies that have any; the bodies are compared.
        let differs = ["date", "x-request-id", "ratelimit", "location", "connection", "etag", "content-length"];
        let mut headers: Vec<String> = lines[1..].to_vec();
        headers.retain(|line| !differs.iter().any(|name| line.starts_with(&format!("{name}: "))));
        headers.sort();
        Answer { status, headers, id: of("x-request-id: ").unwrap_or_default(), body: without_ids(&body) }
    }
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
    let mut wires = nodes.each_ref().map(|node| Wire::to(node.listen()));
    for sent in requests() {
        let answers = [0, 1].map(|at| {
            wires[at].send(&sent);
            let answer = wires[at].answer(&sent);
            if answer.status != 0 {
                return Answer { id: String::new(), ..answer };
            }
            // actix-web ends the connection behind a body that nobody read.
            wires[at] = Wire::to(nodes[at].listen());
            wires[at].send(&sent);
            Answer { id: String::new(), ..wires[at].answer(&sent) }
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
        let mut wire = Wire::to(node.listen());
        for part in sent.concat().as_bytes().chunks(piece.min(10_000)) {
            wire.send(str::from_utf8(part).unwrap());
        }
        let answers: Vec<Answer> = sent.iter().map(|sent| wire.answer(sent)).collect();
        let ids: Vec<&str> = answers.iter().map(|answer| answer.id.as_str()).collect();
        assert_eq!(ids, ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"]);
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let held = if piece == usize::MAX { 201 } else { 409 };
        assert_eq!(statuses, [200, held, held, 409, 200, 200, 200, held, 200], "{answers:?}");
    }
}

#[test]
fn every_request_of_a_connection_has_deadlines() {
    let node = node(&["http.head_timeout=300ms", "http.body_timeout=300ms", "http.keep_alive=1s"]);
    let whole = request("GET", "/v1/events/lane", "", "");
    let begun = || {
        let mut wire = Wire::to(node.listen());
        wire.send(&whole);
        assert_eq!(wire.answer(&whole).status, 200);
        wire
    };
    let mut half_head = begun();
    half_head.send(&whole[..20]);
    let mut half_body = begun();
    let hold = request("POST", "/v1/events/lane/holds", "", "{}");
    half_body.send(&hold[..hold.len() - 1]);
    let mut idle = begun();
    let mut silent = Wire::to(node.listen());
    for (wire, status) in [(&mut half_head, 408), (&mut half_body, 408), (&mut idle, 0), (&mut silent, 0)] {
        assert_eq!(wire.answer("").status, status);
        assert_eq!(wire.answer("").status, 0, "the connection has ended");
    }
}
