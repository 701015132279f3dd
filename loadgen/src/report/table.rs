//! The report as text for a terminal.

use std::fmt::Write;

use super::{ACHIEVED_VALID, Code, Latency, Report};

/// Codes that are shown of a list.
const CODES_MAX: usize = 12;

/// The whole report, several lines.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // A String takes every write.
    let _ = head(report, &mut out);
    let _ = rows(report, &mut out);
    for (name, codes) in
        [("errors", &report.errors_by_code), ("refused", &report.refusals), ("retried", &report.retries)]
    {
        let _ = list(name, codes, &mut out);
    }
    let _ = tail(report, &mut out);
    out
}

fn head(report: &Report, out: &mut String) -> std::fmt::Result {
    let (connections, pipeline, threads) = report.shape;
    let loop_name = if report.asked_rate.is_some() { "open loop" } else { "closed loop" };
    writeln!(
        out,
        "{} · {loop_name} · mix {} · {connections} connections · pipeline {pipeline} · {threads} threads · seed {}",
        report.url, report.mix, report.seed
    )?;
    if let Some(new) = &report.created {
        let (seats, standing) = (new.seats, new.standing);
        write!(out, "{} events of {seats} seats in {} blocks and {standing} standing places", new.events, new.blocks)?;
        if let Some(wanted) = new.places_wanted {
            write!(out, ": {} places, the most without --events, and the run may want {wanted}", new.places())?;
        }
        writeln!(out)?;
    }
    writeln!(out, "{} customers", report.customers)?;
    write!(out, "{:.0} requests/s over {:.1} s", report.rate, report.window.as_secs_f64())?;
    if let (Some(asked), Some(achieved)) = (report.asked_rate, report.achieved) {
        write!(out, ", asked {asked:.0}/s, achieved ÷ asked {achieved:.3}")?;
        if report.is_void() {
            write!(out, " (VOID: below {ACHIEVED_VALID}, server or generator could not keep the schedule)")?;
        }
    }
    for warning in report.warnings() {
        write!(out, "\nWARNING {warning}")?;
    }
    let share = 100.0 * report.errors as f64 / report.answered.max(1) as f64;
    writeln!(
        out,
        "\n{} answers, {} errors ({share:.3} %), {} orders paid",
        report.answered, report.errors, report.orders_paid
    )
}

fn rows(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<14}{:>12}{:>10}{:>10}{:>10}{:>10}{:>11}   {:>12}",
        "ms", "count", "p50", "p90", "p99", "p99.9", "max", "service p99"
    )?;
    for row in &report.rows {
        let Latency { p50, p90, p99, p999, max, .. } = row.latency;
        let (name, service) = (row.operation.name(), row.service.p99);
        writeln!(
            out,
            "{name:<14}{:>12}{p50:>10.3}{p90:>10.3}{p99:>10.3}{p999:>10.3}{max:>11.3}   {service:>12.3}",
            row.count
        )?;
    }
    Ok(())
}

fn list(name: &str, codes: &[Code], out: &mut String) -> std::fmt::Result {
    if codes.is_empty() {
        return Ok(());
    }
    write!(out, "{name:<9}")?;
    for code in codes.iter().take(CODES_MAX) {
        write!(out, " {} {}={}", code.operation, code.code, code.count)?;
    }
    if codes.len() > CODES_MAX {
        write!(out, " and {} more", codes.len() - CODES_MAX)?;
    }
    writeln!(out)
}

fn tail(report: &Report, out: &mut String) -> std::fmt::Result {
    for (count, what) in [
        (report.unsent, "arrivals found no connection with room and were never sent"),
        (report.unresolved, "keys have no final answer"),
        (report.unfinished, "orders were not seen to end"),
    ] {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    if report.replays > 0 {
        writeln!(out, "{} answered requests were asked again with their key", report.replays)?;
    }
    writeln!(out, "generator: {:.2} CPU s, {:.2} µs a request", report.cpu.as_secs_f64(), report.cpu_us_per_request())?;
    if let Some(cost) = &report.server {
        let us = report.us_per_request(cost.cpu);
        let [before, laid_out, after] = [cost.before, cost.laid_out, cost.after].map(|bytes| bytes / 1024);
        writeln!(out, "server: {:.2} CPU s, {us:.2} µs a request", cost.cpu.as_secs_f64())?;
        writeln!(out, "server: {before} KiB resident before, {laid_out} KiB with the events, {after} KiB at the end")?;
    }
    if let Some(after) = report.sold_out_after {
        writeln!(out, "sold out after {:.1} s", after.as_secs_f64())?;
    }
    if let Some(audit) = &report.audit {
        writeln!(out, "{}", audit.summary())?;
        for finding in audit.details.iter().take(CODES_MAX) {
            writeln!(out, "  {:?} {}: {}", finding.kind, finding.subject, finding.why)?;
        }
    }
    for failure in &report.failures {
        writeln!(out, "FAILED {failure}")?;
    }
    Ok(())
}
