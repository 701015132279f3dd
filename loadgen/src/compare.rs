//! Compares servers on this machine: who answers how many requests for how much CPU, in the same run on the same cores.
//!
//! Rounds are interleaved (every contender once, then again), every turn starts its server anew in a folder of its own
//! on a free loopback port and ends it by its process. Where a row pins, the server has one core and the generator the
//! other. A contender that is not on this machine is named and left out. `compare/contender.rs` knows how each is
//! started and driven, `compare/process.rs` ends them, `compare/summary.rs` draws the figures together.

mod contender;
mod process;
mod summary;

use std::path::PathBuf;

use crate::cli::CompareArgs;
use crate::failure::Failure;
use contender::{Contender, Field};
pub use summary::{Line, Spread, Summary};

/// What a row compares its contenders by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Server CPU of a request, to the base's.
    Cpu,
    /// Requests a second, to the base's.
    Rate,
}

/// What is asked in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `GET …/availability`
    Availability,
    /// A hold that is on disk before it is answered.
    Holds,
    /// The on-sale's mix, audited.
    Rush,
}

/// A row of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What `--only` takes.
    pub name: &'static str,
    /// What is asked.
    pub task: Task,
    /// Keep-alive connections.
    pub connections: u32,
    /// Requests in flight on each.
    pub pipeline: u32,
    /// By what, and to whom.
    pub by: (By, &'static str),
}

/// All rows, in the order in which they run.
pub const ROWS: [Row; 6] = [
    row("availability-64", Task::Availability, 64, 1),
    row("availability-512", Task::Availability, 512, 1),
    row("availability-pipelined", Task::Availability, 64, 16),
    row("holds", Task::Holds, 64, 1),
    row("holds-pipelined", Task::Holds, 64, 16),
    row("rush-pipelined", Task::Rush, 64, 16),
];

const fn row(name: &'static str, task: Task, connections: u32, pipeline: u32) -> Row {
    let by = match task {
        Task::Availability => (By::Cpu, "floor"),
        Task::Holds => (By::Rate, "redis"),
        Task::Rush => (By::Rate, "floor"),
    };
    Row { name, task, connections, pipeline, by }
}

/// What one turn of a contender came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Requests a second.
    pub rate: f64,
    /// CPU time of the server for a request, microseconds.
    pub server_us: f64,
    /// CPU time of the generator for a request, microseconds; none when it is not ours.
    pub generator_us: Option<f64>,
}

/// Runs the rows that were asked for and tells each turn as it ends.
pub fn run(args: &CompareArgs, tell: impl Fn(&str)) -> Result<Summary, Failure> {
    let rows = chosen(&args.only)?;
    let folder = process::Folder::create()?;
    let field = Field::look_around(stampede(args)?, &folder, args.seconds)?;
    for missing in &field.left_out {
        tell(&format!("left out: {missing}"));
    }
    let mut summary = Summary::new(args.rounds, args.seconds, field.left_out.clone());
    for row in rows {
        let mut turns: Vec<(&Contender, Vec<Turn>)> = field
            .contenders
            .iter()
            .filter(|contender| contender.takes(row.task))
            .map(|one| (one, Vec::new()))
            .collect();
        for round in 1..=args.rounds {
            for (contender, taken) in &mut turns {
                let turn = field.turn(contender, &row)?;
                tell(&told(&row, round, contender.name(), &turn));
                taken.push(turn);
            }
        }
        summary.add(&row, turns.into_iter().map(|(contender, turns)| (contender.name(), turns)));
    }
    Ok(summary)
}

fn told(row: &Row, round: u32, name: &str, turn: &Turn) -> String {
    let Turn { rate, server_us, .. } = turn;
    format!("{:<23} round {round}  {name:<18}{rate:>12.0}/s{server_us:>9.2} µs", row.name)
}

fn chosen(only: &[String]) -> Result<Vec<Row>, Failure> {
    if only.is_empty() {
        return Ok(ROWS.to_vec());
    }
    let named = |name: &String| {
        ROWS.into_iter().find(|row| row.name == *name).ok_or_else(|| {
            let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            Failure::Usage { flag: "--only", rule: format!("unknown row `{name}`, known are {}", known.join(", ")) }
        })
    };
    only.iter().map(named).collect()
}

/// The server's program: as said, or beside our own.
fn stampede(args: &CompareArgs) -> Result<PathBuf, Failure> {
    let beside = || std::env::current_exe().ok()?.parent().map(|folder| folder.join("stampede"));
    let path = args.stampede.clone().or_else(beside).filter(|path| path.is_file());
    path.ok_or_else(|| Failure::Usage {
        flag: "--stampede",
        rule: "there is no such program; build it (cargo build --release) or say where it is".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_chosen_by_their_names() {
        assert_eq!(chosen(&[]).unwrap().len(), ROWS.len());
        assert_eq!(chosen(&["holds".to_owned()]).unwrap(), [ROWS[3]]);
        assert!(chosen(&["hold".to_owned()]).unwrap_err().to_string().contains("known are availability-64"));
    }
}
