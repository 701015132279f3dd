//! Random requests: hot, cold, and a little wrong. Whatever they ask, two equal nodes owe them equal answers.
//!
//! Ids that a node gave out are written as `{hold:3}` and `{order:0}` and filled in for each node.

use serde_json::{Value, json};

use super::chance::Chance;

/// What a round of requests may touch, so that equal nodes must answer equally although each does it in its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Nothing changes: the busy event and all lists may be read.
    Reads,
    /// The busy event changes; reads are of the calm one.
    Changes,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<String>,
    pub(super) framing: Framing,
}

/// How a request ends and how its body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    /// Takes the connection to actix-web for good.
    Chunked,
    /// Says that it is the last.
    Last,
}

/// What the generator knows of the state it asks about.
pub(super) struct Known<'a> {
    pub(super) tokens: &'a Tokens,
    pub(super) holds: usize,
    pub(super) orders: usize,
    /// ETags seen for the calm event.
    pub(super) tags: &'a [String],
}

/// Who may be asking.
pub(super) struct Tokens {
    pub(super) customers: Vec<String>,
    pub(super) expired: String,
    pub(super) organizer: String,
}

const ENCODINGS: &[&str] = &[
    "gzip",
    "br",
    "zstd",
    "gzip, deflate, br, zstd",
    "br;q=0.1, gzip;q=0.9",
    "identity",
    "*",
    "*;q=0",
    "identity;q=0",
    "identity;q=0, *;q=0",
    "GZIP",
    "br ; q=0.5",
    "",
    "deflate",
    "gzip;q=1.001",
    "gzip;q=x",
    "x-gzip",
    "br,,gzip",
    ";q=1",
    "br;q=0, *",
];
const ACCEPTS: &[&str] = &[
    "application/json",
    "application/octet-stream",
    "*/*",
    "application/octet-stream;q=0.5, application/json",
    "application/json;q=0.5, application/octet-stream",
    "text/html",
    "application/octet-stream;q=0",
    "APPLICATION/OCTET-STREAM",
    "",
    "application/octet-stream; q=x",
    "application/*",
    "application/octet-stream;v=1;q=0.9",
];
const IDS: &[&str] = &[
    "req-1",
    "a.b_c-d",
    "",
    "a b",
    "<x>",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "\"q\"",
];
const KINDS: &[&str] = &[
    "application/json; charset=utf-8",
    "APPLICATION/JSON",
    "text/plain",
    "",
    "application/jsonp",
    "application/json;",
    " application/json",
];
const EVENTS: &[&str] = &[
    "calm", "calm", "calm", "calm", "calm", "nowhere", "Calm", "c%61lm", "calm%20", "calm%2F", "%00", "ca_lm", "", ".",
    "%2e%2e", "calm;x", "c\"m", "%zz", "%",
];
const BLOCKS: &[&str] = &["A", "A", "B", "FLOOR", "a", "Z", "%41", "", "A%20", "A;x", "FLOOR%2f"];
const QUERIES: &[&str] = &["?", "?x=1", "?limit=3", "?a=b&c=%20", "?%zz", "??", "?/v1/orders"];
const COLD: &[&str] = &[
    "/",
    "/healthz",
    "/readyz",
    "/nothing",
    "/v1",
    "/v1/",
    "/v1/events/calm/blocks/A/layout",
    "/v1/events/calm/blocks/Z/layout",
    "/v1/events/calm/",
    "/v1//events/calm",
    "/v1/events/calm/availability/",
    "/v1/events/calm/nothing",
    "/v1/events/calm/ledger",
    "/docs/errors",
    "/V1/events/calm",
    "/v1/events/calm/holds",
    "/v1/orders/",
    "/v1/keys/x",
    "/v1/holds",
    "/%761/events/calm",
];

impl Request {
    pub(super) fn random(chance: &mut Chance, round: Round, known: &Known<'_>) -> Self {
        let mut request = match (chance.below(100), round) {
            (0..45, _) => read(chance, round, known),
            (45..60, Round::Reads) => show(chance, known),
            (45..50, Round::Changes) => show(chance, known),
            (50..68, Round::Changes) => hold(chance, known),
            (68..84, Round::Changes) => order(chance, known),
            (84..87, Round::Changes) => release(chance, known),
            (_, Round::Reads) if chance.hit(30) => list(chance, known),
            (_, Round::Reads | Round::Changes) => cold(chance, known),
        };
        request.decorate(chance);
        request
    }

    fn of(method: &str, target: String) -> Self {
        Self { method: method.to_owned(), target, headers: Vec::new(), body: None, framing: Framing::Length }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What every request may carry, in any order and case, with any white space around it.
    fn decorate(&mut self, chance: &mut Chance) {
        let mut add = |percent, name: &str, values: &[&str]| {
            if chance.hit(percent) {
                self.headers.push((name.to_owned(), chance.pick(values).to_owned()));
            }
        };
        add(30, "X-Request-Id", IDS);
        add(5, "X-Request-Id", IDS);
        add(10, "Origin", &["https://shop.example", "https://evil.example", "null", ""]);
        add(10, "User-Agent", &["curl/8", "Mozilla/5.0 (X11; Linux x86_64)"]);
        add(5, "Cookie", &["a=b; c=d"]);
        add(10, "Connection", &["keep-alive", "Keep-Alive"]);
        add(3, "Prefer", &["wait=0", "wait=x", "respond-async"]);
        add(3, "Range", &["bytes=0-3"]);
        add(3, "If-Modified-Since", &["Tue, 24 Nov 2026 10:00:00 GMT"]);
        add(2, "X-Many", &[&"y".repeat(17_000), &"y".repeat(9000)]);
        if chance.hit(3) {
            self.headers.extend((0..40).map(|nth| (format!("X-{nth}"), nth.to_string())));
        }
        self.framing = match (&self.body, chance.below(100)) {
            (Some(_), 0..4) => Framing::Chunked,
            (_, 4..6) => Framing::Last,
            (Some(_) | None, _) => Framing::Length,
        };
        let hosts: &[&str] =
            if chance.hit(5) { &["a b", "a:b", "a@b"] } else { &["x", "tickets.example:8080", "[::1]:80"] };
        self.headers.push(("Host".to_owned(), chance.pick(hosts).to_owned()));
        chance.shuffle(&mut self.headers);
        for (name, value) in &mut self.headers {
            match chance.below(10) {
                0 => *name = name.to_lowercase(),
                1 => *name = name.to_uppercase(),
                2 => *value = format!(" \t{value}"),
                3 => *value = format!("{value} \t"),
                _ => {}
            }
        }
    }

    /// Whether the lane may give the connection away with this one: nothing may be asked behind it in the same packet.
    pub(super) fn is_end(&self) -> bool {
        let is_odd = |value: &str| value.contains(['@', '\u{7f}']) || ["a b", "a:b"].contains(&value);
        self.framing != Framing::Length
            || self.headers.len() > 30
            || self.headers.iter().any(|(_, value)| is_odd(value.trim()))
    }

    /// The bytes for a node whose ids are filled in by this.
    pub(super) fn bytes(&self, fill: impl Fn(&str) -> String) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, fill(&self.target));
        for (name, value) in &self.headers {
            text += &format!("{name}:{}{value}\r\n", if value.starts_with(' ') { "" } else { " " });
        }
        let body = self.body.as_deref().map(&fill);
        match (self.framing, body) {
            (Framing::Chunked, Some(body)) => {
                let middle = (0..=body.len() / 2).rev().find(|at| body.is_char_boundary(*at)).unwrap_or(0);
                let (first, second) = body.split_at(middle);
                text += "Transfer-Encoding: chunked\r\n\r\n";
                for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
                    text += &format!("{:x}\r\n{part}\r\n", part.len());
                }
                text += "0\r\n\r\n";
            }
            (Framing::Last, body) => {
                let body = body.unwrap_or_default();
                text += &format!("Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
            (Framing::Length, Some(body)) => text += &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
            (Framing::Length | Framing::Chunked, None) => text += "\r\n",
        }
        text.into_bytes()
    }
}

fn method<'a>(chance: &mut Chance, usual: &'a str) -> &'a str {
    match chance.below(100) {
        0..12 if usual == "GET" => "HEAD",
        12..15 => chance.pick(&["PUT", "OPTIONS", "get", "DELETE", "TRACE", "XYZ"]),
        _ => usual,
    }
}

fn read(chance: &mut Chance, round: Round, known: &Known<'_>) -> Request {
    if round == Round::Reads && chance.hit(30) {
        let what = chance.pick(&["", "/availability", "/blocks/A/seats", "/blocks/FLOOR/seats"]);
        return Request::of("GET", format!("/v1/events/busy{what}"));
    }
    let event = chance.pick(EVENTS);
    let mut target = match chance.below(3) {
        0 => format!("/v1/events/{event}"),
        1 => format!("/v1/events/{event}/availability"),
        _ => format!("/v1/events/{event}/blocks/{}/seats", chance.pick(BLOCKS)),
    };
    if chance.hit(8) {
        target += chance.pick(QUERIES);
    }
    let mut request = Request::of(method(chance, "GET"), target);
    for _ in 0..[0, 1, 1, 1, 2][chance.below(5)] {
        request = request.with("Accept-Encoding", chance.pick(ENCODINGS));
    }
    for _ in 0..[0, 0, 1, 1, 2][chance.below(5)] {
        request = request.with("Accept", chance.pick(ACCEPTS));
    }
    if chance.hit(50) {
        request = request.with("If-None-Match", &tags(chance, known));
        if chance.hit(5) {
            request = request.with("If-None-Match", &tags(chance, known));
        }
    }
    if chance.hit(5) {
        request = request.with("Authorization", "Bearer rubbish");
    }
    request
}

fn tags(chance: &mut Chance, known: &Known<'_>) -> String {
    let tag =
        if known.tags.is_empty() { "\"0\"".to_owned() } else { known.tags[chance.below(known.tags.len())].clone() };
    match chance.below(9) {
        0 => format!("W/{tag}"),
        1 => format!("\"x\", {tag} , \"y\""),
        2 => "*".to_owned(),
        3 => tag.trim_matches('"').to_owned(),
        4 => "\"0123456789abcdef-br\"".to_owned(),
        5 => String::new(),
        6 => tag.replace("-br", "-gzip"),
        _ => tag,
    }
}

/// Who asks, mostly somebody who may.
fn authorize(request: Request, chance: &mut Chance, known: &Known<'_>) -> Request {
    let Tokens { customers, expired, organizer } = known.tokens;
    let customer = &customers[chance.below(customers.len())];
    let value = match chance.below(80) {
        0 => return request,
        1 => format!("Bearer {expired}"),
        2 => format!("Bearer {organizer}"),
        3 => "Bearer".to_owned(),
        4 => "Basic YTpi".to_owned(),
        5 => format!("bearer {customer}"),
        6 => format!("Bearer  {customer}"),
        7 => format!("Bearer {customer}x"),
        8 => format!("Bearer {}", &customer[..customer.len() / 2]),
        9 => "Bearer sk_nobody".to_owned(),
        10 => customer.clone(),
        _ => format!("Bearer {customer}"),
    };
    request.with("Authorization", &value)
}

fn posted(request: Request, chance: &mut Chance, known: &Known<'_>, body: &Value) -> Request {
    let mut request = authorize(request, chance, known);
    let text = body.to_string();
    let text = match chance.below(70) {
        0 => text[..text.len() - 1].to_owned(),
        1 => format!("{text} x"),
        2 => format!(" \r\n\t{text}\n"),
        3 => text.replacen('{', "{\"more\":1,", 1),
        4 => format!("[{text}]"),
        5 => "null".to_owned(),
        6 => String::new(),
        7 => text.replacen('"', "'", 2),
        8 => format!("{text}{}", " ".repeat(20_000)),
        9 => text.replacen(':', ":null,\"x\":", 1),
        10 => text.replacen('[', "[\"\u{e4}\u{1f600}\",", 1),
        _ => text,
    };
    request.body = Some(text);
    match chance.below(20) {
        0 => {}
        1 => request = request.with("Content-Type", chance.pick(KINDS)),
        2 => {
            request = request
                .with("Content-Type", "application/json")
                .with("Content-Encoding", chance.pick(&["gzip", "identity", ""]))
        }
        3 => request = request.with("Content-Type", "application/json").with("Content-Type", chance.pick(KINDS)),
        _ => request = request.with("Content-Type", "application/json"),
    }
    if chance.hit(40) {
        let key = format!("key-{}", chance.below(12));
        request =
            request.with("Idempotency-Key", if chance.hit(10) { chance.pick(&["", "a b", "\u{7f}"]) } else { &key });
        if chance.hit(4) {
            request = request.with("Idempotency-Key", "second");
        }
    }
    request
}

fn hold(chance: &mut Chance, known: &Known<'_>) -> Request {
    let seat = |chance: &mut Chance| format!("{}-{}", 1 + chance.below(20), 1 + chance.below(30));
    let body = match chance.below(12) {
        0 => json!({"block": "FLOOR", "quantity": 1 + chance.below(8)}),
        1 => json!({"best_available": {"quantity": 1 + chance.below(3), "block": "A"}}),
        2 => json!({"best_available": {"quantity": 2, "block": "A", "max_price": chance.below(20_000)}}),
        3 => json!({"block": chance.pick(&["Z", "", "a", "FLOOR"]), "seats": [seat(chance)]}),
        4 => json!({"block": "A", "seats": [seat(chance), "99-1", "x"]}),
        5 => json!({"block": "A", "quantity": 1}),
        6 => json!({"block": 7, "seats": "1-1"}),
        7 => json!({"seats": []}),
        _ => json!({"block": "A", "seats": (0..1 + chance.below(3)).map(|_| seat(chance)).collect::<Vec<_>>()}),
    };
    let event = chance.pick(&["busy", "busy", "busy", "busy", "busy", "busy", "nowhere", "b%75sy", "calm%20", "soon"]);
    let request = Request::of(method(chance, "POST"), format!("/v1/events/{event}/holds"));
    posted(request, chance, known, &body)
}

fn one_of(chance: &mut Chance, kind: &str, count: usize) -> String {
    match chance.below(20) {
        0 => format!("{}_{}", &kind[..3], "0".repeat(26)),
        1 => chance.pick(&["x", "", "%00", "hld_", "ord_zz", "%6frd_x", "a b"]).replace(' ', "%20"),
        _ if count == 0 => "none".to_owned(),
        _ => format!("{{{kind}:{}}}", chance.below(count)),
    }
}

fn order(chance: &mut Chance, known: &Known<'_>) -> Request {
    let holds: Vec<String> = (0..1 + chance.below(5) / 4).map(|_| one_of(chance, "hold", known.holds)).collect();
    let email = chance.pick(&["a@example.org", "a@example.org", "a@example.org", "b@example.org", "no mail"]);
    let token = chance.pick(&["tok_ok", "tok_ok", "tok_declined", "tok_declined", "a b"]);
    let body = json!({"holds": holds, "email": email, "payment": {"token": token}});
    let request = Request::of(
        method(chance, "POST"),
        chance.pick(&["/v1/orders", "/v1/orders", "/v1/orders", "/v1/orders?x"]).to_owned(),
    );
    posted(request, chance, known, &body)
}

fn show(chance: &mut Chance, known: &Known<'_>) -> Request {
    let order = one_of(chance, "order", known.orders);
    let mut request = Request::of(method(chance, "GET"), format!("/v1/orders/{order}"));
    if chance.hit(10) {
        request.target += chance.pick(QUERIES);
    }
    if chance.hit(10) {
        request = request.with("Prefer", "wait=1");
    }
    authorize(request, chance, known)
}

fn release(chance: &mut Chance, known: &Known<'_>) -> Request {
    let hold = one_of(chance, "hold", known.holds);
    let request = Request::of(chance.pick(&["DELETE", "GET", "HEAD"]), format!("/v1/holds/{hold}"));
    authorize(request, chance, known)
}

fn list(chance: &mut Chance, known: &Known<'_>) -> Request {
    let target = chance.pick(&[
        "/v1/orders",
        "/v1/orders?limit=2",
        "/v1/orders?limit=x",
        "/v1/events/busy/ledger",
        "/v1/events/busy/orders",
    ]);
    authorize(Request::of(method(chance, "GET"), target.to_owned()), chance, known)
}

fn cold(chance: &mut Chance, known: &Known<'_>) -> Request {
    let request = Request::of(method(chance, "GET"), chance.pick(COLD).to_owned());
    if chance.hit(20) { authorize(request, chance, known) } else { request }
}
