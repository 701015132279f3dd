//! One event loop: sends what is due on connections that have room, reads what comes, mends what broke.
//!
//! A turn is: look after connections, let time make things due, send, write the journal, publish the counts, sleep,
//! read (in `worker/receive.rs`). Only reads and writes of sockets, never a wait anywhere else.

mod receive;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::alarm::Alarm;
use super::arrivals::Arrivals;
use super::buyers::{Books, Buyers};
use super::connection::{Connection, Link};
use super::tally::Tally;
use super::{Job, Moments, Scene, Sent, What};
use crate::clock::{Clock, Nanos};
use crate::failure::Failure;
use crate::journal::Scribe;
use crate::plan::Load;

/// How often connections are looked after: time-outs, reconnects.
const SWEEP: Duration = Duration::from_millis(20);
/// Bytes asked of a socket at a time.
const READ_SIZE: usize = 256 * 1024;
/// Events taken from the system at a time.
const EVENTS_MAX: usize = 1_024;
/// Attempts of a read whose connection goes away, before it counts as an error.
const READ_ATTEMPTS_MAX: u8 = 5;
/// Sleeps shorter than this use the alarm: the poll itself counts in milliseconds and rounds up.
const ALARM_BELOW: Duration = Duration::from_millis(30);
/// The alarm's token; connections count from zero.
const ALARM: Token = Token(usize::MAX);

/// One thread of the engine.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    scene: Scene<'a>,
    poll: Poll,
    alarm: Alarm,
    connections: Vec<Connection>,
    /// Open connections to each node.
    open: Vec<u32>,
    /// Connections with room, the longest waiting first.
    roomy: VecDeque<usize>,
    /// Room from which on a connection is filled again: in a closed loop half of its depth, or answers that come in
    /// small pieces would be answered by as many small writes.
    refill: usize,
    scratch: Vec<u8>,
    rng: SmallRng,
    arrivals: Arrivals,
    end: Nanos,
    next_sweep: Nanos,
    /// Reads to be sent again.
    again: VecDeque<Job>,
    buyers: Buyers<'a>,
    books: Books,
    reads_answered: u64,
    published: (u64, u64, u64),
}

impl<'a> Worker<'a> {
    /// Thread `number` of the plan, with its share of connections and arrivals.
    pub(crate) fn new(scene: Scene<'a>, number: u32, scribe: Scribe) -> Result<Self, Failure> {
        let plan = scene.plan;
        let poll = Poll::new().map_err(Failure::system("epoll"))?;
        let alarm = Alarm::new(poll.registry(), ALARM).map_err(Failure::system("timerfd"))?;
        let mut rng = SmallRng::seed_from_u64(plan.seed.wrapping_add(u64::from(number) << 32));
        let arrivals = match &plan.load {
            Load::Open { profile } => Arrivals::open(profile.clone(), plan.threads, &mut rng),
            Load::Closed => Arrivals::Closed,
        };
        let nodes = plan.access.targets.len();
        let share = plan.connections / plan.threads + u32::from(number < plan.connections % plan.threads);
        Ok(Self {
            scene,
            poll,
            alarm,
            connections: (0..share as usize)
                .map(|place| Connection::new((place + number as usize) % nodes, plan.pipeline as usize))
                .collect(),
            open: vec![0; nodes],
            roomy: VecDeque::with_capacity(share as usize),
            refill: match plan.load {
                Load::Closed => (plan.pipeline as usize / 2).max(1),
                Load::Open { .. } => 1,
            },
            scratch: vec![0; READ_SIZE],
            rng,
            arrivals,
            end: Nanos(0) + plan.duration,
            next_sweep: Nanos(0),
            again: VecDeque::new(),
            buyers: Buyers::new(scene, number),
            books: Books { tally: Tally::new()?, scribe },
            reads_answered: 0,
            published: (0, 0, 0),
        })
    }

    /// Opens the connections, so that the first requests do not wait for them. Those that cannot be opened within the
    /// time for an answer are tried again while the run goes on.
    pub(crate) fn connect(mut self) -> Result<Self, Failure> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.roomy.len() < self.connections.len() {
            let now = self.scene.clock.now();
            if now.since(Nanos(0)) > self.scene.plan.timeout {
                break;
            }
            if now >= self.next_sweep {
                self.sweep(now);
            }
            self.poll.poll(&mut events, Some(SWEEP)).map_err(Failure::system("epoll"))?;
            for event in &events {
                self.serve(event.token().0, event.is_read_closed() || event.is_error());
            }
        }
        Ok(self)
    }

    /// Turns until everything that was started has ended, or the time for that is over. Time counts by `clock`, which
    /// has just been started.
    pub(crate) fn run(mut self, clock: Clock) -> Result<Tally, Failure> {
        self.begin(clock);
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let now = self.scene.clock.now();
            if self.scene.shared.stop.load(Ordering::Relaxed) {
                self.end = self.end.min(now);
            }
            if now >= self.next_sweep {
                self.sweep(now);
            }
            self.books.tally.unsent += self.arrivals.advance(now, self.end, &mut self.rng);
            self.buyers.advance(now, &mut self.books);
            self.send(now);
            self.publish()?;
            if self.is_over(now) {
                return self.finish(now);
            }
            self.sleep(now, &mut events)?;
            for event in &events {
                if event.token() != ALARM {
                    self.serve(event.token().0, event.is_read_closed() || event.is_error());
                }
            }
        }
    }

    /// From here on the clock is that of the run; what was planned by the one before is due at once.
    fn begin(&mut self, clock: Clock) {
        self.scene.clock = clock;
        self.buyers.start(clock);
        self.next_sweep = Nanos(0);
        for connection in &mut self.connections {
            connection.hurry();
        }
    }

    /// Opens connections whose time has come and gives up those that are silent for too long.
    fn sweep(&mut self, now: Nanos) {
        self.next_sweep = now + SWEEP;
        for place in 0..self.connections.len() {
            let timeout = self.scene.plan.timeout;
            let connection = &mut self.connections[place];
            match &connection.link {
                Link::Down(at) if *at <= now => {
                    let address = self.scene.plan.access.targets[connection.target].address;
                    if connection.connect(address, self.poll.registry(), Token(place), now).is_err() {
                        self.lose(place, "connect_failed", now);
                    }
                }
                Link::Connecting(_, since) if now.since(*since) > timeout => self.lose(place, "connect_timeout", now),
                Link::Open(_) => {
                    let oldest = connection.in_flight.front();
                    if oldest.is_some_and(|oldest| now.since(oldest.moments.sent) > timeout) {
                        self.lose(place, "timeout", now);
                    }
                }
                Link::Down(_) | Link::Connecting(..) => {}
            }
        }
        let draining_too_long = now > self.end + self.scene.plan.timeout;
        if draining_too_long {
            self.books.tally.unsent += self.arrivals.abandon();
            for job in std::mem::take(&mut self.again) {
                if let What::Read { operation, .. } = job.what {
                    self.books.tally.error(operation, "gave_up");
                }
            }
        }
    }

    /// Fills connections one after the other, each to its depth, so that requests of one moment share a write.
    fn send(&mut self, now: Nanos) {
        let depth = self.scene.plan.pipeline as usize;
        while let Some(place) = self.roomy.pop_front() {
            let mut room = self.connections[place].room(depth);
            let mut filled = false;
            while room > 0
                && let Some(job) = self.next_job(self.connections[place].target, now)
            {
                self.put(place, job, now);
                (room, filled) = (room - 1, true);
            }
            self.connections[place].listed = room > 0 && !self.is_down(place);
            if filled && self.connections[place].flush().is_err() {
                self.lose(place, "connection_lost", now);
                continue;
            }
            if self.connections[place].listed {
                self.roomy.push_back(place);
                return;
            }
        }
    }

    fn is_down(&self, place: usize) -> bool {
        !matches!(self.connections[place].link, Link::Open(_))
    }

    /// What is sent next to a node. What it left open goes to another one, as long as there is another one.
    fn next_job(&mut self, node: usize, now: Nanos) -> Option<Job> {
        let is_only = self.open.iter().enumerate().all(|(other, open)| other == node || *open == 0);
        if let Some(flow) = self.buyers.pop_due((!is_only).then_some(node)) {
            return Some(Job { intended: now, attempts: 0, what: What::Flow(flow) });
        }
        if let Some(job) = self.again.pop_front() {
            return Some(job);
        }
        if self.buyers.is_full() {
            return None;
        }
        let intended = self.arrivals.take(now, self.end)?;
        let (_, what) = self.buyers.draw(intended, now, &mut self.books);
        Some(Job { intended, attempts: 0, what })
    }

    fn put(&mut self, place: usize, job: Job, now: Nanos) {
        let connection = &mut self.connections[place];
        let reads = &self.scene.reads[connection.target];
        let intended = match job.what {
            What::Read { operation, event, block } => {
                connection.out.extend_from_slice(reads.bytes(operation, event, block));
                job.intended
            }
            What::Flow(flow) => self.buyers.write(flow, connection.target, &mut connection.out),
        };
        let moments = Moments { intended, sent: now };
        connection.in_flight.push_back(Sent { moments, attempts: job.attempts, what: job.what });
    }

    /// Writes the acknowledgements of this turn down, then lets others see its counts.
    fn publish(&mut self) -> Result<(), Failure> {
        self.books.scribe.flush()?;
        let tally = &self.books.tally;
        if tally.answered == self.published.0 && tally.errors.is_empty() {
            return Ok(());
        }
        let now = (tally.answered, tally.error_count(), tally.paid);
        let shared = self.scene.shared;
        shared.answered.fetch_add(now.0 - self.published.0, Ordering::Relaxed);
        shared.errors.fetch_add(now.1 - self.published.1, Ordering::Relaxed);
        shared.paid.fetch_add(now.2 - self.published.2, Ordering::Relaxed);
        self.published = now;
        Ok(())
    }

    fn is_over(&self, now: Nanos) -> bool {
        if now < self.end {
            return false;
        }
        let access = &self.scene.plan.access;
        let quiet = self.buyers.is_idle()
            && self.again.is_empty()
            && self.arrivals.waiting() == 0
            && self.connections.iter().all(|connection| connection.in_flight.is_empty());
        quiet || now >= self.end + access.give_up.max(access.settle)
    }

    fn finish(mut self, now: Nanos) -> Result<Tally, Failure> {
        for connection in std::mem::take(&mut self.connections) {
            for sent in connection.in_flight {
                if let What::Read { operation, .. } = sent.what {
                    self.books.tally.error(operation, "gave_up");
                }
            }
        }
        self.books.tally.unsent += self.arrivals.abandon();
        self.buyers.wind_up(now, &mut self.books);
        self.books.tally.stopped_at = self.end;
        self.books.tally.meant = self.arrivals.meant();
        self.publish()?;
        Ok(self.books.tally)
    }

    fn sleep(&mut self, now: Nanos, events: &mut Events) -> Result<(), Failure> {
        // What waits for room is sent when an answer comes, not when the clock says so.
        let arrival = if self.arrivals.waiting() == 0 && now < self.end { self.arrivals.next() } else { Nanos::NEVER };
        let end = if now < self.end { self.end } else { Nanos::NEVER };
        let wake = arrival.min(self.buyers.next()).min(self.next_sweep).min(end);
        let pause = wake.since(now).max(self.arrivals.tick(now));
        let timeout = if !pause.is_zero() && pause < ALARM_BELOW && arrival != Nanos::NEVER {
            self.alarm.set(pause).map_err(Failure::system("timerfd"))?;
            SWEEP
        } else {
            pause
        };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => Err(Failure::system("epoll")(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Closes a connection, which comes back to another node if there is one. What was in flight on it is asked again; its
    /// oldest request carries the blame.
    fn lose(&mut self, place: usize, code: &'static str, now: Nanos) {
        let (chance, nodes) = (self.rng.random(), self.open.len());
        let connection = &mut self.connections[place];
        if matches!(connection.link, Link::Open(_)) {
            self.open[connection.target] -= 1;
        }
        if nodes > 1 {
            // any other: those that a node lost are spread over all that are left
            connection.target = (connection.target + self.rng.random_range(1..nodes)) % nodes;
        }
        connection.close(now, chance);
        let mut in_flight = std::mem::take(&mut connection.in_flight);
        for (number, sent) in in_flight.drain(..).enumerate() {
            let code = if number == 0 { code } else { "connection_lost" };
            match sent.what {
                What::Flow(flow) => {
                    self.buyers.lost(flow, code, now, &mut self.books);
                }
                What::Read { operation, .. } if sent.attempts + 1 >= READ_ATTEMPTS_MAX => {
                    self.books.tally.error(operation, code)
                }
                What::Read { operation, .. } => {
                    self.books.tally.retry(operation, code);
                    let intended = sent.moments.intended;
                    self.again.push_back(Job { intended, attempts: sent.attempts + 1, what: sent.what });
                }
            }
        }
        self.connections[place].in_flight = in_flight;
    }
}
