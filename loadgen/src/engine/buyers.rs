//! Who asks for what: draws steps, turns holds into orders and follows orders to their end.
//!
//! `buyers/draw.rs` begins steps; [`Buyers::answered`] and [`Buyers::lost`] carry them on until they are done, refused,
//! failed or given up; `buyers/acknowledged.rs` is what follows from a hold, an order, a look at an order. The same key is sent on every attempt of a step.

mod acknowledged;
mod draw;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::fate::{self, Fate};
use super::flow::{Flows, Step};
use super::tally::Tally;
use super::{Moments, Scene};
use crate::clock::{Clock, Nanos};
use crate::journal::{Line, Scribe, unix_ms};

/// Steps of a thread under way; at this number nothing new is drawn until some end.
const FLOWS_MAX: usize = 1 << 18;
/// Steps that may be sent, looked at for one that a node may be asked: only those that it left open are passed over.
const DUE_LOOKED_AT_MAX: usize = 64;
/// Own holds of a thread that may wait to be bought; the oldest are left to expire.
const BASKETS_MAX: usize = 100_000;

/// Holds of one customer at one event that can be bought together.
#[derive(Debug)]
struct Basket {
    event: u16,
    customer: u32,
    holds: Vec<String>,
}

/// Where counts and acknowledgements of a thread go.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) tally: Tally,
    pub(crate) scribe: Scribe,
}

/// An answer as the engine hands it on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) body: &'a [u8],
}

/// The buyers of one thread.
#[derive(Debug)]
pub(crate) struct Buyers<'a> {
    scene: Scene<'a>,
    number: u32,
    rng: SmallRng,
    flows: Flows,
    /// Steps that may be sent now, in order.
    due: VecDeque<u32>,
    /// Steps that wait for a time.
    later: BinaryHeap<Reverse<(Nanos, u32)>>,
    baskets: VecDeque<Basket>,
    recent: VecDeque<(u32, String)>,
    keys: u64,
}

impl<'a> Buyers<'a> {
    pub(crate) fn new(scene: Scene<'a>, number: u32) -> Self {
        Self {
            scene,
            number,
            rng: SmallRng::seed_from_u64(scene.plan.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(number))),
            flows: Flows::default(),
            due: VecDeque::new(),
            later: BinaryHeap::new(),
            baskets: VecDeque::new(),
            recent: VecDeque::new(),
            keys: 0,
        }
    }

    /// From here on the clock is that of the run.
    pub(crate) fn start(&mut self, clock: Clock) {
        self.scene.clock = clock;
    }

    /// Whether nothing new may be drawn for now.
    pub(crate) fn is_full(&self) -> bool {
        self.flows.len() >= FLOWS_MAX
    }

    /// Whether every step has ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.flows.len() == 0
    }

    /// When the next waiting step is due.
    pub(crate) fn next(&self) -> Nanos {
        self.later.peek().map_or(Nanos::NEVER, |Reverse((at, _))| *at)
    }

    /// Makes due what waited for this time, and gives up what waits for a connection for too long.
    pub(crate) fn advance(&mut self, now: Nanos, books: &mut Books) {
        while let Some(Reverse((at, flow))) = self.later.peek().copied()
            && at <= now
        {
            self.later.pop();
            self.due.push_back(flow);
        }
        while let Some(flow) = self.due.front().copied()
            && self.is_hopeless(flow, now)
        {
            self.due.pop_front();
            self.give_up(flow, books, now);
        }
    }

    /// The next step to send, and not one that this node left open.
    pub(crate) fn pop_due(&mut self, not_of: Option<usize>) -> Option<u32> {
        let may_go = |flow: &u32| !self.flows[*flow].is_open || Some(self.flows[*flow].asked) != not_of;
        let place = self.due.iter().take(DUE_LOOKED_AT_MAX).position(may_go)?;
        self.due.remove(place)
    }

    /// Appends a step's request to a node; gives its intended start.
    pub(crate) fn write(&mut self, flow: u32, node: usize, out: &mut Vec<u8>) -> Nanos {
        let flow = &mut self.flows[flow];
        (flow.asked, flow.is_open) = (node, false);
        flow.write(out, &self.scene.plan.access.targets[node], self.scene.stage);
        flow.intended
    }

    /// Carries a step on after an answer. True when a step of the mix came to its end.
    pub(crate) fn answered(
        &mut self,
        flow: u32,
        moments: Moments,
        answer: Answer<'_>,
        now: Nanos,
        books: &mut Books,
    ) -> bool {
        let (step, drawn) = (self.flows[flow].step, self.flows[flow].is_drawn());
        let operation = step.operation();
        match self.judge(flow, answer) {
            Fate::Done => return self.done(flow, moments, answer.body, now, books) && drawn,
            Fate::Refused(code) => {
                books.tally.measure(operation, moments, now);
                books.tally.refusal(operation, &code);
                if step == Step::Order && code == "customer_limit" {
                    self.give_back(flow, now, books);
                }
                self.drop_refused(flow, books);
            }
            Fate::Again { code, after } => {
                books.tally.retry(operation, &code);
                return self.retry(flow, after, now, books) && drawn;
            }
            Fate::Failed(code) => {
                books.tally.error(operation, &code);
                self.drop_refused(flow, books);
            }
        }
        drawn
    }

    /// Carries a step on whose connection went away: its outcome is open, so it is asked again with its key.
    /// True when it was given up.
    pub(crate) fn lost(&mut self, flow: u32, code: &str, now: Nanos, books: &mut Books) -> bool {
        books.tally.retry(self.flows[flow].step.operation(), code);
        let drawn = self.flows[flow].is_drawn();
        self.retry(flow, None, now, books) && drawn
    }

    /// Ends what is still under way when the run ends.
    pub(crate) fn wind_up(&mut self, now: Nanos, books: &mut Books) {
        for flow in self.flows.places() {
            self.give_up(flow, books, now);
        }
    }

    fn judge(&self, flow: u32, answer: Answer<'_>) -> Fate {
        let flow = &self.flows[flow];
        let repeated_release = matches!(flow.step, Step::Release | Step::GiveBack | Step::Cancel) && flow.attempts > 0;
        if repeated_release && matches!(answer.status, 404 | 409 | 410) {
            return Fate::Refused("already_released".to_owned());
        }
        fate::judge(answer.status, answer.retry_after_s, answer.body)
    }

    /// True when the step came to its end.
    fn done(&mut self, flow: u32, moments: Moments, body: &[u8], now: Nanos, books: &mut Books) -> bool {
        let step = self.flows[flow].step;
        let first = self.flows[flow].first_answer.is_none();
        let acknowledged = match step {
            Step::Hold => self.held(flow, body, now, books),
            Step::Order => self.ordered(flow, body, now, books),
            Step::Release | Step::GiveBack => {
                let hold = Cow::from(&self.flows[flow].subject);
                books.scribe.note(&Line::Released { at: self.wall(now), hold });
                Some(String::new())
            }
            Step::Cancel => Some(String::new()),
            Step::Look | Step::Follow => return self.looked(flow, moments, body, now, books),
        };
        let Some(id) = acknowledged else {
            books.tally.error(step.operation(), "unreadable_answer");
            self.flows.close(flow);
            return true;
        };
        if first {
            books.tally.measure(step.operation(), moments, now);
        } else {
            books.tally.replays += 1;
            if self.flows[flow].first_answer.as_deref() != Some(&id) {
                books.tally.error(step.operation(), "replay_differs");
            }
        }
        let replay =
            first && matches!(step, Step::Hold | Step::Order) && self.rng.random_bool(self.scene.plan.habits.replays);
        if replay {
            let again = &mut self.flows[flow];
            (again.first_answer, again.started, again.attempts) = (Some(id), now, 0);
            self.later.push(Reverse((now + Duration::from_millis(1), flow)));
        } else {
            self.flows.close(flow);
        }
        true
    }

    /// A step that the server refused ends; holds that were to be joined by a further one can still be bought.
    fn drop_refused(&mut self, flow: u32, books: &mut Books) {
        let ended = &mut self.flows[flow];
        if ended.step == Step::Hold && !ended.holds.is_empty() {
            let holds = std::mem::take(&mut ended.holds);
            let basket = Basket { event: ended.event, customer: ended.customer, holds };
            self.keep(basket);
        }
        books.tally.unfinished += u64::from(self.flows[flow].step == Step::Follow);
        self.flows.close(flow);
    }

    /// Releases the holds of an order that its customer may not place, so that others need not wait until they expire.
    fn give_back(&mut self, order: u32, now: Nanos, books: &mut Books) {
        let (event, customer) = (self.flows[order].event, self.flows[order].customer);
        for hold in std::mem::take(&mut self.flows[order].holds) {
            books.scribe.note(&Line::ReleaseAsked { at: self.wall(now), hold: Cow::from(&hold) });
            let place = self.flows.open();
            let flow = &mut self.flows[place];
            (flow.step, flow.event, flow.customer, flow.subject) = (Step::GiveBack, event, customer, hold);
            (flow.intended, flow.started) = (now, now);
            self.due.push_back(place);
        }
    }

    /// True when there is no further attempt.
    fn retry(&mut self, flow: u32, after: Option<Duration>, now: Nanos, books: &mut Books) -> bool {
        if self.is_hopeless(flow, now) {
            self.give_up(flow, books, now);
            return true;
        }
        let pause = fate::backoff(self.flows[flow].attempts, after, self.rng.random());
        self.flows[flow].attempts += 1;
        self.flows[flow].is_open = true;
        self.later.push(Reverse((now + pause, flow)));
        false
    }

    fn is_hopeless(&self, flow: u32, now: Nanos) -> bool {
        now.since(self.flows[flow].started) > self.scene.plan.access.give_up
    }

    fn give_up(&mut self, flow: u32, books: &mut Books, now: Nanos) {
        let ended = &self.flows[flow];
        books.tally.error(ended.step.operation(), "gave_up");
        books.tally.unfinished += u64::from(ended.step == Step::Follow);
        if matches!(ended.step, Step::Hold | Step::Order) && ended.first_answer.is_none() {
            books.tally.unresolved += 1;
            books.scribe.note(&Line::Unresolved {
                at: unix_ms(self.scene.clock.wall(now)),
                operation: ended.step.operation().name().into(),
                key: Cow::from(&ended.key),
                holds: Cow::from(&ended.holds),
            });
        }
        self.flows.close(flow);
    }

    fn keep(&mut self, basket: Basket) {
        if self.baskets.len() == BASKETS_MAX {
            self.baskets.pop_front();
        }
        self.baskets.push_back(basket);
    }

    fn wall(&self, now: Nanos) -> u64 {
        unix_ms(self.scene.clock.wall(now))
    }
}
