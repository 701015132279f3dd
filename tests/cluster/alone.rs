//! A cluster of one node: what it sells outlives its process.

use crate::nodes::Cluster;
use crate::sale::{HURRIED, Pace, Sales};

#[test]
fn a_lone_node_that_is_killed_paused_and_cut_off_under_load_loses_nothing() {
    let mut cluster = Cluster::start(1, &HURRIED);
    let mut sales = Sales::default();
    let mut sale = sales.begin(&cluster, Pace::Rush);
    sale.note_more(20_000);
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    sale.note_more(20_000);
    cluster.node(0).pause();
    cluster.node(0).resume();
    sale.note_more(20_000);
    cluster.node(0).isolate();
    cluster.node(0).front.sever();
    cluster.node(0).mend();
    sale.note_more(20_000);
    sales.end(&cluster, sale);
    sales.settle(&cluster);
    assert_eq!(cluster.await_agreement().len(), 64);
}
