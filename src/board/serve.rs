//! The board's public answers: finding the thing, then the finished answer about it.

use std::sync::Arc;

use actors::address::{Address, BlockRef};
use actors::block::{Layout, SeatState, pack};
use actors::ids::{BlockId, EventId};
use actors::time::Millis;

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

/// What a public answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `GET /v1/events/{event}`
    Event(&'a EventId),
    /// `GET /v1/events/{event}/availability`
    Availability(&'a EventId),
    /// `GET /v1/events/{event}/blocks/{block}/seats` as JSON.
    Seats(&'a EventId, &'a BlockId),
    /// The same as bytes. They cannot say that they are out of date: whoever must know asks for JSON.
    SeatsBytes(&'a EventId, &'a BlockId),
}

/// Where an answer comes from: found once by name, then asked as often as one likes, until the event is described anew.
pub struct Source {
    replica: Arc<Event>,
    described: Arc<Described>,
    descriptions: u64,
    of: Of,
}

enum Of {
    Event,
    Availability,
    Seats(Arc<Block>),
    SeatsBytes(Arc<Block>),
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
            Some(cached) => {
                let ask = self.ask(self.pages.changes(), answers::LIST, now);
                self.counted(cached.get(ask, render))
            }
            None => self.counted((Arc::new(answers::LIST.finish(render())), Served::Rendered)),
        }
    }

    /// `GET /v1/events/{event}/blocks/{block}/layout`
    ///
    /// # Errors
    /// There is no such event or block.
    pub fn layout(&self, event: &EventId, block: &BlockId) -> Answer {
        let described = self.event(event).ok_or(Missing::Event)?;
        let (spec, replica) = described.block(block).ok_or(Missing::Block)?;
        let layout = replica.layout.get_or_init(|| {
            let answer = LayoutAnswer::new(event.as_str(), block.as_str(), &spec.layout);
            Arc::new(answers::LAYOUT.finish(answers::json(&answer, 1, None)))
        });
        Ok(self.counted((layout.clone(), Served::Hit)))
    }

    /// The finished answer about a subject. The `version` of seats is their block's `seq`.
    ///
    /// # Errors
    /// There is no such event or block, or its seats are not known yet.
    pub fn answer(&self, subject: Subject<'_>) -> Answer {
        self.answer_of(&self.source(subject)?)
    }

    /// Where the answer about a subject comes from.
    ///
    /// # Errors
    /// There is no such event or block.
    pub fn source(&self, subject: Subject<'_>) -> Result<Source, Missing> {
        let (Subject::Event(event)
        | Subject::Availability(event)
        | Subject::Seats(event, _)
        | Subject::SeatsBytes(event, _)) = subject;
        let replica = self.events.get(event).ok_or(Missing::Event)?;
        // The number first: what is read after it is at least as new.
        let descriptions = replica.descriptions();
        let described = replica.described().ok_or(Missing::Event)?;
        let block_of = |block| described.block(block).map(|(_, block)| block.clone()).ok_or(Missing::Block);
        let of = match subject {
            Subject::Event(_) => Of::Event,
            Subject::Availability(_) => Of::Availability,
            Subject::Seats(_, block) => Of::Seats(block_of(block)?),
            Subject::SeatsBytes(_, block) => Of::SeatsBytes(block_of(block)?),
        };
        Ok(Source { replica, described, descriptions, of })
    }

    /// The finished answer from a source that was just found.
    ///
    /// # Errors
    /// The seats of the block are not known yet.
    pub fn answer_of(&self, source: &Source) -> Answer {
        let now = self.now();
        let (changes, kind) = (source.changes(), source.kind());
        let place = source.place();
        if let Of::Seats(block) | Of::SeatsBytes(block) = &source.of
            && !block.is_known()
        {
            let seats = self.untouched(&source.described, block.at()).ok_or(Missing::Seats)?;
            let fresh = self.seats(&source.of, block, 0, &seats, now);
            return Ok(self.counted((Arc::new(kind.finish(fresh)), Served::Rendered)));
        }
        Ok(self.counted(place.get(self.ask(changes, kind, now), || self.render(source))))
    }

    /// Whether an answer that this source gave is what it would give at `now` too: nothing changed, or it may not be
    /// rendered again yet. Costs no count, no lock and no reference; whoever sends the answer again says so with
    /// [`Board::sent_again`].
    #[must_use]
    pub fn still_gives(&self, source: &Source, given: &Arc<Rendered>, now: Millis) -> bool {
        let changes = source.changes();
        source.replica.descriptions() == source.descriptions
            && source.place().still_gives(given, self.ask(changes, source.kind(), now))
    }

    /// Answers of [`Board::still_gives`] were sent, so many.
    pub fn sent_again(&self, times: u64) {
        self.observer().served(Served::Hit, times);
    }

    fn render(&self, source: &Source) -> Fresh {
        let now = self.now();
        let described = &source.described;
        match &source.of {
            Of::Event => described.description_answer(now, self.reach.age(described.shards(), now)),
            Of::Availability => described.availability(now, self.reach.age(described.shards(), now)),
            Of::Seats(block) | Of::SeatsBytes(block) => {
                let state = block.read();
                self.seats(&source.of, block, state.seq, &state.seats, now)
            }
        }
    }

    fn seats(&self, of: &Of, block: &Block, seq: u64, seats: &[u8], now: Millis) -> Fresh {
        if let Of::SeatsBytes(_) = of {
            return Fresh { body: seats.to_vec(), version: seq, until: None };
        }
        let home = Address::Block(block.at().clone()).shard(self.settings.shards);
        let age = self.reach.age([home], now);
        let (stale, age_ms) = answers::said(age);
        let BlockRef { event, block } = block.at();
        let answer = SeatsAnswer { event: event.as_str(), block: block.as_str(), seq, seats, stale, age_ms };
        answers::json(&answer, seq, answers::earlier(None, age))
    }

    /// The seats of a block that has not said anything because its event is being created: nobody can have had any.
    fn untouched(&self, described: &Described, at: &BlockRef) -> Option<Vec<u8>> {
        let (spec, _) = described.block(&at.block)?;
        let seats = match &spec.layout {
            Layout::Seated(_) => spec.layout.capacity() as usize,
            Layout::Standing(_) => 0,
        };
        (!described.ready).then(|| pack(std::iter::repeat_n(SeatState::Free, seats)))
    }

    fn ask(&self, changes: u64, kind: Kind, now: Millis) -> Ask {
        // Two numbers that only grow: their sum is the same only if both are.
        Ask { changes: changes + self.reach.changes(), now, pace: self.settings.pace, kind }
    }

    fn counted(&self, (answer, how): (Arc<Rendered>, Served)) -> Arc<Rendered> {
        self.observer().served(how, 1);
        answer
    }
}

impl Source {
    /// Grows with everything that the answer says. To be read before what it counts.
    fn changes(&self) -> u64 {
        match &self.of {
            Of::Event => self.replica.descriptions(),
            Of::Availability => self.replica.changes(),
            Of::Seats(block) | Of::SeatsBytes(block) => block.seq(),
        }
    }

    fn kind(&self) -> Kind {
        match &self.of {
            Of::Event => answers::EVENT,
            Of::Availability => answers::AVAILABILITY,
            Of::Seats(_) => answers::SEATS,
            Of::SeatsBytes(_) => answers::SEATS_BYTES,
        }
    }

    fn place(&self) -> &Cached {
        match &self.of {
            Of::Event => &self.replica.description_answer,
            Of::Availability => &self.replica.availability,
            Of::Seats(block) => &block.seats_json,
            Of::SeatsBytes(block) => &block.seats_bytes,
        }
    }
}
