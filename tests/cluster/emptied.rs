//! NATS servers that come back without their data: nobody makes the deployment again as if nothing had been sold.

use crate::nodes::Cluster;
use crate::prober::{Prober, must_be_passing};
use crate::process::until;

#[test]
fn servers_that_come_back_empty_are_refused_by_nodes_that_run_and_by_nodes_that_start() {
    let mut cluster = Cluster::start(2, &[]);
    let mut prober = Prober::open(&cluster, "emptied");
    prober.hold_on(&cluster, &[0, 1, 2, 3], &[0, 1], std::time::Instant::now());
    let servers: Vec<usize> = cluster.nats.places().collect();
    servers.iter().for_each(|server| cluster.nats.kill(*server));
    for server in &servers {
        cluster.nats.wipe(*server);
        cluster.nats.start(*server);
    }
    cluster.nats.await_ready();
    for node in cluster.nodes() {
        until("it says what is the matter", || {
            let answer = node.client().get("/readyz");
            answer.status == 503 && answer.text().contains("came back without their data")
        });
        must_be_passing(&prober.try_hold(&node.customer("patient"), 0, "emptied"));
        node.client().get(&prober.seats(0)).expect(200);
    }
    cluster.node_mut(0).kill();
    let said = cluster.node(0).refuses_to_start();
    for told in ["NATS has no deployment", "bring the servers' data back", "restore a backup"] {
        assert!(said.contains(told), "{said}");
    }
    for server in servers {
        assert_eq!(cluster.nats.streams_seen_by(server), Vec::<String>::new(), "nothing was made again");
    }
}
