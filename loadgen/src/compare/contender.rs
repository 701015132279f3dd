//! The servers that are compared: how each is started, what it is asked, and whether it is on this machine at all.
//!
//! - `floor`: `loadgen floor` with a copy of Stampede's own answer to availability;
//! - `stampede`: with and without its fast lane, if it has one;
//! - `nginx`: the body of the same answer, from memory, one worker, no log;
//! - `redis`: a script a hold (SET seat NX EX, INCR counter, LPUSH log), `appendonly yes`, `appendfsync always`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{Core, Folder, Server, find, free_port, run};
use super::{Row, Task, Turn};
use crate::client::Client;
use crate::failure::Failure;
use crate::http::{Target, response};
use crate::journal::{self, Line};

/// How long a server may take until it answers.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Secret of customers' tokens.
const SECRET: &str = "compare-compare-compare-compare-compare";
/// The event whose availability is asked for: six blocks of 2,500 seats.
const SHAPE: [&str; 8] = ["--events", "1", "--blocks", "6", "--rows", "25", "--seats-per-row", "100"];
/// A hold in Redis.
const SCRIPT: &str = "if redis.call('SET',KEYS[1],ARGV[1],'NX','EX',420) then redis.call('INCR',KEYS[2]) \
                      redis.call('LPUSH',KEYS[3],KEYS[1]) return 1 end return 0";
/// Holds that say how fast Redis is, so that its turn can be as long as the others'.
const REDIS_TRIAL: u32 = 20_000;

/// Whether Stampede's fast lane is said, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    On,
    Off,
    /// This Stampede knows no such setting.
    Unknown,
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    Floor,
    Stampede(Lane),
    Nginx,
    Redis,
}

impl Contender {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Stampede(Lane::On) => "stampede lane on",
            Self::Stampede(Lane::Off) => "stampede lane off",
            Self::Stampede(Lane::Unknown) => "stampede",
            Self::Nginx => "nginx",
            Self::Redis => "redis",
        }
    }

    /// Whether it can do what a row asks.
    pub(super) fn takes(self, task: Task) -> bool {
        match self {
            Self::Floor => matches!(task, Task::Availability | Task::Rush),
            Self::Stampede(_) => true,
            Self::Nginx => task == Task::Availability,
            Self::Redis => task == Task::Holds,
        }
    }
}

/// Everything that is on this machine.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) contenders: Vec<Contender>,
    pub(super) left_out: Vec<String>,
    stampede: PathBuf,
    loadgen: PathBuf,
    folder: &'a Folder,
    seconds: u32,
    /// Availability as Stampede answers it, head and body, and the event that it is about.
    answer: (Vec<u8>, String),
}

/// A Stampede that answers.
struct Running {
    server: Server,
    url: String,
    key: String,
}

impl<'a> Field<'a> {
    /// Looks who is there, and takes a copy of the answer that all shall give.
    pub(super) fn look_around(stampede: PathBuf, folder: &'a Folder, seconds: u32) -> Result<Self, Failure> {
        let loadgen = std::env::current_exe().map_err(Failure::system("own program"))?;
        let mut field = Self {
            contenders: vec![Contender::Floor],
            left_out: Vec::new(),
            stampede,
            loadgen,
            folder,
            seconds,
            answer: (Vec::new(), String::new()),
        };
        field.answer = field.copy_availability()?;
        let mut check = Command::new(&field.stampede);
        check.args(["check-config", "--set", "http.fast_lane=true", "--set", &format!("auth.hs256_secret={SECRET}")]);
        let refused = run(&mut check, Core::Any).err().map(|failure| failure.to_string());
        if refused.is_some_and(|why| why.contains("fast_lane")) {
            field.left_out.push("stampede's fast lane: this program has none".to_owned());
            field.contenders.push(Contender::Stampede(Lane::Unknown));
        } else {
            field.contenders.extend([Lane::On, Lane::Off].map(Contender::Stampede));
        }
        for (contender, programs) in
            [(Contender::Nginx, &["nginx"][..]), (Contender::Redis, &["redis-server", "redis-benchmark"])]
        {
            match programs.iter().find(|program| find(program).is_none()) {
                None => field.contenders.push(contender),
                Some(program) => field.left_out.push(format!("{}: no {program} on this machine", contender.name())),
            }
        }
        Ok(field)
    }

    /// One turn of a contender in a row.
    pub(super) fn turn(&self, contender: &Contender, row: &Row) -> Result<Turn, Failure> {
        let (server_core, _) = cores(row.task);
        match contender {
            Contender::Stampede(lane) => {
                let running = self.start_stampede(*lane, server_core)?;
                let turn = self.load(&running.server, &running.url, &running.key, row, &[]);
                drop(running);
                self.forget("stampede")?;
                turn
            }
            Contender::Floor => {
                let path = self.folder.at("answer");
                std::fs::write(&path, &self.answer.0).map_err(Failure::file(&path))?;
                let mut command = Command::new(&self.loadgen);
                command.arg("floor");
                if row.task == Task::Availability {
                    command.arg("--answer").arg(&path);
                }
                let (server, url) = Server::start_and_hear(&mut command, server_core)?;
                let event = if row.task == Task::Availability { self.answer.1.as_str() } else { "floor" };
                self.load(&server, &url, "none", row, &["--event", event])
            }
            Contender::Nginx => self.nginx(server_core, row),
            Contender::Redis => self.redis(row),
        }
    }

    fn copy_availability(&self) -> Result<(Vec<u8>, String), Failure> {
        let running = self.start_stampede(Lane::Unknown, Core::Any)?;
        let journal = self.folder.at("copied.ndjson");
        let mut command = self.onsale(&running.url, &running.key);
        command.args(["--mix", "availability=1", "--duration", "100ms", "--connections", "1"]).args(SHAPE);
        run(command.arg("--journal").arg(&journal), Core::Any)?;
        let event = journal::read(&journal)?.into_iter().find_map(|line| match line {
            Line::Run { events, .. } => events.first().map(|event| event.id.clone()),
            Line::Hold(_)
            | Line::Order(_)
            | Line::State { .. }
            | Line::ReleaseAsked { .. }
            | Line::Released { .. }
            | Line::Unresolved { .. }
            | Line::End { .. } => None,
        });
        let event = event.unwrap_or_default();
        let mut client = Client::new(vec![Target::parse(&running.url)?], UP_WITHIN);
        let answer = client.copy(&format!("/v1/events/{event}/availability"))?;
        drop(running);
        self.forget("stampede")?;
        Ok((answer, event))
    }

    fn start_stampede(&self, lane: Lane, core: Core) -> Result<Running, Failure> {
        let keys = run(Command::new(&self.stampede).args(["key", "new"]), Core::Any)?.stdout;
        let keys = String::from_utf8_lossy(&keys).into_owned();
        let said = |name: &str| keys.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let (key, digest, port) = (said("key="), said("digest="), free_port()?);
        let mut command = Command::new(&self.stampede);
        command.arg("serve");
        for set in [
            format!("http.listen=127.0.0.1:{port}"),
            format!("data.dir={}", self.folder.at("stampede").display()),
            format!("auth.hs256_secret={SECRET}"),
            format!("auth.organizer_keys=[\"{digest}\"]"),
            "limits.customer=".to_owned(),
            "telemetry.level=warn".to_owned(),
        ] {
            command.args(["--set", &set]);
        }
        match lane {
            Lane::On => command.args(["--set", "http.fast_lane=true"]),
            Lane::Off => command.args(["--set", "http.fast_lane=false"]),
            Lane::Unknown => &mut command,
        };
        let server = Server::start(&mut command, core)?;
        let url = format!("http://127.0.0.1:{port}");
        Client::new(vec![Target::parse(&url)?], UP_WITHIN).ask("GET", "/readyz", None, b"")?;
        Ok(Running { server, url, key })
    }

    fn forget(&self, name: &str) -> Result<(), Failure> {
        let path = self.folder.at(name);
        std::fs::remove_dir_all(&path).map_err(Failure::file(&path))
    }

    fn onsale(&self, url: &str, key: &str) -> Command {
        let mut command = Command::new(&self.loadgen);
        command.args(["onsale", "--quiet", "--url", url, "--organizer-key", key, "--auth-secret", SECRET]);
        command
    }

    /// Loads a server as the row says and puts the CPU time it took in relation to the answers.
    fn load(&self, server: &Server, url: &str, key: &str, row: &Row, show: &[&str]) -> Result<Turn, Failure> {
        let (json, journal) = (self.folder.at("report.json"), self.folder.at("acknowledged.ndjson"));
        let mut command = self.onsale(url, key);
        let (connections, pipeline) = (row.connections.to_string(), row.pipeline.to_string());
        command.args(["--closed", "--connections", &connections, "--pipeline", &pipeline, "--max-errors", "0"]);
        command.args(["--duration", &format!("{}s", self.seconds)]).arg("--json").arg(&json).args(show);
        match row.task {
            Task::Availability => command.args(["--mix", "availability=1"]),
            Task::Holds => command.args(["--mix", "hold=1", "--replays", "0"]),
            Task::Rush => command.args(["--mix", "rush"]),
        };
        if show.is_empty() {
            match row.task {
                Task::Availability => command.args(SHAPE),
                Task::Holds => &mut command,
                Task::Rush => command.arg("--journal").arg(&journal),
            };
        }
        let before = server.cpu()?;
        run(&mut command, cores(row.task).1)?;
        let spent = server.cpu()?.saturating_sub(before);
        if show.is_empty() && row.task == Task::Rush {
            // a command of its own, because it asks for CPU that the load did not take
            let mut audit = Command::new(&self.loadgen);
            audit.args(["audit", "--url", url, "--organizer-key", key, "--auth-secret", SECRET, "--journal"]);
            run(audit.arg(&journal), Core::Any)?;
        }
        let text = std::fs::read(&json).map_err(Failure::file(&json))?;
        let report: Value = crate::client::read_json("report.json", &text)?;
        let answered = report["answered"].as_f64().unwrap_or_default().max(1.0);
        Ok(Turn {
            rate: report["rate"].as_f64().unwrap_or_default(),
            server_us: spent.as_secs_f64() * 1e6 / answered,
            generator_us: report["generator_cpu_us_per_request"].as_f64(),
        })
    }

    fn nginx(&self, core: Core, row: &Row) -> Result<Turn, Failure> {
        let (bytes, event) = &self.answer;
        let parsed = response::parse(bytes).ok().flatten();
        let body = parsed.map(|parsed| parsed.body_of(bytes).into_owned()).unwrap_or_default();
        let (folder, port) = (self.folder.at("nginx"), free_port()?);
        std::fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
        let (place, config) = (folder.display(), folder.join("nginx.conf"));
        let text = format!(
            "daemon off; master_process off; worker_processes 1; pid {place}/pid; error_log {place}/error.log crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; default_type application/json; keepalive_requests 1000000000;\n\
             client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;\n\
             uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{}'; }} }} }}\n",
            String::from_utf8_lossy(&body)
        );
        std::fs::write(&config, text).map_err(Failure::file(&config))?;
        let nginx = find("nginx").unwrap_or_else(|| "nginx".into());
        let mut command = Command::new(nginx);
        command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&config).arg("-p").arg(&folder);
        let server = Server::start(&mut command, core)?;
        let url = format!("http://127.0.0.1:{port}");
        Client::new(vec![Target::parse(&url)?], UP_WITHIN).ask("GET", "/", None, b"")?;
        let turn = self.load(&server, &url, "none", row, &["--event", event]);
        drop(server);
        self.forget("nginx")?;
        turn
    }

    fn redis(&self, row: &Row) -> Result<Turn, Failure> {
        let (folder, port) = (self.folder.at("redis"), free_port()?);
        std::fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]);
        let server = Server::start(command.arg("--dir").arg(&folder), Core::Server)?;
        let sha = load_script(port)?;
        let trial = redis_benchmark(port, &sha, row, REDIS_TRIAL)?;
        let holds = (trial * f64::from(self.seconds)).clamp(1_000.0, 1e8) as u32;
        let before = server.cpu()?;
        let rate = redis_benchmark(port, &sha, row, holds)?;
        let spent = server.cpu()?.saturating_sub(before);
        drop(server);
        self.forget("redis")?;
        Ok(Turn { rate, server_us: spent.as_secs_f64() * 1e6 / f64::from(holds), generator_us: None })
    }
}

/// Cores of server and generator: the mix is about both together, everything else about one core of the server.
fn cores(task: Task) -> (Core, Core) {
    match task {
        Task::Availability | Task::Holds => (Core::Server, Core::Generator),
        Task::Rush => (Core::Any, Core::Any),
    }
}

/// Holds a second.
fn redis_benchmark(port: u16, sha: &str, row: &Row, holds: u32) -> Result<f64, Failure> {
    let (connections, pipeline) = (row.connections.to_string(), row.pipeline.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port.to_string(), "-c", &connections, "-P", &pipeline, "-r", "1000000000"]);
    command.args(["-n", &holds.to_string(), "--csv"]);
    command.args(["evalsha", sha, "3", "seat:__rand_int__", "held", "log", "customer"]);
    let output = run(&mut command, Core::Generator)?.stdout;
    csv_rate(&String::from_utf8_lossy(&output)).ok_or_else(|| Failure::Unreadable {
        request: "redis-benchmark --csv".to_owned(),
        reason: String::from_utf8_lossy(&output).into_owned(),
    })
}

/// The second field of the last line.
fn csv_rate(csv: &str) -> Option<f64> {
    csv.trim().lines().last()?.split(',').rev().nth(6)?.trim_matches('"').parse().ok()
}

/// Waits until Redis answers and gives it the script; the answer is its name.
fn load_script(port: u16) -> Result<String, Failure> {
    let started = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) if started.elapsed() > UP_WITHIN => return Err(Failure::system("redis")(error)),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let ask = format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n{SCRIPT}\r\n", SCRIPT.len());
    let mut answer = [0; 47];
    let exchanged = stream.write_all(ask.as_bytes()).and_then(|()| stream.read_exact(&mut answer));
    exchanged.map_err(Failure::system("redis"))?;
    Ok(String::from_utf8_lossy(&answer[5..45]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_whatever_commas_the_command_has() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"evalsha a,b\",\"51234.5\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"\n";
        assert_eq!(csv_rate(csv), Some(51_234.5));
        assert_eq!(csv_rate("nothing"), None);
    }
}
