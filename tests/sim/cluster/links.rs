//! The ways between nodes, and from nodes to the journal's servers: they lose, repeat, delay, and are cut.
//!
//! A node that is cut off reaches nobody, or is reached by nobody, or both: other nodes and the journal alike. It does not
//! hear its own heartbeats then.

use actors::ids::Shard;
use actors::time::Span;
use stampede::journal::jetstream::append::code;
use stampede::journal::jetstream::{Position, Tail};

use super::stream::Message;
use super::{Asker, Cluster, Happening, Matter};
use crate::planted::Planted;
use crate::site::Place;
use crate::world::{Event, Step, World};

/// How long a node waits for an answer of the journal.
const JOURNAL_PATIENCE: Span = Span(600);

/// What a message takes that is not slow: such messages do not overtake each other.
const USUAL: Span = Span(2);

/// Which directions of a node are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Nothing that it says arrives.
    pub(super) out: bool,
    /// Nothing that is said to it arrives.
    pub(super) back: bool,
    /// It is cut off together with one of the journal's servers, through which it still hears itself.
    pub(super) with_server: bool,
}

/// How messages of a kind fare, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ways {
    pub(super) lost: u32,
    pub(super) doubled: u32,
    pub(super) slow: u32,
    /// The longest that a slow one takes.
    pub(super) slow_most: u64,
}

/// What is asked of the journal.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Publish(Message),
    Last,
    Next(Position),
}

/// What the journal says.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    Stored(Position),
    Refused(u64),
    Last(Option<Tail>),
    Next(Option<Tail>),
}

impl World<Cluster> {
    /// After how long the copies of a message arrive that one node sends to another; none if it is lost.
    pub(super) fn way(&mut self, from: usize, to: usize, ways: Ways) -> Vec<Span> {
        let (there, back) = (self.site.nodes[from].cut, self.site.nodes[to].cut);
        let hears_itself = from == to && there.with_server;
        if (there.out || back.back) && !hears_itself {
            return Vec::new();
        }
        self.copies(ways)
    }

    fn copies(&mut self, ways: Ways) -> Vec<Span> {
        let ways = if self.calm { Ways::default() } else { ways };
        if self.chance.hit(ways.lost) {
            self.coverage.count("way: lost");
            return Vec::new();
        }
        let copies = if self.chance.hit(ways.doubled) { 2 } else { 1 };
        let mut delays = Vec::new();
        for _ in 0..copies {
            let slow = self.chance.hit(ways.slow);
            delays.push(if slow { Span(self.chance.between(20, ways.slow_most)) } else { USUAL });
        }
        delays
    }

    /// Asks the journal; what comes of it, or silence, is told to [`World::responded`] under the number that is returned.
    pub(super) fn ask_journal(&mut self, place: Place, (shard, matter): (Shard, Matter), request: Request) -> u64 {
        let asker = Asker { place, shard, matter, number: self.site.number() };
        self.after(JOURNAL_PATIENCE, Event::Site(Happening::Silence { asker }));
        if self.chance.hit(self.site.rates.stopped_asking) && !self.calm {
            self.after(Span(1), Event::Site(Happening::Stops { node: place.node }));
        }
        if !self.site.nodes[place.node].cut.out {
            for wait in self.copies(self.site.rates.journal) {
                let request = Box::new(request.clone());
                self.after(wait, Event::Site(Happening::Reaches { asker, request }));
            }
        }
        asker.number
    }

    /// The servers take a request.
    pub(super) fn serve(&mut self, asker: Asker, request: Request) -> Step {
        if let Some(until) = self.site.stream.away.filter(|_| !self.calm) {
            // What was proposed without a quorum may be there once it is back, or not.
            match self.chance.between(0, 3) {
                0 => self.at(until, Event::Site(Happening::Reaches { asker, request: Box::new(request) })),
                1 => self.respond(asker, Response::Refused(UNAVAILABLE)),
                _ if self.bug == Some(Planted::AcksBeforeQuorum) => {
                    self.respond(asker, Response::Stored(Position(u64::MAX)));
                }
                _ => {}
            }
            return Ok(());
        }
        let response = match request {
            Request::Publish(_) if self.chance.hit(self.site.rates.busy) && !self.calm => {
                self.coverage.count("journal: 10164");
                Response::Refused(code::WRONG_LAST_SEQUENCE_CONSTANT)
            }
            Request::Publish(message) => {
                let Self { site, truth, provider, .. } = self;
                let stored = if self.bug == Some(Planted::Unconditional) {
                    Ok(site.stream.store(asker.shard, message, (truth, provider))?)
                } else {
                    site.stream.publish(asker.shard, message, (truth, provider))?
                };
                match stored {
                    Ok(position) => {
                        self.stored(asker, position)?;
                        Response::Stored(position)
                    }
                    Err(code) => {
                        self.coverage.count("journal: 10071");
                        Response::Refused(code)
                    }
                }
            }
            Request::Last => Response::Last(self.site.stream.last(asker.shard)),
            Request::Next(after) => Response::Next(self.site.stream.next(asker.shard, after)),
        };
        self.respond(asker, response);
        Ok(())
    }

    fn stored(&mut self, asker: Asker, position: Position) -> Step {
        self.note(|| format!("stored {position} of {asker:?}"));
        self.site.told_at = self.now;
        self.note_pictures(asker.shard);
        Ok(())
    }

    fn respond(&mut self, asker: Asker, response: Response) {
        let node = &self.site.nodes[asker.place.node];
        // Servers close the connection of a client that does not take what they say.
        let closed = node.paused.is_some() && self.chance.hit(500) && !self.calm;
        if node.cut.back || closed {
            return;
        }
        for wait in self.copies(self.site.rates.journal) {
            let response = Box::new(response.clone());
            self.after(wait, Event::Site(Happening::Responded { asker, response }));
        }
    }
}

/// JetStream is temporarily unavailable.
const UNAVAILABLE: u64 = 10008;
