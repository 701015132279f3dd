//! NATS servers that come back without their data: nobody makes the deployment again as if nothing had been sold.

use std::time::Instant;

use crate::nodes::{Cluster, SHARDS};
use crate::prober::{Prober, must_be_passing};
use crate::process::until;
use crate::sale::Sales;

#[test]
fn servers_that_come_back_empty_are_refused_by_nodes_that_run_and_by_nodes_that_start() {
    let mut cluster = Cluster::start(2, &[]);
    let mut prober = Prober::open(&cluster, "emptied");
    let every: Vec<u16> = (0..SHARDS).collect();
    prober.hold_on(&cluster, &every, &[0, 1], Instant::now());

    replace_stores(&mut cluster, |nats, server| nats.put_away(server));
    for node in cluster.nodes() {
        until("it says what is the matter", || {
            let answer = node.client().get("/readyz");
            answer.status == 503 && answer.text().contains("bring it back or restore a backup")
        });
        must_be_passing(&prober.try_hold(&node.customer("patient"), 0, "emptied"));
        node.client().get(&prober.seats(0)).expect(200);
    }
    cluster.node_mut(0).kill();
    let said = cluster.node(0).refuses_to_start();
    for told in ["NATS has no deployment", "bring the servers' data back", "restore a backup"] {
        assert!(said.contains(told), "{said}");
    }
    for server in cluster.nats.places() {
        assert_eq!(cluster.nats.streams_seen_by(server), Vec::<String>::new(), "nothing was made again");
    }

    replace_stores(&mut cluster, |nats, server| nats.bring_back(server));
    cluster.await_ready();
    cluster.node_mut(0).restart();
    prober.hold_on(&cluster, &every, &[1, 0], Instant::now());
    prober.settle(&cluster, &mut Sales::default());
}

/// Stops all servers the hard way and starts them with other stores.
fn replace_stores(cluster: &mut Cluster, replace: impl Fn(&mut crate::nats::Nats, usize)) {
    let servers: Vec<usize> = cluster.nats.places().collect();
    servers.iter().for_each(|server| cluster.nats.kill(*server));
    for server in servers {
        replace(&mut cluster.nats, server);
        cluster.nats.start(server);
    }
    cluster.nats.await_ready();
}
