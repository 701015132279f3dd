//! A real node as a child process: started, killed, stopped and started again on the same data and port.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::client::Client;
use crate::process::{Process, until};

/// The secret that the tests sign customers' tokens with.
pub(crate) const SECRET: &str = "end-to-end-end-to-end-end-to-end-0123";

/// An organizer's key and its digest, made once with `stampede key new`.
#[derive(Clone)]
pub(crate) struct OrganizerKey {
    pub(crate) key: String,
    pub(crate) digest: String,
}

/// A running node. Dropping it kills the process that it started and nothing else.
pub(crate) struct Server {
    process: Option<Process>,
    listen: SocketAddr,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    key: OrganizerKey,
    command: &'static str,
    within: Vec<String>,
    said: String,
}

/// The server's binary, built by cargo for this test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_stampede"))
}

/// The load generator's binary: `tests/run` builds it beside the server's.
pub(crate) fn loadgen() -> PathBuf {
    let path = binary().with_file_name("loadgen");
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// What this command of the server prints; it must end well.
#[track_caller]
pub(crate) fn printed(words: &[&str]) -> String {
    let ended = Command::new(binary()).args(words).output().expect("stampede runs");
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).expect("text")
}

fn new_key() -> OrganizerKey {
    let text = printed(&["key", "new"]);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    };
    OrganizerKey { key: value("key="), digest: value("digest=") }
}

/// Whether nodes have the fast lane, unless a test says it itself. `FAST_LANE=false` tells every story to the slow way.
fn lane() -> Option<String> {
    std::env::var("FAST_LANE").ok().map(|given| format!("http.fast_lane={given}"))
}

impl Server {
    /// A node with the defaults.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A node with some settings, each `key=value`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let mut server = Self::prepare(settings);
        server.restart();
        server
    }

    /// `stampede demo` with a data directory and a port of its own.
    pub(crate) fn start_demo() -> Self {
        let mut server = Self::prepare(&[]);
        server.command = "demo";
        server.restart();
        server
    }

    /// A node that is not started yet.
    pub(crate) fn prepare(settings: &[&str]) -> Self {
        Self::prepare_for(new_key(), settings)
    }

    /// A node that is not started yet and knows the same organizer as this one.
    pub(crate) fn prepare_beside(&self, settings: &[&str]) -> Self {
        Self::prepare_for(self.key.clone(), settings)
    }

    fn prepare_for(key: OrganizerKey, settings: &[&str]) -> Self {
        Self {
            process: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            folder: tempfile::tempdir().expect("a temporary folder"),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            key,
            command: "serve",
            within: Vec::new(),
            said: String::new(),
        }
    }

    /// From the next start, the node is started by this command, which must become the node (as `exec` does).
    pub(crate) fn run_within(&mut self, command: &[&str]) {
        self.within = command.iter().map(|part| (*part).to_owned()).collect();
    }

    /// A node with the defaults that tests with events of their own use together. It ends with the last of them.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The command line of this node, not started.
    pub(crate) fn command(&self) -> Command {
        let mut words = self.within.iter().map(PathBuf::from).chain([binary()]);
        let mut command = Command::new(words.next().expect("at least the node itself"));
        command.args(words).arg(self.command).current_dir(self.folder.path());
        let place = [format!("http.listen={}", self.listen), format!("data.dir={}", self.data().display())];
        for setting in place.iter().chain(&lane()) {
            command.args(["--set", setting]);
        }
        if self.command == "demo" {
            return command;
        }
        let own = [
            format!("auth.hs256_secret={SECRET}"),
            format!("auth.organizer_keys=[\"{}\"]", self.key.digest),
            "limits.customer=".to_owned(),
            "payments.timeout=1s".to_owned(),
        ];
        for setting in own.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        command
    }

    /// Adds or replaces a setting; counts from the next start.
    pub(crate) fn set(&mut self, setting: &str) {
        self.settings.push(setting.to_owned());
    }

    /// Starts the node again, on the same data and port, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// Waits until it says that it takes requests.
    #[track_caller]
    pub(crate) fn await_ready(&self) {
        until("it is ready", || self.client().get("/readyz").status == 200);
    }

    /// Starts the process and reads its address, without waiting for readiness.
    pub(crate) fn launch(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut process = Process::spawn(self.command().stdout(Stdio::piped()).stderr(log));
        let mut lines = BufReader::new(process.output().expect("its output")).lines();
        let last = if self.command == "demo" { "These keys are public" } else { "listening on" };
        self.said.clear();
        for line in lines.by_ref().map_while(Result::ok) {
            self.said += &format!("{line}\n");
            if line.starts_with(last) {
                break;
            }
        }
        let listening = self.said.lines().find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned));
        let Some(listening) = listening else {
            panic!("it did not say where it listens: {}", self.log());
        };
        self.listen = listening.trim().parse().expect("an address");
        self.process = Some(process);
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it is running").kill();
    }

    /// SIGTERM; waits for the end and returns the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.process.take().expect("it is running").stop()
    }

    /// SIGSTOP: it is there and does nothing.
    pub(crate) fn pause(&self) {
        self.running().signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.running().signal("CONT");
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it is running")
    }

    /// A client without credentials.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.listen, None)
    }

    /// The organizer.
    pub(crate) fn organizer(&self) -> Client {
        Client::new(self.listen, Some(self.key.key.clone()))
    }

    /// A customer, with a token made by `stampede token`'s own rules.
    pub(crate) fn customer(&self, name: &str) -> Client {
        Client::new(self.listen, Some(crate::client::token(name)))
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    pub(crate) fn organizer_key(&self) -> &str {
        &self.key.key
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running().pid()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What it said when it came up.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// Starts a node that is expected to refuse, and gives what it says on standard error.
    #[track_caller]
    pub(crate) fn refuses_to_start(&self) -> String {
        assert!(self.process.is_none(), "it is running");
        let ended = self.command().output().expect("the server starts");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        said
    }

    /// The segment files of the journal, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.data().join("journal")).expect("a journal");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        files
    }

    /// `stampede journal verify` of a node that is down: whether all is well, and what it says.
    pub(crate) fn verify_journal(&self) -> (bool, String) {
        let mut verify = Command::new(binary());
        let ended = verify.args(["journal", "verify"]).arg(self.data()).output().expect("stampede journal verify runs");
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Resident memory of the node, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    }

    /// A metric of the running node, all its labels as written; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.client().get("/metrics").text();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// Requests of this method and route, as the metrics write them, that were answered with this class of status.
    pub(crate) fn answered(&self, method: &str, route: &str, class: &str) -> u64 {
        let labels = format!(r#"method="{method}",route="{route}",status="{class}""#);
        self.metric(&format!("stampede_http_request_duration_seconds_count{{{labels}}}")) as u64
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process = None;
        if std::thread::panicking() {
            eprintln!("--- server log ---\n{}", self.log());
        }
    }
}
