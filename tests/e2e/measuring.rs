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

/// Every row that runs when none is named, a second each: each server starts, answers without an error and is named in the
/// figures, and who is not on this machine is named as left out.
#[test]
fn servers_are_compared_in_the_same_run() {
    let stampede = binary().display().to_string();
    let figures =
        measured(&format!("compare --stampede {stampede} --rounds 1 --seconds 1 --only speed --only cost-event"));
    assert_eq!(figures["is_median"], false, "one round");
    let rows = figures["rows"].as_array().unwrap();
    let named = |row: &str, who: &str| {
        let is_wanted = |line: &&Value| line["row"] == row && line["contender"].as_str().unwrap().starts_with(who);
        rows.iter().filter(is_wanted).collect::<Vec<&Value>>()
    };
    let mut expected = vec![("cost-event", "stampede", 2)];
    for row in ["availability-64", "availability-512", "availability-pipelined"] {
        expected.extend([(row, "floor", 1), (row, "stampede", 2), (row, "nginx", 1)]);
    }
    for row in ["holds", "holds-pipelined"] {
        expected.extend([(row, "stampede", 2), (row, "redis", 1)]);
    }
    expected.extend([("rush-pipelined", "floor", 1), ("rush-pipelined", "stampede", 2)]);
    let left_out: Vec<&str> = figures["left_out"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let is_left_out = |who: &str| left_out.iter().any(|line| line.starts_with(&format!("{who}: no {who}")));
    for (row, who, count) in expected {
        let lines = named(row, who);
        assert_eq!(lines.len(), if is_left_out(who) { 0 } else { count }, "{who} in {row}: {figures:#}");
        for line in lines {
            assert!(line["rate"]["median"].as_f64() > Some(0.0), "{line:#}");
            assert!(line["server_cpu_us"]["median"].as_f64() > Some(0.0), "{line:#}");
            assert_eq!(
                line["refused_percent"].is_object(),
                row.starts_with("holds") || row.starts_with("rush"),
                "{line:#}"
            );
        }
    }
    assert_eq!(named("availability-64", "floor")[0]["ratio"]["median"], 1.0);
    assert!(named("availability-64", "stampede")[0]["ratio"]["median"].as_f64() > Some(0.0), "{figures:#}");
}
