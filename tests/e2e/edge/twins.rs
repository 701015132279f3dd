//! Two equal nodes, one with the fast lane and one without, are asked the same and owe the same answers byte for byte,
//! except for dates, ids, and times of their own; and both count the same in `/metrics`.
//!
//! The node with the lane gets the bytes of a whole round at once, cut at random borders; the other one request by
//! request, because what actix-http makes of several at once is no measure (see [`super::Heads`]). [`requests`] makes
//! them up, [`plain`] takes out of the answers what may differ.
//!
//!     SEED=0x… cargo test --test e2e twins        the same requests again

mod chance;
mod plain;
mod requests;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::LANES;
use super::answers::{Answers, To, Whole, is_last};
use super::stream::Stream;
use crate::client::{small_event, token, token_with};
use crate::process::until;
use crate::server::Server;
use chance::Chance;
use plain::Ids;
use requests::{Known, Request, Round, Tokens};

/// Rounds of a run: about 1,300 requests.
const ROUNDS: usize = 300;
const ROUND_MAX: usize = 16;
/// Rounds with a limit that is soon used up.
const LIMITED_ROUNDS: usize = 60;

/// What is counted about requests. Times are the nodes' own, and so is how often something was drawn or found in a cache.
const COUNTED: &[&str] = &[
    "stampede_http_request_duration_seconds_count{",
    "stampede_auth_failures_total{",
    "stampede_rate_limited_total{",
    "stampede_admission_refused_total{",
    "stampede_holds_total{",
];

/// Counts by name and labels.
type Counts = BTreeMap<String, u64>;

/// One of the two.
struct Twin {
    server: Server,
    ids: Ids,
}

/// Both, and what is known of them.
struct Twins {
    laned: Twin,
    plain: Twin,
    tokens: Tokens,
    tags: Vec<String>,
}

fn event(id: &str) -> Value {
    let mut event = small_event(id);
    event["rules"] = json!({"hold_ttl_s": 3600, "max_per_hold": 6, "max_per_customer": 60, "no_orphans": true});
    event["blocks"][0]["rows"] = json!(20);
    event["blocks"][0]["seats_per_row"] = json!(30);
    event
}

/// What both know from the start.
fn furnish(server: &Server) {
    let organizer = server.organizer();
    let mut soon = event("soon");
    soon["on_sale_at"] = json!("2999-01-01T00:00:00Z");
    for event in [event("calm"), event("busy"), soon] {
        organizer.post("/v1/events", &event).expect(201);
    }
    let house = json!({"seats": ["1-1", "1-2", "7-7"]});
    organizer.post("/v1/events/calm/blocks/A/block-seats", &house).expect(200);
}

impl Twin {
    fn new(server: Server) -> Self {
        Self { server, ids: Ids::default() }
    }

    /// All at once, in pieces.
    fn ask_together(&self, requests: &[Request], chance: &mut Chance) -> Result<Vec<Whole>, String> {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.bytes(|text| self.ids.fill(text))).collect();
        let mut answers = Answers::of(Stream::to_port(self.server.listen()));
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            let most = if chance.hit(50) { left.len() } else { 1 + chance.below(700) };
            let (piece, rest) = left.split_at(most.min(left.len()));
            answers.stream().send(piece, piece.len());
            left = rest;
        }
        let mut got = Vec::new();
        for request in requests {
            match answers.whole(to(request))? {
                Some(answer) => got.push(answer),
                None => break,
            }
        }
        answers.finish();
        Ok(got)
    }

    /// One after the other, on another connection where this one ends: actix-web ends it when it has not read a body.
    fn ask_in_turn(&self, requests: &[Request]) -> Result<Vec<Whole>, String> {
        let mut answers = Answers::of(Stream::to_port(self.server.listen()));
        let mut got = Vec::new();
        for request in requests {
            answers.stream().send(&request.bytes(|text| self.ids.fill(text)), usize::MAX);
            let Some(answer) = answers.whole(to(request))? else { break };
            let closes = is_last(&answer.answer);
            got.push(answer);
            if closes {
                answers = Answers::of(Stream::to_port(self.server.listen()));
            }
        }
        Ok(got)
    }

    /// What it has counted so far.
    fn counts(&self) -> Counts {
        let metrics = self.server.client().get("/metrics").text();
        let compared = metrics.lines().filter(|line| COUNTED.iter().any(|name| line.starts_with(name)));
        let counted = compared.map(|line| line.rsplit_once(' ').expect("a name and a value"));
        counted.map(|(name, value)| (name.to_owned(), value.parse().expect("a count"))).collect()
    }

    fn availability(&self) -> Value {
        let mut availability = self.server.client().get("/v1/events/busy/availability").expect(200);
        availability["version"] = Value::Null;
        availability
    }
}

fn to(request: &Request) -> To {
    if request.method == "HEAD" { To::Head } else { To::Other }
}

impl Twins {
    fn start(limits: &[&str]) -> Self {
        let common = [
            "http.cors_origins=[\"https://shop.example\"]",
            "payments.simulated.latency_p50=1ms",
            "payments.simulated.latency_p99=2ms",
        ];
        let mut first = Server::start_with(&[LANES[0], limits, &common].concat());
        let mut second = first.prepare_beside(&[LANES[1], limits, &common].concat());
        furnish(&first);
        assert_eq!(first.stop(), Some(0));
        let copied = Command::new("cp").arg("-r").args([first.data(), second.data()]).status().expect("cp runs");
        assert!(copied.success(), "the second node begins with a copy of the first one's data");
        first.restart();
        second.restart();
        let tokens = Tokens {
            customers: (0..3).map(|nth| token(&format!("twin-{nth}"))).collect(),
            expired: token_with(&json!({"sub": "twin-0", "iat": 1_000_000, "exp": 1_000_060})),
            organizer: first.organizer_key().to_owned(),
        };
        Self { laned: Twin::new(first), plain: Twin::new(second), tokens, tags: Vec::new() }
    }

    /// Asks both and compares.
    fn round(&mut self, chance: &mut Chance, round: Round) -> Result<Vec<u16>, String> {
        let known = Known {
            tokens: &self.tokens,
            holds: self.plain.ids.count("hld"),
            orders: self.plain.ids.count("ord"),
            tags: &self.tags,
        };
        let mut requests = Vec::new();
        let count = 1 + chance.below(ROUND_MAX);
        while requests.len() < count {
            let request = Request::random(chance, round, &known);
            let is_end = request.is_end();
            requests.push(request);
            if is_end {
                break;
            }
        }
        let before = self.counts();
        let laned = self.laned.ask_together(&requests, chance)?;
        // Where the slow way has not read a body, the lane ends the connection as well, and nothing behind it is done.
        if laned.last().is_some_and(|last| is_last(&last.answer)) {
            requests.truncate(laned.len());
        }
        let plain = self.plain.ask_in_turn(&requests)?;
        for (nth, request) in requests.iter().enumerate() {
            let (Some(one), Some(other)) = (laned.get(nth), plain.get(nth)) else {
                if laned.len() == plain.len() {
                    break;
                }
                let (one, other) = (statuses(&laned), statuses(&plain));
                return Err(format!("{one:?} with the lane and {other:?} without, to {requests:#?}"));
            };
            let (one, mut other) = (self.laned.ids.plain(one), self.plain.ids.plain(other));
            // A connection whose body it did not read actix-web ends; the lane reads the bodies of what it answers itself.
            if request.body.is_some() && !one.is_last() {
                other = other.not_last();
            }
            if one != other {
                return Err(format!("to {request:#?}\nwith the lane {one:#?}\nwithout {other:#?}"));
            }
        }
        let after = self.counts();
        let [one, other] = [0, 1].map(|twin| added(&before[twin], &after[twin]));
        if one != other {
            return Err(format!("with the lane counted {one:#?}\nwithout {other:#?}\nof {requests:#?}"));
        }
        self.note_tags(&requests, &plain);
        Ok(statuses(&plain))
    }

    /// What both have counted so far, the one with the lane first.
    fn counts(&self) -> [Counts; 2] {
        [&self.laned, &self.plain].map(Twin::counts)
    }

    fn note_tags(&mut self, requests: &[Request], answers: &[Whole]) {
        for (request, Whole { answer, .. }) in requests.iter().zip(answers) {
            let is_calm = request.target.starts_with("/v1/events/calm");
            if let Some(tag) =
                answer.header("etag").filter(|tag| is_calm && !self.tags.iter().any(|known| known == tag))
            {
                self.tags.push(tag.to_owned());
            }
        }
    }

    /// Waits until payments are settled and boards are drawn, on both.
    fn settle(&self) {
        for twin in [&self.laned, &self.plain] {
            let organizer = twin.server.organizer();
            for nth in 0..twin.ids.count("ord") {
                let path = format!("/v1/orders/{}", twin.ids.fill(&format!("{{order:{nth}}}")));
                until("the order is settled", || {
                    let order = organizer.get(&path).expect(200);
                    !["placed", "paying"].contains(&order["state"].as_str().expect("a state"))
                });
            }
        }
        until("both boards agree", || self.laned.availability() == self.plain.availability());
    }
}

/// What was counted in between.
fn added(before: &Counts, after: &Counts) -> Counts {
    let since = |(name, count): (&String, &u64)| (name.clone(), count - before.get(name).unwrap_or(&0));
    after.iter().map(since).filter(|(_, added)| *added > 0).collect()
}

fn statuses(answers: &[Whole]) -> Vec<u16> {
    answers.iter().map(|whole| whole.answer.status).collect()
}

fn seed() -> u64 {
    let given = std::env::var("SEED").ok();
    let parsed = given.map(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("SEED is hexadecimal"));
    parsed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64)
}

/// So many rounds of two nodes with these limits; the statuses that must be among the answers.
fn compare(limits: &[&str], rounds: usize, expected: &[u16]) {
    let seed = seed();
    let mut chance = Chance::new(seed);
    let mut twins = Twins::start(limits);
    let mut statuses = Vec::new();
    for nth in 0..rounds {
        let round = if nth % 3 == 2 { Round::Reads } else { Round::Changes };
        // What an order of the round before is shown as depends on how far its payment is.
        twins.settle();
        match twins.round(&mut chance, round) {
            Ok(of_round) => statuses.extend(of_round),
            Err(why) => panic!("round {nth}, {round:?}: {why}\nreplay: SEED={seed:#x} cargo test --test e2e twins"),
        }
    }
    twins.settle();
    let [one, other] = [&mut twins.laned, &mut twins.plain].map(|twin| {
        let ledger = twin.server.organizer().get("/v1/events/busy/ledger");
        (ledger.status, twin.ids.body(&ledger))
    });
    assert_eq!(one, other, "the same was held and sold; SEED={seed:#x}");
    eprintln!("SEED={seed:#x}: {} requests compared", statuses.len());
    for status in expected {
        assert!(statuses.contains(status), "never {status} in {} answers; SEED={seed:#x}", statuses.len());
    }
}

// A place of a limit comes back in an hour, so what is told to be left of it does not depend on time.

#[test]
fn a_node_with_the_lane_answers_as_one_without() {
    let ample = ["limits.customer=1/h", "limits.customer_burst=50000"];
    compare(&ample, ROUNDS, &[200, 201, 202, 304, 400, 401, 404, 406, 409, 415, 422]);
}

#[test]
fn a_customer_who_asks_too_often_is_told_so_by_both() {
    compare(&["limits.customer=1/h", "limits.customer_burst=12"], LIMITED_ROUNDS, &[201, 429]);
}

#[test]
fn an_address_that_asks_too_often_is_told_so_by_both() {
    let limits = ["limits.address=1/h", "limits.address_burst=20"];
    compare(&limits, LIMITED_ROUNDS, &[201, 429]);
}
