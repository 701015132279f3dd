//! Nodes that are killed, one after the other, while a sale goes on.

use std::time::{Duration, Instant};

use crate::journals;
use crate::nodes::{Cluster, SHARDS};
use crate::prober::{Prober, Times};
use crate::sale::{HURRIED, Pace, Sales};
use crate::socket::Session;
use crate::watching::held_seen_by;

const KILLS: usize = 20;
/// Generous: machines of continuous integration are slow. What it takes is printed.
const FAILOVER_MAX: Duration = Duration::from_secs(10);

#[test]
fn twenty_kills_of_a_node_lose_nothing_and_every_shard_is_back_within_seconds() {
    let mut cluster = Cluster::start(3, &HURRIED);
    let mut sales = Sales::default();
    let sale = sales.begin(&cluster, Pace::Calm(40));
    let mut prober = Prober::open(&cluster, "kills");
    let mut all = Times::default();
    for kill in 0..KILLS {
        let victim = kill % 3;
        let owners = cluster.await_placement();
        let orphans: Vec<u16> = (0..SHARDS).filter(|shard| owners[usize::from(*shard)] == victim).collect();
        let others = cluster.others(victim);
        let mut watching = Session::open(cluster.node(others[0]).listen(), "/v1/events/kills/live");
        let held = held_seen_by(&mut watching, prober.block(orphans[0]), |_| true);
        cluster.node_mut(victim).kill();
        let since = Instant::now();
        for (shard, place) in orphans.iter().flat_map(|shard| others.iter().map(move |place| (*shard, *place))) {
            cluster.node(place).client().get(&prober.seats(shard)).expect(200);
        }
        let times = prober.hold_on(&cluster, &orphans, &others, since);
        assert!(times.max() < FAILOVER_MAX, "kill {kill}: {times}");
        all.add(times);
        held_seen_by(&mut watching, prober.block(orphans[0]), |now| now > held);
        cluster.await_agreement();
        cluster.node_mut(victim).restart();
    }
    println!("kill -9 of a node to the first accepted write on each of its shards: {all}");
    cluster.await_placement();
    sales.end(&cluster, sale);
    prober.settle(&cluster, &mut sales);
    sales.settle(&cluster);
    println!("journals of one writer at a time: {:?}", journals::read(&cluster.nats));
}
