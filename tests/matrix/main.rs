//! The long matrix: {kill, pause, isolate} × {owner, follower, NATS leader, NATS follower, all, client link}, every cell so
//! many times under a sale that is audited. Not part of the default run; prints a Markdown table.
//!
//!     RUNS=20 tests/run matrix
//!
//! A fault lasts for two leases and is then mended. *Recovery* is the time from the fault's beginning to the first accepted
//! write on the slowest of all shards, asked where the fault did not strike, if anywhere.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use faults::{DEEDS, Deed, TARGETS, Target};
use nodes::{Cluster, SHARDS};
use prober::Prober;
use sale::{HURRIED, Pace, Sales};

use e2e::{client, contract, load, process, provider, server};

mod faults;
#[allow(dead_code, reason = "the cluster's tests use the rest")]
#[path = "../cluster/nats.rs"]
mod nats;
#[allow(dead_code, reason = "the cluster's tests use the rest")]
#[path = "../cluster/nodes.rs"]
mod nodes;
#[allow(dead_code, reason = "the cluster's tests use the rest")]
#[path = "../cluster/prober.rs"]
mod prober;
#[allow(dead_code, reason = "the cluster's tests use the rest")]
#[path = "../cluster/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "the cluster's tests use the rest")]
#[path = "../cluster/sale.rs"]
mod sale;

#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e"]
mod e2e {
    pub(crate) mod client;
    pub(crate) mod contract;
    pub(crate) mod load;
    pub(crate) mod process;
    pub(crate) mod provider;
    pub(crate) mod server;
}

/// How long a fault lasts: two leases.
const LASTS: Duration = Duration::from_secs(3);

/// Bytes of acknowledgements that a sale notes before a fault and after it, about thirty.
const NOTED: u64 = 10_000;

/// What the runs of one cell came to.
#[derive(Default)]
struct Cell {
    survived: u32,
    acknowledged: u64,
    lost: u64,
    doubled: u64,
    retries: u64,
    slowest: Duration,
}

#[test]
fn every_cell_of_the_matrix_is_survived() {
    let runs: u32 = std::env::var("RUNS").map_or(20, |runs| runs.parse().expect("RUNS is a number"));
    let mut table =
        "| fault | survived | acknowledged | lost | doubled | asked again | slowest recovery |\n".to_owned();
    table += "|---|--:|--:|--:|--:|--:|--:|\n";
    let mut all_survived = true;
    for deed in DEEDS {
        for target in TARGETS {
            let cell = runs_of(deed, target, runs);
            let row = format!(
                "| {deed} {target} | {}/{runs} | {} | {} | {} | {} | {:.1} s |\n",
                cell.survived,
                cell.acknowledged,
                cell.lost,
                cell.doubled,
                cell.retries,
                cell.slowest.as_secs_f64()
            );
            print!("{row}");
            table += &row;
            all_survived &= cell.survived == runs;
        }
    }
    println!("\n{table}");
    assert!(all_survived, "RUNS={runs} tests/run matrix");
}

/// All runs of a cell, on one cluster; a new one after a run that was not survived.
fn runs_of(deed: Deed, target: Target, runs: u32) -> Cell {
    let mut cell = Cell::default();
    let mut left = runs;
    while left > 0 {
        let began = catch_unwind(|| Cluster::start(3, &HURRIED)).ok();
        let Some(mut cluster) = began else {
            left -= 1;
            continue;
        };
        let mut sales = Sales::default();
        let mut survived = true;
        while survived && left > 0 {
            left -= 1;
            let run = AssertUnwindSafe(|| run(&mut cluster, &mut sales, &mut cell, (deed, target)));
            survived = catch_unwind(run).is_ok();
        }
    }
    cell
}

/// One fault under a sale of its own. Panics when it is not survived.
fn run(cluster: &mut Cluster, sales: &mut Sales, cell: &mut Cell, (deed, target): (Deed, Target)) {
    let owners = cluster.await_placement();
    let mut prober = Prober::open(cluster, format!("matrix-{}", sales.runs));
    let mut sale = sales.begin(cluster, Pace::Calm(40));
    let every: Vec<u16> = (0..SHARDS).collect();
    prober.hold_on(cluster, &every, &cluster.running(), Instant::now());
    sale.note_more(NOTED);
    let struck = faults::strikes(cluster, target, &owners);
    let began = Instant::now();
    faults::begin(cluster, deed, &struck);
    let spared: Vec<usize> = (0..3).filter(|place| !struck.touches(*place)).collect();
    let asked = if spared.is_empty() || target == Target::All { vec![0, 1, 2] } else { spared };
    let asking = prober.begin(cluster, &every, &asked, began);
    // this is the fault itself: it lasts for so long
    std::thread::sleep(LASTS.saturating_sub(began.elapsed()));
    faults::end(cluster, deed, &struck);
    let times = prober.heard(asking);
    cell.slowest = cell.slowest.max(times.max());
    cluster.nats.await_ready();
    cluster.await_ready();
    cluster.await_placement();
    sale.note_more(NOTED);
    let ended = sale.finish();
    let count = |name: &str| ended.report["audit"][name].as_u64().unwrap_or(0);
    cell.acknowledged += count("acknowledged");
    cell.lost += count("lost");
    cell.doubled += count("doubled");
    sales.judge(cluster, ended);
    cell.retries += std::mem::take(&mut sales.retries);
    prober.settle(cluster, sales);
    sales.settle(cluster);
    cell.survived += 1;
}
