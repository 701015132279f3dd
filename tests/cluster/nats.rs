//! Real NATS servers: one, or three that form a JetStream cluster, on ports of the system's choice and with stores of their own.
//!
//! Every connection between two servers goes through a [`Link`], so that a server can be cut off from the others. Clients
//! reach a server through its [`Door`]: the port behind it may change when the server comes back.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use super::process::{Process, eventually, pinned, until};
use super::proxy::{Door, Link};

/// The pinned server; `tests/nats-server` fetches it once.
pub(crate) fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| pinned("nats-server"));
    &BINARY
}

/// Servers that belong together. Dropping them kills them.
pub(crate) struct Nats {
    servers: Vec<Server>,
    folder: tempfile::TempDir,
}

struct Server {
    process: Option<Process>,
    folder: PathBuf,
    /// Where its clients, the other servers and its monitoring come in.
    client: Door,
    cluster: Door,
    monitor: Door,
    /// What clients are told: stays the same when the server comes back.
    front: Link,
    /// Its ways to the other servers, by their place; empty at its own.
    routes: Vec<Option<Link>>,
    /// Where it tells the others that it is: nowhere, so that they come through their links.
    nowhere: Link,
}

impl Nats {
    /// One server without a cluster.
    pub(crate) fn one() -> Self {
        Self::start_all(1, "")
    }

    /// One server with these lines more in its configuration.
    pub(crate) fn one_with(more: &str) -> Self {
        Self::start_all(1, more)
    }

    /// Three servers, ready: connected to each other, with a leader.
    pub(crate) fn three() -> Self {
        Self::start_all(3, "")
    }

    fn start_all(count: usize, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clusters: Vec<Door> = (0..count).map(|_| Door::default()).collect();
        let folder_of = |place| folder.path().join(name(place));
        let servers = (0..count).map(|place| Server::new(&folder_of(place), place, &clusters, more)).collect();
        let mut nats = Self { servers, folder };
        for place in 0..count {
            nats.start(place);
        }
        nats.await_ready();
        nats
    }

    /// The places of all servers.
    pub(crate) fn places(&self) -> std::ops::Range<usize> {
        0..self.servers.len()
    }

    /// What a client connects to.
    pub(crate) fn url(&self, place: usize) -> String {
        format!("nats://{}", self.servers[place].front.address())
    }

    /// What a client connects to, of all servers.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.places().map(|place| self.url(place)).collect()
    }

    /// Where the clients of a server come in; for links of a test's own.
    pub(crate) fn door(&self, place: usize) -> &Door {
        &self.servers[place].client
    }

    /// Starts a server that is down, on the store it had.
    #[track_caller]
    pub(crate) fn start(&mut self, place: usize) {
        self.servers[place].start(place);
    }

    /// kill -9.
    #[track_caller]
    pub(crate) fn kill(&mut self, place: usize) {
        self.servers[place].take().kill();
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn stop(&mut self, place: usize) {
        self.servers[place].take().stop();
    }

    /// SIGSTOP: it is there and does not answer.
    pub(crate) fn pause(&self, place: usize) {
        self.servers[place].running().signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, place: usize) {
        self.servers[place].running().signal("CONT");
    }

    /// Throws away everything that a server that is down has stored.
    #[track_caller]
    pub(crate) fn wipe(&mut self, place: usize) {
        let server = &self.servers[place];
        assert!(server.process.is_none(), "{} is running", name(place));
        std::fs::remove_dir_all(server.store()).expect("its store can be removed");
    }

    /// Puts away what a server that is down has stored.
    #[track_caller]
    pub(crate) fn put_away(&mut self, place: usize) {
        let server = &self.servers[place];
        assert!(server.process.is_none(), "{} is running", name(place));
        std::fs::rename(server.store(), server.folder.join("put-away")).expect("its store can be moved");
    }

    /// Gives a server that is down back what was put away, instead of what it has.
    #[track_caller]
    pub(crate) fn bring_back(&mut self, place: usize) {
        self.wipe(place);
        let server = &self.servers[place];
        std::fs::rename(server.folder.join("put-away"), server.store()).expect("its store can be moved");
    }

    /// Cuts a server off from the others, both ways. Its clients still reach it, through links of their own.
    pub(crate) fn isolate(&self, place: usize) {
        self.routes_of(place).for_each(Link::cut_both_ways);
    }

    /// Ends what [`Nats::isolate`] began.
    pub(crate) fn rejoin(&self, place: usize) {
        self.routes_of(place).for_each(Link::mend);
    }

    /// The links between this server and the others, whoever connected.
    pub(crate) fn routes_of(&self, place: usize) -> impl Iterator<Item = &Link> {
        let outgoing = self.servers[place].routes.iter().flatten();
        outgoing.chain(self.servers.iter().filter_map(move |other| other.routes[place].as_ref()))
    }

    /// Waits until every server that runs has JetStream, has caught up and knows the leader of the cluster.
    #[track_caller]
    pub(crate) fn await_ready(&self) {
        for server in self.servers.iter().filter(|server| server.process.is_some()) {
            until("JetStream is ready", || {
                let is_healthy = server.look("healthz").is_some_and(|health| health["status"] == "ok");
                is_healthy && (self.servers.len() == 1 || server.meta_leader().is_some())
            });
        }
    }

    /// The server that leads a stream, as the first running server that knows sees it.
    pub(crate) fn leader(&self, stream: &str) -> Option<usize> {
        self.running().find_map(|server| server.leader(stream))
    }

    /// The server that leads a stream, as this one sees it.
    pub(crate) fn leader_seen_by(&self, place: usize, stream: &str) -> Option<usize> {
        self.servers[place].leader(stream)
    }

    /// Waits until a stream has a leader among the servers that run, and gives its place.
    #[track_caller]
    pub(crate) fn await_leader(&self, stream: &str) -> usize {
        let is_running = |place: &usize| self.servers[*place].process.is_some();
        eventually("a leader", || self.leader(stream).filter(is_running))
    }

    /// The names of all streams that a server knows.
    #[track_caller]
    pub(crate) fn streams_seen_by(&self, place: usize) -> Vec<String> {
        let seen = self.servers[place].streams().expect("its monitoring answers");
        seen.iter().map(|stream| stream["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.process.is_some())
    }
}

impl Server {
    fn new(folder: &Path, place: usize, clusters: &[Door], more: &str) -> Self {
        std::fs::create_dir(folder).expect("its folder");
        let client = Door::default();
        let route = |(other, door): (usize, &Door)| (other != place).then(|| Link::to(door));
        let server = Self {
            process: None,
            folder: folder.to_owned(),
            front: Link::to(&client),
            client,
            cluster: clusters[place].clone(),
            monitor: Door::default(),
            routes: clusters.iter().enumerate().map(route).collect(),
            nowhere: Link::to(&Door::default()),
        };
        let configuration = server.configuration(place) + more;
        std::fs::write(server.folder.join("nats.conf"), configuration).expect("its configuration");
        server
    }

    /// As `config/nats` has it, with ports of the system's choice. Servers tell neither clients nor each other where the
    /// others are: nobody shall find a way past the links.
    fn configuration(&self, place: usize) -> String {
        let (folder, name) = (self.folder.display(), name(place));
        let mut text = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\nports_file_dir: \"{folder}\"\n\
             max_payload: 8MB\njetstream {{ store_dir: \"{folder}/store\", sync_interval: always }}\n"
        );
        let routes: Vec<String> =
            self.routes.iter().flatten().map(|route| format!("\"nats-route://{}\"", route.address())).collect();
        if !routes.is_empty() {
            text += &format!(
                "cluster {{ name: tests, listen: \"127.0.0.1:-1\", advertise: \"{}\", no_advertise: true, routes: [{}] }}\n",
                self.nowhere.address(),
                routes.join(", ")
            );
        }
        text
    }

    fn start(&mut self, place: usize) {
        assert!(self.process.is_none(), "{} is running", name(place));
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let process = Process::spawn(
            Command::new(binary())
                .arg("--config")
                .arg(self.folder.join("nats.conf"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        );
        let ports = self.folder.join(format!("nats-server_{}.ports", process.pid()));
        let ports: Value = eventually("the server says where it listens", || {
            serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()
        });
        let listens = |kind: &str| -> Option<SocketAddr> { ports[kind][0].as_str()?.split("//").nth(1)?.parse().ok() };
        for (door, kind) in [(&self.client, "nats"), (&self.cluster, "cluster"), (&self.monitor, "monitoring")] {
            if let Some(address) = listens(kind) {
                door.open(address);
            }
        }
        self.process = Some(process);
    }

    fn take(&mut self) -> Process {
        for door in [&self.client, &self.cluster, &self.monitor] {
            door.close();
        }
        self.process.take().expect("it is running")
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it is running")
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("nats.log")
    }

    /// A page of its monitoring; nothing while it does not answer.
    fn look(&self, page: &str) -> Option<Value> {
        let asked = ureq::get(format!("http://{}/{page}", self.monitor.address()?)).config();
        let asked = asked.proxy(None).timeout_global(Some(std::time::Duration::from_secs(2))).build();
        asked.call().ok().and_then(|mut page| serde_json::from_slice(&page.body_mut().read_to_vec().ok()?).ok())
    }

    fn meta_leader(&self) -> Option<usize> {
        placed(&self.look("jsz")?["meta_cluster"]["leader"])
    }

    fn leader(&self, stream: &str) -> Option<usize> {
        placed(&self.streams()?.iter().find(|found| found["name"] == stream)?["cluster"]["leader"])
    }

    fn streams(&self) -> Option<Vec<Value>> {
        let jetstream = self.look("jsz?streams=true")?;
        let accounts = jetstream["account_details"].as_array().cloned().unwrap_or_default();
        Some(accounts.iter().filter_map(|account| account["stream_detail"].as_array()).flatten().cloned().collect())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (place, server) in self.servers.iter().enumerate() {
                let log = std::fs::read_to_string(server.log_path()).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(20).collect();
                eprintln!("--- the last lines of {} in {} ---", name(place), self.folder.path().display());
                last.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

fn name(place: usize) -> String {
    format!("nats-{place}")
}

fn placed(name: &Value) -> Option<usize> {
    name.as_str()?.strip_prefix("nats-")?.parse().ok()
}
