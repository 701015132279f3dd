//! The process as the kernel sees it, read when somebody asks for the metrics.
//!
//! Under the names every Prometheus client uses (`process_…`), so that existing dashboards work.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

#[derive(Debug)]
pub(super) struct Process;

struct Reading {
    cpu_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_fds: i64,
    max_fds: i64,
    threads: i64,
    started_at: f64,
}

impl Collector for Process {
    /// What cannot be read is left out: metrics must not fail because `/proc` is not there.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(reading) = read() else { return Ok(()) };
        let cpu = ConstCounter::new(reading.cpu_seconds);
        let name = "process_cpu";
        cpu.encode(encoder.encode_descriptor(
            name,
            "User and system time spent.",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let bytes = Some(&Unit::Bytes);
        let gauges = [
            ("process_resident_memory", "Memory in RAM.", bytes, reading.resident_bytes),
            ("process_virtual_memory", "Address space.", bytes, reading.virtual_bytes),
            ("process_open_fds", "Open files and sockets.", None, reading.open_fds),
            ("process_max_fds", "Most files and sockets that may be open.", None, reading.max_fds),
            ("process_threads", "Threads.", None, reading.threads),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)?;
        }
        let start = ConstGauge::new(reading.started_at);
        let name = "process_start_time";
        start.encode(encoder.encode_descriptor(
            name,
            "Start, since 1970.",
            Some(&Unit::Seconds),
            start.metric_type(),
        )?)
    }
}

#[allow(clippy::cast_precision_loss)] // metrics are floating point
fn read() -> procfs::ProcResult<Reading> {
    let process = procfs::process::Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let max_fds = match process.limits()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(most) => signed(most),
        procfs::process::LimitValue::Unlimited => i64::MAX,
    };
    Ok(Reading {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: signed(stat.rss * procfs::page_size()),
        virtual_bytes: signed(stat.vsize),
        open_fds: i64::try_from(process.fd_count()?).unwrap_or(i64::MAX),
        max_fds,
        threads: stat.num_threads,
        started_at: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
    })
}
