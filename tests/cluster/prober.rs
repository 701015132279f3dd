//! Somebody who wants a place on every shard: an event with one block a shard, and buyers who ask until they have it.
//!
//! What they measure is what a buyer feels: the time until a write is accepted, through whatever happens meanwhile.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actors::address::{Address, BlockRef};
use serde_json::{Value, json};

use crate::client::{Answer, Client, id};
use crate::nodes::{Cluster, SHARDS};
use crate::process::PATIENCE;
use crate::sale::Sales;

/// Places of a block; every probe takes one.
const PLACES: u32 = 10_000;

const HOLD_TTL: Duration = Duration::from_secs(3600);

/// Time between two tries of a buyer who takes place after place.
const PACE: Duration = Duration::from_millis(10);

/// See the module's charter.
#[derive(Clone)]
pub(crate) struct Prober {
    event: &'static str,
    /// The block on every shard.
    blocks: Vec<String>,
    /// Every hold that was acknowledged.
    holds: Vec<String>,
}

impl Prober {
    /// Puts the event on sale; holds live for longer than any test.
    #[track_caller]
    pub(crate) fn open(cluster: &Cluster, event: &'static str) -> Self {
        Self::open_with(cluster, event, HOLD_TTL)
    }

    /// Puts the event on sale; holds live for so long.
    #[track_caller]
    pub(crate) fn open_with(cluster: &Cluster, event: &'static str, hold_ttl: Duration) -> Self {
        let blocks: Vec<String> = (0..SHARDS).map(|shard| block_on(event, shard)).collect();
        let block = |name: &String| json!({"id": name, "kind": "standing", "price": 100, "capacity": PLACES});
        let described: Vec<Value> = blocks.iter().map(block).collect();
        let body = json!({
            "id": event, "name": "A place on every shard", "venue": "Everywhere", "starts_at": "2027-06-12T19:00:00Z",
            "currency": "EUR", "rules": {"hold_ttl_s": hold_ttl.as_secs(), "max_per_customer": null}, "blocks": described
        });
        let posted = cluster.node(0).organizer().post_with_key("/v1/events", event, &body);
        posted.expect(201);
        Self { event, blocks, holds: Vec::new() }
    }

    pub(crate) fn block(&self, shard: u16) -> &str {
        &self.blocks[usize::from(shard)]
    }

    /// Where the seats of a shard's block are shown.
    pub(crate) fn seats(&self, shard: u16) -> String {
        format!("/v1/events/{}/blocks/{}/seats", self.event, self.block(shard))
    }

    /// One try for a place on a shard.
    pub(crate) fn try_hold(&self, client: &Client, shard: u16, key: &str) -> Answer {
        let body = json!({"block": self.block(shard), "quantity": 1});
        client.post_with_key(&format!("/v1/events/{}/holds", self.event), key, &body)
    }

    /// Takes a place on each of these shards, all at once, asking these nodes in turn with a key until it is granted; gives
    /// the times since `since`.
    #[track_caller]
    pub(crate) fn hold_on(&mut self, cluster: &Cluster, shards: &[u16], nodes: &[usize], since: Instant) -> Times {
        let clients: Vec<Client> = nodes.iter().map(|place| cluster.node(*place).customer("prober")).collect();
        let (round, prober) = (self.holds.len(), &*self);
        let took = std::thread::scope(|scope| {
            let ask = |shard: u16| {
                let clients = &clients;
                scope.spawn(move || prober.hold_surely(clients, shard, &format!("probe-{round}-{shard}"), since))
            };
            let asked: Vec<_> = shards.iter().map(|shard| ask(*shard)).collect();
            asked.into_iter().map(|asked| asked.join().expect("a probe")).collect::<Vec<_>>()
        });
        let (times, holds): (Vec<Duration>, Vec<String>) = took.into_iter().unzip();
        self.holds.extend(holds);
        Times(times)
    }

    /// Asks until a place is granted, and then once more at another node: the key has one answer everywhere.
    fn hold_surely(&self, clients: &[Client], shard: u16, key: &str, since: Instant) -> (Duration, String) {
        let mut granted: Option<(Duration, String)> = None;
        for client in clients.iter().cycle() {
            let answer = self.try_hold(client, shard, key);
            match (answer.status, &granted) {
                (201, None) => granted = Some((since.elapsed(), id(&answer.json()).to_owned())),
                (201, Some((took, hold))) => {
                    assert_eq!(id(&answer.json()), hold, "one key, one hold");
                    return (*took, hold.clone());
                }
                (0, _) => {}
                _ => must_be_passing(&answer),
            }
            assert!(since.elapsed() < PATIENCE, "shard {shard} takes no writes: {} {}", answer.status, answer.text());
        }
        unreachable!("the nodes are asked in turn for ever")
    }

    /// Begins to take place after place on each of these shards, asking these nodes.
    pub(crate) fn stream(&self, cluster: &Cluster, shards: &[u16], nodes: &[usize]) -> Stream {
        let clients: Vec<Client> = nodes.iter().map(|place| cluster.node(*place).customer("prober")).collect();
        let enough = Arc::new(AtomicBool::new(false));
        let buy = |shard: u16| {
            let (prober, clients, enough) = (self.clone(), clients.clone(), enough.clone());
            std::thread::spawn(move || prober.take_places(&clients, shard, &enough))
        };
        Stream { buyers: shards.iter().map(|shard| buy(*shard)).collect(), enough }
    }

    /// Takes places until it is enough: the holds, and the longest time without one.
    fn take_places(&self, clients: &[Client], shard: u16, enough: &AtomicBool) -> (Duration, Vec<String>) {
        let (mut longest, mut holds, mut last) = (Duration::ZERO, Vec::new(), Instant::now());
        while !enough.load(Ordering::Relaxed) {
            let key = format!("stream-{}-{}-{shard}", self.holds.len(), holds.len());
            let (waited, hold) = self.hold_surely(clients, shard, &key, last);
            longest = longest.max(waited);
            holds.push(hold);
            std::thread::sleep(PACE);
            last = Instant::now();
        }
        (longest, holds)
    }

    /// Ends a stream; gives for each shard how long the longest wait for a place was.
    #[track_caller]
    pub(crate) fn end(&mut self, stream: Stream) -> Times {
        stream.enough.store(true, Ordering::Relaxed);
        let ended = stream.buyers.into_iter().map(|buyer| buyer.join().expect("a buyer"));
        let (waits, holds): (Vec<Duration>, Vec<Vec<String>>) = ended.unzip();
        self.holds.extend(holds.into_iter().flatten());
        Times(waits)
    }

    /// Counts a hold that somebody was granted here: it must be there in the end.
    pub(crate) fn note(&mut self, hold: &Value) {
        self.holds.push(id(hold).to_owned());
    }

    /// Every place that was acknowledged is still held, once, and the audit agrees.
    #[track_caller]
    pub(crate) fn settle(&self, cluster: &Cluster, sales: &mut Sales) {
        let asked = cluster.nodes().find(|node| node.is_running()).expect("a node that runs");
        let ledger = asked.organizer().ledger(self.event);
        let known: std::collections::HashSet<&str> = ledger.iter().filter_map(|line| line["hold"].as_str()).collect();
        assert_eq!(known.len(), ledger.len(), "a hold is there twice");
        let lost: Vec<&String> = self.holds.iter().filter(|hold| !known.contains(hold.as_str())).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        sales.audit(cluster, self.event);
    }
}

/// Buyers who take place after place, a thread each.
pub(crate) struct Stream {
    buyers: Vec<JoinHandle<(Duration, Vec<String>)>>,
    enough: Arc<AtomicBool>,
}

/// A 503 that says when to come back, or the first try that is still running.
#[track_caller]
pub(crate) fn must_be_passing(answer: &Answer) {
    let passing = answer.status == 503 || answer.status == 409 && answer.code() == "idempotency_in_progress";
    assert!(passing, "{} {}", answer.status, answer.text());
    assert!(answer.header("retry-after").is_some(), "without Retry-After: {}", answer.text());
}

/// A name whose block lives on this shard.
fn block_on(event: &str, shard: u16) -> String {
    let mut names = (0..).map(|number| format!("b{number}"));
    let lives_there = |name: &String| {
        let block = BlockRef { event: event.into(), block: name.as_str().into() };
        Address::Block(block).shard(SHARDS).0 == shard
    };
    names.find(lives_there).expect("one of them does")
}

/// How long things took.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times(pub(crate) Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, more: Times) {
        self.0.extend(more.0);
    }

    /// The time that so many percent of all are within.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    pub(crate) fn max(&self) -> Duration {
        self.percentile(100)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_millis();
        let (p50, p99) = (ms(self.percentile(50)), ms(self.percentile(99)));
        write!(f, "n={} p50={p50} ms p99={p99} ms max={} ms", self.0.len(), ms(self.max()))
    }
}
