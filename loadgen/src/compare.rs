//! Compares servers on this machine: who answers how many requests for how much CPU, in the same run on the same cores.
//!
//! Rounds are interleaved (every contender once, then again), every turn starts its server anew in a folder of its own
//! on a free loopback port and ends it by its process. Where a row pins, the server has one core and the generator the
//! other. A contender that is not on this machine is named and left out. `compare/contender.rs` knows how each is
//! started and driven (`compare/redis.rs` that one), `compare/process.rs` ends them, `compare/summary.rs` draws the figures together.

mod contender;
mod process;
mod redis;
mod summary;

use std::path::PathBuf;

use crate::cli::CompareArgs;
use crate::failure::Failure;
use contender::{Contender, Field};
pub use summary::{Line, Spread, Summary};

/// The share of a server's most at which its latency is taken.
const SHARE: f64 = 0.6;
/// The rows that run when none is named.
const UNNAMED: &str = "speed";

/// What a row compares its contenders by, to the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Server CPU of a request.
    Cpu,
    /// Requests a second.
    Rate,
    /// Requests a second that the server's cores could answer, whatever the generator left of them.
    Capacity,
    /// The 99th percentile of holds.
    HoldTail,
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
    /// A mix of its own, for what it costs.
    Kind(&'static str),
    /// Availability, on one core and on all.
    Cores,
    /// The on-sale's mix, with little on sale and with much.
    Events,
    /// The on-sale's mix in a closed loop, then in an open one at a share of that rate.
    Share,
}

/// A row of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What `--only` takes.
    pub name: &'static str,
    /// Rows that belong together; `--only` takes it, too.
    pub group: &'static str,
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
pub const ROWS: [Row; 23] = [
    row("availability-64", UNNAMED, Task::Availability, 64, 1),
    row("availability-512", UNNAMED, Task::Availability, 512, 1),
    row("availability-pipelined", UNNAMED, Task::Availability, 64, 16),
    row("holds", UNNAMED, Task::Holds, 64, 1),
    row("holds-pipelined", UNNAMED, Task::Holds, 64, 16),
    row("rush-pipelined", UNNAMED, Task::Rush, 256, 16),
    row("cost-availability", "cost", Task::Kind("availability"), 64, 1),
    row("cost-seats", "cost", Task::Kind("seats"), 64, 1),
    row("cost-event", "cost", Task::Kind("event"), 64, 1),
    row("cost-hold", "cost", Task::Kind("hold"), 64, 1),
    row("cost-hold-order", "cost", Task::Kind("hold=1,order=1"), 64, 1),
    row("cost-order-status", "cost", Task::Kind("hold=1,order=1,order_status=98"), 64, 1),
    row("cost-availability-16", "cost", Task::Kind("availability"), 64, 16),
    row("cost-seats-16", "cost", Task::Kind("seats"), 64, 16),
    row("cost-event-16", "cost", Task::Kind("event"), 64, 16),
    row("cost-hold-16", "cost", Task::Kind("hold"), 64, 16),
    row("cost-hold-order-16", "cost", Task::Kind("hold=1,order=1"), 64, 16),
    row("cost-order-status-16", "cost", Task::Kind("hold=1,order=1,order_status=98"), 64, 16),
    row("cores", "cores", Task::Cores, 64, 1),
    row("cores-pipelined", "cores", Task::Cores, 64, 16),
    row("events", "events", Task::Events, 64, 1),
    row("events-pipelined", "events", Task::Events, 64, 16),
    row("share-60", "share", Task::Share, 64, 1),
];

const fn row(name: &'static str, group: &'static str, task: Task, connections: u32, pipeline: u32) -> Row {
    let by = match task {
        Task::Availability => (By::Cpu, "floor"),
        Task::Holds => (By::Rate, "redis"),
        Task::Rush => (By::Rate, "floor"),
        Task::Kind(_) => (By::Cpu, "stampede lane off"),
        Task::Cores => (By::Capacity, "1 server core"),
        Task::Events => (By::Rate, "1,000 large events"),
        Task::Share => (By::HoldTail, "redis"),
    };
    Row { name, group, task, connections, pipeline, by }
}

/// What one turn of a contender came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Requests a second; in rows of holds, new holds that were acknowledged a second.
    pub rate: f64,
    /// CPU time of the server for each of those, microseconds.
    pub server_us: f64,
    /// CPU time of the generator for each of those, microseconds; none when it is not ours.
    pub generator_us: Option<f64>,
    /// Cores that the server could use.
    pub cores: f64,
    /// Refused holds ÷ answered ones; none without holds.
    pub refused: Option<f64>,
    /// At a share of the server's most; none in rows that are not about it.
    pub tail: Option<Tail>,
}

/// 99th percentiles in milliseconds, from the intended start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// Of the slowest kind of read; none for a server that was asked for holds only.
    pub reads_ms: Option<f64>,
    /// Of holds.
    pub holds_ms: f64,
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
    let Turn { rate, server_us, refused, tail, .. } = turn;
    let refused = refused.map_or_else(String::new, |share| format!("  {:.2} % of holds refused", 100.0 * share));
    let tail = tail.map_or_else(String::new, |tail| format!("  p99 of holds {:.2} ms", tail.holds_ms));
    format!("{:<23} round {round}  {name:<18}{rate:>12.0}/s{server_us:>9.2} µs{refused}{tail}", row.name)
}

fn chosen(only: &[String]) -> Result<Vec<Row>, Failure> {
    let unnamed = [UNNAMED.to_owned()];
    let only = if only.is_empty() { &unnamed } else { only };
    let is_known = |name: &String| ROWS.iter().any(|row| row.name == *name || row.group == *name);
    if let Some(name) = only.iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        let rule = format!("unknown row `{name}`, known are {}", known.join(", "));
        return Err(Failure::Usage { flag: "--only", rule });
    }
    let is_asked = |row: &Row| only.iter().any(|name| row.name == *name || row.group == *name);
    Ok(ROWS.into_iter().filter(is_asked).collect())
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
        assert_eq!(chosen(&[]).unwrap(), ROWS[..6]);
        assert_eq!(chosen(&["holds".to_owned()]).unwrap(), [ROWS[3]]);
        let two = chosen(&["cores".to_owned(), "share-60".to_owned()]).unwrap();
        assert_eq!(two.iter().map(|row| row.name).collect::<Vec<_>>(), ["cores", "cores-pipelined", "share-60"]);
        assert!(chosen(&["hold".to_owned()]).unwrap_err().to_string().contains("known are availability-64"));
    }
}
