//! What a thread counted: latencies from the intended start, service times, and everything that was not an answer as
//! asked.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::engine::Moments;
use crate::failure::Failure;
use crate::mix::Operation;

/// Longest latency that is told apart: ten minutes, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;
/// Significant digits of latencies.
const DIGITS: u8 = 3;

/// Counts by operation and code.
pub type Codes = BTreeMap<(&'static str, String), u64>;

/// The counts of one thread, or of all after [`Tally::add`].
#[derive(Debug, Clone)]
pub struct Tally {
    /// In the order of [`Operation::ALL`].
    pub operations: Vec<Measured>,
    /// Operations that ended without an answer as the contract allows it.
    pub errors: Codes,
    /// Answers in which the business said no.
    pub refusals: Codes,
    /// Attempts that were repeated.
    pub retries: Codes,
    /// Answers read.
    pub answered: u64,
    /// Answers read while requests were still started.
    pub answered_in_window: u64,
    /// Operations of the mix that were sent while requests were still started, and ended: those that came from
    /// following an order do not count.
    pub achieved: u64,
    /// Arrivals of an open loop that were meant to start; none for a closed one.
    pub meant: u64,
    /// Arrivals that were never sent: no connection had room before the end.
    pub unsent: u64,
    /// Requests that were asked again with their key after a first answer, and got the same.
    pub replays: u64,
    /// Orders seen paid.
    pub paid: u64,
    /// Operations that ended without a final answer although they may have had an effect.
    pub unresolved: u64,
    /// Orders whose end was not seen.
    pub unfinished: u64,
    /// When requests stopped being started.
    pub stopped_at: Nanos,
}

/// The answers to one operation, complete after [`Tally::add`]. Times in microseconds.
#[derive(Debug, Clone)]
pub struct Measured {
    /// From the intended start to the final answer; in a closed loop the start is the sending.
    pub latency: Histogram<u64>,
    /// From the sending of the attempt that was answered to its answer.
    pub service: Histogram<u64>,
    /// The last answers, as long as their times are the same: those of one read of a connection are.
    run: Run,
}

/// So many answers of the same latency and service time; not yet in the histograms.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    latency: u64,
    service: u64,
    count: u64,
}

impl Measured {
    fn record(&mut self, run: Run) {
        self.latency.saturating_record_n(run.latency, run.count);
        self.service.saturating_record_n(run.service, run.count);
    }

    fn measure(&mut self, latency: u64, service: u64) {
        if self.run.latency != latency || self.run.service != service {
            let run = std::mem::replace(&mut self.run, Run { latency, service, count: 0 });
            self.record(run);
        }
        self.run.count += 1;
    }
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Result<Self, Failure> {
        let measured = |_| Ok(Measured { latency: histogram()?, service: histogram()?, run: Run::default() });
        Ok(Self {
            operations: Operation::ALL.iter().map(measured).collect::<Result<_, Failure>>()?,
            errors: Codes::new(),
            refusals: Codes::new(),
            retries: Codes::new(),
            answered: 0,
            answered_in_window: 0,
            achieved: 0,
            meant: 0,
            unsent: 0,
            replays: 0,
            paid: 0,
            unresolved: 0,
            unfinished: 0,
            stopped_at: Nanos(0),
        })
    }

    /// Counts a final answer.
    pub(crate) fn measure(&mut self, operation: Operation, moments: Moments, now: Nanos) {
        let (latency, service) = (micros(now, moments.intended), micros(now, moments.sent));
        self.operations[operation.index()].measure(latency, service);
    }

    /// Counts an error.
    pub(crate) fn error(&mut self, operation: Operation, code: &str) {
        count(&mut self.errors, operation, code);
    }

    /// Counts a refusal.
    pub(crate) fn refusal(&mut self, operation: Operation, code: &str) {
        count(&mut self.refusals, operation, code);
    }

    /// Counts an attempt that will be repeated.
    pub(crate) fn retry(&mut self, operation: Operation, code: &str) {
        count(&mut self.retries, operation, code);
    }

    /// Errors of all operations and codes, and arrivals that were never sent.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum::<u64>() + self.unsent
    }

    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Self) -> Result<(), Failure> {
        let failed = |error| Failure::System { what: "histogram", source: std::io::Error::other(error) };
        for (mine, theirs) in self.operations.iter_mut().zip(&other.operations) {
            mine.latency.add(&theirs.latency).map_err(failed)?;
            mine.service.add(&theirs.service).map_err(failed)?;
            mine.record(theirs.run);
        }
        for (mine, theirs) in [
            (&mut self.errors, &other.errors),
            (&mut self.refusals, &other.refusals),
            (&mut self.retries, &other.retries),
        ] {
            for (key, number) in theirs {
                *mine.entry(key.clone()).or_default() += number;
            }
        }
        self.answered += other.answered;
        self.answered_in_window += other.answered_in_window;
        self.achieved += other.achieved;
        self.meant += other.meant;
        self.unsent += other.unsent;
        self.replays += other.replays;
        self.paid += other.paid;
        self.unresolved += other.unresolved;
        self.unfinished += other.unfinished;
        self.stopped_at = self.stopped_at.max(other.stopped_at);
        Ok(())
    }
}

/// An empty histogram of microseconds, up to ten minutes.
pub(crate) fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS)
        .map_err(|error| Failure::System { what: "histogram", source: std::io::Error::other(error) })
}

fn micros(now: Nanos, since: Nanos) -> u64 {
    (now.0.saturating_sub(since.0) / 1_000).max(1)
}

fn count(codes: &mut Codes, operation: Operation, code: &str) {
    *codes.entry((operation.name(), code.to_owned())).or_default() += 1;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(intended_ms: u64, sent_ms: u64) -> Moments {
        Moments { intended: Nanos(intended_ms * 1_000_000), sent: Nanos(sent_ms * 1_000_000) }
    }

    #[test]
    fn latency_counts_from_the_intended_start_and_service_from_the_sending() {
        let mut tally = Tally::new().unwrap();
        tally.measure(Operation::Hold, at(100, 250), Nanos(260_000_000));
        let mut sum = Tally::new().unwrap();
        sum.add(&tally).unwrap();
        let hold = &sum.operations[Operation::Hold.index()];
        assert!(hold.latency.equivalent(hold.latency.max(), 160_000));
        assert!(hold.service.equivalent(hold.service.max(), 10_000));
    }

    #[test]
    fn answers_of_one_read_are_all_counted_with_their_time() {
        let (mut tally, mut sum) = (Tally::new().unwrap(), Tally::new().unwrap());
        for _ in 0..16 {
            tally.measure(Operation::Event, at(0, 0), Nanos(5_000_000));
        }
        tally.measure(Operation::Event, at(0, 1), Nanos(5_000_000));
        sum.add(&tally).unwrap();
        let event = &sum.operations[Operation::Event.index()];
        assert_eq!((event.latency.len(), event.latency.count_at(5_000), event.service.count_at(4_000)), (17, 17, 1));
    }

    #[test]
    fn threads_add_up_and_nothing_is_too_long_or_too_short() {
        let mut sum = Tally::new().unwrap();
        let mut one = Tally::new().unwrap();
        one.measure(Operation::Seats, at(0, 0), Nanos(0));
        one.measure(Operation::Seats, at(0, 0), Nanos(u64::MAX / 2));
        one.error(Operation::Seats, "http_500");
        one.unsent = 2;
        sum.add(&one).unwrap();
        sum.add(&one).unwrap();
        let seats = &sum.operations[Operation::Seats.index()].latency;
        assert_eq!((seats.len(), seats.min()), (4, 1));
        assert!(seats.max() >= LATENCY_MAX_US);
        assert_eq!((sum.errors[&("seats", "http_500".to_owned())], sum.error_count()), (2, 6));
    }
}
