//! The board's public answers: finding the thing, then the finished answer about it.

use std::sync::Arc;

use actors::address::{Address, BlockRef};
use actors::block::{Layout, SeatState, pack};
use actors::event::BlockSpec;
use actors::ids::{BlockId, EventId};

use super::Board;
use super::answers::{self, LayoutAnswer, SeatsAnswer};
use super::block::Block;
use super::cache::{Ask, Cached, Fresh, Kind, Rendered};
use super::event::{Described, Event};
use super::observer::Served;
use super::pages::Page;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No such event.
    Event,
    /// No such block in the event.
    Block,
    /// The block is there, but this node has not heard of its seats yet: try again in a moment.
    Seats,
}

struct Found {
    replica: Arc<Event>,
    descriptions: u64,
    changes: u64,
    described: Arc<Described>,
}

type Answer = Result<Arc<Rendered>, Missing>;

impl Board {
    /// `GET /v1/events`: a page of `limit` events, 1 to [`super::LIMIT_MAX`], after an id.
    #[must_use]
    pub fn event_list(&self, after: Option<EventId>, limit: usize) -> Arc<Rendered> {
        let now = self.now();
        let page = Page { after, limit: limit.clamp(1, super::LIMIT_MAX) };
        let render = || self.pages.render(&page, now);
        match self.pages.finished(&page) {
            Some(cached) => self.finished(&cached, self.pages.changes(), answers::LIST, render),
            None => {
                self.observer().served(Served::Rendered);
                Arc::new(answers::LIST.finish(render()))
            }
        }
    }

    /// `GET /v1/events/{event}`
    ///
    /// # Errors
    /// There is no such event.
    pub fn event_answer(&self, event: &EventId) -> Answer {
        let Found { replica, descriptions, described, .. } = self.find(event)?;
        let render = || {
            let now = self.now();
            described.description_answer(now, self.reach.age(described.shards(), now))
        };
        Ok(self.finished(&replica.description_answer, descriptions, answers::EVENT, render))
    }

    /// `GET /v1/events/{event}/availability`
    ///
    /// # Errors
    /// There is no such event.
    pub fn availability(&self, event: &EventId) -> Answer {
        let Found { replica, changes, described, .. } = self.find(event)?;
        let render = || {
            let now = self.now();
            described.availability(now, self.reach.age(described.shards(), now))
        };
        Ok(self.finished(&replica.availability, changes, answers::AVAILABILITY, render))
    }

    /// `GET /v1/events/{event}/blocks/{block}/layout`
    ///
    /// # Errors
    /// There is no such event or block.
    pub fn layout(&self, event: &EventId, block: &BlockId) -> Answer {
        let Found { described, .. } = self.find(event)?;
        let (spec, replica) = described.block(block).ok_or(Missing::Block)?;
        let layout = replica.layout.get_or_init(|| {
            let answer = LayoutAnswer::new(event.as_str(), block.as_str(), &spec.layout);
            Arc::new(answers::LAYOUT.finish(answers::json(&answer, 1, None)))
        });
        self.observer().served(Served::Hit);
        Ok(layout.clone())
    }

    /// `GET /v1/events/{event}/blocks/{block}/seats` as JSON. `version` is the block's `seq`.
    ///
    /// # Errors
    /// There is no such event or block, or its seats are not known yet.
    pub fn seats(&self, event: &EventId, block: &BlockId) -> Answer {
        self.seats_as(
            event,
            block,
            answers::SEATS,
            |replica| &replica.seats_json,
            |seq, seats| {
                let at = Address::Block(BlockRef { event: event.clone(), block: block.clone() });
                let age = self.reach.age([at.shard(self.settings.shards)], self.now());
                let (stale, age_ms) = answers::said(age);
                let answer = SeatsAnswer { event: event.as_str(), block: block.as_str(), seq, seats, stale, age_ms };
                answers::json(&answer, seq, answers::earlier(None, age))
            },
        )
    }

    /// `GET /v1/events/{event}/blocks/{block}/seats` as bytes. `version` is the block's `seq`. Bytes of seats cannot say
    /// that they are out of date: whoever must know asks for JSON.
    ///
    /// # Errors
    /// As for [`Board::seats`].
    pub fn seats_bytes(&self, event: &EventId, block: &BlockId) -> Answer {
        self.seats_as(
            event,
            block,
            answers::SEATS_BYTES,
            |replica| &replica.seats_bytes,
            |seq, seats| Fresh { body: seats.to_vec(), version: seq, until: None },
        )
    }

    fn seats_as(
        &self,
        event: &EventId,
        block: &BlockId,
        kind: Kind,
        place: impl Fn(&Block) -> &Cached,
        make: impl Fn(u64, &[u8]) -> Fresh,
    ) -> Answer {
        let Found { described, .. } = self.find(event)?;
        let (spec, replica) = described.block(block).ok_or(Missing::Block)?;
        let state = replica.read();
        if !state.known {
            return self
                .untouched(&described, spec)
                .map(|seats| Arc::new(kind.finish(make(0, &seats))))
                .ok_or(Missing::Seats);
        }
        let seq = state.seq;
        drop(state);
        Ok(self.finished(place(replica), seq, kind, || {
            let state = replica.read();
            make(state.seq, &state.seats)
        }))
    }

    /// The seats of a block that has not said anything because its event is being created: nobody can have had any.
    fn untouched(&self, described: &Described, spec: &BlockSpec) -> Option<Vec<u8>> {
        let seats = match &spec.layout {
            Layout::Seated(_) => spec.layout.capacity() as usize,
            Layout::Standing(_) => 0,
        };
        (!described.ready).then(|| pack(std::iter::repeat_n(SeatState::Free, seats)))
    }

    fn find(&self, event: &EventId) -> Result<Found, Missing> {
        let replica = self.events.get(event).ok_or(Missing::Event)?;
        // The numbers first: what is read after them contains at least so many changes.
        let (descriptions, changes) = (replica.descriptions(), replica.changes());
        let described = replica.described().ok_or(Missing::Event)?;
        Ok(Found { replica, descriptions, changes, described })
    }

    fn finished(&self, place: &Cached, changes: u64, kind: Kind, render: impl FnOnce() -> Fresh) -> Arc<Rendered> {
        // Two numbers that only grow: their sum is the same only if both are.
        let changes = changes + self.reach.changes();
        let ask = Ask { changes, now: self.now(), pace: self.settings.pace, kind };
        let (answer, how) = place.get(ask, render);
        self.observer().served(how);
        answer
    }
}
