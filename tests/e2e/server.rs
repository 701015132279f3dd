//! A real node as a child process: started, killed, stopped and started again on the same data and port.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::client::Client;

/// The secret that the tests sign customers' tokens with.
pub(crate) const SECRET: &str = "end-to-end-end-to-end-end-to-end-0123";

/// An organizer's key and its digest, made once with `stampede key new`.
pub(crate) struct OrganizerKey {
    pub(crate) key: String,
    pub(crate) digest: String,
}

/// How long a node may take to come up or to stop. Generous: machines of continuous integration are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node. Dropping it kills the process that it started and nothing else.
pub(crate) struct Server {
    child: Option<Child>,
    listen: SocketAddr,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    key: OrganizerKey,
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

fn new_key() -> OrganizerKey {
    let made = Command::new(binary()).args(["key", "new"]).output().expect("stampede key new runs");
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).expect("text");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    };
    OrganizerKey { key: value("key="), digest: value("digest=") }
}

impl Server {
    /// A node with the defaults.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A node with some settings, each `key=value`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let mut server = Self {
            child: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            folder: tempfile::tempdir().expect("a temporary folder"),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            key: new_key(),
        };
        server.restart();
        server
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
        let mut command = Command::new(binary());
        command.arg("serve").current_dir(self.folder.path());
        let own = [
            format!("http.listen={}", self.listen),
            format!("data.dir={}", self.data().display()),
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
        let began = Instant::now();
        while self.client().get("/readyz").status != 200 {
            assert!(began.elapsed() < PATIENCE, "not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the process and reads its address, without waiting for readiness.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "it is running");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut child = self.command().stdout(Stdio::piped()).stderr(log).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let listening = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            line.strip_prefix("listening on http://").map(str::to_owned)
        });
        let Some(listening) = listening else {
            let _ = child.wait();
            panic!("it did not say where it listens: {}", self.log());
        };
        self.listen = listening.trim().parse().expect("an address");
        self.child = Some(child);
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it is running");
        child.kill().expect("it is ours to kill");
        child.wait().expect("it is gone");
    }

    /// SIGTERM; waits for the end and returns the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let child = self.child.take().expect("it is running");
        let pid = child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success());
        wait(child)
    }

    /// Waits for an end that the node chooses itself.
    pub(crate) fn wait_for_exit(&mut self) -> Option<i32> {
        wait(self.child.take().expect("it is running"))
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
        self.child.as_ref().expect("it is running").id()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

fn wait(mut child: Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            return status.code();
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("it did not stop");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- server log ---\n{}", self.log());
        }
    }
}
