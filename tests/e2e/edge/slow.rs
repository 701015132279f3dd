//! A thousand connections that hardly move: heads and bodies a byte a tick, answers that nobody reads. Whoever is honest
//! goes on as before, and who is slow is ended by the deadlines of the configuration, on later requests as on the first.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::LANES;
use crate::client::{Client, small_event, token};
use crate::process::{PATIENCE, until};
use crate::server::Server;

const SLOW: usize = 1000;
/// Time between two bytes.
const TICK: Duration = Duration::from_millis(500);
/// How long honest buyers are watched, before and during.
const WATCHED: Duration = Duration::from_secs(2);

/// What a slow client is slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Head,
    HeadAfterHot,
    HeadAfterCold,
    HotBody,
    HotBodyAfterHot,
    ColdBody,
    /// Takes a byte a tick of answers that fill every buffer.
    Reading,
}

/// Without the lane the head of a later request has no deadline: actix-http has one for the first only.
fn kinds(lane: &[&str]) -> &'static [Kind] {
    use Kind::{ColdBody, Head, HeadAfterCold, HeadAfterHot, HotBody, HotBodyAfterHot, Reading};
    match lane.contains(&"http.fast_lane=true") {
        true => &[Head, HeadAfterHot, HeadAfterCold, HotBody, HotBodyAfterHot, ColdBody, Reading],
        false => &[Head, HotBody, HotBodyAfterHot, ColdBody, Reading],
    }
}

impl Kind {
    /// What is sent at once, before it gets slow.
    fn opening(self, customer: &str, organizer: &str) -> String {
        const HOT: &str = "GET /v1/events/hall/availability HTTP/1.1\r\nHost: x\r\n\r\n";
        const COLD: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        const HEAD: &str = "GET /v1/events/hall HTTP/1.1\r\nHost: x\r\nX-Slow: ";
        let post = |path: &str, bearer: &str| {
            let fields = "Content-Type: application/json\r\nContent-Length: 5000\r\n";
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n{fields}\r\n{{")
        };
        match self {
            Self::Head => HEAD.to_owned(),
            Self::HeadAfterHot => format!("{HOT}{HEAD}"),
            Self::HeadAfterCold => format!("{COLD}{HEAD}"),
            Self::HotBody => post("/v1/events/hall/holds", customer),
            Self::HotBodyAfterHot => HOT.to_owned() + &post("/v1/events/hall/holds", customer),
            Self::ColdBody => post("/v1/events", organizer),
            Self::Reading => "GET /v1/events/hall/blocks/S/seats HTTP/1.1\r\nHost: x\r\n\r\n".repeat(60),
        }
    }
}

/// One slow client.
struct Slow {
    kind: Kind,
    stream: TcpStream,
    heard: Vec<u8>,
}

enum Life {
    Going,
    Ended,
}

impl Slow {
    fn open(to: SocketAddr, kind: Kind, opening: &str) -> Self {
        let mut stream = TcpStream::connect(to).expect("a connection");
        if kind == Kind::Reading {
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 2048).expect("a small buffer");
        }
        stream.write_all(opening.as_bytes()).expect("the first bytes fit");
        stream.set_nonblocking(true).expect("it does not wait");
        Self { kind, stream, heard: Vec::new() }
    }

    /// One byte more.
    fn tick(&mut self) -> Life {
        let mut space = [0; 4096];
        let most = if self.kind == Kind::Reading { 1 } else { space.len() };
        match self.stream.read(&mut space[..most]) {
            Ok(0) => return Life::Ended,
            Ok(read) => self.heard.extend_from_slice(&space[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Life::Ended,
        }
        if self.kind == Kind::Reading {
            return Life::Going;
        }
        if self.has_timed_out() {
            return Life::Ended;
        }
        match self.stream.write(b" ") {
            Ok(_) => Life::Going,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Life::Going,
            Err(_) => Life::Ended,
        }
    }

    fn has_timed_out(&self) -> bool {
        self.heard.windows(12).any(|twelve| twelve == b"HTTP/1.1 408")
    }
}

/// All of them.
struct Crowd {
    to: SocketAddr,
    slow: Vec<Slow>,
    openings: Vec<(Kind, String)>,
    timed_out: Vec<Kind>,
}

impl Crowd {
    fn open(to: SocketAddr, kinds: &[Kind], organizer: &str) -> Self {
        let customer = token("sloth");
        let openings: Vec<(Kind, String)> =
            kinds.iter().map(|kind| (*kind, kind.opening(&customer, organizer))).collect();
        let slow = (0..affordable()).map(|nth| {
            let (kind, opening) = &openings[nth % openings.len()];
            Slow::open(to, *kind, opening)
        });
        Self { to, slow: slow.collect(), openings, timed_out: Vec::new() }
    }

    /// A byte for each. Who was ended is gone.
    fn tick(&mut self) {
        let timed_out = &mut self.timed_out;
        self.slow.retain_mut(|one| match one.tick() {
            Life::Going => true,
            Life::Ended => {
                if one.has_timed_out() {
                    timed_out.push(one.kind);
                }
                false
            }
        });
    }

    /// As many as before, each kind in turn.
    fn refill(&mut self) {
        for nth in self.slow.len()..affordable() {
            let (kind, opening) = &self.openings[nth % self.openings.len()];
            self.slow.push(Slow::open(self.to, *kind, opening));
        }
    }

    /// Until honest buyers have been watched: a thousand slow ones all the time.
    fn keep_up(&mut self, watched: &AtomicBool) {
        let start = Instant::now();
        while !watched.load(Ordering::Acquire) && start.elapsed() < PATIENCE {
            let began = Instant::now();
            self.tick();
            self.refill();
            std::thread::sleep(TICK.saturating_sub(began.elapsed()));
        }
    }

    /// Goes on being slow until the server has ended everybody but the readers.
    fn see_end(&mut self) {
        let mut last = Instant::now();
        until("every slow client is ended", || {
            if last.elapsed() >= TICK {
                last = Instant::now();
                self.tick();
            }
            self.slow.iter().all(|one| one.kind == Kind::Reading)
        });
    }
}

/// As many as a quarter of the open files that this process may have: it and its server need one each.
fn affordable() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("open files");
    let soft = line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX);
    SLOW.min(soft / 4)
}

/// 99 of 100 honest requests take at most this long: reads and holds in turn, all of them answered well.
fn honest(server: &Server) -> Duration {
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let buyers: Vec<_> = (0..2).map(|nth| server.customer(&format!("honest-{nth}"))).collect();
        let threads: Vec<_> = buyers.into_iter().map(|buyer| scope.spawn(move || buy(&buyer))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("all answered")).collect()
    });
    took.sort();
    took[(took.len() - 1) * 99 / 100]
}

fn buy(buyer: &Client) -> Vec<Duration> {
    let began = Instant::now();
    let hold = json!({"block": "FLOOR", "quantity": 1});
    let mut took = Vec::new();
    while began.elapsed() < WATCHED {
        let asked = Instant::now();
        match took.len() % 2 {
            0 => assert_eq!(buyer.get("/v1/events/hall/availability").status, 200),
            _ => drop(buyer.post("/v1/events/hall/holds", &hold).expect(201)),
        }
        took.push(asked.elapsed());
    }
    took
}

#[test]
fn a_thousand_slow_clients_hinder_nobody_and_are_ended() {
    for lane in LANES {
        // Longer than a loaded machine keeps an honest request waiting, and short enough to see all ends.
        let settings = ["http.head_timeout=4s", "http.body_timeout=4s", "http.keep_alive=4s"];
        let server = Server::start_with(&[lane, &settings].concat());
        let mut hall = small_event("hall");
        hall["rules"]["max_per_customer"] = json!(null);
        hall["blocks"][2]["capacity"] = json!(100_000);
        hall["blocks"][0] = json!({"id": "S", "kind": "seated", "price": 1, "rows": 200, "seats_per_row": 100});
        server.organizer().post("/v1/events", &hall).expect(201);
        let before = honest(&server);
        let kinds = kinds(lane);
        let mut crowd = Crowd::open(server.listen(), kinds, server.organizer_key());
        let watched = AtomicBool::new(false);
        let during = std::thread::scope(|scope| {
            let crowd = scope.spawn(|| crowd.keep_up(&watched));
            let during = honest(&server);
            watched.store(true, Ordering::Release);
            crowd.join().expect("the crowd");
            during
        });
        crowd.see_end();
        eprintln!("{lane:?}: honest p99 {before:?} before, {during:?} with {} slow ones", affordable());
        for kind in kinds.iter().filter(|kind| **kind != Kind::Reading) {
            assert!(crowd.timed_out.contains(kind), "{lane:?}: {kind:?} was never answered 408");
        }
        let held = server.organizer().get("/v1/events/hall/audit").expect(200);
        assert_eq!(held["violations"], json!([]));
    }
}
