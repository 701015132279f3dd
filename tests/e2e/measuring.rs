//! The load generator's other commands against real nodes: readers of live sessions, and servers side by side.

use std::process::Command;

use serde_json::Value;

use crate::server::{SECRET, Server, binary, loadgen};

/// Runs a command of the load generator to its good end; gives what it left as JSON.
#[track_caller]
fn measured(words: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let ended = Command::new(loadgen()).args(words.split_whitespace()).arg("--json").arg(&json).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
}

#[test]
fn every_subscriber_hears_of_every_change() {
    let server = Server::start();
    let (url, key) = (server.url(), server.organizer_key());
    let figures = measured(&format!(
        "live --url {url} --organizer-key {key} --auth-secret {SECRET} --subscribers 40 --idle-http 10 --rate 50 --duration 500ms"
    ));
    let count = |name: &str| figures[name].as_u64().unwrap();
    assert_eq!((count("changes"), count("lost")), (25, 0), "{figures:#}");
    assert_eq!(count("received") + count("skipped"), 40 * 25, "{figures:#}");
    let p99 = |name: &str| figures[name]["p99_ms"].as_f64().unwrap();
    assert!(p99("fan_out_from_sent") > 0.0 && p99("fan_out_from_sent") >= p99("fan_out_from_acknowledged"));
}

#[test]
fn servers_are_compared_in_the_same_run() {
    let stampede = binary().display().to_string();
    let only = "--only availability-64 --only cost-event";
    let figures = measured(&format!("compare --stampede {stampede} --rounds 1 --seconds 1 {only}"));
    let rows = figures["rows"].as_array().unwrap();
    let named = |name: &str| rows.iter().find(|row| row["contender"].as_str().unwrap().starts_with(name)).unwrap();
    assert_eq!(named("floor")["ratio"]["median"], 1.0);
    let own = named("stampede");
    assert!(own["rate"]["median"].as_f64() > Some(0.0) && own["ratio"]["median"].as_f64() > Some(0.0), "{own:#}");
    let costs: Vec<&Value> = rows.iter().filter(|row| row["row"] == "cost-event").collect();
    assert_eq!(costs.len(), 2, "with the lane and without: {figures:#}");
    assert!(costs.iter().all(|cost| cost["server_cpu_us"]["median"].as_f64() > Some(0.0)), "{figures:#}");
}
