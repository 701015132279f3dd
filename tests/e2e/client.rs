//! A plain HTTP client for the tests, and the words they use: hold, order, wait until paid.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::contract;
use crate::server::SECRET;

/// Somebody who calls the API.
#[derive(Clone)]
pub(crate) struct Client {
    to: SocketAddr,
    bearer: Option<String>,
    agent: ureq::Agent,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The problem's code, if the answer is a problem.
    pub(crate) fn code(&self) -> String {
        let is_problem = self.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json"));
        assert!(is_problem, "not a problem: {} {:?} {}", self.status, self.headers, self.text());
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    /// Asserts the status and returns the body as JSON.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Asserts a problem with this status and code and returns it.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        let problem = self.json();
        for field in ["type", "title", "status", "detail", "request_id"] {
            assert!(!problem[field].is_null(), "no {field} in {problem}");
        }
        assert_eq!(problem["status"], json!(status));
        problem
    }
}

/// A customer's token, valid for an hour.
pub(crate) fn token(customer: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    token_with(&json!({"sub": customer, "iat": now, "exp": now + 3600}))
}

/// A token with these claims.
pub(crate) fn token_with(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a token")
}

impl Client {
    pub(crate) fn new(to: SocketAddr, bearer: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .proxy(None)
            .build();
        Self { to, bearer, agent: config.into() }
    }

    /// The same client on connections of its own.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.to, self.bearer.clone())
    }

    /// The same server without credentials.
    pub(crate) fn anonymous(&self) -> Self {
        Self { bearer: None, ..self.clone() }
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// The same server with another token.
    pub(crate) fn with_bearer(&self, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..self.clone() }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    #[track_caller]
    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, None)
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(body.to_string().as_bytes()))
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[], Some(body.to_string().as_bytes()))
    }

    #[track_caller]
    pub(crate) fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Idempotency-Key", key)], Some(body.to_string().as_bytes()))
    }

    /// One request, its answer checked against the documents. A connection that breaks is an answer with status 0.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        let answer = self.exchange(method, path, headers, body);
        contract::check(method, path, &answer, || {
            let document = self.exchange("GET", "/openapi.json", &[], None);
            (document.status == 200).then(|| document.json())
        });
        answer
    }

    fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.to));
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", format!("Bearer {bearer}"));
        }
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.unwrap_or_default().to_vec()).expect("a request");
        match self.agent.run(request) {
            Ok(mut response) => Answer {
                status: response.status().as_u16(),
                headers: response
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                    .collect(),
                body: response.body_mut().read_to_vec().unwrap_or_default(),
            },
            Err(_) => Answer { status: 0, headers: Vec::new(), body: Vec::new() },
        }
    }

    /// Bytes on a fresh connection, and everything that comes back until the server closes or is silent for a while.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.to).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            answer.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Tries to hold these seats of a block.
    #[track_caller]
    pub(crate) fn try_hold(&self, event: &str, block: &str, seats: &[&str]) -> Answer {
        self.post(&format!("/v1/events/{event}/holds"), &json!({"block": block, "seats": seats}))
    }

    /// Holds these seats of a block; panics unless they were to be had. Returns the hold.
    #[track_caller]
    pub(crate) fn hold(&self, event: &str, block: &str, seats: &[&str]) -> Value {
        self.try_hold(event, block, seats).expect(201)
    }

    /// Orders a hold and pays with this token; returns the order as placed.
    #[track_caller]
    pub(crate) fn order(&self, hold: &Value, token: &str) -> Value {
        self.post("/v1/orders", &order_body(&[hold], token)).expect(202)
    }

    /// Waits until the order is in this state.
    #[track_caller]
    pub(crate) fn await_state(&self, order: &str, state: &str) -> Value {
        let began = Instant::now();
        loop {
            let now = self.get_with(&format!("/v1/orders/{order}"), &[("Prefer", "wait=2")]).expect(200);
            if now["state"] == state {
                return now;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "still {now}");
        }
    }

    /// Waits until what is at this path answers as it should; asks again and again.
    #[track_caller]
    pub(crate) fn await_that(&self, path: &str, holds: impl Fn(&Answer) -> bool) -> Answer {
        let began = Instant::now();
        loop {
            let now = self.get(path);
            if holds(&now) {
                return now;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "still {} {}", now.status, now.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The lines of an event's ledger.
    #[track_caller]
    pub(crate) fn ledger(&self, event: &str) -> Vec<Value> {
        let ledger = self.get(&format!("/v1/events/{event}/ledger"));
        assert_eq!((ledger.status, ledger.header("content-type")), (200, Some("application/x-ndjson")));
        ledger.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// A paid order for these seats.
    #[track_caller]
    pub(crate) fn buy(&self, event: &str, block: &str, seats: &[&str]) -> Value {
        let hold = self.hold(event, block, seats);
        let order = self.order(&hold, "tok_ok");
        self.await_state(order["id"].as_str().expect("an id"), "paid")
    }
}

/// The id of a hold, an order or a ticket.
#[track_caller]
pub(crate) fn id(of: &Value) -> &str {
    of["id"].as_str().expect("an id")
}

/// The body of an order for these holds.
pub(crate) fn order_body(holds: &[&Value], token: &str) -> Value {
    let ids: Vec<&Value> = holds.iter().map(|hold| &hold["id"]).collect();
    json!({"holds": ids, "email": "buyer@example.org", "payment": {"token": token}})
}

/// A small event: block A seated with 4 rows of 10, block B seated with rows AA and BB, block FLOOR standing.
pub(crate) fn small_event(id: &str) -> Value {
    json!({
        "id": id, "name": "A small concert", "venue": "Hall", "starts_at": "2027-06-12T19:00:00Z", "currency": "EUR",
        "rules": {"hold_ttl_s": 420, "max_per_hold": 6, "max_per_customer": 8, "no_orphans": true},
        "blocks": [
            {"id": "A", "name": "Block A", "kind": "seated", "price": 8500, "rows": 4, "seats_per_row": 10},
            {"id": "B", "kind": "seated", "price": 6500, "rows": [{"row": "AA", "seats": 8}, {"row": "BB", "seats": 12}]},
            {"id": "FLOOR", "name": "Floor", "kind": "standing", "price": 7000, "capacity": 50}
        ]
    })
}
