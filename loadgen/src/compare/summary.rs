//! Figures of a comparison: medians with their spread, ratios round by round. Pure.
//!
//! A ratio is taken within a round, between turns that followed each other, and the ratios are summed up, not the
//! rounds: what the machine does to both then falls out.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{By, Row, Task, Turn};
use crate::report::REFUSED_MAX;

/// Fewer rounds have a middle one, but not one that an unlucky turn leaves alone.
const MEDIAN_ROUNDS: u32 = 3;

/// Median, least and most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, min, max })
    }

    fn json(self) -> Value {
        let round = |value: f64| (value * 1e3).round() / 1e3;
        json!({"median": round(self.median), "min": round(self.min), "max": round(self.max)})
    }
}

/// One contender of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The row.
    pub row: &'static str,
    /// The contender.
    pub contender: &'static str,
    /// Requests a second, or new holds: [`Turn::rate`].
    pub rate: Spread,
    /// CPU time of the server for each of those, microseconds.
    pub server_us: Spread,
    /// CPU time of the generator for each of those, microseconds; none when it is not ours.
    pub generator_us: Option<Spread>,
    /// Refused holds in percent of answered ones; none without holds.
    pub refused_percent: Option<Spread>,
    /// Whether a turn in a row of holds had so many of them refused that its figures are not those of holds.
    pub is_void: bool,
    /// 99th percentile of reads at a share of the server's most, milliseconds; none when that was not asked.
    pub reads_p99_ms: Option<Spread>,
    /// The same of holds.
    pub holds_p99_ms: Option<Spread>,
    /// To the base of the row; none when that is missing.
    pub ratio: Option<Spread>,
    /// What the ratio is, in words.
    pub ratio_of: String,
}

/// A comparison.
#[derive(Debug, Clone)]
pub struct Summary {
    rounds: u32,
    seconds: u32,
    left_out: Vec<String>,
    /// Rows and contenders in the order in which they ran.
    pub lines: Vec<Line>,
}

impl Summary {
    pub(super) fn new(rounds: u32, seconds: u32, left_out: Vec<String>) -> Self {
        Self { rounds, seconds, left_out, lines: Vec::new() }
    }

    /// Adds the turns of a row, each contender's in the order of the rounds.
    pub(super) fn add(&mut self, row: &Row, turns: impl IntoIterator<Item = (&'static str, Vec<Turn>)>) {
        let turns: Vec<(&'static str, Vec<Turn>)> = turns.into_iter().collect();
        let (by, base_name) = row.by;
        let measure = |turn: &Turn| match by {
            By::Cpu => turn.server_us,
            By::Rate => turn.rate,
            By::Capacity => turn.cores / turn.server_us,
            By::HoldTail => turn.tail.map_or(f64::NAN, |tail| tail.holds_ms),
        };
        let base = turns.iter().find(|(name, _)| *name == base_name).map(|(_, turns)| turns.clone());
        for (contender, taken) in turns {
            let ratios = base.iter().flat_map(|base| taken.iter().zip(base));
            let ratio = Spread::of(ratios.map(|(own, base)| measure(own) / measure(base)));
            let rate = Spread::of(taken.iter().map(|turn| turn.rate));
            let server_us = Spread::of(taken.iter().map(|turn| turn.server_us));
            let (Some(rate), Some(server_us)) = (rate, server_us) else { continue };
            let generator_us = Spread::of(taken.iter().filter_map(|turn| turn.generator_us));
            let refused_percent = Spread::of(taken.iter().filter_map(|turn| Some(100.0 * turn.refused?)));
            let too_many = |refused: Spread| refused.max > 100.0 * REFUSED_MAX;
            let is_void = row.task == Task::Holds && refused_percent.is_some_and(too_many);
            let what = match by {
                By::Cpu => "cpu",
                By::Rate => "rate",
                By::Capacity => "cores ÷ cpu",
                By::HoldTail => "p99 of holds",
            };
            let ratio_of = format!("{what} ÷ {base_name}");
            let reads_p99_ms = Spread::of(taken.iter().filter_map(|turn| turn.tail?.reads_ms));
            let holds_p99_ms = Spread::of(taken.iter().filter_map(|turn| Some(turn.tail?.holds_ms)));
            let line = Line {
                row: row.name,
                contender,
                rate,
                server_us,
                generator_us,
                refused_percent,
                is_void,
                reads_p99_ms,
                holds_p99_ms,
                ratio,
                ratio_of,
            };
            self.lines.push(line);
        }
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "row": line.row, "contender": line.contender, "rate": line.rate.json(),
                "server_cpu_us": line.server_us.json(), "generator_cpu_us": line.generator_us.map(Spread::json),
                "refused_percent": line.refused_percent.map(Spread::json), "void": line.is_void,
                "reads_p99_ms": line.reads_p99_ms.map(Spread::json), "holds_p99_ms": line.holds_p99_ms.map(Spread::json),
                "ratio": line.ratio.map(Spread::json), "ratio_of": line.ratio_of,
            })
        };
        let lines: Vec<Value> = self.lines.iter().map(line).collect();
        json!({"rounds": self.rounds, "is_median": self.is_median(), "seconds": self.seconds, "left_out": self.left_out,
            "rows": lines})
    }

    /// Whether its figures are medians of enough rounds to be called so.
    fn is_median(&self) -> bool {
        self.rounds >= MEDIAN_ROUNDS
    }

    /// For people.
    pub fn table(&self) -> String {
        let rounds = match (self.is_median(), self.rounds) {
            (true, rounds) => format!("medians of {rounds} rounds"),
            (false, rounds) => format!("NOT MEDIANS of at least {MEDIAN_ROUNDS} rounds: {rounds}"),
        };
        let mut out = format!(
            "{rounds} of {} s (least – most); in rows of holds, new holds instead of requests\n\n\
             {:<23}{:<18}{:>12}{:>26}{:>11}{:>8}   ratio\n",
            self.seconds, "row", "contender", "requests/s", "", "server µs", "gen µs"
        );
        for line in &self.lines {
            let (rate, spread) = (line.rate, format!("({:.0} – {:.0})", line.rate.min, line.rate.max));
            let generator = line.generator_us.map_or_else(|| "-".to_owned(), |us| format!("{:.2}", us.median));
            let ratio = line.ratio.map_or_else(String::new, |ratio| {
                format!("{:.2} ({:.2} – {:.2}) {}", ratio.median, ratio.min, ratio.max, line.ratio_of)
            });
            // A String takes every write.
            let _ = writeln!(
                out,
                "{:<23}{:<18}{:>12.0}{spread:>26}{:>11.2}{generator:>8}   {ratio}{}{}",
                line.row,
                line.contender,
                rate.median,
                line.server_us.median,
                refused(line),
                tails(line)
            );
        }
        for missing in &self.left_out {
            let _ = writeln!(out, "left out: {missing}");
        }
        out
    }
}

fn refused(line: &Line) -> String {
    let Some(Spread { median, min, max }) = line.refused_percent else { return String::new() };
    let void = if line.is_void { " VOID: too many were refused" } else { "" };
    format!("  refused {median:.2} ({min:.2} – {max:.2}) % of holds{void}")
}

fn tails(line: &Line) -> String {
    let told = [("reads", line.reads_p99_ms), ("holds", line.holds_p99_ms)];
    let told = told.into_iter().filter_map(|(of, p99)| Some((of, p99?)));
    told.map(|(of, p99)| format!("  p99 of {of} {:.2} ({:.2} – {:.2}) ms", p99.median, p99.min, p99.max)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{ROWS, Tail};
    use super::*;

    fn turn(rate: f64, server_us: f64) -> Turn {
        Turn { rate, server_us, generator_us: None, cores: 1.0, refused: None, tail: None }
    }

    /// The machine is twice as slow in the second round: the ratio does not care.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut summary = Summary::new(3, 1, vec!["nginx: not found".to_owned()]);
        let floor = vec![turn(9.0, 1.0), turn(4.5, 2.0), turn(9.0, 1.0)];
        let own = vec![turn(8.0, 1.5), turn(4.0, 3.0), turn(8.0, 1.6)];
        summary.add(&ROWS[0], [("floor", floor), ("stampede", own)]);
        let line = summary.lines.iter().find(|line| line.contender == "stampede").unwrap();
        assert_eq!(line.ratio, Some(Spread { median: 1.5, min: 1.5, max: 1.6 }));
        assert_eq!(line.rate, Spread { median: 8.0, min: 4.0, max: 8.0 });
        assert!(summary.table().contains("1.50 (1.50 – 1.60) cpu ÷ floor"), "{}", summary.table());
        assert_eq!(summary.json()["rows"][1]["ratio"]["max"], 1.6);
        assert_eq!(summary.json()["left_out"][0], "nginx: not found");
        assert!(summary.table().ends_with("left out: nginx: not found\n"), "{}", summary.table());
        assert!(summary.table().starts_with("medians of 3 rounds of 1 s"), "{}", summary.table());
        assert_eq!((&summary.json()["is_median"], &summary.json()["rows"][1]["void"]), (&true.into(), &false.into()));
    }

    #[test]
    fn without_its_base_a_row_has_no_ratio_and_two_rounds_are_not_called_medians() {
        let mut summary = Summary::new(2, 1, Vec::new());
        summary.add(&ROWS[3], [("stampede", vec![turn(1.0, 1.0), turn(3.0, 1.0)])]);
        assert_eq!((summary.lines[0].ratio, summary.lines[0].rate.median), (None, 2.0));
        assert!(summary.table().starts_with("NOT MEDIANS of at least 3 rounds: 2 of 1 s"), "{}", summary.table());
        assert_eq!(summary.json()["is_median"], false);
    }

    #[test]
    fn a_row_of_holds_with_many_refusals_is_void() {
        let mut summary = Summary::new(3, 1, Vec::new());
        let refused = |share| Turn { refused: Some(share), ..turn(1.0, 1.0) };
        summary.add(
            &ROWS[3],
            [("stampede", vec![refused(0.01), refused(0.03), refused(0.01)]), ("redis", vec![refused(0.02); 3])],
        );
        summary.add(&ROWS[5], [("stampede", vec![refused(0.03)])]);
        assert_eq!(summary.lines.iter().map(|line| line.is_void).collect::<Vec<_>>(), [true, false, false]);
        assert!(summary.table().contains("refused 1.00 (1.00 – 3.00) % of holds VOID"), "{}", summary.table());
        let json = summary.json();
        assert_eq!((&json["rows"][0]["void"], &json["rows"][0]["refused_percent"]["max"]), (&true.into(), &3.0.into()));
    }

    #[test]
    fn more_cores_are_judged_by_what_they_could_answer_and_an_open_loop_by_its_tail() {
        let named = |name: &str| *ROWS.iter().find(|row| row.name == name).unwrap();
        let mut summary = Summary::new(1, 1, Vec::new());
        let (one, all) = (turn(100.0, 10.0), Turn { cores: 2.0, ..turn(90.0, 16.0) });
        summary.add(&named("cores"), [("1 server core", vec![one]), ("all cores", vec![all])]);
        assert_eq!(summary.lines[1].ratio.unwrap().median, 1.25);
        let tail = |reads_ms, holds_ms| Turn { tail: Some(Tail { reads_ms, holds_ms }), ..turn(1.0, 1.0) };
        let own = vec![tail(Some(1.5), 6.0)];
        summary.add(&named("share-60"), [("stampede lane on", own), ("redis", vec![tail(None, 8.0)])]);
        let line = &summary.lines[2];
        assert_eq!((line.reads_p99_ms.unwrap().median, line.ratio.unwrap().median), (1.5, 0.75));
        assert!(summary.table().contains("p99 of reads 1.50 (1.50 – 1.50) ms"), "{}", summary.table());
    }
}
