//! Nodes that come and go in good order under a sale: no order fails, and nobody but the newcomer's shards moves.

use std::time::{Duration, Instant};

use crate::journals;
use crate::nodes::{Cluster, SHARDS};
use crate::prober::{Prober, Times};
use crate::process::until;
use crate::sale::{HURRIED, Pace, Sales};

/// Shards of a leaving node that are watched while they are handed over.
const WATCHED: usize = 6;
/// How long half of the shards may refuse writes when they change hands, and the slowest: generous, for debug builds on a
/// machine that does everything at once. What it takes is printed.
const HANDOFF_P50_MAX: Duration = Duration::from_secs(2);
const HANDOFF_MAX: Duration = Duration::from_secs(5);
/// Snapshots that follow each other fast, so that journals are cut within the test.
const EAGER: [&str; 2] = ["snapshots.interval=1s", "cluster.snapshot_interval=1s"];

#[test]
fn nodes_leave_return_and_join_without_a_failed_order() {
    let settings: Vec<&str> = HURRIED.into_iter().chain(EAGER).collect();
    let mut cluster = Cluster::start(3, &settings);
    let mut sales = Sales::default();
    let sale = sales.begin(&cluster, Pace::Calm(40));
    let mut prober = Prober::open(&cluster, "rolling");
    let (mut leaving, mut coming) = (Times::default(), Times::default());
    for place in 0..3 {
        let owners = cluster.await_placement();
        let its = (0..SHARDS).filter(|shard| owners[usize::from(*shard)] == place).take(WATCHED).collect::<Vec<_>>();
        let stream = prober.stream(&cluster, &its, &cluster.others(place));
        assert_eq!(cluster.node_mut(place).stop(), Some(0));
        cluster.await_placement();
        leaving.add(prober.end(stream));
        let stream = prober.stream(&cluster, &its, &cluster.running());
        cluster.node_mut(place).restart();
        cluster.await_placement();
        coming.add(prober.end(stream));
    }
    println!("longest wait for a write on a shard that is handed over when its node leaves: {leaving}");
    println!("and when it comes back: {coming}");
    for times in [leaving, coming] {
        assert!(times.percentile(50) < HANDOFF_P50_MAX && times.max() < HANDOFF_MAX, "{times}");
    }
    a_newcomer_takes_its_share_alone(&mut cluster, &mut prober);
    sales.end(&cluster, sale);
    println!("{} requests were sent again and answered then, {} acknowledged", sales.retries, sales.acknowledged);
    prober.settle(&cluster, &mut sales);
    sales.settle(&cluster);
}

/// A node with an empty disk, when journals have been cut: what it takes over lies in snapshots.
#[track_caller]
fn a_newcomer_takes_its_share_alone(cluster: &mut Cluster, prober: &mut Prober) {
    until("journals are cut", || journals::read(&cluster.nats).cut > usize::from(SHARDS) / 2);
    let before = cluster.await_placement();
    let place = cluster.prepare();
    cluster.node_mut(place).restart();
    let after = cluster.await_placement();
    let its: Vec<u16> = (0..SHARDS).filter(|shard| after[usize::from(*shard)] == place).collect();
    let is_its = |shard: &u16| its.contains(shard);
    for shard in (0..SHARDS).filter(|shard| !is_its(shard)) {
        assert_eq!(after[usize::from(shard)], before[usize::from(shard)], "shard {shard} moved for nothing");
    }
    assert!(!its.is_empty());
    let times = prober.hold_on(cluster, &its, &[place], Instant::now());
    println!("a newcomer owns {} of {SHARDS} shards and writes on each: {times}", its.len());
}
