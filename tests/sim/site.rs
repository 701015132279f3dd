//! The site: where machines run and where their records lie. The only thing that the two simulations do not share.
//!
//! [`crate::embedded`] is one node with its own disk, [`crate::cluster`] several nodes around one replicated journal. The
//! people, the provider, the hosting of cells, the truth and what must hold are the same for both.

use std::fmt::Debug;

use actors::address::Address;
use actors::feed::Feed;
use actors::ids::Shard;
use actors::keyed::Answer;
use actors::message::Reply;
use actors::time::{Millis, Span};

use crate::chance::Chance;
use crate::coverage::Fault;
use crate::model::must;
use crate::node::{Caller, Mail, ShardHost};
use crate::plan::Plan;
use crate::truth::Truth;
use crate::world::{Failure, Step, World};

/// A process: which node, and which of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) life: u64,
}

/// What becomes of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    Runs,
    /// It was stopped and goes on then.
    Paused(Millis),
    Dead,
}

/// See the module's charter.
pub(crate) trait Site: Sized {
    /// What happens here and nowhere else.
    type Event: Clone + Debug;

    /// The environment variable that names one life to live again.
    const SEED: &'static str;
    /// How many lives it may take until a planted bug is found.
    const PATIENCE: u64;
    /// Columns of the table.
    const FAULTS: &'static [Fault];
    /// What must have happened in a thousand lives.
    const COUNTS: &'static [&'static str];

    /// Whether there is no other node.
    const IS_ALONE: bool;

    /// Sizes, settings and fault rates that both simulations know.
    fn plan(chance: &mut Chance) -> Plan;

    fn new(plan: &Plan, chance: &mut Chance) -> Self;

    /// The first events.
    fn begin(world: &mut World<Self>);

    /// The process that an event happens in: it does not happen when that does not run.
    fn place(event: &Self::Event) -> Option<Place>;

    fn happen(world: &mut World<Self>, event: Self::Event) -> Step;

    /// Customers and faults stop.
    fn calm_down(world: &mut World<Self>) -> Step;

    fn pulse(&self, place: Place) -> Pulse;

    /// A shard that lives there.
    fn host(&mut self, place: Place, shard: Shard) -> Option<&mut ShardHost>;

    /// All shards that live somewhere, and whether what is durable there is all that is durable.
    fn hosts(&self) -> Vec<(&ShardHost, bool)>;

    /// How far a node's clock is behind (below 0) or ahead of the true time.
    fn skew(&self, node: usize) -> i64;

    /// The clock that is most behind.
    fn slowest_clock(&self) -> i64;

    /// A request comes in from the edge.
    fn ask(world: &mut World<Self>, to: Address, mail: Mail) -> Step;

    /// An answer to whoever asked, or the news that there is none.
    fn answer(world: &mut World<Self>, from: Place, caller: Caller, answer: Result<Answer<Reply>, Failure>) -> Step;

    /// A message of a machine there is on its way to another.
    fn tell(world: &mut World<Self>, from: Place, to: Address, mail: Mail) -> Step;

    /// Whether a shard there takes what comes in.
    fn lets_in(world: &mut World<Self>, place: Place, to: &Address, mail: &Mail) -> Result<(), Failure>;

    /// Whether a shard there may still do anything in the world: nobody else can have become its owner.
    fn may_act(world: &mut World<Self>, place: Place, shard: Shard) -> bool;

    /// A turn of a shard there changed something.
    fn wrote(world: &mut World<Self>, place: Place, shard: Shard);

    /// Durable public changes of a shard there.
    fn publish(world: &mut World<Self>, place: Place, shard: Shard, feed: Vec<Feed>) -> Step;

    /// The pictures of a whole shard were published.
    fn pictured(world: &mut World<Self>, place: Place, shard: Shard);

    /// Cells have to be brought back.
    fn bring_back(world: &mut World<Self>, place: Place, shard: Shard, cells: Vec<Address>);

    /// What is shown at any time is what is durable.
    fn recount(&self, truth: &Truth) -> Step;

    /// Whether nothing will happen any more.
    fn rests(world: &World<Self>) -> bool;

    /// What must hold here when everything has ended.
    fn end_check(world: &mut World<Self>) -> Step;

    /// The longest time that faults of this site add to the end of everything.
    fn last_waits(&self) -> Span;
}

impl<S: Site> World<S> {
    /// An answer leaves the shard that gave it: it may not know less than was acknowledged before the question.
    pub(crate) fn answer(&mut self, from: Place, shard: Shard, caller: Caller, answer: Answer<Reply>) -> Step {
        let known_before = self.crowd.asking[caller.wish].known_before(caller.attempt);
        let durable = self.site.host(from, shard).map(|host| host.log.durable_seq());
        let durable = durable.ok_or("an answer of a shard that is not there")?;
        must!(
            durable >= known_before,
            "{caller:?} is answered {answer:?} by shard {} as of record {durable}, although record {known_before} was \
             acknowledged before it was asked",
            shard.0
        );
        S::answer(self, from, caller, Ok(answer))
    }
}
