//! A thousand connections that hardly move: heads and bodies a byte a tick, answers read a byte a tick. Whoever is honest
//! goes on as before, and who is slow is ended by the deadlines of the configuration, on later requests as on the first.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::{Heads, LANES, heads};
use crate::client::{Client, small_event, token};
use crate::process::{PATIENCE, until};
use crate::server::Server;

const SLOW: usize = 1000;
/// Of each kind that is slow to read: more would only fill the kernel's memory.
const READERS: usize = 4;
/// Answers that a reader asks for: with a hall of so many seats, more bytes than the kernel takes off the server's hands.
const ANSWERS: usize = 1200;
/// Time between two bytes.
const TICK: Duration = Duration::from_millis(500);
/// How long honest buyers are watched at a time.
const WATCHED: Duration = Duration::from_secs(2);
/// How often at most.
const ATTEMPTS: usize = 3;
/// What honest requests of a debug build may take on two busy cores whoever else is there: less is not told from noise.
const NOISE: Duration = Duration::from_millis(10);

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
    /// The same of answers of actix-web on a connection that is lent for each.
    ColdReading,
    /// The same on a connection that was given away.
    GivenReading,
}

/// Without the lane the head of a later request has no deadline, as actix-http has one for the first only, and a client that
/// reads at all is waited for.
fn kinds(lane: &[&str]) -> &'static [Kind] {
    use Kind::{
        ColdBody, ColdReading, GivenReading, Head, HeadAfterCold, HeadAfterHot, HotBody, HotBodyAfterHot, Reading,
    };
    match heads(lane) {
        Heads::Kept => {
            &[Head, HeadAfterHot, HeadAfterCold, HotBody, HotBodyAfterHot, ColdBody, Reading, ColdReading, GivenReading]
        }
        Heads::Forgotten => &[Head, HotBody, HotBodyAfterHot, ColdBody, Reading],
    }
}

impl Kind {
    fn reads(self) -> bool {
        matches!(self, Self::Reading | Self::ColdReading | Self::GivenReading)
    }

    /// What is sent at once, before it gets slow.
    fn opening(self, customer: &str, organizer: &str) -> String {
        const HOT: &str = "GET /v1/events/hall/availability HTTP/1.1\r\nHost: x\r\n\r\n";
        const COLD: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        const HEAD: &str = "GET /v1/events/hall HTTP/1.1\r\nHost: x\r\nX-Slow: ";
        let seats = |headers: &str, body: &str| {
            format!("GET /v1/events/hall/blocks/S/seats HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}").repeat(ANSWERS)
        };
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
            Self::Reading => seats("", ""),
            Self::ColdReading => seats("Origin: https://x\r\n", ""),
            Self::GivenReading => seats("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
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
        if kind.reads() {
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 2048).expect("a small buffer");
        }
        stream.write_all(opening.as_bytes()).expect("the first bytes fit");
        stream.set_nonblocking(true).expect("it does not wait");
        Self { kind, stream, heard: Vec::new() }
    }

    /// One byte more.
    fn tick(&mut self) -> Life {
        // What came before a reset can still be read, for hours at this pace.
        if self.stream.take_error().expect("its state").is_some() {
            return Life::Ended;
        }
        let mut space = [0; 4096];
        let most = if self.kind.reads() { 1 } else { space.len() };
        match self.stream.read(&mut space[..most]) {
            Ok(0) => return Life::Ended,
            Ok(read) => self.heard.extend_from_slice(&space[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Life::Ended,
        }
        if self.kind.reads() {
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
    slow: Vec<Slow>,
    timed_out: Vec<Kind>,
}

impl Crowd {
    fn open(to: SocketAddr, kinds: &[Kind], organizer: &str) -> Self {
        let customer = token("sloth");
        let openings: Vec<(Kind, String)> =
            kinds.iter().map(|kind| (*kind, kind.opening(&customer, organizer))).collect();
        let (readers, others): (Vec<_>, Vec<_>) = openings.iter().partition(|(kind, _)| kind.reads());
        let everybody = readers.iter().cycle().take(READERS * readers.len()).chain(others.iter().cycle());
        let slow = everybody.take(SLOW).map(|(kind, opening)| Slow::open(to, *kind, opening));
        Self { slow: slow.collect(), timed_out: Vec::new() }
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

    /// Until honest buyers have been watched: a thousand slow ones all the time.
    fn keep_up(&mut self, watched: &AtomicBool) {
        let start = Instant::now();
        while !watched.load(Ordering::Acquire) && start.elapsed() < PATIENCE {
            let began = Instant::now();
            self.tick();
            std::thread::sleep(TICK.saturating_sub(began.elapsed()));
        }
    }

    /// Goes on being slow until the server has ended everybody whom it ends.
    fn see_end(&mut self, ends_readers: bool) {
        let mut last = Instant::now();
        until("every slow client is ended", || {
            if last.elapsed() >= TICK {
                last = Instant::now();
                self.tick();
            }
            self.slow.iter().all(|one| one.kind.reads() && !ends_readers)
        });
    }
}

/// Lets this process and the nodes that it starts from now on have as many open files as they may.
fn allow_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("what is allowed");
}

/// The sockets that it has open, a few of its own among them.
fn sockets(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its open files");
    let targets = files.flatten().flat_map(|file| std::fs::read_link(file.path()));
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
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
        allow_open_files();
        // Longer than honest buyers are watched, and short enough to see all ends.
        let settings =
            ["head_timeout", "body_timeout", "answer_timeout", "keep_alive"].map(|key| format!("http.{key}=15s"));
        let settings = settings.each_ref().map(String::as_str);
        let mut hall = small_event("hall");
        hall["rules"]["max_per_customer"] = json!(null);
        hall["blocks"][2]["capacity"] = json!(100_000);
        hall["blocks"][0] = json!({"id": "S", "kind": "seated", "price": 1, "rows": 200, "seats_per_row": 100});
        let start = || {
            let server = Server::start_with(&[lane, &settings].concat());
            server.organizer().post("/v1/events", &hall).expect(201);
            server
        };
        // The same without slow clients, watched at the same time: whatever else this machine does hinders both.
        let (server, calm) = (start(), start());
        let kinds = kinds(lane);
        let mut crowd = Crowd::open(server.listen(), kinds, server.organizer_key());
        until("all of them are let in", || sockets(&server) >= SLOW);
        let has_lane = heads(lane) == Heads::Kept;
        let attempts = if has_lane { ATTEMPTS } else { 1 };
        let watched = AtomicBool::new(false);
        let is_good = std::thread::scope(|scope| {
            let crowd = scope.spawn(|| crowd.keep_up(&watched));
            let is_good = (0..attempts).any(|_| {
                let alone = scope.spawn(|| honest(&calm));
                let (among, alone) = (honest(&server), alone.join().expect("all answered"));
                eprintln!("{lane:?}: honest p99 {alone:?} alone, {among:?} among {SLOW} slow ones");
                among <= 2 * alone.max(NOISE)
            });
            watched.store(true, Ordering::Release);
            crowd.join().expect("the crowd");
            is_good
        });
        assert_eq!(crowd.slow.len(), SLOW, "some were ended before their time");
        assert!(is_good || !has_lane, "slow clients make honest ones slow, {ATTEMPTS} times");
        crowd.see_end(has_lane);
        for kind in kinds.iter().filter(|kind| !kind.reads()) {
            assert!(crowd.timed_out.contains(kind), "{lane:?}: {kind:?} was never answered 408");
        }
        let held = server.organizer().get("/v1/events/hall/audit").expect(200);
        assert_eq!(held["violations"], json!([]));
    }
}
