//! Sends the load: one event loop a thread, raw sockets, nothing allocated for a read.
//!
//! | file | owns |
//! |---|---|
//! | `worker` | the loop: what is due is sent, what comes is handed on |
//! | `connection` | bytes of one socket |
//! | [`arrivals`](self) | when a request is meant to start |
//! | `buyers` | who asks for what; holds that become orders; orders that are followed |
//! | `fate` | what an answer means: done, refused, again, failed |
//! | [`tally`] | what was counted |
//!
//! It must never count an acknowledgement that is not in the journal: [`crate::journal::Scribe::flush`] comes before
//! the counters of a turn are published.

mod alarm;
pub(crate) mod arrivals;
mod buyers;
mod connection;
mod fate;
mod flow;
pub mod tally;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;

use crate::clock::{Clock, Nanos};
use crate::failure::Failure;
use crate::http::{Target, request};
use crate::journal::Scribe;
use crate::mix::Operation;
use crate::plan::Plan;
use crate::stage::{Event, Stage};
use tally::Tally;
use worker::Worker;

/// When a request was meant to start and when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moments {
    /// The intended start; latency counts from here.
    pub intended: Nanos,
    /// The sending of this attempt.
    pub sent: Nanos,
}

/// A request that waits for a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    intended: Nanos,
    attempts: u8,
    what: What,
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    moments: Moments,
    attempts: u8,
    what: What,
}

/// What a request is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// Finished bytes of [`Reads`].
    Read { operation: Operation, event: u16, block: u16 },
    /// A buyer's step, by its place among the open ones.
    Flow(u32),
}

/// What the threads tell while they run.
#[derive(Debug, Default)]
pub struct Shared {
    /// Set to end the run before its time.
    pub stop: AtomicBool,
    /// Answers so far.
    pub answered: AtomicU64,
    /// Errors so far.
    pub errors: AtomicU64,
    /// Orders seen paid so far.
    pub paid: AtomicU64,
    /// Threads that came to their end.
    pub finished: AtomicU64,
}

/// What every thread may look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    /// By the place of the node that is asked.
    reads: &'a [Reads],
    /// By event: running sums of its blocks' sizes. A block of unknown size counts as one seat.
    sizes: &'a [Vec<u64>],
    clock: Clock,
    shared: &'a Shared,
}

/// Connects, then runs the plan's load on the stage: time counts from when all threads are connected. `watch` runs meanwhile on the calling thread and is expected to come back when
/// [`Shared::finished`] says so. An error of a thread ends the others.
pub fn run(
    plan: &Plan,
    stage: &Stage,
    scribe: &Scribe,
    shared: &Shared,
    watch: impl FnOnce(Clock),
) -> Result<Tally, Failure> {
    let reads: Vec<Reads> = plan.access.targets.iter().map(|target| Reads::prepare(target, stage)).collect();
    let sizes: Vec<Vec<u64>> = stage.events.iter().map(running_sizes).collect();
    let scene = Scene { plan, stage, reads: &reads, sizes: &sizes, clock: Clock::start(), shared };
    let (connected, clock) = (Barrier::new(plan.threads as usize + 1), OnceLock::new());
    let begin = || {
        connected.wait();
        *clock.get_or_init(Clock::start)
    };
    let mut sum = Tally::new()?;
    let outcomes: Vec<Result<Tally, Failure>> = thread::scope(|scope| {
        let start = |number| {
            let (scribe, begin) = (scribe.clone(), &begin);
            scope.spawn(move || {
                let ready = Worker::new(scene, number, scribe).and_then(Worker::connect);
                let clock = begin();
                let outcome = ready.and_then(|worker| worker.run(clock));
                if outcome.is_err() {
                    scene.shared.stop.store(true, Ordering::Relaxed);
                }
                scene.shared.finished.fetch_add(1, Ordering::Release);
                outcome
            })
        };
        let threads: Vec<_> = (0..plan.threads).map(start).collect();
        watch(begin());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    for outcome in outcomes {
        sum.add(&outcome?)?;
    }
    Ok(sum)
}

fn running_sizes(event: &Event) -> Vec<u64> {
    let mut sum = 0;
    let running = event.blocks.iter().map(|block| {
        sum += block.size().max(1);
        sum
    });
    running.collect()
}

fn panicked() -> Failure {
    Failure::System { what: "event loop", source: std::io::Error::other("thread panicked") }
}

/// The bytes of every read that a node can be asked for, made once.
#[derive(Debug)]
pub(crate) struct Reads {
    events: Vec<EventReads>,
}

#[derive(Debug)]
struct EventReads {
    availability: Vec<u8>,
    event: Vec<u8>,
    seats: Vec<Vec<u8>>,
}

impl Reads {
    fn prepare(target: &Target, stage: &Stage) -> Self {
        let get = |path: &[&str]| {
            let mut bytes = Vec::new();
            request::write(
                &mut bytes,
                target,
                request::Head { method: "GET", path, authorization: None, key: None },
                b"",
            );
            bytes
        };
        let event = |event: &Event| EventReads {
            availability: get(&["/v1/events/", &event.id, "/availability"]),
            event: get(&["/v1/events/", &event.id]),
            seats: event
                .blocks
                .iter()
                .map(|block| get(&["/v1/events/", &event.id, "/blocks/", &block.id, "/seats"]))
                .collect(),
        };
        Self { events: stage.events.iter().map(event).collect() }
    }

    /// The bytes of a read; none for what is not one.
    fn bytes(&self, operation: Operation, event: u16, block: u16) -> &[u8] {
        let of_event = &self.events[usize::from(event)];
        match operation {
            Operation::Availability => &of_event.availability,
            Operation::Event => &of_event.event,
            Operation::Seats => &of_event.seats[usize::from(block)],
            Operation::Hold | Operation::Order | Operation::OrderStatus | Operation::Release => &[],
        }
    }
}
