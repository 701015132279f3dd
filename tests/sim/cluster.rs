//! Several nodes around one replicated journal: what a bus, a journal with unknown outcomes, pauses and partitions can do.
//!
//! The product's own code decides: [`Keeper`] (who owns what), [`stampede::journal::jetstream::append`] (what became of an
//! append), [`Following`](stampede::runtime::follow::Following), the feed's numbers. Simulated are the servers
//! ([`stream`]), the ways to them and between nodes ([`links`]), and the thin drivers that carry decisions out, in the order
//! in which the product's do: [`keeping`] (heartbeats, and how a shard comes and goes), [`appending`] (one append at a
//! time), [`routing`] (the way of a command to its owner), [`boards`] (public changes on every node), [`rounds`] (snapshots
//! that all nodes share, and the cut behind them). What goes wrong is in [`faults`] and [`rates`].

pub(crate) mod appending;
mod boards;
mod faults;
mod keeping;
mod links;
mod rates;
mod rounds;
mod routing;
mod stream;

use std::collections::BTreeMap;

use actors::address::Address;
use actors::feed::Feed;
use actors::ids::Shard;
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use actors::time::{Millis, Span};
use stampede::cluster::feed::{Intake, Outlet};
use stampede::cluster::keeper::{Keeper, Role};
use stampede::cluster::presence::Heartbeat;
use stampede::journal::jetstream::{Owner, Position};

use crate::board::Boards;
use crate::chance::Chance;
use crate::coverage::Fault;
use crate::model::must;
use crate::node::{Caller, Mail, ShardHost};
use crate::plan::Plan;
use crate::site::{Place, Pulse, Site};
use crate::snapshots::Snapshots;
use crate::truth::Truth;
use crate::world::{Event, Failure, Step, World};
use appending::Writing;
use boards::Shown;
use keeping::Follower;
use links::{Request, Response};
use rates::Rates;
use routing::Errand;
use stream::Stream;

/// A shard that lives on a node.
struct Hosting {
    host: ShardHost,
    epoch: u64,
    /// The last message that is known to be the shard's last.
    last: Position,
    outlet: Outlet,
    writing: Option<Writing>,
    /// It is being given up: nobody is let in any more, and at this time it ends.
    leaves_at: Option<Millis>,
    /// A snapshot of the whole shard that waits until it is durable.
    bundle: Option<rounds::Bundle>,
}

/// A running node.
struct Process {
    keeper: Keeper,
    /// As the journal knows it.
    owner: Owner,
    hostings: BTreeMap<u16, Hosting>,
    followers: BTreeMap<u16, Follower>,
    claims: BTreeMap<u16, keeping::Claiming>,
    /// Shards that are being looked up in the journal, and by which request.
    verifying: BTreeMap<u16, u64>,
    intake: Intake,
    board: Boards,
    errands: BTreeMap<u64, Errand>,
}

/// A node, running or not.
struct Node {
    name: String,
    /// Counts its lives.
    life: u64,
    process: Option<Process>,
    /// It was stopped and goes on then.
    paused: Option<Millis>,
    cut: links::Cut,
    /// Set anew by every start.
    skew: i64,
}

/// See the module's charter.
pub(crate) struct Cluster {
    rates: Rates,
    nodes: Vec<Node>,
    stream: Stream,
    /// What all nodes share.
    shelf: Snapshots,
    shown: Shown,
    /// Numbers errands and requests of the journal.
    number: u64,
    calm_since: Option<Millis>,
    /// When something was last stored, or told to other boards.
    told_at: Millis,
}

/// What somebody wants of the journal, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    place: Place,
    shard: Shard,
    matter: Matter,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matter {
    Claim,
    Append,
    Verify,
}

/// What happens to nodes and between them.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Start {
        node: usize,
    },
    Beat {
        place: Place,
    },
    Tick {
        place: Place,
    },
    HeartbeatComes {
        place: Place,
        heartbeat: Box<Heartbeat>,
    },
    /// A request reaches the journal's servers.
    Reaches {
        asker: Asker,
        request: Box<Request>,
    },
    Responded {
        asker: Asker,
        response: Box<Response>,
    },
    /// No answer in time.
    Silence {
        asker: Asker,
    },
    /// The pause before another try is over.
    TryAgain {
        asker: Asker,
        reads: bool,
    },
    Commit {
        place: Place,
        shard: Shard,
    },
    FeedComes {
        place: Place,
        packet: Vec<u8>,
    },
    PictureWanted {
        place: Place,
        shard: Shard,
    },
    /// A request of a customer is with a node, and has to find its owner.
    ErrandGoes {
        place: Place,
        errand: u64,
    },
    ErrandComes {
        place: Place,
        to: Address,
        asked: Box<Asked<Message>>,
        caller: Caller,
        from: Place,
    },
    ErrandReturns {
        place: Place,
        caller: Caller,
        answer: Box<Result<Answer<Reply>, Failure>>,
    },
    ErrandSilent {
        place: Place,
        errand: u64,
        tries: u32,
    },
    /// A bundle reaches the store that all nodes share.
    Bundled {
        shard: Shard,
        bundle: rounds::Bundle,
    },
    Snapshot,
    Kill,
    Leave,
    Pause,
    /// A node is paused at the worst moment: it has just asked the journal something.
    Stops {
        node: usize,
    },
    CutOff,
    Resumes {
        node: usize,
    },
    Reconnects {
        node: usize,
    },
    QuorumLost,
    QuorumBack,
}

impl Cluster {
    fn process(&mut self, place: Place) -> Option<&mut Process> {
        let node = &mut self.nodes[place.node];
        node.process.as_mut().filter(|_| node.life == place.life)
    }

    fn hosting(&mut self, place: Place, shard: Shard) -> Option<&mut Hosting> {
        self.process(place)?.hostings.get_mut(&shard.0)
    }

    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The process of one life of a node, if it still runs.
    fn place_of(&self, name: &str, incarnation: u64) -> Option<Place> {
        let (node, found) = self.nodes.iter().enumerate().find(|(_, node)| node.name == name)?;
        let runs = found.process.as_ref().is_some_and(|process| process.owner.incarnation == incarnation);
        runs.then_some(Place { node, life: found.life })
    }

    fn places(&self) -> Vec<Place> {
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.process.is_some());
        running.map(|(nth, node)| Place { node: nth, life: node.life }).collect()
    }
}

impl Site for Cluster {
    type Event = Happening;

    const SEED: &'static str = "CLUSTER_SEED";
    /// Some need a node that is stopped at the one wrong moment, and nobody else there to notice.
    const PATIENCE: u64 = 1000;
    const FAULTS: &'static [Fault] = &[
        Fault::Killed,
        Fault::Paused,
        Fault::CutOff,
        Fault::NoQuorum,
        Fault::MessageLost,
        Fault::MessageTwice,
        Fault::ProviderAway,
        Fault::ProviderSilent,
    ];
    const COUNTS: &'static [&'static str] = &rates::COUNTS;
    const IS_ALONE: bool = false;

    fn plan(chance: &mut Chance) -> Plan {
        rates::tighten(Plan::draw(chance), chance)
    }

    fn new(plan: &Plan, chance: &mut Chance) -> Self {
        let rates = Rates::draw(chance);
        let node = |nth: usize| Node {
            name: format!("node-{}", (b'a' + nth as u8) as char),
            life: 0,
            process: None,
            paused: None,
            cut: links::Cut::default(),
            skew: 0,
        };
        Self {
            nodes: (0..rates.nodes).map(node).collect(),
            stream: Stream::new(plan.policy.shards),
            shelf: Snapshots::default(),
            shown: Shown::default(),
            number: 0,
            calm_since: None,
            told_at: Millis(0),
            rates,
        }
    }

    fn begin(world: &mut World<Self>) {
        for node in 0..world.site.nodes.len() {
            let wait = Span(world.chance.between(0, 800));
            world.after(wait, Event::Site(Happening::Start { node }));
        }
        let every = world.site.rates.every;
        for (mean, event) in [
            (every.kill, Happening::Kill),
            (every.leave, Happening::Leave),
            (every.pause, Happening::Pause),
            (every.cut, Happening::CutOff),
            (every.quorum, Happening::QuorumLost),
            (every.snapshot, Happening::Snapshot),
        ] {
            world.again(mean, Event::Site(event));
        }
    }

    fn place(event: &Happening) -> Option<Place> {
        match event {
            Happening::Beat { place }
            | Happening::Tick { place }
            | Happening::HeartbeatComes { place, .. }
            | Happening::Commit { place, .. }
            | Happening::FeedComes { place, .. }
            | Happening::PictureWanted { place, .. }
            | Happening::ErrandGoes { place, .. }
            | Happening::ErrandComes { place, .. }
            | Happening::ErrandReturns { place, .. }
            | Happening::ErrandSilent { place, .. } => Some(*place),
            Happening::Responded { asker, .. } | Happening::Silence { asker } | Happening::TryAgain { asker, .. } => {
                Some(asker.place)
            }
            _ => None,
        }
    }

    fn happen(world: &mut World<Self>, event: Happening) -> Step {
        match event {
            Happening::Start { node } => world.start(node),
            Happening::Beat { place } => world.beat(place),
            Happening::Tick { place } => return world.tick(place),
            Happening::HeartbeatComes { place, heartbeat } => return world.hear(place, *heartbeat),
            Happening::Reaches { asker, request } => return world.serve(asker, *request),
            Happening::Responded { asker, response } => return world.responded(asker, Some(*response)),
            Happening::Silence { asker } => return world.responded(asker, None),
            Happening::TryAgain { asker, reads } => world.try_again_at(asker, reads),
            Happening::Commit { place, shard } => world.commit(place, shard),
            Happening::FeedComes { place, packet } => return world.feed_comes(place, &packet),
            Happening::PictureWanted { place, shard } => return world.picture_wanted(place, shard),
            Happening::ErrandGoes { place, errand } => return world.errand_goes(place, errand),
            Happening::ErrandComes { place, to, asked, caller, from } => {
                return world.errand_comes(place, to, *asked, caller, from);
            }
            Happening::ErrandReturns { place, caller, answer } => return world.errand_returns(place, caller, *answer),
            Happening::ErrandSilent { place, errand, tries } => return world.errand_silent(place, errand, tries),
            Happening::Bundled { shard, bundle } => return world.bundled(shard, bundle),
            Happening::Snapshot => return world.snapshot_round(),
            fault => world.fault(fault),
        }
        Ok(())
    }

    fn calm_down(world: &mut World<Self>) -> Step {
        world.all_heals();
        Ok(())
    }

    fn pulse(&self, place: Place) -> Pulse {
        let node = &self.nodes[place.node];
        match (&node.process, node.paused) {
            (Some(_), _) if node.life != place.life => Pulse::Dead,
            (Some(_), Some(until)) => Pulse::Paused(until),
            (Some(_), None) => Pulse::Runs,
            (None, _) => Pulse::Dead,
        }
    }

    fn host(&mut self, place: Place, shard: Shard) -> Option<&mut ShardHost> {
        self.hosting(place, shard).map(|hosting| &mut hosting.host)
    }

    fn hosts(&self) -> Vec<(&ShardHost, bool)> {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let hostings = processes.flat_map(|process| process.hostings.iter());
        hostings.map(|(shard, hosting)| (&hosting.host, self.stream.is_last(*shard, hosting.last))).collect()
    }

    fn skew(&self, node: usize) -> i64 {
        self.nodes[node].skew
    }

    fn slowest_clock(&self) -> i64 {
        self.nodes.iter().map(|node| node.skew).min().unwrap_or(0)
    }

    fn ask(world: &mut World<Self>, to: Address, mail: Mail) -> Step {
        world.set_out(to, mail);
        Ok(())
    }

    fn answer(world: &mut World<Self>, from: Place, caller: Caller, answer: Result<Answer<Reply>, Failure>) -> Step {
        world.send_answer(from, caller, answer)
    }

    fn tell(world: &mut World<Self>, from: Place, to: Address, mail: Mail) -> Step {
        world.tell_owner(from, to, mail)
    }

    fn lets_in(world: &mut World<Self>, place: Place, to: &Address, mail: &Mail) -> Result<(), Failure> {
        world.may_come_in(place, to, mail)
    }

    fn may_act(world: &mut World<Self>, place: Place, shard: Shard) -> bool {
        world.may_act_for(place, shard)
    }

    fn wrote(world: &mut World<Self>, place: Place, shard: Shard) {
        world.commit_soon(place, shard);
    }

    fn publish(world: &mut World<Self>, place: Place, shard: Shard, feed: Vec<Feed>) -> Step {
        world.distribute(place, shard, feed)
    }

    fn pictured(world: &mut World<Self>, place: Place, shard: Shard) {
        world.close_pictures(place, shard);
    }

    fn bring_back(_: &mut World<Self>, _: Place, _: Shard, _: Vec<Address>) {}

    fn recount(&self, truth: &Truth) -> Step {
        self.stream.check(truth)
    }

    fn rests(world: &World<Self>) -> bool {
        let healed = world.site.calm_since.is_some_and(|since| since + rates::HEALING < world.now);
        healed && world.site.told_at + rates::TELLING < world.now && world.owes_nothing()
    }

    fn end_check(world: &mut World<Self>) -> Step {
        world.all_in_place()?;
        world.boards_are_right()?;
        world.cold_start()
    }

    fn last_waits(&self) -> Span {
        rates::HEALING
    }
}

impl World<Cluster> {
    /// Every shard is owned by the node that placement says, and by no other.
    fn all_in_place(&self) -> Step {
        let names: Vec<&str> = self.site.nodes.iter().map(|node| &*node.name).collect();
        for shard in (0..self.plan.policy.shards).map(Shard) {
            let ranked = stampede::cluster::placement::rank(shard, names.iter().copied());
            let right = ranked.ok_or("no nodes")?.first;
            for node in &self.site.nodes {
                let process = node.process.as_ref().ok_or_else(|| format!("{} never came back", node.name))?;
                let role = process.keeper.role(shard);
                let owns = matches!(role, Role::Owning { trusted: true, .. });
                must!(owns == (node.name == right), "shard {} is {right}'s, {} is {role:?}", shard.0, node.name);
                let hosts = process.hostings.contains_key(&shard.0);
                must!(owns == hosts, "{} is {role:?} of shard {} and hosts it: {hosts}", node.name, shard.0);
            }
        }
        Ok(())
    }
}
