//! Every request of the table, with a canary inside or behind it: the canary is executed only where RFC 9112 makes it a
//! request of its own. What was executed is read from the ledger in the end, not from the answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::answers::{Answers, To, is_last};
use super::framing::{Canary, Case, Expect, bytes, cases};
use super::proxy::{Bodies, Proxy};
use super::stream::Stream;
use super::{Heads, LANES, heads};
use crate::client::{Answer, Client, small_event, token};
use crate::server::Server;

/// A whole request at once, or every byte in a packet of its own.
const WHOLE: usize = usize::MAX;
const BYTEWISE: usize = 1;
/// What is longer than this is cut into pieces of [`PIECE`] bytes instead of single ones.
const BYTEWISE_MAX: usize = 3000;
const PIECE: usize = 1000;

const ROW: usize = 50;

/// Where a case is on its connection, and how it is sent.
#[derive(Clone, Copy, Debug)]
struct Place {
    before: Before,
    piece: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A request that the fast lane answers, in the same packet.
    HotRead,
}

/// An event whose seats are canaries: each case sent holds one of its own if its canary is executed.
struct Aviary {
    organizer: Client,
    event: String,
    bearer: String,
    sent: usize,
    owners: BTreeMap<String, String>,
    executed: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Aviary {
    fn new(server: &Server, event: String) -> Self {
        let mut body = small_event(&event);
        body["rules"] = json!({"hold_ttl_s": 3600, "max_per_hold": 6, "max_per_customer": null, "no_orphans": false});
        body["blocks"] = json!([{"id": "A", "kind": "seated", "price": 8500, "rows": 40, "seats_per_row": ROW}]);
        server.organizer().post("/v1/events", &body).expect(201);
        Self {
            organizer: server.organizer(),
            event,
            bearer: token("smuggler"),
            sent: 0,
            owners: BTreeMap::new(),
            executed: BTreeSet::new(),
            wrong: Vec::new(),
        }
    }

    /// The next seat and the request that holds it.
    fn canary(&mut self, owner: &str) -> (String, String) {
        let seat = format!("{}-{}", self.sent / ROW + 1, self.sent % ROW + 1);
        self.sent += 1;
        self.owners.insert(seat.clone(), owner.to_owned());
        let body = json!({"block": "A", "seats": [seat]}).to_string();
        let Self { event, bearer, .. } = self;
        let request = format!(
            "POST /v1/events/{event}/holds HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nX-Request-Id: canary-{seat}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        (seat, request)
    }

    /// What is read behind every case: a request with a name, after which the connection is over.
    fn marker(&self) -> String {
        let event = &self.event;
        format!("GET /v1/events/{event} HTTP/1.1\r\nHost: x\r\nX-Request-Id: marker\r\nConnection: close\r\n\r\n")
    }

    fn packet(&mut self, case: &Case, place: Place) -> (String, Vec<u8>) {
        let (name, text, _, _) = case;
        let (seat, canary) = self.canary(&format!("{name}, {place:?}"));
        let mut packet = Vec::new();
        if place.before == Before::HotRead {
            let hot =
                format!("GET /v1/events/{}/availability HTTP/1.1\r\nHost: x\r\nX-Request-Id: hot\r\n\r\n", self.event);
            packet.extend_from_slice(hot.as_bytes());
        }
        packet.extend(bytes(text, &self.event, &self.bearer, &canary));
        packet.extend_from_slice(self.marker().as_bytes());
        (seat, packet)
    }

    /// Sends a case straight to the node and judges the answers.
    fn straight(&mut self, stream: Stream, case: &Case, place: Place, edge: Heads) {
        let (name, text, expect, canary) = *case;
        if edge == Heads::Forgotten && text.starts_with("HEAD") && place.before == Before::HotRead {
            return;
        }
        let (seat, packet) = self.packet(case, place);
        let mut answers = Answers::of(stream);
        let piece = if packet.len() > BYTEWISE_MAX { place.piece.max(PIECE) } else { place.piece };
        answers.stream().send(&packet, piece);
        if matches!(expect, Expect::Endless(_)) || text.ends_with("{200000}") {
            answers.finish();
        }
        let hot = usize::from(place.before == Before::HotRead);
        let head_at = text.starts_with("HEAD").then_some(hot);
        let judged = all(&mut answers, head_at).and_then(|got| {
            let is_executed = got.iter().any(|answer| answer.status == 201);
            judge(&got, hot, expect, canary, edge).map(|()| is_executed)
        });
        match judged {
            Ok(true) => drop(self.executed.insert(seat)),
            Ok(false) => {}
            Err(why) => self.wrong.push(format!("{name}, {place:?}: {why}")),
        }
    }

    /// Sends a case through a proxy that keeps its connection to the node, and then asks for something harmless on another
    /// connection to the proxy: nobody may be answered what somebody else asked.
    fn proxied(&mut self, proxy: &Proxy, case: &Case) {
        let (name, _, expect, _) = *case;
        let (_, packet) = self.packet(case, Place { before: Before::HotRead, piece: WHOLE });
        let mut answers = Answers::of(proxy.connect());
        answers.stream().send(&packet, WHOLE);
        if matches!(expect, Expect::Endless(_)) {
            answers.finish();
        }
        // What the proxy makes of it is the proxy's affair.
        let _ = all(&mut answers, None);
        let id = format!("honest-{}", self.sent);
        let honest = format!(
            "GET /v1/events/{} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n",
            self.event
        );
        let mut answers = Answers::of(proxy.connect());
        answers.stream().send(honest.as_bytes(), WHOLE);
        match answers.next(To::Other) {
            Ok(Some(answer)) if answer.status == 200 && answer.header("x-request-id") == Some(&id) => {}
            other => self.wrong.push(format!("{name}: who came next was answered {other:?}")),
        }
    }

    /// What was executed behind a proxy: only what the proxy, too, understood to be a request of its own.
    #[track_caller]
    fn settle_proxied(mut self, proxy: &Proxy) {
        let known = proxy.requests();
        let held = held(&self.organizer, &self.event);
        self.executed = held.iter().filter(|seat| known.contains(&format!("canary-{seat}"))).cloned().collect();
        let wrong = self.wrong.len();
        assert!(wrong > 0 || self.executed.len() >= 10, "hardly anything came through the proxy: {:?}", self.executed);
        self.settle();
    }

    /// What was executed, by the ledger, against what may have been.
    #[track_caller]
    fn settle(self) {
        let held = held(&self.organizer, &self.event);
        let named =
            |seats: &BTreeSet<String>| -> Vec<String> { seats.iter().map(|seat| self.owners[seat].clone()).collect() };
        assert!(self.wrong.is_empty(), "{} wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        let unseen: BTreeSet<String> = held.difference(&self.executed).cloned().collect();
        assert!(unseen.is_empty(), "canaries were executed inside of {:?}", named(&unseen));
        let lost: BTreeSet<String> = self.executed.difference(&held).cloned().collect();
        assert!(lost.is_empty(), "held and not in the ledger: {:?}", named(&lost));
    }
}

fn held(organizer: &Client, event: &str) -> BTreeSet<String> {
    let ledger = organizer.ledger(event);
    ledger.iter().map(|line| line["seat"].as_str().expect("a seat").to_owned()).collect()
}

/// All answers until the connection is over.
fn all(answers: &mut Answers, head_at: Option<usize>) -> Result<Vec<Answer>, String> {
    let mut got = Vec::new();
    loop {
        let to = if head_at == Some(got.len()) { To::Head } else { To::Other };
        let next = answers.next(to).map_err(|why| format!("after {:?}: {why}", statuses(&got)))?;
        match next {
            None => return Ok(got),
            Some(answer) => {
                if answer.header("x-request-id") == Some("marker") {
                    answers.finish();
                }
                got.push(answer);
            }
        }
    }
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

fn judge(got: &[Answer], hot: usize, expect: Expect, canary: Canary, edge: Heads) -> Result<(), String> {
    let of = |answer: &Answer, id: &str| answer.header("x-request-id").is_some_and(|given| given.starts_with(id));
    let seen = statuses(got);
    if canary == Canary::Never && got.iter().any(|answer| of(answer, "canary") && answer.status != 400) {
        return Err(format!("the canary was executed: {seen:?}"));
    }
    if got.iter().filter(|answer| of(answer, "hot")).count() != hot
        || got.iter().take(hot).any(|answer| answer.status != 200)
    {
        return Err(format!("the request before it was not answered: {seen:?}"));
    }
    let got = &got[hot..];
    let fits = match expect {
        Expect::Refused => is_refused(got),
        Expect::Framed(wanted) => is_framed(got, wanted),
        Expect::Either(wanted) => is_refused(got) || is_framed(got, wanted),
        Expect::Last(wanted) if edge == Heads::Kept => statuses(got) == wanted,
        // actix-http reads on behind it, and what it finds there is turned away: see `Heads`.
        Expect::Last(wanted) | Expect::LastThere(wanted) => {
            let more = seen[hot..].strip_prefix(wanted);
            more.is_some_and(|more| canary == Canary::Next || more.iter().all(|status| *status == 400))
        }
        Expect::Endless(most) => got.is_empty() || is_refused(got) || statuses(got) == most,
    };
    if fits { Ok(()) } else { Err(format!("{expect:?}, and got {seen:?}")) }
}

/// How a request is refused: it is broken, its body stopped coming (on a machine that is slow to say that it ended), or its
/// head is longer than the longest that is read. Nothing else is right, and no 5xx is.
const REFUSALS: [u16; 3] = [400, 408, 431];

/// One refusal and the end of the connection.
fn is_refused(got: &[Answer]) -> bool {
    matches!(got, [only] if REFUSALS.contains(&only.status) && only.header("x-request-id") != Some("marker"))
}

/// These answers and the marker's; fewer if the last one says that it is the last.
fn is_framed(got: &[Answer], wanted: &[u16]) -> bool {
    let whole: Vec<u16> = wanted.iter().copied().chain([200]).collect();
    let is_whole =
        statuses(got) == whole && got.last().is_some_and(|last| last.header("x-request-id") == Some("marker"));
    is_whole || !got.is_empty() && whole.starts_with(&statuses(got)) && got.last().is_some_and(is_last)
}

/// All four ways to send a case to one node, each with an event of its own.
fn places() -> Vec<Place> {
    let befores = [Before::Nothing, Before::HotRead];
    befores.into_iter().flat_map(|before| [WHOLE, BYTEWISE].map(|piece| Place { before, piece })).collect()
}

#[test]
fn no_request_hides_in_another() {
    assert!(cases().count() >= 150, "{}", cases().count());
    for lane in LANES {
        let server = Server::start_with(&[&["http.body_timeout=2s"], lane].concat());
        let to = server.listen();
        std::thread::scope(|scope| {
            for (nth, place) in places().into_iter().enumerate() {
                let mut aviary = Aviary::new(&server, format!("aviary-{nth}"));
                scope.spawn(move || {
                    for case in cases() {
                        aviary.straight(Stream::to_port(to), case, place, heads(lane));
                    }
                    aviary.settle();
                });
            }
        });
    }
}

#[test]
fn no_request_hides_in_another_behind_a_proxy() {
    for lane in LANES {
        for bodies in [Bodies::Gathered, Bodies::Streamed] {
            let server = Server::start_with(&[&["http.body_timeout=1s"], lane].concat());
            let proxy = Proxy::before(server.listen(), bodies);
            let mut aviary = Aviary::new(&server, "aviary".to_owned());
            for case in cases() {
                aviary.proxied(&proxy, case);
            }
            aviary.settle_proxied(&proxy);
        }
    }
}
