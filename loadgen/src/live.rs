//! WebSocket mode: so many readers follow a block while a writer changes it, and every reader's every change is timed.
//!
//! One thread reads all sockets, another one writes. The writer holds seat after seat by name, so a change says by its
//! seat which hold it is, and the seats are as many as the changes. A gap in a reader's sequence is a lost message.
//!
//! | file | owns |
//! |---|---|
//! | `frames` | bytes of the WebSocket protocol, pure |
//! | `reader` | one reader: its hands shaken, its sequence, its counts |
//! | `crowd` | all readers on one event loop |
//! | `writer` | holds at a rate, and when each was sent and acknowledged |
//! | `sockets` | source addresses, open files |
//! | [`report`] | table and JSON |

mod crowd;
mod frames;
mod reader;
pub mod report;
mod sockets;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cli::LiveArgs;
use crate::clock::{Clock, Nanos};
use crate::failure::Failure;
use crate::plan::{NewEvents, Show};
use crate::proc::Proc;
use crate::stage;
use crowd::Crowd;
use report::Report;
use writer::{Board, Writer};

/// Most changes of a run: as many seats are laid out.
const CHANGES_MAX: f64 = 50_000.0;
/// Seats of a row; the writer's seat `n` is in row `n / SEATS_PER_ROW + 1`.
const SEATS_PER_ROW: u32 = 100;
/// How long all readers may take to get their first board.
const OPEN_WITHIN: Duration = Duration::from_secs(120);
/// How long the last change may take to every reader.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
/// Holds outlast the run by this: one that expires would be a change that nobody wrote.
const HOLD_LONGER: Duration = Duration::from_secs(900);
/// How long the server's memory is left to settle before it is read.
const MEMORY_SETTLES: Duration = Duration::from_secs(2);

/// Runs readers, writer and idle connections as typed.
pub fn run(args: &LiveArgs) -> Result<Report, Failure> {
    let access = args.access.meaning()?;
    let changes = (args.rate * args.duration.as_secs_f64()).ceil();
    if !(args.rate > 0.0 && changes <= CHANGES_MAX) {
        let rule = format!("must be above 0, and times --duration at most {CHANGES_MAX} changes");
        return Err(Failure::Usage { flag: "--rate", rule });
    }
    let new = NewEvents {
        events: 1,
        blocks: 1,
        seats: changes as u32,
        seats_per_row: SEATS_PER_ROW,
        standing: 0,
        places_wanted: None,
        hold_ttl: args.duration + HOLD_LONGER,
        max_per_customer: None,
        no_orphans: false,
    };
    let stage = stage::set_up(&access, &Show::New(new), 1)?;
    let target = access.targets[0].clone();
    sockets::allow_files(u64::from(args.subscribers) + u64::from(args.idle_http))?;
    let server = args.server_pid.map(Proc);
    let mut report = Report { subscribers: args.subscribers, idle_http: args.idle_http, ..Report::default() };

    let before = server.map(Proc::resident).transpose()?;
    let idle = sockets::idle_http(&target, &stage, args.idle_http)?;
    let with_idle = settled(server, &mut None)?;
    report.bytes_per_idle_http = per(before, with_idle, idle.len());

    let board = Board::new(changes as usize, Clock::start())?;
    let mut crowd = Crowd::gather(&target, &stage, args.subscribers)?;
    crowd.wait(&board, OPEN_WITHIN, Crowd::all_have_a_board)?;
    let with_readers = settled(server, &mut Some((&mut crowd, &board)))?;
    report.bytes_per_subscriber = per(with_idle, with_readers, args.subscribers as usize);
    exchange(args.rate, &stage, &access, &board, &mut crowd)?;
    report.take(&board, &crowd);
    drop(idle);
    Ok(report)
}

/// The writer writes on a thread of its own while this one reads.
fn exchange(
    rate: f64,
    stage: &stage::Stage,
    access: &crate::plan::Access,
    board: &Board,
    crowd: &mut Crowd,
) -> Result<(), Failure> {
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let outcome = Writer::new(access, stage, board).write_all(rate);
            finished.store(true, Ordering::Release);
            outcome
        });
        while !finished.load(Ordering::Acquire) {
            crowd.turn(board, Duration::from_millis(5))?;
        }
        let panicked = |_| Err(Failure::System { what: "writer", source: std::io::Error::other("thread panicked") });
        writing.join().unwrap_or_else(panicked)
    })?;
    let written = board.acknowledged();
    crowd.wait(board, ARRIVE_WITHIN, |crowd| crowd.all_have(written))?;
    crowd.count_missing(written);
    Ok(())
}

/// The server's memory after a moment, in which readers go on reading.
fn settled(server: Option<Proc>, readers: &mut Option<(&mut Crowd, &Board)>) -> Result<Option<u64>, Failure> {
    let Some(server) = server else { return Ok(None) };
    let clock = Clock::start();
    while clock.now() < Nanos(0) + MEMORY_SETTLES {
        match readers {
            Some((crowd, board)) => crowd.turn(board, Duration::from_millis(50))?,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    server.resident().map(Some)
}

fn per(before: Option<u64>, after: Option<u64>, count: usize) -> Option<f64> {
    let (before, after) = (before?, after?);
    (count > 0).then(|| (after as f64 - before as f64) / count as f64)
}
