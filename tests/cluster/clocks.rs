//! Nodes whose clocks are wrong: a hold lives for as long as its buyer was told, whichever node asks the time.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::client::{Client, id};
use crate::nats::Nats;
use crate::nodes::{Cluster, SHARDS};
use crate::prober::Prober;
use crate::process::eventually;

const HOLD_TTL: Duration = Duration::from_secs(8);
/// How much earlier or later than told a hold may end.
const LATITUDE: Duration = Duration::from_secs(1);

#[test]
fn holds_live_as_long_as_was_told_although_clocks_differ_also_when_their_owner_dies() {
    let offsets = ["0ms", "6s", "-6s"];
    let mut cluster = Cluster::prepare_on(Nats::three(), 3, &["runtime.fault_injection=true"]);
    for (place, offset) in offsets.iter().enumerate() {
        cluster.node_mut(place).set(&format!("runtime.clock_offset={offset}"));
    }
    cluster.launch();
    let prober = Prober::open_with(&cluster, "clocks", HOLD_TTL);
    for fast_or_slow in [1, 2] {
        let owners = cluster.await_placement();
        let held: Vec<Held> = (0..3)
            .map(|owner| Held::on((&cluster, &prober), &owners, owner, &format!("{fast_or_slow}-{owner}")))
            .collect();
        let told: Vec<SystemTime> = held.iter().map(Held::told).collect();
        let spread = told.iter().max().unwrap().duration_since(*told.iter().min().unwrap()).unwrap();
        assert!(spread < LATITUDE, "holds of one moment end {spread:?} apart");
        cluster.node_mut(fast_or_slow).kill();
        let asked = cluster.node(0).customer("ann");
        std::thread::scope(|scope| held.iter().for_each(|held| drop(scope.spawn(|| held.ends_in_time(&asked)))));
        cluster.node_mut(fast_or_slow).restart();
    }
}

/// A hold and when it was made.
struct Held {
    hold: Value,
    before: Instant,
    after: Instant,
}

impl Held {
    /// On a shard of this owner.
    #[track_caller]
    fn on((cluster, prober): (&Cluster, &Prober), owners: &[usize], owner: usize, key: &str) -> Self {
        let shard = (0..SHARDS).find(|shard| owners[usize::from(*shard)] == owner).expect("a shard of this owner");
        let before = Instant::now();
        let hold = prober.try_hold(&cluster.node(owner).customer("ann"), shard, key).expect(201);
        Self { hold, before, after: Instant::now() }
    }

    fn told(&self) -> SystemTime {
        humantime::parse_rfc3339(self.hold["expires_at"].as_str().expect("a time")).expect("a time")
    }

    /// It is held until its time is over, and then it is not.
    #[track_caller]
    fn ends_in_time(&self, asked: &Client) {
        let path = format!("/v1/holds/{}", id(&self.hold));
        let (last_held, ended) = eventually("the hold ends", || {
            let before = Instant::now();
            let answer = asked.get(&path);
            let is_over = answer.status == 200 && answer.json()["state"] == "expired";
            is_over.then(|| (before, Instant::now()))
        });
        let (least, most) = (last_held.duration_since(self.after), ended.duration_since(self.before));
        println!("a hold of {HOLD_TTL:?} ended after {least:?} to {most:?}");
        assert!(least + LATITUDE > HOLD_TTL, "too early: {least:?}");
        assert!(most < HOLD_TTL + LATITUDE, "too late: {most:?}");
    }
}
