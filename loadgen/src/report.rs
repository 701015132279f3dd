//! The report of a run: one value, shown as table, JSON or HTML, and judged by its thresholds.

pub mod html;
pub mod json;
pub mod table;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::audit::Verdict;
use crate::engine::tally::{Codes, Tally};
use crate::mix::Operation;
use crate::plan::{Load, NewEvents, Plan, Show, Thresholds};

/// An open run below this share of its asked rate has not measured what it was asked to.
pub const ACHIEVED_VALID: f64 = 0.99;

/// With more of its holds refused than this, a run's rate is not one of holds.
pub const REFUSED_MAX: f64 = 0.02;

/// The rate around a moment of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Seconds since the start.
    pub at_s: f64,
    /// Answers a second.
    pub rate: f64,
    /// Errors a second.
    pub errors: f64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which.
    pub operation: Operation,
    /// Final answers.
    pub count: u64,
    /// Of these, refusals.
    pub refused: u64,
    /// From the intended start.
    pub latency: Latency,
    /// From the sending of the attempt that was answered.
    pub service: Latency,
}

/// A count by operation and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Which operation.
    pub operation: &'static str,
    /// The server's code, or one of ours.
    pub code: String,
    /// How often.
    pub count: u64,
}

/// What a run cost the server's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerCost {
    /// CPU time during the run.
    pub cpu: Duration,
    /// Resident bytes before the events were laid out.
    pub before: u64,
    /// Resident bytes when they were on sale.
    pub laid_out: u64,
    /// Resident bytes at the end.
    pub after: u64,
}

/// Everything that a run has to say.
#[derive(Debug, Clone)]
pub struct Report {
    /// The run's mark.
    pub run: String,
    /// The server.
    pub url: String,
    /// The mix as typed.
    pub mix: String,
    /// Connections, pipeline depth, threads.
    pub shape: (u32, u32, u32),
    /// What was put on sale; none when the event was there already.
    pub created: Option<NewEvents>,
    /// How many different buyers there were to draw from.
    pub customers: u32,
    /// Whether the run was to end when nothing is left.
    pub until_sold_out: bool,
    /// Fixes the run's choices.
    pub seed: u64,
    /// How long requests were started.
    pub window: Duration,
    /// Answers a second in the window, all operations.
    pub rate: f64,
    /// What was asked for, on average over the window; none for a closed loop.
    pub asked_rate: Option<f64>,
    /// Operations of the mix that were sent in the window and ended ÷ arrivals that were meant to start; none for a
    /// closed loop.
    pub achieved: Option<f64>,
    /// Answers, also after the window.
    pub answered: u64,
    /// Errors.
    pub errors: u64,
    /// Operations with at least one answer.
    pub rows: Vec<Row>,
    /// Errors by code.
    pub errors_by_code: Vec<Code>,
    /// Refusals by code.
    pub refusals: Vec<Code>,
    /// Repeated attempts by code.
    pub retries: Vec<Code>,
    /// Orders seen paid.
    pub orders_paid: u64,
    /// Answered requests that were asked again and got the same answer.
    pub replays: u64,
    /// Keys without a final answer.
    pub unresolved: u64,
    /// Orders whose end was not seen.
    pub unfinished: u64,
    /// Arrivals never sent.
    pub unsent: u64,
    /// CPU time of this process during the run.
    pub cpu: Duration,
    /// Of the server, when its process was named.
    pub server: Option<ServerCost>,
    /// When everything was sold, if that was the aim.
    pub sold_out_after: Option<Duration>,
    /// The rate over time.
    pub moments: Vec<Moment>,
    /// The audit, if there was one.
    pub audit: Option<Verdict>,
    /// Why the run failed; empty when it passed.
    pub failures: Vec<String>,
}

impl Report {
    /// Draws a run's counts together and judges them.
    pub fn new(plan: &Plan, run: &str, tally: &Tally, cpu: Duration) -> Self {
        let window = Duration::from_nanos(tally.stopped_at.0);
        let per_second = |count: u64| count as f64 / window.as_secs_f64().max(1e-9);
        let asked_rate = match &plan.load {
            Load::Open { profile } => Some(profile.mean(window)),
            Load::Closed => None,
        };
        Self {
            run: run.to_owned(),
            url: plan.access.urls(),
            mix: plan.mix.name().to_owned(),
            shape: (plan.connections, plan.pipeline, plan.threads),
            created: match &plan.show {
                Show::New(new) => Some(new.clone()),
                Show::Existing(_) => None,
            },
            customers: plan.customers,
            until_sold_out: plan.until_sold_out,
            seed: plan.seed,
            window,
            rate: per_second(tally.answered_in_window),
            asked_rate,
            achieved: asked_rate.map(|_| tally.achieved as f64 / tally.meant.max(1) as f64),
            answered: tally.answered,
            errors: tally.error_count(),
            rows: rows(tally),
            errors_by_code: codes(&tally.errors),
            refusals: codes(&tally.refusals),
            retries: codes(&tally.retries),
            orders_paid: tally.paid,
            replays: tally.replays,
            unresolved: tally.unresolved,
            unfinished: tally.unfinished,
            unsent: tally.unsent,
            cpu,
            server: None,
            sold_out_after: None,
            moments: Vec::new(),
            audit: None,
            failures: Vec::new(),
        }
    }

    /// Notes every reason for the run to have failed.
    pub fn judge(&mut self, thresholds: &Thresholds) {
        let mut failures = Vec::new();
        for (operation, limit) in &thresholds.max_p99_ms {
            match self.rows.iter().find(|row| row.operation == *operation) {
                None => failures.push(format!("--max-p99 {}: no answer was measured", operation.name())),
                Some(row) if row.latency.p99 > *limit => {
                    let (name, p99) = (operation.name(), row.latency.p99);
                    failures.push(format!("--max-p99 {name}={limit}: p99 is {p99:.3} ms"));
                }
                Some(_) => {}
            }
        }
        if let Some(most) = thresholds.max_errors.filter(|most| self.errors > *most) {
            failures.push(format!("--max-errors {most}: {} errors", self.errors));
        }
        let least = thresholds.min_achieved.unwrap_or(ACHIEVED_VALID);
        if let Some(achieved) = self.achieved.filter(|achieved| *achieved < least) {
            let void = if self.is_void() { "the run is void: " } else { "" };
            failures.push(format!("{void}--min-achieved {least}: achieved {achieved:.4} of the asked rate"));
        }
        if self.until_sold_out && self.sold_out_after.is_none() {
            failures.push(format!("--until-sold-out: seats are left after {:.1} s", self.window.as_secs_f64()));
        }
        if self.answered == 0 {
            failures.push("no request was answered".to_owned());
        }
        if let Some(audit) = self.audit.as_ref().filter(|audit| !audit.passed) {
            failures.push(audit.summary());
        }
        self.failures = failures;
    }

    /// Holds that were refused because their block or event had nothing left, in a run that was not meant to sell out.
    pub fn ran_out(&self) -> u64 {
        let is_sold_out = |code: &&Code| code.operation == Operation::Hold.name() && code.code == "sold_out";
        let sold_out = self.refusals.iter().filter(is_sold_out).map(|code| code.count).sum();
        if self.until_sold_out { 0 } else { sold_out }
    }

    /// Refused holds ÷ answered ones; none without holds.
    pub fn refused_share(&self) -> Option<f64> {
        let holds = self.rows.iter().find(|row| row.operation == Operation::Hold)?;
        Some(holds.refused as f64 / holds.count as f64)
    }

    /// What must be known to read the figures rightly, although it fails no run.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.ran_out() > 0 {
            let count = self.ran_out();
            warnings.push(format!(
                "places run out: {count} holds heard sold_out, and ever more will; --events puts more on sale"
            ));
        }
        if let Some(share) = self.refused_share().filter(|share| *share > REFUSED_MAX && !self.until_sold_out) {
            warnings.push(format!(
                "{:.1} % of the holds were refused: the rate is of answers, not of holds",
                100.0 * share
            ));
        }
        warnings
    }

    /// Whether nothing was found to fail it.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether an open loop missed its schedule, so that its latencies are not those of the asked rate.
    pub fn is_void(&self) -> bool {
        self.achieved.is_some_and(|achieved| achieved < ACHIEVED_VALID)
    }

    /// CPU time of the generator for one answer, in microseconds.
    pub fn cpu_us_per_request(&self) -> f64 {
        self.us_per_request(self.cpu)
    }

    /// So much time in microseconds for each answer.
    pub(crate) fn us_per_request(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.answered.max(1) as f64
    }
}

fn rows(tally: &Tally) -> Vec<Row> {
    let measured = Operation::ALL.into_iter().zip(&tally.operations);
    let row = |(operation, measured): (_, &crate::engine::tally::Measured)| Row {
        operation,
        count: measured.latency.len(),
        refused: refused(tally, operation),
        latency: latency(&measured.latency),
        service: latency(&measured.service),
    };
    measured.filter(|(_, measured)| !measured.latency.is_empty()).map(row).collect()
}

fn refused(tally: &Tally, operation: Operation) -> u64 {
    tally.refusals.iter().filter(|((name, _), _)| *name == operation.name()).map(|(_, count)| count).sum()
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Latency {
        mean: histogram.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max() as f64 / 1e3,
    }
}

fn codes(counted: &Codes) -> Vec<Code> {
    let mut codes: Vec<Code> = counted
        .iter()
        .map(|((operation, code), count)| Code { operation, code: code.clone(), count: *count })
        .collect();
    codes.sort_by_key(|code| std::cmp::Reverse(code.count));
    codes
}
