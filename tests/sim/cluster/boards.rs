//! Public changes on every node: numbered by the owner, folded into each node's board, and asked for again where one is
//! missing.
//!
//! A board may be behind; it may never show what was not so at that number. At the end all show the same.

use std::collections::BTreeMap;

use actors::address::{Address, BlockRef};
use actors::feed::{Board, Feed};
use actors::ids::Shard;
use stampede::cluster::feed::{Part, Told as Packed, Verdict, put, unpack};

use super::{Cluster, Happening, Process};
use crate::model::must;
use crate::node::{Told, picture};
use crate::site::Place;
use crate::world::{Event, Step, World};

/// What every block looked like at the numbers at which a record ended.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pictures: BTreeMap<BlockRef, BTreeMap<u64, Board>>,
}

impl World<Cluster> {
    /// Notes how the blocks of a shard look after a record.
    pub(super) fn note_pictures(&mut self, shard: Shard) {
        let mut feed = Vec::new();
        for (address, machine) in &self.truth.machines {
            if matches!(address, Address::Block(_)) && address.shard(self.plan.policy.shards) == shard {
                picture(machine, &mut feed);
            }
        }
        for board in feed {
            if let Feed::Board(board) = board {
                self.site.shown.pictures.entry(board.block.clone()).or_default().insert(board.seq, *board);
            }
        }
    }

    /// Tells what a shard made public: the own board first, then all other nodes.
    pub(super) fn distribute(&mut self, place: Place, shard: Shard, feed: Vec<Feed>) -> Step {
        let Some(hosting) = self.site.hosting(place, shard) else { return Ok(()) };
        let told = hosting.outlet.tell(shard, feed);
        self.send_feed(place, &told);
        self.fold(place, told)
    }

    fn send_feed(&mut self, place: Place, told: &Packed) {
        self.site.told_at = self.now;
        let mut packet = Vec::new();
        put(&mut packet, told);
        for to in self.site.places().into_iter().filter(|to| to.node != place.node) {
            for wait in self.way(place.node, to.node, self.site.rates.feed) {
                let packet = packet.clone();
                self.after(wait, Event::Site(Happening::FeedComes { place: to, packet }));
            }
        }
    }

    fn fold(&mut self, place: Place, told: Packed) -> Step {
        let Part::Feed(feed) = told.part else { return Ok(()) };
        let Cluster { nodes, shown, .. } = &mut self.site;
        let Some(Process { board, .. }) = nodes[place.node].process.as_mut() else { return Ok(()) };
        for feed in &feed {
            if !board.expects(feed) {
                continue;
            }
            board.fold(feed)?;
            let block = match feed {
                Feed::Board(board) => &board.block,
                Feed::Seats(changed) => &changed.block,
                Feed::Event(_) | Feed::Order(..) | Feed::Sought(_) => continue,
            };
            let right = board.seq(block).and_then(|seq| shown.pictures.get(block)?.get(&seq));
            if let Some(right) = right {
                let right = Feed::Board(Box::new(right.clone()));
                board.compare(&right).map_err(|what| format!("node {}: {what}", place.node))?;
            }
        }
        Ok(())
    }

    /// The pictures of a whole shard were told.
    pub(super) fn close_pictures(&mut self, place: Place, shard: Shard) {
        if let Some(hosting) = self.site.hosting(place, shard) {
            let told = hosting.outlet.pictured(shard);
            self.send_feed(place, &told);
        }
    }

    /// Public changes of another node's shard have come.
    pub(super) fn feed_comes(&mut self, place: Place, packet: &[u8]) -> Step {
        let messages = unpack(packet).ok_or("a packet of the feed cannot be read")?;
        for told in messages {
            let Some(process) = self.site.process(place) else { return Ok(()) };
            let shard = Shard(told.shard);
            let was_whole = process.intake.is_whole(shard);
            let verdict = process.intake.hear(&told);
            let is_whole = process.intake.is_whole(shard);
            match (was_whole, is_whole) {
                (true, false) => self.coverage.count("feed: gaps"),
                (false, true) => self.coverage.count("feed: gaps healed"),
                _ => {}
            }
            match verdict {
                Verdict::Fold => self.fold(place, told)?,
                Verdict::Ignore => self.coverage.count("feed: old news ignored"),
            }
        }
        Ok(())
    }

    /// Asks owners for what is missing.
    pub(super) fn ask_for_pictures(&mut self, place: Place) {
        let now = self.now;
        let Some(process) = self.site.process(place) else { return };
        for shard in process.intake.due(now) {
            let Some(process) = self.site.process(place) else { return };
            let owner = process.keeper.owner(shard, now).map(|(node, _)| node.clone());
            let owner = owner.filter(|owner| owner != process.keeper.me());
            let Some(to) = owner.and_then(|owner| self.site.place_of(&owner.name, owner.incarnation)) else { continue };
            self.coverage.count("feed: pictures asked for");
            for wait in self.way(place.node, to.node, self.site.rates.bus) {
                self.after(wait, Event::Site(Happening::PictureWanted { place: to, shard }));
            }
        }
    }

    pub(super) fn picture_wanted(&mut self, place: Place, shard: Shard) -> Step {
        let must_draw = self.site.hosting(place, shard).is_some_and(|hosting| hosting.outlet.picture());
        if must_draw { self.draw_pictures(place, shard) } else { Ok(()) }
    }

    /// The picture of every cell goes out behind its last change, and behind all of them the news that it was all.
    pub(super) fn draw_pictures(&mut self, place: Place, shard: Shard) -> Step {
        let Some(hosting) = self.site.hosting(place, shard) else { return Ok(()) };
        let host = &mut hosting.host;
        let (mut now, at) = (Vec::new(), host.floor);
        let told = |feed, closes_pictures| Told {
            at,
            answers: Vec::new(),
            effects: Vec::new(),
            feed,
            changed: false,
            closes_pictures,
        };
        for cell in host.cells.values() {
            let Some(state) = &cell.state else { continue };
            let mut feed = Vec::new();
            picture(state, &mut feed);
            now.extend(host.log.follow(cell.last_change, told(feed, false)));
        }
        let end = host.log.end();
        now.extend(host.log.follow(end, told(Vec::new(), true)));
        now.into_iter().try_for_each(|told| self.release(place, shard, told))
    }

    /// Every node's board is what the owners' states say.
    pub(super) fn boards_are_right(&self) -> Step {
        let mut pictures = Vec::new();
        self.truth.machines.values().for_each(|machine| picture(machine, &mut pictures));
        for node in &self.site.nodes {
            let process = node.process.as_ref().ok_or_else(|| format!("{} never came back", node.name))?;
            for shard in (0..self.plan.policy.shards).map(Shard) {
                must!(process.intake.is_whole(shard), "{} misses something of shard {}", node.name, shard.0);
            }
            for picture in &pictures {
                process.board.compare(picture).map_err(|what| format!("{} at the end: {what}", node.name))?;
            }
        }
        Ok(())
    }
}
