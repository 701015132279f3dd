//! A box office that is wrong: the audit says what, and how often.

use loadgen::audit::{Kind, Verdict};

use super::box_office::{BoxOffice, Fault};
use super::run;

/// Sells for a moment and audits.
fn audited(faults: &[Fault]) -> Verdict {
    let office = BoxOffice::open(faults);
    let flags = "--mix hold=3,order=2 --duration 800ms --connections 2 --pipeline 2 --seats 4000 --audit --settle 5s";
    let report = run(&office.url(), flags);
    let audit = report.audit.clone().unwrap();
    assert_eq!(audit.passed, report.passed(), "the audit decides about the run: {:?}", report.failures);
    assert!(audit.checked.orders > 2, "{report:?}");
    audit
}

fn found(audit: &Verdict, kind: Kind, why: &str) -> usize {
    audit.details.iter().filter(|finding| finding.kind == kind && finding.why.contains(why)).count()
}

#[test]
fn a_correct_server_passes() {
    let audit = audited(&[]);
    assert!(audit.passed && audit.details.is_empty(), "{audit:?}");
    assert!(audit.checked.journal_complete && audit.checked.unresolved == 0);
}

#[test]
fn a_lost_hold_is_found() {
    let audit = audited(&[Fault::LoseHold(3)]);
    assert_eq!((audit.lost, found(&audit, Kind::Lost, "the server does not know it")), (1, 1), "{audit:?}");
}

#[test]
fn a_lost_order_is_found() {
    let audit = audited(&[Fault::LoseOrder(2)]);
    assert_eq!((audit.lost, audit.doubled, audit.violations), (1, 0, 0), "{audit:?}");
    assert!(audit.details[0].subject.starts_with("ord_"));
}

#[test]
fn a_doubled_seat_is_found_in_the_ledger_and_in_the_acknowledgements() {
    let audit = audited(&[Fault::DoubleSeat(4)]);
    assert!(found(&audit, Kind::Doubled, "the ledger has two owners") > 0, "{audit:?}");
    assert!(found(&audit, Kind::Doubled, "while it belonged to") > 0, "{audit:?}");
}

#[test]
fn a_hold_that_ended_before_its_time_is_lost() {
    let audit = audited(&[Fault::ExpireEarly(2)]);
    assert_eq!((audit.lost, found(&audit, Kind::Lost, "expired before")), (1, 1), "{audit:?}");
}

#[test]
fn wrong_money_is_found() {
    let audit = audited(&[Fault::MiscountMoney]);
    assert_eq!((audit.lost, audit.doubled, audit.violations), (0, 0, 1), "{audit:?}");
    assert_eq!(found(&audit, Kind::Violation, "captured - refunded"), 1);
}

#[test]
fn what_the_server_says_against_itself_counts() {
    let audit = audited(&[Fault::ConfessViolation]);
    assert_eq!(found(&audit, Kind::Violation, "seat A/1-1 has two holds"), 1, "{audit:?}");
}

/// Answers are lost and keys are forgotten: the repeated request has a second effect.
#[test]
fn a_key_with_two_effects_is_found() {
    let audit = audited(&[Fault::ForgetKeys, Fault::HangUpEvery(5)]);
    assert!(found(&audit, Kind::Doubled, "no key of ours was answered with it") > 0, "{audit:?}");
}

/// The same when no answer was lost, by asking answered requests again.
#[test]
fn a_replay_with_another_answer_is_found() {
    let office = BoxOffice::open(&[Fault::ForgetKeys]);
    let flags = "--mix hold=1 --duration 500ms --connections 1 --seats 4000 --replays 100 --audit";
    let audit = run(&office.url(), flags).audit.unwrap();
    assert!(found(&audit, Kind::Doubled, "one key was answered with") > 0, "{audit:?}");
}
