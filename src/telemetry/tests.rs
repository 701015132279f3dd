//! Stories of what the server says of itself.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::*;
use crate::config::Config;

#[test]
fn a_request_is_counted_by_route_and_class() {
    let metrics = Metrics::new();
    let route = metrics.route("POST", "/v1/events/{event}/holds");
    route.observe(201, Duration::from_micros(7));
    route.observe(201, Duration::from_millis(3));
    route.observe(409, Duration::from_secs(60));
    route.observe(503, Duration::ZERO);
    let text = metrics.encode();
    let labels = |status: &str| format!("method=\"POST\",route=\"/v1/events/{{event}}/holds\",status=\"{status}\"");
    for line in [
        format!("stampede_http_request_duration_seconds_count{{{}}} 2", labels("2xx")),
        format!("stampede_http_request_duration_seconds_bucket{{le=\"0.000005\",{}}} 0", labels("2xx")),
        format!("stampede_http_request_duration_seconds_bucket{{le=\"0.005\",{}}} 2", labels("2xx")),
        format!("stampede_http_request_duration_seconds_bucket{{le=\"30.0\",{}}} 0", labels("4xx")),
        format!("stampede_http_request_duration_seconds_bucket{{le=\"+Inf\",{}}} 1", labels("4xx")),
        format!("stampede_http_request_duration_seconds_sum{{{}}} 60.0", labels("4xx")),
        format!("stampede_http_request_duration_seconds_count{{{}}} 1", labels("503")),
    ] {
        assert!(text.contains(&line), "{line} missing in\n{text}");
    }
    assert!(!text.contains("status=\"5xx\""), "a class that never happened is not shown");
}

#[test]
fn every_status_has_a_class() {
    for (status, class) in [
        (101, "1xx"),
        (200, "2xx"),
        (304, "3xx"),
        (404, "4xx"),
        (429, "429"),
        (503, "503"),
        (500, "5xx"),
        (0, "5xx"),
        (999, "5xx"),
    ] {
        assert_eq!(StatusClass::of(status).word(), class);
    }
}

#[test]
fn threads_count_into_one_histogram() {
    let times = Durations::default();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| (0..1000).for_each(|_| times.observe(Duration::from_micros(3))));
        }
    });
    assert_eq!(times.count(), 20_000);
}

#[test]
fn every_metric_has_the_prefix_and_text_that_can_be_read_back() {
    let metrics = Metrics::new();
    metrics.holds.of("held").inc();
    metrics.orders.of("paid").inc();
    metrics.mailbox_depth.of("seat_block").set(3);
    metrics.cell_restarts.of("seat_block").inc();
    metrics.journal_commit.observe(Duration::from_micros(110));
    metrics.journal_fsync.observe(Duration::from_micros(90));
    metrics.journal_batch_records.observe(64);
    let cache = metrics.cache("availability");
    cache.hits.inc_by(9);
    cache.misses.inc();
    metrics.notices.of("sent").inc();
    metrics.ready.set(1);
    metrics.recovery_time.set(0.25);
    let call = GatewayCall { operation: "charge", outcome: "unknown", took: Duration::from_millis(5), breaker: 2 };
    metrics.gateway_call(call);
    assert!(!metrics.encode().contains("snapshot_age"), "no snapshot, no age");
    metrics.snapshot_taken(SystemTime::now() - Duration::from_secs(100));

    let text = metrics.encode();
    for line in [
        "stampede_holds_total{outcome=\"held\"} 1",
        "stampede_orders_total{outcome=\"paid\"} 1",
        "stampede_mailbox_depth{actor=\"seat_block\"} 3",
        "stampede_cell_restarts_total{actor=\"seat_block\"} 1",
        "stampede_journal_commit_seconds_count 1",
        "stampede_journal_batch_records_bucket{le=\"64.0\"} 1",
        "stampede_cache_requests_total{cache=\"availability\",result=\"hit\"} 9",
        "stampede_gateway_calls_total{operation=\"charge\",outcome=\"unknown\"} 1",
        "stampede_gateway_breaker_state 2",
        "stampede_notices_total{outcome=\"sent\"} 1",
        "stampede_recovery_seconds 0.25",
        "stampede_ready 1",
        "stampede_snapshot_age_seconds 10",
        "stampede_build_info{version=\"",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} missing in\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("stampede_") || line.starts_with("process_"), "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn the_process_is_seen_alive() {
    let text = Metrics::new().encode();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_threads") >= 1.0);
    assert!(value("process_start_time_seconds") > 1.6e9);
}

/// A place for log lines that can be read afterwards.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let config = Config::load(None, &sets).unwrap().telemetry;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = subscriber(&config, move || writer.clone(), Colour::Off).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(order = "ord_1", "order paid");
        tracing::debug!("a detail");
        tracing::debug!(target: "stampede::journal", "a detail of the journal");
    });
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn logs_are_for_people_or_machines_and_filtered() {
    let human = logged(&[]);
    assert!(human.contains("order paid") && human.contains("order=\"ord_1\"") && !human.contains("detail"), "{human}");
    let json = logged(&["telemetry.log=json", "telemetry.level=info,stampede::journal=debug"]);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{json}");
    assert_eq!((&lines[0]["message"], &lines[0]["order"]), (&"order paid".into(), &"ord_1".into()));
    assert_eq!(lines[1]["target"], "stampede::journal");
}
