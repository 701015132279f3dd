//! Coordinated omission: a stall must show in everything that was meant to start during it.

use std::time::Duration;

use super::box_office::{BoxOffice, Fault};
use super::run;

const STALL: Duration = Duration::from_millis(700);

/// The row of availability with a stall in the middle of the run.
fn measured(arrivals: &str) -> loadgen::report::Row {
    let office = BoxOffice::open(&[Fault::StallAt(60, STALL)]);
    let flags = format!(
        "{arrivals} --mix availability=1 --duration 1200ms --connections 1 --seats 10 --timeout 60s --max-errors 0"
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
