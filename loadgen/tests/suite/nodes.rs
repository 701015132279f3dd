//! A box office of several nodes: connections are spread over them, and what one node left open another one answers.

use std::collections::HashSet;
use std::time::Duration;

use super::box_office::{BoxOffice, Fault};
use super::{count, run};

const FLAGS: &str =
    "--mix hold=2,order=1,availability=1 --duration 600ms --connections 6 --seats 5000 --replays 0 --audit";

/// Flags that name one more node.
fn also(other: &BoxOffice) -> String {
    format!("{FLAGS} --url {}", other.url())
}

#[test]
fn every_node_gets_its_share() {
    let one = BoxOffice::open(&[]);
    let two = one.beside(&[]);
    let report = run(&one.url(), &also(&two));
    assert_eq!((report.failures.len(), report.errors), (0, 0), "{:?}", report.errors_by_code);
    let shares = (one.keys().len(), two.keys().len());
    assert!(shares.0 > 20 && shares.1 > 20, "{shares:?}");
    assert_eq!(report.url, format!("{}, {}", one.url(), two.url()));
    assert_eq!(report.audit.unwrap().checked.holds as usize, one.holds_given());
}

/// A node goes away for longer than the run: its connections move on, what it left open is answered by the other one.
#[test]
fn the_sale_goes_on_without_a_node() {
    let one = BoxOffice::open(&[]);
    let two = one.beside(&[Fault::CrashAt(20, Duration::from_secs(60))]);
    let report = run(&one.url(), &also(&two));
    assert_eq!((report.failures.len(), report.errors, report.unresolved), (0, 0, 0), "{:?}", report.errors_by_code);
    assert!(count(&report.retries, "connection_lost") > 0, "{:?}", report.retries);
    let slowest = report.rows.iter().map(|row| row.latency.max).fold(0.0, f64::max);
    assert!(slowest < 400.0, "nobody waits for the node that is gone: {slowest} ms");
    assert_eq!(report.audit.unwrap().checked.holds as usize, one.holds_given());
}

/// A node that never knows an outcome is asked once for each: the key then goes to the other node, and the answer counts
/// once.
#[test]
fn what_a_node_left_open_is_asked_at_another_with_the_same_key() {
    let one = BoxOffice::open(&[]);
    let two = one.beside(&[Fault::BusyEvery(1)]);
    let report = run(&one.url(), &also(&two));
    assert_eq!((report.failures.len(), report.errors, report.unresolved), (0, 0, 0), "{:?}", report.errors_by_code);
    let (left_open, answered) = (two.keys(), one.keys());
    let each: HashSet<&String> = left_open.iter().collect();
    assert_eq!((each.len(), left_open.len() > 5), (left_open.len(), true), "no key came back to the busy node");
    assert!(each.iter().all(|key| answered.contains(key)), "the same key went to the other node");
    assert_eq!(count(&report.retries, "overloaded") as usize, left_open.len());
}
