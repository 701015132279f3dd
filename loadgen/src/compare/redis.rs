//! Redis as a box office: a script a hold (SET seat NX EX, INCR counter, LPUSH log), `appendonly yes`, `appendfsync always`.
//!
//! A hold counts when the script gave the seat. In a closed loop `redis-benchmark` drives it. At a share of its most it is driven
//! from here, because that tool knows no open loop: arrivals like those of our own load, latency from the intended start.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::process::{Core, Folder, Server, free_port, run};
use super::{Row, SHARE, Tail, Task, Turn};
use crate::clock::{Clock, Nanos};
use crate::engine::arrivals::Arrivals;
use crate::engine::tally;
use crate::failure::Failure;
use crate::profile::Profile;
use crate::report::ACHIEVED_VALID;

/// How long it may take until it answers.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// How long the last answers of an open loop may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// The key that counts the holds given.
const GIVEN: &str = "held";
/// A hold: 1 when the seat was free, else 0.
const SCRIPT: &str = "if redis.call('SET',KEYS[1],ARGV[1],'NX','EX',420) then redis.call('INCR',KEYS[2]) \
                      redis.call('LPUSH',KEYS[3],KEYS[1]) return 1 end return 0";
/// Holds that say how fast it is, so that its turn can be as long as the others'.
const TRIAL: u32 = 20_000;
/// A hold counts as started in time when it was sent so soon after its moment.
const IN_TIME: Duration = Duration::from_millis(100);

/// A turn on these cores, driven from those: as many holds as it takes in the time; at a share of that, where the row asks
/// for it.
pub(super) fn turn(place: &Folder, row: &Row, seconds: u32, (core, driver): (Core, Core)) -> Result<Turn, Failure> {
    let (folder, port) = (place.at("redis"), free_port()?);
    std::fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]);
    let server = Server::start(command.arg("--dir").arg(&folder), core)?;
    let mut clerk = Clerk::connect(port)?;
    let sha = clerk.ask(&["SCRIPT", "LOAD", SCRIPT])?;
    let trial = benchmark(port, &sha, "trial", (row, driver), TRIAL)?;
    let holds = (trial * f64::from(seconds)).clamp(1_000.0, 1e8) as u32;
    let (before, given_before) = (server.process().cpu()?, clerk.given()?);
    let rate = benchmark(port, &sha, "seat", (row, driver), holds)?;
    let (spent, given) = (server.process().cpu()?.saturating_sub(before), clerk.given()? - given_before);
    // the last pipelines may bring a few more than was asked for
    let accepted = (given / f64::from(holds)).min(1.0);
    let mut turn = Turn {
        rate: rate * accepted,
        server_us: spent.as_secs_f64() * 1e6 / given,
        generator_us: None,
        cores: driver.left_to_the_server(),
        refused: Some(1.0 - accepted),
        tail: None,
    };
    if row.task == Task::Share {
        turn.rate *= SHARE;
        let time = Duration::from_secs(seconds.into());
        let (holds_ms, refused) = Paced::connect(port, row.connections, &sha)?.run(turn.rate, time)?;
        (turn.tail, turn.refused) = (Some(Tail { reads_ms: None, holds_ms }), Some(refused));
    }
    drop(server);
    std::fs::remove_dir_all(&folder).map_err(Failure::file(&folder))?;
    Ok(turn)
}

/// Holds a second, given or not, of places with such names. Two runs need two: the tool draws places from its clock and its
/// process id, which may well draw the same ones a second later.
fn benchmark(port: u16, sha: &str, named: &str, (row, driver): (&Row, Core), holds: u32) -> Result<f64, Failure> {
    let (connections, pipeline) = (row.connections.to_string(), row.pipeline.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port.to_string(), "-c", &connections, "-P", &pipeline, "-r", "1000000000"]);
    command.args(["-n", &holds.to_string(), "--csv"]);
    command.args(["evalsha", sha, "3", &format!("{named}:__rand_int__"), GIVEN, "log", "customer"]);
    let output = run(&mut command, driver)?.stdout;
    csv_rate(&String::from_utf8_lossy(&output)).ok_or_else(|| Failure::Unreadable {
        request: "redis-benchmark --csv".to_owned(),
        reason: String::from_utf8_lossy(&output).into_owned(),
    })
}

/// The second field of the last line.
fn csv_rate(csv: &str) -> Option<f64> {
    csv.trim().lines().last()?.split(',').rev().nth(6)?.trim_matches('"').parse().ok()
}

/// Appends a command.
fn write_command(out: &mut Vec<u8>, words: &[&str]) {
    // Writing to memory cannot fail.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n{word}\r\n", word.len());
    }
}

/// A connection for single questions.
struct Clerk(BufReader<TcpStream>);

impl Clerk {
    /// Waits until Redis answers.
    fn connect(port: u16) -> Result<Self, Failure> {
        let started = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => return Ok(Self(BufReader::new(stream))),
                Err(error) if started.elapsed() > UP_WITHIN => return Err(Failure::system("redis")(error)),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// The answer to a command that is answered with a string; empty when there is none.
    fn ask(&mut self, words: &[&str]) -> Result<String, Failure> {
        let mut command = Vec::new();
        write_command(&mut command, words);
        let mut exchange = || {
            self.0.get_mut().write_all(&command)?;
            let (mut length, mut text) = (String::new(), String::new());
            self.0.read_line(&mut length)?;
            match length.trim_end() {
                "$-1" => {}
                known if known.starts_with('$') => {
                    self.0.read_line(&mut text)?;
                }
                other => return Err(std::io::Error::other(other.to_owned())),
            }
            Ok(text.trim_end().to_owned())
        };
        exchange().map_err(Failure::system("redis"))
    }

    /// Holds given so far.
    fn given(&mut self) -> Result<f64, Failure> {
        Ok(self.ask(&["GET", GIVEN])?.parse().unwrap_or_default())
    }
}

/// Connections on which holds are sent when their moment has come.
struct Paced {
    sha: String,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    /// When the holds under way were meant to start.
    meant: VecDeque<Nanos>,
    out: Vec<u8>,
}

impl Paced {
    fn connect(port: u16, connections: u32, sha: &str) -> Result<Self, Failure> {
        let open = |_| {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(Connection { stream, meant: VecDeque::new(), out: Vec::new() })
        };
        let connections =
            (0..connections).map(open).collect::<std::io::Result<_>>().map_err(Failure::system("redis"))?;
        Ok(Self { sha: sha.to_owned(), connections })
    }

    /// The 99th percentile in milliseconds at a rate of Poisson arrivals, and the share of holds that were refused. Void, and
    /// so a failure, when the holds were not sent in time or not answered.
    fn run(mut self, rate: f64, time: Duration) -> Result<(f64, f64), Failure> {
        let mut chance = SmallRng::seed_from_u64(1);
        let mut arrivals = Arrivals::open(Profile::steady(rate)?, 1, &mut chance);
        let mut latency = tally::histogram()?;
        let (clock, end, mut sent, mut in_time) = (Clock::start(), Nanos(0) + time, 0_u64, 0_u64);
        let mut refused = 0;
        loop {
            let now = clock.now();
            arrivals.advance(now, end, &mut chance);
            while let Some(meant) = arrivals.take(now, end) {
                self.ask(sent, meant);
                sent += 1;
                in_time += u64::from(now.since(meant) <= IN_TIME);
            }
            let mut under_way = 0;
            for connection in &mut self.connections {
                let answers = connection.exchange().map_err(Failure::system("redis"))?;
                refused += answers.refused;
                for meant in connection.meant.drain(..answers.all) {
                    latency.saturating_record((clock.now().since(meant).as_micros() as u64).max(1));
                }
                under_way += connection.meant.len();
            }
            if now > end && under_way == 0 {
                break;
            }
            if now > end + ANSWERED_WITHIN {
                return Err(void(format!("{under_way} holds were not answered")));
            }
        }
        if (in_time as f64) < ACHIEVED_VALID * arrivals.meant() as f64 {
            return Err(void(format!("{in_time} of {} holds were sent in time", arrivals.meant())));
        }
        Ok((latency.value_at_quantile(0.99) as f64 / 1e3, refused as f64 / sent.max(1) as f64))
    }

    fn ask(&mut self, number: u64, meant: Nanos) {
        let place = number as usize % self.connections.len();
        let connection = &mut self.connections[place];
        let seat = format!("paced:{number}");
        write_command(&mut connection.out, &["evalsha", &self.sha, "3", &seat, GIVEN, "log", "customer"]);
        connection.meant.push_back(meant);
    }
}

/// How many answers came, and how many of them gave no seat.
#[derive(Default)]
struct Answers {
    all: usize,
    refused: usize,
}

impl Connection {
    /// Sends and receives what goes without waiting. Every answer is one line, `:1` or `:0`.
    fn exchange(&mut self) -> std::io::Result<Answers> {
        let waits = |error: std::io::Error| if error.kind() == ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        if !self.out.is_empty() {
            let count = self.stream.write(&self.out).or_else(waits)?;
            self.out.drain(..count);
        }
        if self.meant.is_empty() {
            return Ok(Answers::default());
        }
        let mut answers = [0; 4096];
        let count = self.stream.read(&mut answers).or_else(waits)?;
        if answers[..count].contains(&b'-') {
            return Err(std::io::Error::other(String::from_utf8_lossy(&answers[..count]).into_owned()));
        }
        let counted = |wanted| answers[..count].iter().filter(|byte| **byte == wanted).count();
        Ok(Answers { all: counted(b'\n'), refused: counted(b'0') })
    }
}

fn void(why: String) -> Failure {
    Failure::Unreadable { request: "redis at a share of its most".to_owned(), reason: format!("void: {why}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_rate_is_found_whatever_commas_the_command_has() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"evalsha a,b\",\"51234.5\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"\n";
        assert_eq!(csv_rate(csv), Some(51_234.5));
        assert_eq!(csv_rate("nothing"), None);
    }

    /// Answers every line that begins a hold, after a pause; gives no seat to the first of those that come together.
    fn slow_redis(pause: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                std::thread::sleep(pause);
                let holds = bytes[..count].iter().filter(|byte| **byte == b'*').count();
                let mut answers = b":1\r\n".repeat(holds);
                if let Some(first) = answers.get_mut(1) {
                    *first = b'0';
                }
                stream.write_all(&answers).unwrap();
            }
        });
        port
    }

    #[test]
    fn a_hold_is_timed_from_its_moment_to_its_answer() {
        let paced = Paced::connect(slow_redis(Duration::from_millis(5)), 1, "sha").unwrap();
        let (p99, refused) = paced.run(50.0, Duration::from_millis(400)).unwrap();
        assert!(p99 >= 5.0, "{p99}");
        assert!(refused > 0.0, "seats that were not given are counted");
    }
}
