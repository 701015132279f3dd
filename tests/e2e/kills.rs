//! kill -9 under load, fifty times: what was acknowledged is there, once, and paid once.
//!
//! Segments are small and snapshots frequent, so that kills also hit the making of snapshots and the cutting of the
//! journal. The moments are drawn from a seed: after so many further acknowledgements, which no run repeats exactly.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::load::Load;
use crate::provider::Provider;
use crate::server::Server;

/// Kills in all.
const KILLS: u32 = 50;
/// Fixes the moments.
const SEED: u64 = 0x5eed;
/// Bytes that the load generator notes between two kills: from a few acknowledgements to some hundred.
const BETWEEN: std::ops::Range<u64> = 2_000..120_000;
/// Runs of the load until the journal must have been cut: how many the kills take depends on the machine.
const RUNS_MAX: u32 = 20;
/// A restart must not keep the sale waiting.
const RESTART_MAX: Duration = Duration::from_secs(15);

const SETTINGS: [&str; 9] = [
    "journal.segment_bytes=1MiB",
    "journal.group_bytes_max=256KiB",
    "snapshots.interval=100ms",
    "payments.timeout=300ms",
    "payments.backoff_min=50ms",
    "payments.simulated.latency_p50=5ms",
    "payments.simulated.latency_p99=50ms",
    "payments.simulated.timeout_after_capture_rate=2%",
    "payments.breaker.failures=10000",
];

const LOAD: &str = "--closed --connections 16 --mix hold=5,order=4,release=1,order_status=1,availability=1 --duration 8s \
     --blocks 6 --seats 60000 --standing 5000 --customers 5000 --replays 10 --payments tok_ok=8,tok_timeout=1,tok_declined=1";

#[test]
fn fifty_kills_under_load_lose_and_double_nothing() {
    let mut server = Server::start_with(&SETTINGS);
    let mut chance = SmallRng::seed_from_u64(SEED);
    let (mut kills, mut runs, mut acknowledged, mut torn) = (0, 0, 0, 0);
    let (mut slowest, mut memory) = (Duration::ZERO, 0);
    let mut provider = Provider::default();
    let began = Instant::now();
    while kills < KILLS || is_uncut(&server) {
        let mut load = Load::start(&server, &format!("{LOAD} --seed {runs}"));
        load.note_more(BETWEEN.start);
        while kills < KILLS && load.is_running() {
            load.note_more(chance.random_range(BETWEEN));
            memory = memory.max(server.memory());
            server.kill();
            kills += 1;
            let (is_well, said) = server.verify_journal();
            assert!(is_well, "after kill {kills}: {said}");
            torn += u32::from(!said.contains("torn: None"));
            let down = Instant::now();
            server.restart();
            slowest = slowest.max(down.elapsed());
        }
        let report = load.finish().clean();
        runs += 1;
        assert!(runs < RUNS_MAX || !is_uncut(&server), "the journal is not cut under load");
        acknowledged += report["audit"]["acknowledged"].as_u64().unwrap();
        provider.expect(&server.organizer(), &format!("{}-1", report["run"].as_str().unwrap()));
    }
    provider.agrees_with(&server.data());
    assert!(slowest < RESTART_MAX, "a restart took {slowest:?}");
    println!(
        "{kills} kills in {runs} runs, {acknowledged} acknowledged, {torn} torn ends, slowest restart {slowest:?}, \
         most memory {} MiB, {:?} in all",
        memory >> 20,
        began.elapsed()
    );
}

fn is_uncut(server: &Server) -> bool {
    server.segments()[0].ends_with("00000000000000000001.segment")
}
