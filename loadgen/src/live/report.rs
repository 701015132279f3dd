//! What a live run has to say, as text and as JSON.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::crowd::Crowd;
use super::writer::Board;

/// Milliseconds to a reader's receipt.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FanOut {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// A live run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Readers.
    pub subscribers: u32,
    /// Idle HTTP connections.
    pub idle_http: u32,
    /// Changes that were acknowledged to the writer.
    pub changes: u64,
    /// Changes received, all readers together.
    pub received: u64,
    /// Missing in a reader's sequence, or not there 30 s after the last change.
    pub lost: u64,
    /// Boards that slow readers got instead of changes.
    pub boards_again: u64,
    /// Changes that these boards stood for.
    pub skipped: u64,
    /// From the sending of the hold.
    pub from_sent: FanOut,
    /// From its acknowledgement; what came before it counts as none.
    pub from_acknowledged: FanOut,
    /// Resident bytes of the server for a reader; none without `--server-pid`.
    pub bytes_per_subscriber: Option<f64>,
    /// Resident bytes of the server for an idle connection.
    pub bytes_per_idle_http: Option<f64>,
}

impl Report {
    /// Takes what was counted.
    pub(super) fn take(&mut self, board: &Board, crowd: &Crowd) {
        (self.changes, self.received, self.lost) = (board.acknowledged(), crowd.received, crowd.lost);
        (self.boards_again, self.skipped) = crowd.resyncs();
        if let Some(measured) = board.fan_out() {
            self.from_sent = fan_out(&measured.from_sent);
            self.from_acknowledged = fan_out(&measured.from_acknowledged);
        }
    }

    /// Whether every reader got everything.
    pub fn passed(&self) -> bool {
        self.lost == 0
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let times = |times: FanOut| json!({"p50_ms": times.p50, "p99_ms": times.p99, "max_ms": times.max});
        json!({
            "subscribers": self.subscribers, "idle_http": self.idle_http, "changes": self.changes,
            "received": self.received, "lost": self.lost, "boards_again": self.boards_again, "skipped": self.skipped,
            "fan_out_from_sent": times(self.from_sent), "fan_out_from_acknowledged": times(self.from_acknowledged),
            "bytes_per_subscriber": self.bytes_per_subscriber, "bytes_per_idle_http": self.bytes_per_idle_http,
            "passed": self.passed(),
        })
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{} changes to {} subscribers: {} received, {} lost, {} boards instead of {} changes\n",
            self.changes, self.subscribers, self.received, self.lost, self.boards_again, self.skipped
        );
        for (name, times) in [("sending", self.from_sent), ("acknowledgement", self.from_acknowledged)] {
            let FanOut { p50, p99, max } = times;
            // A String takes every write.
            let _ = writeln!(out, "from {name:<16} p50 {p50:>9.3} ms   p99 {p99:>9.3} ms   max {max:>9.3} ms");
        }
        for (name, bytes) in
            [("subscriber", self.bytes_per_subscriber), ("idle HTTP connection", self.bytes_per_idle_http)]
        {
            if let Some(bytes) = bytes {
                let _ = writeln!(out, "{bytes:.0} resident bytes of the server for each {name}");
            }
        }
        out
    }
}

fn fan_out(histogram: &Histogram<u64>) -> FanOut {
    let ms = |micros: u64| micros as f64 / 1e3;
    FanOut {
        p50: ms(histogram.value_at_quantile(0.5)),
        p99: ms(histogram.value_at_quantile(0.99)),
        max: ms(histogram.max()),
    }
}
