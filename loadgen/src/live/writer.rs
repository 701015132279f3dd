//! Holds seat after seat at a rate, and keeps when each was sent and acknowledged, for the readers to compare with.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::SEATS_PER_ROW;
use crate::client::{Client, unexpected};
use crate::clock::{Clock, Nanos};
use crate::engine::tally;
use crate::failure::Failure;
use crate::plan::Access;
use crate::stage::Stage;

/// When every seat was asked for and acknowledged, and how long after that readers heard of it.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) clock: Clock,
    /// Nanoseconds by seat; zero: not yet.
    sent: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
    fan_out: Mutex<FanOut>,
}

/// Microseconds to each reader's receipt.
#[derive(Debug, Clone)]
pub(super) struct FanOut {
    pub(super) from_sent: Histogram<u64>,
    /// A reader may hear of a change before the writer hears its answer: that counts as one microsecond.
    pub(super) from_acknowledged: Histogram<u64>,
}

impl Board {
    pub(super) fn new(seats: usize, clock: Clock) -> Result<Self, Failure> {
        let zeros = || (0..seats).map(|_| AtomicU64::new(0)).collect();
        let fan_out = FanOut { from_sent: tally::histogram()?, from_acknowledged: tally::histogram()? };
        Ok(Self { clock, sent: zeros(), acknowledged: zeros(), fan_out: Mutex::new(fan_out) })
    }

    /// Holds that were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.iter().filter(|at| at.load(Ordering::Acquire) > 0).count() as u64
    }

    /// A reader heard of a seat's change.
    pub(super) fn received(&self, seat: usize, at: Nanos) {
        let load = |times: &[AtomicU64]| times.get(seat).map_or(0, |time| time.load(Ordering::Acquire));
        let (sent, acknowledged) = (load(&self.sent), load(&self.acknowledged));
        let micros = |since: u64| if since == 0 { 1 } else { (at.0.saturating_sub(since) / 1_000).max(1) };
        if let Ok(mut fan_out) = self.fan_out.lock() {
            fan_out.from_sent.saturating_record(micros(sent));
            fan_out.from_acknowledged.saturating_record(micros(acknowledged));
        }
    }

    /// Everything that was measured.
    pub(super) fn fan_out(&self) -> Option<FanOut> {
        self.fan_out.lock().ok().map(|fan_out| fan_out.clone())
    }
}

/// The writer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    client: RefCell<Client>,
    stage: &'a Stage,
    board: &'a Board,
}

impl<'a> Writer<'a> {
    pub(super) fn new(access: &Access, stage: &'a Stage, board: &'a Board) -> Self {
        Self { client: RefCell::new(Client::new(access.targets.clone(), access.give_up)), stage, board }
    }

    /// Holds every seat, evenly in time. What is late is made up for without a pause.
    pub(super) fn write_all(&self, rate: f64) -> Result<(), Failure> {
        let start = self.board.clock.now();
        for seat in 0..self.board.sent.len() {
            let due = start + Duration::from_secs_f64(seat as f64 / rate);
            std::thread::sleep(due.since(self.board.clock.now()));
            self.hold(seat)?;
        }
        Ok(())
    }

    fn hold(&self, seat: usize) -> Result<(), Failure> {
        let (event, customer) = (&self.stage.events[0], &self.stage.customers[0]);
        let path = format!("/v1/events/{}/holds", event.id);
        let (row, number) = (seat / SEATS_PER_ROW as usize + 1, seat % SEATS_PER_ROW as usize + 1);
        let body = format!("{{\"block\":\"{}\",\"seats\":[\"{row}-{number}\"]}}", event.blocks[0].id);
        self.board.sent[seat].store(self.board.clock.now().0.max(1), Ordering::Release);
        let answer = self.client.borrow_mut().ask("POST", &path, Some(&customer.bearer), body.as_bytes())?;
        if answer.status != 201 {
            return Err(unexpected("POST", &path, &answer));
        }
        self.board.acknowledged[seat].store(self.board.clock.now().0.max(1), Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_is_timed_from_its_own_seat() {
        let board = Board::new(2, Clock::start()).unwrap();
        board.sent[1].store(1_000_000, Ordering::Release);
        board.acknowledged[1].store(3_000_000, Ordering::Release);
        board.received(1, Nanos(9_000_000));
        board.received(0, Nanos(9_000_000));
        let fan_out = board.fan_out().unwrap();
        assert!(fan_out.from_sent.equivalent(fan_out.from_sent.max(), 8_000));
        assert!(fan_out.from_acknowledged.equivalent(fan_out.from_acknowledged.max(), 6_000));
        assert_eq!((fan_out.from_sent.len(), fan_out.from_sent.min(), board.acknowledged()), (2, 1, 1));
    }
}
