//! A box office that hangs up, is busy, or is gone for a while: one operation has one effect.

use std::time::Duration;

use super::box_office::{BoxOffice, Fault};
use super::{count, run};

const FLAGS: &str =
    "--mix hold=2,order=1,availability=1 --duration 600ms --connections 3 --pipeline 4 --seats 5000 --audit";

#[test]
fn an_answer_lost_after_acting_counts_once() {
    let office = BoxOffice::open(&[Fault::HangUpEvery(7)]);
    let report = run(&office.url(), FLAGS);
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(count(&report.retries, "connection_lost") > 5, "{:?}", report.retries);
    let audit = report.audit.unwrap();
    assert_eq!(audit.checked.holds as usize, office.holds_given(), "every hold given was acknowledged in the end");
    assert_eq!(audit.checked.orders as usize, office.orders_taken());
    assert_eq!(report.unresolved, 0);
}

#[test]
fn a_busy_server_is_asked_again_with_the_same_key() {
    let office = BoxOffice::open(&[Fault::BusyEvery(3)]);
    let report = run(&office.url(), FLAGS);
    assert_eq!((report.failures.len(), report.errors), (0, 0), "{:?}", report.errors_by_code);
    assert!(count(&report.retries, "overloaded") > 5);
    assert_eq!(report.audit.unwrap().checked.holds as usize, office.holds_given());
}

/// Connections are refused for half a second; what was under way when it began has one effect all the same.
#[test]
fn a_restart_is_outlived() {
    let office = BoxOffice::open(&[Fault::CrashAt(40, Duration::from_millis(500))]);
    let report = run(&office.url(), &FLAGS.replace("600ms", "1500ms"));
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!((report.unresolved, report.errors), (0, 0), "{:?}", report.errors_by_code);
    let slowest = report.rows.iter().map(|row| row.latency.max).fold(0.0, f64::max);
    assert!(slowest >= 450.0, "the operations that were cut off waited for the restart: {slowest} ms");
    assert_eq!(report.audit.unwrap().checked.holds as usize, office.holds_given());
}

#[test]
fn retry_after_is_respected() {
    let office = BoxOffice::open(&[Fault::LimitEvery(9, 1)]);
    let report = run(&office.url(), FLAGS);
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(count(&report.retries, "rate_limited") > 0);
    let hold = report.rows.iter().find(|row| row.operation.name() == "hold").unwrap();
    assert!(hold.latency.max >= 1_000.0, "a limited hold waited its second: {}", hold.latency.max);
}

/// Nobody ever answers again: the operation is given up, named, and its key is known to be open.
#[test]
fn what_gets_no_answer_is_given_up_and_said() {
    let office = BoxOffice::open(&[Fault::BusyEvery(1)]);
    let report = run(&office.url(), &format!("{FLAGS} --give-up 300ms --settle 300ms --max-errors 0"));
    assert!(report.failures.iter().any(|failure| failure.starts_with("--max-errors 0")), "{:?}", report.failures);
    assert!(count(&report.errors_by_code, "gave_up") > 0);
    let audit = report.audit.unwrap();
    assert!(audit.passed && audit.checked.unresolved > 0, "an open outcome is neither lost nor doubled");
}
