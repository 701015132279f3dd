//! Below HTTP's comfort: heads and bodies that are too large, too slow, broken or all at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, small_event};
use crate::server::Server;

/// Sends bytes and returns everything until the server closes. The request must ask for that or be broken.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    server.client().raw(bytes)
}

/// The status of each answer in a stream of them.
fn statuses(text: &str) -> Vec<u16> {
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines.map(|answer| answer[..3].parse().unwrap()).collect()
}

fn head(client: &Client, method: &str, path: &str, more: &str) -> String {
    let bearer = client.bearer().unwrap_or("none");
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n{more}\r\n")
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = Server::shared();
    let client = server.client();
    let long = "x".repeat(20_000);
    let problem = client.get_with("/v1/events", &[("Cookie", &long)]);
    assert_eq!(problem.expect_problem(431, "head_too_large")["most"], 16 * 1024);
    client.get(&format!("/v1/events?{long}")).expect_problem(414, "uri_too_long");
    client.get(&format!("/v1/events/{long}")).expect_problem(414, "uri_too_long");
    let several: Vec<(String, String)> = (0..60).map(|nth| (format!("x-{nth}"), "y".repeat(400))).collect();
    let several: Vec<(&str, &str)> = several.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    client.get_with("/v1/events", &several).expect_problem(431, "head_too_large");
    let megabytes = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "x".repeat(2_000_000));
    let answer = statuses(&exchange(&server, megabytes.as_bytes()));
    assert!(answer.is_empty() || answer == [431] || answer == [400], "{answer:?}");
    let many = (0..500).map(|nth| format!("x-{nth}: y\r\n")).collect::<String>();
    let answer = statuses(&exchange(&server, format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()));
    assert!(answer == [431] || answer == [400], "{answer:?}");
    client.get("/healthz");
}

#[test]
fn what_is_not_http_gets_400_or_nothing() {
    let server = Server::shared();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: sideways\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answers = statuses(&exchange(&server, bytes));
        assert!(answers.iter().all(|status| (400..500).contains(status)), "{answers:?} for {bytes:?}");
    }
    assert_eq!(server.client().get("/healthz").status, 200);
}

#[test]
fn paths_that_climb_reach_nothing() {
    let server = Server::shared();
    for path in [
        "/../../etc/passwd",
        "/docs/../../etc/passwd",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/docs/..%2f..%2fetc%2fpasswd",
        "/v1/events/%2e%2e/%2e%2e/metrics",
        "/v1//events",
        "//v1/events",
        "/v1/events/%00",
        "/v1/events/a%2Fb",
        "/%2e/v1/events",
        "/v1/events/..",
    ] {
        let answer =
            exchange(&server, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        assert_eq!(statuses(&answer), [404], "{path}: {answer}");
        assert!(answer.contains("application/problem+json") && !answer.contains("root:"), "{path}: {answer}");
    }
}

#[test]
fn requests_on_one_connection_are_answered_in_their_order() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("pipe")).expect(201);
    let ann = server.customer("pipe-ann");
    let body = json!({"block": "A", "seats": ["1-1", "1-2"]}).to_string();
    let post = |more: &str| {
        let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n{more}", body.len());
        head(&ann, "POST", "/v1/events/pipe/holds", &length) + &body
    };
    let mut all = post("");
    all += &post("");
    all += &head(&ann, "GET", "/v1/events/pipe/availability", "");
    all += &head(&ann, "GET", "/v1/events/nowhere", "");
    for nth in 0..50 {
        all += &head(&ann, "GET", "/v1/events/pipe", &format!("x-request-id: nth-{nth}\r\n"));
    }
    all += &head(&ann, "GET", "/healthz", "Connection: close\r\n");
    let answers = exchange(&server, all.as_bytes());
    let mut expected = vec![201, 409, 200, 404];
    expected.extend([200; 51]);
    assert_eq!(statuses(&answers), expected);
    let places: Vec<usize> =
        (0..50).map(|nth| answers.find(&format!("x-request-id: nth-{nth}\r\n")).unwrap()).collect();
    assert!(places.is_sorted(), "in the order of the requests");
}

#[test]
fn bodies_come_in_chunks_and_are_limited_all_the_same() {
    let server = Server::shared();
    server.organizer().post("/v1/events", &small_event("chunks")).expect(201);
    let ann = server.customer("chunks-ann");
    let more = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n";
    let start = head(&ann, "POST", "/v1/events/chunks/holds", more);
    let good = format!("{start}10\r\n{{\"block\":\"FLOOR\"\r\ne\r\n,\"quantity\":1}}\r\n0\r\n\r\n");
    assert_eq!(statuses(&exchange(&server, good.as_bytes())), [201]);
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
    let large = format!("{start}{}0\r\n\r\n", chunk.repeat(80));
    let answer = exchange(&server, large.as_bytes());
    assert_eq!(statuses(&answer), [413], "{answer}");
    let broken = format!("{start}zz\r\n{{}}\r\n0\r\n\r\n");
    let answer = exchange(&server, broken.as_bytes());
    assert_eq!(statuses(&answer), [400], "{answer}");
    let announced =
        head(&ann, "POST", "/v1/events/chunks/holds", "Content-Type: application/json\r\nContent-Length: 99999999\r\n");
    let answer = exchange(&server, announced.as_bytes());
    assert_eq!(statuses(&answer), [413], "refused by its announcement: {answer}");
}

#[test]
fn an_answer_that_is_broken_off_ends_its_connection() {
    for lane in ["true", "false"] {
        let server = Server::start_with(&["runtime.fault_injection=true", &format!("http.fast_lane={lane}")]);
        let (organizer, ann) = (server.organizer(), server.customer("ann"));
        organizer.post("/v1/events", &small_event("gig")).expect(201);
        ann.hold("gig", "A", &["1-1"]);
        // The first block's lines are sent before the second is asked.
        organizer.post("/v1/faults/panic", &json!({"event": "gig", "block": "B"})).expect(202);
        let ledger = head(&organizer, "GET", "/v1/events/gig/ledger", "");
        let answer = exchange(&server, format!("{ledger}{}", head(&ann, "GET", "/healthz", "")).as_bytes());
        assert_eq!(statuses(&answer), [200], "nothing may be taken for a part of the ledger: {answer}");
        assert!(answer.contains("transfer-encoding: chunked") && !answer.ends_with("0\r\n\r\n"), "{answer}");
        assert_eq!(organizer.ledger("gig").len(), 1, "the next has it all");
    }
}

/// Reads until the server closes; fails if it does not within a generous time.
fn until_closed(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("it was not ended: {error}"),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_is_slow_with_head_or_body_is_ended() {
    let server = Server::start_with(&["http.head_timeout=1s", "http.body_timeout=1s", "http.keep_alive=1s"]);
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let ann = server.customer("ann");
    let open = |bytes: &str| {
        let mut stream = TcpStream::connect(server.listen()).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };
    let began = Instant::now();
    let length = "Content-Type: application/json\r\nContent-Length: 100\r\n";
    let start = head(&ann, "POST", "/v1/events/gig/holds", length);
    let streams = [
        ("half a head", open("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")),
        ("half a body", open(&format!("{start}{{\"block\":"))),
        ("no body", open(&start)),
        ("idle", open("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("nothing", open("")),
    ];
    let threads: Vec<_> =
        streams.into_iter().map(|(what, stream)| (what, std::thread::spawn(move || until_closed(stream)))).collect();
    for (what, thread) in threads {
        let answer = thread.join().unwrap();
        let expected: &[u16] = match what {
            "half a body" | "no body" => &[408],
            "idle" => &[200],
            _ => &[],
        };
        let got = statuses(&answer);
        assert!(got == expected || ["half a head", "nothing"].contains(&what) && got == [408], "{what}: {answer}");
        if what.ends_with("body") {
            let body = answer.split("\r\n\r\n").nth(1).unwrap();
            let problem: Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["code"], "request_timeout");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert_eq!(server.answered("post", "/v1/events/{event}/holds", "4xx"), 2, "counted where they wanted to go");
    assert_eq!(server.organizer().ledger("gig"), Vec::<Value>::new());
}
