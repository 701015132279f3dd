//! Real nodes on real NATS servers: a cluster of processes, with a link wherever something can break.
//!
//! A node reaches every NATS server through a [`Link`] of its own, and its clients reach it through one more. The nodes share
//! what a cluster must share: the organizer's key, the ticket key, the books of the simulated provider.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use actors::ids::Shard;
use stampede::cluster::placement::rank;

use crate::nats::Nats;
use crate::process::eventually;
use crate::provider::Provider;
use crate::proxy::{Door, Link, Way};
use crate::server::{Server, printed};

/// Shards of a cluster, as the default has it.
pub(crate) const SHARDS: u16 = 64;

/// NATS servers and nodes that sell together. Dropping it kills them.
pub(crate) struct Cluster {
    // the nodes go first: they are not to see their servers vanish
    nodes: Vec<Node>,
    pub(crate) nats: Nats,
    settings: Vec<String>,
    shared: tempfile::TempDir,
}

/// A node with the links around it. What can be done to its process is what can be done to any [`Server`].
pub(crate) struct Node {
    server: Server,
    /// To the NATS servers, by their place.
    links: Vec<Link>,
    /// From its clients.
    pub(crate) front: Link,
    door: Door,
}

impl Cluster {
    /// Three NATS servers and so many nodes with these settings, ready.
    pub(crate) fn start(nodes: usize, settings: &[&str]) -> Self {
        Self::start_on(Nats::three(), nodes, settings)
    }

    /// Nodes on NATS servers that run.
    pub(crate) fn start_on(nats: Nats, nodes: usize, settings: &[&str]) -> Self {
        let mut cluster = Self::prepare_on(nats, nodes, settings);
        cluster.launch();
        cluster
    }

    /// Nodes that are not started.
    pub(crate) fn prepare_on(nats: Nats, nodes: usize, settings: &[&str]) -> Self {
        let shared = tempfile::tempdir().expect("a temporary folder");
        printed(&["key", "ticket", &shared.path().join("ticket-key.pem").display().to_string()]);
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut cluster = Self { nodes: Vec::new(), nats, settings, shared };
        for _ in 0..nodes {
            cluster.prepare();
        }
        cluster
    }

    /// Starts all nodes together and waits until they are ready.
    pub(crate) fn launch(&mut self) {
        self.nodes.iter_mut().for_each(Node::launch);
        self.await_ready();
    }

    /// One more node, not started, with an empty disk; gives its place.
    pub(crate) fn prepare(&mut self) -> usize {
        let place = self.nodes.len();
        let links: Vec<Link> = self.nats.places().map(|server| Link::to(self.nats.door(server))).collect();
        let seeds: Vec<String> = links.iter().map(|link| format!("\"nats://{}\"", link.address())).collect();
        let shared = self.shared.path().display();
        let own = [
            format!("node.name={}", name(place)),
            format!("cluster.seeds=[{}]", seeds.join(",")),
            format!("tickets.key_file={shared}/ticket-key.pem"),
            format!("payments.simulated.ledger_file={shared}/provider.ndjson"),
        ];
        let settings: Vec<&str> = own.iter().chain(&self.settings).map(String::as_str).collect();
        let server = match self.nodes.first() {
            Some(first) => first.prepare_beside(&settings),
            None => Server::prepare(&settings),
        };
        let door = Door::default();
        self.nodes.push(Node { server, links, front: Link::to(&door), door });
        place
    }

    pub(crate) fn node(&self, place: usize) -> &Node {
        &self.nodes[place]
    }

    pub(crate) fn node_mut(&mut self, place: usize) -> &mut Node {
        &mut self.nodes[place]
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// Waits until every node that runs says that it takes requests.
    #[track_caller]
    pub(crate) fn await_ready(&self) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            node.await_ready();
        }
    }

    /// Where clients reach the nodes, all of them.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("http://{}", node.front.address())).collect()
    }

    /// The organizer's key, the same at every node.
    pub(crate) fn organizer_key(&self) -> &str {
        self.nodes[0].server.organizer_key()
    }

    /// The owner of every shard, by its place, as a node sees it; nothing for one that has none.
    #[track_caller]
    pub(crate) fn owners_seen_by(&self, place: usize) -> Vec<Option<usize>> {
        let seen = self.nodes[place].organizer().get("/v1/cluster").expect(200);
        let shards = seen["shards"].as_array().expect("shards");
        shards.iter().map(|shard| shard["owner"].as_str().and_then(placed)).collect()
    }

    /// Waits until all nodes that run agree who owns what, every shard has an owner and every owner runs; gives the owners.
    #[track_caller]
    pub(crate) fn await_agreement(&self) -> Vec<usize> {
        self.await_agreement_of(&self.running())
    }

    /// Waits until these nodes agree that every shard is owned by one of them; gives the owners.
    #[track_caller]
    pub(crate) fn await_agreement_of(&self, places: &[usize]) -> Vec<usize> {
        eventually("all agree who owns what", || {
            let seen: Vec<_> = places.iter().map(|place| self.owners_seen_by(*place)).collect();
            let owners: Vec<usize> = seen[0].iter().copied().collect::<Option<_>>()?;
            let agreed = seen.iter().all(|view| *view == seen[0]) && owners.iter().all(|owner| places.contains(owner));
            (agreed && !owners.is_empty()).then_some(owners)
        })
    }

    /// The places of the nodes that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|place| self.nodes[*place].is_running()).collect()
    }

    /// The places of the nodes that run, without this one.
    pub(crate) fn others(&self, than: usize) -> Vec<usize> {
        self.running().into_iter().filter(|place| *place != than).collect()
    }

    /// Waits until every shard is where it should be with the nodes that run, and all of them know; gives the owners.
    #[track_caller]
    pub(crate) fn await_placement(&self) -> Vec<usize> {
        eventually("every shard is where it should be", || {
            let owners = self.await_agreement();
            (owners == self.placement()).then_some(owners)
        })
    }

    /// Where every shard should be with the nodes that run.
    pub(crate) fn placement(&self) -> Vec<usize> {
        let names: Vec<String> = self.running().into_iter().map(name).collect();
        let first = |shard| rank(Shard(shard), names.iter().map(String::as_str)).expect("a node that runs").first;
        (0..SHARDS).map(|shard| placed(first(shard)).expect("a name of ours")).collect()
    }

    /// Holds the provider's books against the audits of all events that were ever sold here.
    #[track_caller]
    pub(crate) fn books_agree_with(&self, audits: &Provider) {
        audits.agrees_with(self.shared.path());
    }
}

impl Node {
    /// Starts the process again, on the same data and port, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// Starts the process without waiting for readiness.
    pub(crate) fn launch(&mut self) {
        self.server.launch();
        self.door.open(self.server.listen());
    }

    /// Cuts it off from all NATS servers, both ways; its clients still reach it.
    pub(crate) fn isolate(&self) {
        self.links.iter().for_each(Link::cut_both_ways);
    }

    /// Cuts it off from all NATS servers one way; its clients still reach it.
    pub(crate) fn cut(&self, way: Way) {
        self.links.iter().for_each(|link| link.cut(way));
    }

    /// From now on everything between it and the NATS servers arrives so much later, each way.
    pub(crate) fn slow(&self, delay: Duration) {
        self.links.iter().for_each(|link| link.delay(delay));
    }

    /// Ends what was done to its links to the NATS servers.
    pub(crate) fn mend(&self) {
        self.links.iter().for_each(Link::mend);
    }
}

impl Deref for Node {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

fn name(place: usize) -> String {
    format!("node-{place}")
}

/// The place of the node with this name.
pub(crate) fn placed(name: &str) -> Option<usize> {
    name.strip_prefix("node-")?.parse().ok()
}
