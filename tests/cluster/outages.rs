//! NATS servers that die under a sale: one of three is not missed, without a majority nothing is written and everything
//! is shown, and nobody has to restart a node.

use std::time::Instant;

use crate::journals;
use crate::nodes::{Cluster, SHARDS};
use crate::prober::{Prober, must_be_passing};
use crate::process::until;
use crate::sale::{HURRIED, Pace, Sales};

const STREAM: &str = "stampede-journal-0";

#[test]
fn servers_that_die_one_two_or_all_of_them_cost_time_and_nothing_else() {
    let mut cluster = Cluster::start(3, &HURRIED);
    let mut sales = Sales::default();
    let sale = sales.begin(&cluster, Pace::Calm(40));
    let mut prober = Prober::open(&cluster, "outages");
    cluster.await_placement();

    let leader = cluster.nats.await_leader(STREAM);
    let follower = (leader + 1) % 3;
    for (what, server) in [("a follower", follower), ("the leader of a stream", leader)] {
        cluster.nats.kill(server);
        writes_go_on(&cluster, &mut prober, &format!("kill -9 of {what} of NATS"));
        revive(&mut cluster, &[server]);
    }
    for lost in [&[0, 1][..], &[0, 1, 2]] {
        lost.iter().for_each(|server| cluster.nats.kill(*server));
        nothing_is_written_and_everything_is_shown(&cluster, &prober);
        revive(&mut cluster, lost);
        writes_go_on(&cluster, &mut prober, &format!("{} of three NATS servers back", lost.len()));
    }
    cluster.await_placement();
    sales.end(&cluster, sale);
    prober.settle(&cluster, &mut sales);
    sales.settle(&cluster);
    println!("journals of one writer at a time: {:?}", journals::read(&cluster.nats));
}

/// Writes are accepted on every shard, whichever node is asked.
#[track_caller]
fn writes_go_on(cluster: &Cluster, prober: &mut Prober, what: &str) {
    let every: Vec<u16> = (0..SHARDS).collect();
    let times = prober.hold_on(cluster, &every, &cluster.running(), Instant::now());
    println!("{what} to the first accepted write on each shard: {times}");
}

fn revive(cluster: &mut Cluster, servers: &[usize]) {
    servers.iter().for_each(|server| cluster.nats.start(*server));
    cluster.nats.await_ready();
}

/// Every node refuses writes, says when to come back and that it is not ready, and goes on to show what is public.
#[track_caller]
fn nothing_is_written_and_everything_is_shown(cluster: &Cluster, prober: &Prober) {
    for node in cluster.nodes() {
        let buyer = node.customer("patient");
        until("a write is refused", || {
            let answer = prober.try_hold(&buyer, 0, "no-majority");
            if answer.status != 201 {
                must_be_passing(&answer);
            }
            answer.status == 503
        });
        until("it says so", || node.client().get("/readyz").status == 503);
        for shard in 0..8 {
            node.client().get(&prober.seats(shard)).expect(200);
        }
        node.client().get("/v1/events/outages/availability").expect(200);
    }
}
