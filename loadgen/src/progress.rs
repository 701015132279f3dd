//! Watches a run from the calling thread: the progress bar, the rate over time, and whether everything is sold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use crate::client::Client;
use crate::clock::{Clock, Nanos};
use crate::engine::Shared;
use crate::plan::Plan;
use crate::report::Moment;
use crate::stage::Stage;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(50);
/// How often the server is asked whether anything is left.
const LOOK: Duration = Duration::from_millis(200);
/// Most points of the rate over time: a run's samples are spread so that there are no more.
const MOMENTS_MAX: u32 = 600;
/// Shortest time between two points.
const MOMENT_MIN: Duration = Duration::from_millis(250);

/// What was seen.
#[derive(Debug, Default)]
pub struct Watched {
    /// The rate over time.
    pub moments: Vec<Moment>,
    /// When nothing was left to sell, if that was asked and seen.
    pub sold_out_at: Option<Nanos>,
}

/// Watches until all threads have come to their end.
pub fn watch(plan: &Plan, stage: &Stage, shared: &Shared, clock: Clock) -> Watched {
    let bar = bar(plan);
    let mut client = Client::new(plan.access.targets.clone(), Duration::ZERO);
    let step = (plan.duration / MOMENTS_MAX).max(MOMENT_MIN);
    let (mut watched, mut next_look) = (Watched::default(), Nanos(0));
    let told_to_end = plan.until_eof.then(end_of_input);
    let mut last = (Nanos(0), 0, 0);
    while shared.finished.load(Ordering::Acquire) < u64::from(plan.threads) {
        std::thread::sleep(TICK);
        let now = clock.now();
        let (answered, errors) = (shared.answered.load(Ordering::Relaxed), shared.errors.load(Ordering::Relaxed));
        if now.since(last.0) >= step {
            let moment = moment(last, (now, answered, errors));
            bar.set_message(message(
                &moment,
                errors,
                shared.paid.load(Ordering::Relaxed),
                now > Nanos(0) + plan.duration,
            ));
            watched.moments.push(moment);
            last = (now, answered, errors);
        }
        if told_to_end.as_ref().is_some_and(|told| told.load(Ordering::Relaxed)) {
            shared.stop.store(true, Ordering::Relaxed);
        }
        bar.set_position((now.0 / 1_000_000).min(plan.duration.as_millis() as u64));
        if plan.until_sold_out && watched.sold_out_at.is_none() && now >= next_look {
            if is_sold_out(&mut client, stage) {
                watched.sold_out_at = Some(clock.now());
                shared.stop.store(true, Ordering::Relaxed);
            }
            next_look = clock.now() + LOOK;
        }
    }
    bar.finish_and_clear();
    watched
}

/// Becomes true when standard input has ended. Its thread ends with the process: a read cannot be called off.
fn end_of_input() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    std::thread::spawn(move || {
        // An input that cannot be read has ended as well.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        told.store(true, Ordering::Relaxed);
    });
    ended
}

fn moment(last: (Nanos, u64, u64), now: (Nanos, u64, u64)) -> Moment {
    let seconds = now.0.since(last.0).as_secs_f64();
    Moment {
        at_s: now.0.0 as f64 / 1e9,
        rate: (now.1 - last.1) as f64 / seconds,
        errors: (now.2 - last.2) as f64 / seconds,
    }
}

fn message(moment: &Moment, errors: u64, paid: u64, draining: bool) -> String {
    let phase = if draining { "  waiting for what is under way" } else { "" };
    format!("{:.0}/s  {errors} errors  {paid} orders paid{phase}", moment.rate)
}

fn bar(plan: &Plan) -> ProgressBar {
    if !plan.progress {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(plan.duration.as_millis() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan/dim} {elapsed:>4}  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Whether every event has neither free nor held seats. No answer is no: the run goes on.
fn is_sold_out(client: &mut Client, stage: &Stage) -> bool {
    #[derive(Deserialize)]
    struct Availability {
        blocks: Vec<Block>,
    }
    #[derive(Deserialize)]
    struct Block {
        free: u64,
        held: u64,
    }
    stage.events.iter().all(|event| {
        let path = format!("/v1/events/{}/availability", event.id);
        client
            .get::<Availability>(&path, None)
            .is_ok_and(|seen| seen.blocks.iter().all(|block| block.free == 0 && block.held == 0))
    })
}
