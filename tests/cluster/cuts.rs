//! Networks that break or slow down between a node and NATS: one way, the other, both.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::journals;
use crate::nodes::{Cluster, SHARDS};
use crate::prober::{Prober, must_be_passing};
use crate::process::{eventually, until};
use crate::proxy::Way;
use crate::sale::{HURRIED, Pace, Sales};
use crate::socket::Session;
use crate::watching::held_seen_by;

/// The node that is cut off.
const CUT: usize = 1;

#[test]
fn a_node_that_is_cut_off_says_so_and_the_others_sell_its_seats() {
    let cluster = Cluster::start(3, &HURRIED);
    let mut sales = Sales::default();
    let sale = sales.begin(&cluster, Pace::Calm(40));
    let mut prober = Prober::open(&cluster, "cuts");
    for ways in [&[Way::There][..], &[Way::Back], &[Way::There, Way::Back]] {
        is_cut_off(&cluster, &mut prober, ways);
    }
    for delay in [Duration::from_millis(50), Duration::from_millis(500)] {
        is_slow(&cluster, &mut prober, delay);
    }
    sales.end(&cluster, sale);
    prober.settle(&cluster, &mut sales);
    sales.settle(&cluster);
    println!("journals of one writer at a time: {:?}", journals::read(&cluster.nats));
}

/// The others take over; the node refuses what is private, shows what it last knew and its age, and catches up.
#[track_caller]
fn is_cut_off(cluster: &Cluster, prober: &mut Prober, ways: &[Way]) {
    let owners = cluster.await_placement();
    let others = cluster.others(CUT);
    let its: Vec<u16> = (0..SHARDS).filter(|shard| owners[usize::from(*shard)] == CUT).collect();
    let theirs = (0..SHARDS).find(|shard| owners[usize::from(*shard)] != CUT).expect("a shard of another node");
    let (node, public) = (cluster.node(CUT), cluster.node(CUT).client());
    let mut watching = Session::open(node.listen(), "/v1/events/cuts/live");
    let held = held_seen_by(&mut watching, prober.block(theirs), |_| true);

    ways.iter().for_each(|way| node.cut(*way));
    let times = prober.hold_on(cluster, &its, &others, Instant::now());
    println!("node cut off {ways:?}, to the first accepted write on each of its shards: {times}");
    cluster.await_agreement_of(&others);
    let buyer = node.customer("patient");
    must_be_passing(&prober.try_hold(&buyer, its[0], "cut-off"));
    must_be_passing(&prober.try_hold(&buyer, theirs, "cut-off"));
    // one that still hears the others shows what is
    if ways.contains(&Way::Back) {
        let age = eventually("its board says how old it is", || stale_age(&public, &prober.seats(theirs)));
        until("and it gets older", || stale_age(&public, &prober.seats(theirs)).is_some_and(|now| now > age));
    }
    prober.hold_on(cluster, &[theirs], &others, Instant::now());

    node.mend();
    held_seen_by(&mut watching, prober.block(theirs), |now| now > held);
    until("it is not stale", || stale_age(&public, &prober.seats(theirs)).is_none());
    cluster.await_placement();
    let times = prober.hold_on(cluster, &its, &[CUT], Instant::now());
    println!("mended and placed again: {times}");
}

/// Slow everywhere: at worst nothing is sold meanwhile.
#[track_caller]
fn is_slow(cluster: &Cluster, prober: &mut Prober, delay: Duration) {
    let every: Vec<u16> = (0..SHARDS).collect();
    cluster.await_placement();
    cluster.nodes().for_each(|node| node.slow(delay));
    let (mut granted, mut refused) = (0, 0);
    for nth in 0..12 {
        let node = cluster.node(nth % 3);
        node.client().get(&prober.seats(0)).expect(200);
        let answer = prober.try_hold(&node.customer("patient"), nth as u16, &format!("slow-{delay:?}-{nth}"));
        if answer.status == 201 {
            granted += 1;
            prober.note(&answer.json());
        } else {
            refused += 1;
            must_be_passing(&answer);
        }
    }
    cluster.nodes().for_each(|node| node.mend());
    cluster.await_placement();
    let times = prober.hold_on(cluster, &every, &cluster.running(), Instant::now());
    println!("{delay:?} more each way: {granted} granted, {refused} refused; quick again: {times}");
}

/// The age of what a board shows, if it says that it is stale.
#[track_caller]
fn stale_age(client: &Client, path: &str) -> Option<u64> {
    let shown = client.get(path).expect(200);
    (shown["stale"] == true).then(|| shown["age_ms"].as_u64().expect("an age"))
}
