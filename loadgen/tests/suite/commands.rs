//! The program as it is typed: what it prints, leaves behind and exits with.

use std::process::{Command, Output};

use super::box_office::{BoxOffice, Fault};

fn loadgen(command: &str, url: &str, flags: &str) -> (i32, String) {
    let access = ["--organizer-key", "sk_test", "--auth-secret", "secret", "--url", url];
    let mut program = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let Output { status, stdout, stderr } =
        program.arg(command).args(access).args(flags.split_whitespace()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), said)
}

#[test]
fn a_run_leaves_its_files_and_its_journal_can_be_audited_again() {
    let office = BoxOffice::open(&[]);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (journal, json, html, verdict) = (at("acks.ndjson"), at("report.json"), at("report.html"), at("verdict.json"));
    let flags = format!(
        "--mix rush --duration 300ms --seats 500 --connections 2 --audit --journal {journal} --json {json} --html {html}"
    );
    let (code, said) = loadgen("onsale", &office.url(), &flags);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("availability") && said.contains("audit passed"), "{said}");

    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!((&report["audit"]["lost"], &report["audit"]["doubled"]), (&0.into(), &0.into()));
    assert!(std::fs::read_to_string(&html).unwrap().starts_with("<!doctype html>"));

    let (code, said) = loadgen("audit", &office.url(), &format!("--journal {journal} --json {verdict}"));
    assert_eq!(code, 0, "{said}");
    let again: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&verdict).unwrap()).unwrap();
    assert_eq!(again["audit"]["acknowledged"], report["audit"]["acknowledged"]);
}

#[test]
fn a_run_can_be_told_to_end_by_the_end_of_its_input() {
    let office = BoxOffice::open(&[]);
    // its input is empty
    let (code, said) =
        loadgen("onsale", &office.url(), "--mix availability=1 --duration 1h --until-eof --connections 1 --seats 100");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_failed_audit_or_threshold_is_said_and_exits_with_1() {
    let office = BoxOffice::open(&[Fault::LoseHold(1)]);
    let (code, said) =
        loadgen("onsale", &office.url(), "--mix hold=1 --duration 200ms --connections 1 --seats 500 --audit --quiet");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("failed: audit FAILED") && said.contains("1 lost"), "{said}");

    let flags = "--mix availability=1 --duration 200ms --connections 1 --max-p99 availability=0.0001";
    let (code, said) = loadgen("onsale", &office.url(), flags);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("failed: --max-p99 availability=0.0001: p99 is"), "{said}");
}

/// Each run fails for the answers to its reads, and by the name of what was wrong with them.
#[track_caller]
fn fails_by(fault: Fault, flags: &str, code: &str) -> serde_json::Value {
    let office = BoxOffice::open(&[fault]);
    let json = tempfile::NamedTempFile::new().unwrap();
    let flags = format!(
        "--mix availability --connections 4 --seats 100 --max-errors 0 {flags} --json {}",
        json.path().display()
    );
    let (status, said) = loadgen("onsale", &office.url(), &flags);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains(&format!("availability {code}=")) && said.contains("failed: --max-errors 0"), "{said}");
    serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap()
}

/// The length of every answer and its first and last byte are looked at, whose body it is in one of 256.
#[test]
fn answers_with_the_wrong_body_or_length_fail_a_run_by_their_name() {
    let report = fails_by(Fault::WrongBody, "--duration 1s", "wrong_body");
    let (answered, wrong) = (report["answered"].as_u64().unwrap(), report["errors"].as_u64().unwrap());
    assert_eq!(wrong, answered / 256, "one of 256 of {answered}");
    let report = fails_by(Fault::CutBody, "--duration 200ms", "wrong_body");
    assert_eq!(report["errors"], report["answered"], "every answer was cut");
    let report = fails_by(Fault::ShortBody, "--duration 200ms --timeout 100ms", "timeout");
    assert_eq!((&report["answered"], report["operations"].as_object().unwrap().len()), (&0.into(), 0));
}

#[test]
fn what_means_nothing_exits_with_2_and_what_cannot_be_done_with_3() {
    let office = BoxOffice::open(&[]);
    let (code, said) = loadgen("onsale", &office.url(), "--mix nonsense");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--mix: `nonsense` is neither a known name nor NAME=WEIGHT"), "{said}");
    let (code, said) = loadgen("live", &office.url(), "--rate 1000000");
    assert!(code == 2 && said.contains("--rate: must be above 0, and times --duration at most"), "{said}");
    let (code, said) = loadgen("audit", &office.url(), "--journal /nowhere/acks.ndjson");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("/nowhere/acks.ndjson"), "{said}");
}
