//! The report as JSON. Field names are fixed: scripts read them.

use serde_json::{Map, Value, json};

use super::{Code, Latency, Report, ServerCost};
use crate::plan::NewEvents;

/// The whole report.
pub fn render(report: &Report) -> Value {
    let operations: Map<String, Value> = report
        .rows
        .iter()
        .map(|row| {
            let mut fields = percentiles(&row.latency);
            fields.insert("count".to_owned(), row.count.into());
            fields.insert("refused".to_owned(), row.refused.into());
            fields.insert("service".to_owned(), percentiles(&row.service).into());
            (row.operation.name().to_owned(), fields.into())
        })
        .collect();
    let moments: Vec<Value> = report
        .moments
        .iter()
        .map(|moment| json!({"t_s": round(moment.at_s), "rate": round(moment.rate), "errors": round(moment.errors)}))
        .collect();
    json!({
        "run": report.run, "url": report.url, "mix": report.mix, "seed": report.seed,
        "mode": if report.asked_rate.is_some() { "open" } else { "closed" },
        "connections": report.shape.0, "pipeline": report.shape.1, "threads": report.shape.2,
        "duration_s": round(report.window.as_secs_f64()),
        "rate": round(report.rate), "asked_rate": report.asked_rate.map(round), "achieved": report.achieved.map(|ratio| (ratio * 1e4).round() / 1e4),
        "void": report.is_void(), "created": report.created.as_ref().map(created), "customers": report.customers,
        "ran_out": report.ran_out() > 0, "warnings": report.warnings(),
        "answered": report.answered, "errors": report.errors,
        "errors_by_code": codes(&report.errors_by_code), "refusals": codes(&report.refusals), "retries": codes(&report.retries),
        "operations": operations,
        "orders_paid": report.orders_paid, "replays": report.replays, "unresolved": report.unresolved,
        "unfinished": report.unfinished, "unsent": report.unsent,
        "generator_cpu_s": round(report.cpu.as_secs_f64()), "generator_cpu_us_per_request": round(report.cpu_us_per_request()),
        "server": report.server.map(|cost| server(report, cost)),
        "sold_out_after_s": report.sold_out_after.map(|after| round(after.as_secs_f64())),
        "timeline": moments, "audit": report.audit, "passed": report.passed(), "failures": report.failures,
    })
}

fn server(report: &Report, cost: ServerCost) -> Value {
    json!({"cpu_s": round(cost.cpu.as_secs_f64()), "cpu_us_per_request": round(report.us_per_request(cost.cpu)),
        "resident_bytes": {"before": cost.before, "laid_out": cost.laid_out, "after": cost.after}})
}

fn created(new: &NewEvents) -> Value {
    json!({"events": new.events, "blocks": new.blocks, "seats": new.seats, "standing": new.standing,
        "places": new.places(), "places_wanted": new.places_wanted})
}

fn percentiles(latency: &Latency) -> Map<String, Value> {
    let fields = [
        ("mean_ms", latency.mean),
        ("p50_ms", latency.p50),
        ("p90_ms", latency.p90),
        ("p99_ms", latency.p99),
        ("p999_ms", latency.p999),
        ("max_ms", latency.max),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), round(value).into())).collect()
}

fn codes(codes: &[Code]) -> Vec<Value> {
    codes.iter().map(|code| json!({"operation": code.operation, "code": code.code, "count": code.count})).collect()
}

/// Three digits behind the point: more is noise.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
