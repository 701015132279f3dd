//! Coordinated omission: a stall must show in everything that was meant to start during it.

use std::time::Duration;

use super::box_office::{BoxOffice, Fault};
use super::run;

const STALL: Duration = Duration::from_millis(700);

/// The row of availability with a stall in the middle of the run.
fn measured(arrivals: &str) -> loadgen::report::Row {
    let office = BoxOffice::open(&[Fault::StallAt(60, STALL)]);
    // how much is made up for after the stall is not what is looked at here
    let lenient = if arrivals.contains("--rate") { " --min-achieved 0" } else { "" };
    let flags = format!(
        "{arrivals} --mix availability=1 --duration 1200ms --connections 1 --seats 10 --timeout 60s --max-errors 0{lenient}"
    );
    let report = run(&office.url(), &flags);
    assert_eq!(report.failures, Vec::<String>::new(), "{report:?}");
    report.rows.into_iter().next().unwrap()
}

/// 700 of 1,200 ms are stalled: more than a third of all arrivals were meant to start then.
#[test]
fn an_open_loop_counts_the_wait_of_everything_that_was_meant_to_start() {
    let row = measured("--rate 200");
    assert!(row.latency.p90 > 200.0, "{row:?}");
    assert!(row.service.p90 < row.latency.p90 / 2.0, "one request was served slowly, not a third: {row:?}");
}

#[test]
fn a_closed_loop_sees_the_stall_once() {
    let row = measured("--closed");
    assert!(row.latency.max >= 690.0, "{row:?}");
    assert!(row.latency.p90 < 100.0, "{row:?}");
}

/// The stall reaches beyond the end of the run: what was meant to start during it was not started in time.
#[test]
fn a_run_that_misses_its_schedule_is_void_and_says_so() {
    let office = BoxOffice::open(&[Fault::StallAt(10, STALL)]);
    let flags = "--rate 200 --mix availability=1 --duration 500ms --connections 1 --seats 10 --timeout 60s";
    let report = run(&office.url(), flags);
    assert!(report.is_void() && !report.passed(), "{report:?}");
    assert!(report.failures[0].contains("the run is void"), "{:?}", report.failures);
    assert_eq!(loadgen::report::json::render(&report)["void"], true);
    let lenient = run(&BoxOffice::open(&[Fault::StallAt(10, STALL)]).url(), &format!("{flags} --min-achieved 0"));
    assert!(lenient.is_void() && lenient.passed(), "{:?}", lenient.failures);
}

#[test]
fn a_ramp_asks_for_its_mean() {
    let office = BoxOffice::open(&[]);
    let flags = "--ramp 50..350 --mix availability=1 --duration 1s --connections 4 --seats 10 --timeout 60s";
    let report = run(&office.url(), flags);
    assert_eq!(loadgen::report::json::render(&report)["asked_rate"], 200.0);
    assert!((120..300).contains(&report.answered), "a Poisson count around 200: {}", report.answered);
}
