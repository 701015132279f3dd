//! One node with its own disk: the embedded journal, its recovery, and everything that fails around them.
//!
//! The product's log and loader run on a simulated disk. Start at [`restart`] and [`committing`]; what goes wrong is in
//! [`faults`] and [`rot`].

pub(crate) mod committing;
mod faults;
mod held;
mod restart;
mod rot;
mod rounds;

use std::sync::Arc;

use actors::address::Address;
use actors::feed::Feed;
use actors::ids::Shard;
use actors::keyed::Answer;
use actors::message::Reply;
use actors::time::Span;
use stampede::journal::sim_disk::SimDisk;

use crate::board::Boards;
use crate::chance::Chance;
use crate::coverage::Fault;
use crate::model::must;
use crate::node::{Caller, Mail, ShardHost, Staged, picture, reads};
use crate::plan::Plan;
use crate::site::{Place, Pulse, Site};
use crate::snapshots::Snapshots;
use crate::truth::Truth;
use crate::world::{Event, Failure, Step, World};
use held::Held;

/// The process. A crash drops it.
pub(crate) struct Node {
    journal: Held,
    shards: Vec<ShardHost>,
    /// Written and not synced.
    group: Vec<Staged>,
    /// A commit is on its way.
    committing: bool,
    /// The disk was full at the last write.
    full: bool,
}

/// See the module's charter.
pub(crate) struct Embedded {
    disk: Arc<SimDisk>,
    snapshots: Arc<Snapshots>,
    node: Option<Node>,
    /// Counts the node's lives.
    life: u64,
    /// Set anew by a start.
    skew: i64,
    boards: Boards,
}

/// What happens to the node.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Commit {
        place: Place,
    },
    Sync {
        place: Place,
    },
    /// Is there space again?
    Space {
        place: Place,
    },
    Rebuilt {
        place: Place,
        shard: usize,
        cells: Vec<Address>,
    },
    PowerCut,
    Kill,
    Restart,
    Panic,
    DiskFills,
    DiskEmpties,
    Snapshot,
}

impl Embedded {
    fn place(&self) -> Place {
        Place { node: 0, life: self.life }
    }
}

impl Site for Embedded {
    type Event = Happening;

    const SEED: &'static str = "SEED";
    const PATIENCE: u64 = 400;
    const FAULTS: &'static [Fault] = &[
        Fault::PowerCut,
        Fault::Killed,
        Fault::DiskFailed,
        Fault::DiskFull,
        Fault::Panic,
        Fault::MessageLost,
        Fault::MessageTwice,
        Fault::ProviderAway,
        Fault::ProviderSilent,
    ];
    const COUNTS: &'static [&'static str] = &["searches overheard"];
    const IS_ALONE: bool = true;

    fn plan(chance: &mut Chance) -> Plan {
        Plan::draw(chance)
    }

    fn new(_: &Plan, chance: &mut Chance) -> Self {
        Self {
            disk: Arc::new(SimDisk::new(chance.draw())),
            snapshots: Arc::default(),
            node: None,
            life: 0,
            skew: 0,
            boards: Boards::default(),
        }
    }

    fn begin(world: &mut World<Self>) {
        world.after(Span(0), Event::Site(Happening::Restart));
        let every = world.plan.every;
        for (mean, event) in [
            (every.power_cut, Happening::PowerCut),
            (every.kill, Happening::Kill),
            (every.panic, Happening::Panic),
            (every.full, Happening::DiskFills),
            (every.snapshot, Happening::Snapshot),
        ] {
            world.again(mean, Event::Site(event));
        }
    }

    fn place(event: &Happening) -> Option<Place> {
        match event {
            Happening::Commit { place }
            | Happening::Sync { place }
            | Happening::Space { place }
            | Happening::Rebuilt { place, .. } => Some(*place),
            _ => None,
        }
    }

    fn happen(world: &mut World<Self>, event: Happening) -> Step {
        match event {
            Happening::Commit { .. } => world.commit(),
            Happening::Sync { .. } => world.sync(),
            Happening::Space { .. } => world.look_for_space(),
            Happening::Rebuilt { shard, cells, .. } => world.rebuilt(shard, &cells),
            Happening::Restart => world.restart(),
            fault => world.fault(fault),
        }
    }

    fn calm_down(world: &mut World<Self>) -> Step {
        world.disk_calms_down()
    }

    fn pulse(&self, place: Place) -> Pulse {
        if self.node.is_some() && place.life == self.life { Pulse::Runs } else { Pulse::Dead }
    }

    fn host(&mut self, _: Place, shard: Shard) -> Option<&mut ShardHost> {
        self.node.as_mut()?.shards.get_mut(usize::from(shard.0))
    }

    fn hosts(&self) -> Vec<(&ShardHost, bool)> {
        self.node.iter().flat_map(|node| &node.shards).map(|host| (host, true)).collect()
    }

    fn skew(&self, _: usize) -> i64 {
        self.skew
    }

    fn slowest_clock(&self) -> i64 {
        self.skew
    }

    fn ask(world: &mut World<Self>, to: Address, mail: Mail) -> Step {
        let place = world.site.place();
        match (&world.site.node, mail.from) {
            (Some(_), _) => return world.arrive(place, to, mail),
            (None, Some(caller)) => world.reply(caller, Err(Failure::Unknown)),
            (None, None) => {}
        }
        Ok(())
    }

    fn answer(world: &mut World<Self>, _: Place, caller: Caller, answer: Result<Answer<Reply>, Failure>) -> Step {
        world.reply(caller, answer);
        Ok(())
    }

    fn tell(world: &mut World<Self>, from: Place, to: Address, mail: Mail) -> Step {
        world.arrive(from, to, mail)
    }

    fn lets_in(world: &mut World<Self>, place: Place, to: &Address, mail: &Mail) -> Result<(), Failure> {
        let shard = world.shard_of(to);
        let writes = mail.asked.key.is_some() || !reads(&mail.asked.command);
        let read_only = world.site.host(place, shard).is_none_or(|host| host.read_only);
        if read_only && writes { Err(Failure::NotDone) } else { Ok(()) }
    }

    fn may_act(_: &mut World<Self>, _: Place, _: Shard) -> bool {
        true
    }

    fn wrote(world: &mut World<Self>, _: Place, _: Shard) {
        world.commit_soon();
    }

    fn publish(world: &mut World<Self>, _: Place, _: Shard, feed: Vec<Feed>) -> Step {
        feed.iter().try_for_each(|feed| world.site.boards.fold(feed))
    }

    fn pictured(_: &mut World<Self>, _: Place, _: Shard) {}

    fn bring_back(world: &mut World<Self>, _: Place, shard: Shard, cells: Vec<Address>) {
        world.bring_back(usize::from(shard.0), cells);
    }

    fn recount(&self, truth: &Truth) -> Step {
        for (order, state) in &self.boards.orders {
            let known = truth.model.orders.get(order).map(|known| known.state);
            must!(known == Some(*state), "order {order} was shown as {state:?} and is {known:?}");
        }
        let mut pictures = Vec::new();
        truth.machines.values().for_each(|machine| picture(machine, &mut pictures));
        pictures.iter().try_for_each(|picture| self.boards.compare(picture))
    }

    fn rests(_: &World<Self>) -> bool {
        false
    }

    fn end_check(world: &mut World<Self>) -> Step {
        must!(world.site.node.is_some(), "the node never came back");
        Ok(())
    }

    fn last_waits(&self) -> Span {
        Span(0)
    }
}
