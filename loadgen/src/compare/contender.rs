//! The servers that are compared: how each is started, what it is asked, and whether it is on this machine at all.
//!
//! - `floor`: `loadgen floor` with a copy of Stampede's own answer to availability, or with its head and as many bytes of a
//!   body that does for holds and orders, too;
//! - `stampede`: with and without its fast lane, if it has one;
//! - `nginx`: the body of the same answer, from memory, one worker, no log;
//! - `redis`: see [`super::redis`];
//! - Stampede on one core and on two, with one small event and with a thousand large ones.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::{Core, Folder, Server, find, free_port, run};
use super::redis;
use super::{Row, SHARE, Tail, Task, Turn};
use crate::client::Client;
use crate::failure::Failure;
use crate::floor;
use crate::http::{Target, response};
use crate::journal::{self, Line};

/// How long a server may take until it answers.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Secret of customers' tokens.
const SECRET: &str = "compare-compare-compare-compare-compare";
/// The event whose availability is asked for: six blocks of 2,500 seats.
const SHAPE: [&str; 8] = ["--events", "1", "--blocks", "6", "--rows", "25", "--seats-per-row", "100"];
/// One small event, and many large ones.
const SMALL: [&str; 4] = ["--events", "1", "--seats", "1000"];
const LARGE: [&str; 4] = ["--events", "1000", "--seats", "60000"];

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
    /// Stampede on so many cores: one, or all there are.
    OneCore,
    AllCores,
    /// Stampede with one event of 1,000 seats on sale.
    OneEvent,
    /// Stampede with 1,000 events of 60,000 seats on sale.
    ManyEvents,
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
            Self::OneCore => "1 server core",
            Self::AllCores => "all cores",
            Self::OneEvent => "1 small event",
            Self::ManyEvents => "1,000 large events",
        }
    }

    /// Whether it can do what a row asks.
    pub(super) fn takes(self, task: Task) -> bool {
        match self {
            Self::Floor => matches!(task, Task::Availability | Task::Rush),
            Self::Stampede(Lane::Off) => !matches!(task, Task::Cores | Task::Events | Task::Share),
            Self::Stampede(Lane::On | Lane::Unknown) => !matches!(task, Task::Cores | Task::Events),
            Self::Nginx => task == Task::Availability,
            Self::Redis => matches!(task, Task::Holds | Task::Share),
            Self::OneCore | Self::AllCores => task == Task::Cores,
            Self::OneEvent | Self::ManyEvents => task == Task::Events,
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
        let (here, missing) = others(|program| find(program).is_some());
        field.contenders.extend(here);
        field.left_out.extend(missing);
        let own = [Contender::OneCore, Contender::AllCores, Contender::OneEvent, Contender::ManyEvents];
        field.contenders.extend(own);
        Ok(field)
    }

    /// One turn of a contender in a row.
    pub(super) fn turn(&self, contender: &Contender, row: &Row) -> Result<Turn, Failure> {
        let (server, generator) = cores(row.task);
        match contender {
            Contender::Stampede(lane) => self.stampede(*lane, server, row, (generator, &[])),
            Contender::OneCore => self.stampede(Lane::Unknown, Core::Server, row, (Core::Generator, &SHAPE)),
            Contender::AllCores => self.stampede(Lane::Unknown, Core::Any, row, (Core::Spare, &SHAPE)),
            Contender::OneEvent => self.stampede(Lane::Unknown, server, row, (generator, &SMALL)),
            Contender::ManyEvents => self.stampede(Lane::Unknown, server, row, (generator, &LARGE)),
            Contender::Floor => {
                // a rush asks for holds and orders, too, whose answers are read
                let (answer, event) = match row.task {
                    Task::Availability => (self.answer.0.clone(), self.answer.1.as_str()),
                    Task::Rush | Task::Holds | Task::Kind(_) | Task::Cores | Task::Events | Task::Share => {
                        (floor::standard_answer_like(&self.answer.0)?, "floor")
                    }
                };
                let path = self.folder.at("answer");
                std::fs::write(&path, answer).map_err(Failure::file(&path))?;
                let mut command = Command::new(&self.loadgen);
                command.args(["floor", "--answer"]).arg(&path);
                let (process, url) = Server::start_and_hear(&mut command, server)?;
                self.load((&process, &url, "none"), row, (generator, &["--event", event]))
            }
            Contender::Nginx => self.nginx(server, row),
            Contender::Redis => redis::turn(self.folder, row, self.seconds, (server, generator)),
        }
    }

    /// A turn of Stampede on these cores, loaded from those with this on sale.
    fn stampede(&self, lane: Lane, core: Core, row: &Row, from: (Core, &[&str])) -> Result<Turn, Failure> {
        let running = self.start_stampede(lane, core)?;
        let to = (&running.server, running.url.as_str(), running.key.as_str());
        let turn = match row.task {
            Task::Share => self.share(to, row, from),
            Task::Availability | Task::Holds | Task::Rush | Task::Kind(_) | Task::Cores | Task::Events => {
                self.load(to, row, from)
            }
        };
        drop(running);
        self.forget("stampede")?;
        turn
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
        self.generator(Command::new(&self.loadgen), url, key)
    }

    fn generator(&self, mut command: Command, url: &str, key: &str) -> Command {
        command.args(["onsale", "--quiet", "--url", url, "--organizer-key", key, "--auth-secret", SECRET]);
        command
    }

    /// The most that a server answers in a closed loop, then the tail of an open loop at a share of that.
    fn share(&self, to: (&Server, &str, &str), row: &Row, from: (Core, &[&str])) -> Result<Turn, Failure> {
        let most = self.load(to, row, from)?;
        let rate = format!("{:.0}", most.rate * SHARE);
        // --rate takes the place of --closed
        let open = self.run_load(to, row, from, &["--rate", &rate])?;
        let p99 = |operation: &str| open["operations"][operation]["p99_ms"].as_f64().unwrap_or_default();
        let reads_ms = ["availability", "seats", "event"].map(p99).into_iter().fold(0.0, f64::max);
        Ok(Turn {
            tail: Some(Tail { reads_ms: Some(reads_ms), holds_ms: p99("hold") }),
            ..turn_of(&open, row.task, from.0)
        })
    }

    /// Loads a server as the row says: what it answered, and for how much CPU.
    fn load(&self, to: (&Server, &str, &str), row: &Row, from: (Core, &[&str])) -> Result<Turn, Failure> {
        self.run_load(to, row, from, &["--closed"]).map(|report| turn_of(&report, row.task, from.0))
    }

    /// One run of the generator against a server with a url and a key; its report.
    fn run_load(
        &self,
        (server, url, key): (&Server, &str, &str),
        row: &Row,
        (core, show): (Core, &[&str]),
        manner: &[&str],
    ) -> Result<Value, Failure> {
        let (json, journal) = (self.folder.at("report.json"), self.folder.at("acknowledged.ndjson"));
        let is_audited = show.is_empty() && row.task == Task::Rush;
        let mut command = self.generator(core.command(&self.loadgen), url, key);
        let (connections, pipeline) = (row.connections.to_string(), row.pipeline.to_string());
        command.args(manner).args(["--connections", &connections, "--pipeline", &pipeline, "--max-errors", "0"]);
        command.args(["--duration", &format!("{}s", self.seconds)]).arg("--json").arg(&json);
        command.args(["--server-pid", &server.process().0.to_string()]).args(show);
        command.args(["--mix", mix(row.task)]);
        match row.task {
            Task::Holds => command.args(["--replays", "0"]),
            Task::Availability | Task::Kind("availability" | "seats" | "event") if show.is_empty() => {
                command.args(SHAPE)
            }
            Task::Rush if is_audited => command.arg("--journal").arg(&journal),
            Task::Availability | Task::Rush | Task::Kind(_) | Task::Cores | Task::Events | Task::Share => &mut command,
        };
        run(&mut command, core)?;
        if is_audited {
            // a command of its own, because it asks for CPU that the load did not take
            let mut audit = Command::new(&self.loadgen);
            audit.args(["audit", "--url", url, "--organizer-key", key, "--auth-secret", SECRET, "--journal"]);
            run(audit.arg(&journal), Core::Any)?;
        }
        let text = std::fs::read(&json).map_err(Failure::file(&json))?;
        crate::client::read_json("report.json", &text)
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
        let turn = self.load((&server, &url, "none"), row, (cores(row.task).1, &["--event", event]));
        drop(server);
        self.forget("nginx")?;
        turn
    }
}

/// What a report of the generator, which ran on these cores, says of the server. What is asked for in a row of holds is a
/// hold: refusals and repetitions are answers, but neither raise its rate nor lower its cost.
fn turn_of(report: &Value, task: Task, generator: Core) -> Turn {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let hold = &report["operations"]["hold"];
    let (holds, refused) = (number(&hold["count"]), number(&hold["refused"]));
    let counted = if task == Task::Holds { (holds - refused) / number(&report["answered"]) } else { 1.0 };
    Turn {
        rate: number(&report["rate"]) * counted,
        server_us: number(&report["server"]["cpu_us_per_request"]) / counted,
        generator_us: report["generator_cpu_us_per_request"].as_f64().map(|us| us / counted),
        cores: generator.left_to_the_server(),
        refused: (holds > 0.0).then(|| refused / holds),
        tail: None,
    }
}

/// Servers of others that are on this machine, and what is said of each that is not.
fn others(is_here: impl Fn(&str) -> bool) -> (Vec<Contender>, Vec<String>) {
    let (mut here, mut left_out) = (Vec::new(), Vec::new());
    for (contender, programs) in
        [(Contender::Nginx, &["nginx"][..]), (Contender::Redis, &["redis-server", "redis-benchmark"])]
    {
        match programs.iter().find(|program| !is_here(program)) {
            None => here.push(contender),
            Some(program) => left_out.push(format!("{}: no {program} on this machine", contender.name())),
        }
    }
    (here, left_out)
}

/// Cores of server and generator: what is about a machine has all of both, everything else one core of the server. That is
/// so for every server of a row, for Redis beside Stampede at a share of its most, too: it computes on one thread, but, like
/// all, on whichever core is free of its driver.
fn cores(task: Task) -> (Core, Core) {
    match task {
        Task::Availability | Task::Holds | Task::Kind(_) => (Core::Server, Core::Generator),
        Task::Rush | Task::Cores | Task::Events | Task::Share => (Core::Any, Core::Any),
    }
}

fn mix(task: Task) -> &'static str {
    match task {
        Task::Availability | Task::Cores => "availability",
        Task::Holds => "hold",
        Task::Kind(mix) => mix,
        Task::Rush | Task::Events | Task::Share => "rush",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 answers, of which 900 are for holds, 90 of those refusals: 810 of 1,000 count.
    #[test]
    fn only_new_holds_count_in_a_row_of_holds() {
        let report = serde_json::json!({
            "rate": 1000.0, "answered": 1000, "operations": {"hold": {"count": 900, "refused": 90}},
            "server": {"cpu_us_per_request": 8.1}, "generator_cpu_us_per_request": 1.62,
        });
        let turn = turn_of(&report, Task::Holds, Core::Generator);
        assert_eq!((turn.rate, turn.generator_us, turn.refused), (810.0, Some(2.0), Some(0.1)));
        assert!((turn.server_us - 10.0).abs() < 1e-9, "{turn:?}");
        let turn = turn_of(&report, Task::Rush, Core::Any);
        assert_eq!((turn.rate, turn.server_us, turn.refused), (1000.0, 8.1, Some(0.1)));
    }

    #[test]
    fn who_is_not_on_this_machine_is_named() {
        assert_eq!(others(|_| true), (vec![Contender::Nginx, Contender::Redis], vec![]));
        let (here, left_out) = others(|program| program == "redis-server");
        assert_eq!((here, left_out.len()), (vec![], 2));
        assert_eq!(left_out[0], "nginx: no nginx on this machine");
        assert_eq!(left_out[1], "redis: no redis-benchmark on this machine");
    }
}
