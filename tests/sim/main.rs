//! The simulation: the whole box office under one seed, with everything failing that can fail.
//!
//! The product's own code runs. Simulated are the clock, disks and the network, messages between machines, the payment
//! provider, letter boxes, and the people. One thread, one queue of events, one source of chance: a seed is a run. There
//! are two of them, which differ in their [`site`] alone: [`embedded`] is one node with its own disk (machines and `turn`,
//! the shard log, the record format, the journal's log and its recovery, the loader), [`cluster`] is several nodes around
//! one replicated journal (besides machines and shard log: the keeper, the feed between nodes, the decision about an append,
//! following).
//!
//! `cargo test --test sim` lives 1,000 lives of each. `SEEDS=100000` lives more, `SEED=0x…` or `CLUSTER_SEED=0x…` lives one
//! again. A life that breaks an invariant prints its seed and its last steps. `cargo test --test sim --features planted-bugs
//! planted` shows that bugs put into the product on purpose are found.
//!
//! Start reading at [`world`] (the queue) and [`plan`] (what a seed decides). What a node does with messages is in [`node`]
//! and [`hosting`]; the ways in between in [`bus`] and [`gateway`]; people in [`clients`] and [`asking`]. What must hold is in
//! [`model`] (at every change), [`board`], and [`invariants`] (at every answer, recount and end).
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod asking;
mod board;
mod bus;
mod chance;
mod clients;
mod cluster;
mod coverage;
mod embedded;
mod gateway;
mod hosting;
mod invariants;
mod meeting;
mod model;
mod node;
mod plan;
mod planted;
mod site;
mod snapshots;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use cluster::Cluster;
use coverage::Coverage;
use embedded::Embedded;
use planted::Planted;
use site::Site;
use world::World;

/// Lives of a run that asks for no other number.
const SEEDS: u64 = 1000;

/// The first seed; the others follow.
const FIRST_SEED: u64 = 0x57a4_0000;

/// What a life came to.
struct Life {
    outcome: Result<(), String>,
    coverage: Coverage,
    events: u64,
    entries: u64,
    trace: Vec<String>,
}

fn live<S: Site>(seed: u64, bug: Option<Planted>, traced: bool) -> Life {
    planted::wake(bug);
    let mut world = World::<S>::new(seed, bug, traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live()));
    let outcome =
        outcome.unwrap_or_else(|panic| Err(format!("panic: {}", stampede::runtime::recovery::panic_text(&*panic))));
    let (coverage, events, entries) = (world.coverage.clone(), world.events, world.truth.entries);
    Life { outcome, coverage, events, entries, trace: world.into_trace() }
}

/// Machines panic on purpose here: their words are in the trace, not on the screen.
fn hush() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("{name} is a number: {text}")))
}

/// Says what went wrong in a life, how to live it again, and what happened last.
fn report<S: Site>(seed: u64, what: &str) -> String {
    let trace = live::<S>(seed, None, true).trace.join("\n");
    format!("{trace}\n\n{what}\nreplay: {}={seed:#x} cargo test --test sim", S::SEED)
}

/// Lives many lives, or the one that is asked for; says what they met.
fn live_all<S: Site>() {
    hush();
    let only = number(S::SEED);
    let seeds = only.map_or(FIRST_SEED..FIRST_SEED + number("SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let began = Instant::now();
    let (mut coverage, mut events, mut entries, mut lives) = (Coverage::default(), 0, 0, 0u64);
    for seed in seeds {
        let life = live::<S>(seed, None, false);
        if let Err(what) = life.outcome {
            let report = report::<S>(seed, &what);
            let _ = std::panic::take_hook();
            panic!("{report}");
        }
        coverage.add(&life.coverage);
        (events, entries, lives) = (events + life.events, entries + life.entries, lives + 1);
    }
    let took = began.elapsed().as_secs_f64();
    let _ = std::panic::take_hook();
    println!("{}", coverage.table(S::FAULTS));
    println!(
        "{lives} lives, {events} events, {entries} journal entries, {took:.1} s, {:.1} lives/s",
        lives as f64 / took
    );
    let missing = coverage.missing(S::FAULTS, S::COUNTS);
    assert!(lives < SEEDS || missing.is_empty(), "never reached: {missing:?}");
}

fn same_twice<S: Site>() {
    hush();
    for seed in [FIRST_SEED + 7, FIRST_SEED + 8] {
        let (first, second) = (live::<S>(seed, None, true), live::<S>(seed, None, true));
        assert_eq!(first.events, second.events);
        assert_eq!(first.trace, second.trace);
    }
}

fn find<S: Site>(bugs: Vec<Planted>) {
    hush();
    let mut blind = Vec::new();
    println!("{:40} {:>6}  found as", "planted bug", "lives");
    for bug in bugs {
        let mut lives = (FIRST_SEED..FIRST_SEED + S::PATIENCE).map(|seed| live::<S>(seed, Some(bug), false).outcome);
        let found = lives.by_ref().enumerate().find_map(|(nth, outcome)| Some((nth + 1, outcome.err()?)));
        let name = format!("{bug:?}");
        match found {
            Some((nth, what)) => {
                let what: String = what.lines().next().unwrap_or_default().chars().take(110).collect();
                println!("{name:40} {nth:>6}  {what}");
            }
            None => blind.push(name),
        }
    }
    let _ = std::panic::take_hook();
    assert!(blind.is_empty(), "not found in {} lives: {blind:?}", S::PATIENCE);
}

#[test]
fn nothing_is_sold_twice_and_nothing_told_is_lost() {
    live_all::<Embedded>();
}

#[test]
fn a_cluster_sells_nothing_twice_and_loses_nothing_it_told() {
    live_all::<Cluster>();
}

#[test]
fn a_seed_is_a_run() {
    same_twice::<Embedded>();
}

#[test]
fn a_seed_is_a_run_of_a_cluster() {
    same_twice::<Cluster>();
}

#[test]
fn planted_bugs_are_found() {
    find::<Embedded>(planted::of_a_node());
}

#[test]
fn planted_bugs_of_a_cluster_are_found() {
    find::<Cluster>(planted::of_a_cluster());
}
