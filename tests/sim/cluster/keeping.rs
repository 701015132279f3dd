//! The driver of a node's keeper: heartbeats in and out, and the steps in which a shard comes and goes.
//!
//! ```text
//!  claim:    read the leader's tail · append the claim · fold what is missing · open the feed · adopt · owner
//!  release:  shut the door · finish what was let in · forget it · nobody's
//! ```

use actors::ids::Shard;
use actors::time::{Millis, Span};
use stampede::cluster::feed::{Intake, Outlet};
use stampede::cluster::keeper::{Keeper, Order, Progress, Role, Settings};
use stampede::cluster::presence::{Heartbeat, NodeId, Phase};
use stampede::journal::Seq;
use stampede::journal::jetstream::{Kind, Owner, Position};
use stampede::runtime::commit::Limits;
use stampede::runtime::follow::Following;
use stampede::runtime::recovery::Restored;

use super::appending::{Claim, Writing};
use super::links::{Request, Response};
use super::rates::{BEAT, LEASE, TICK};
use super::{Asker, Cluster, Happening, Hosting, Matter, Process};
use crate::board::Boards;
use crate::node::{Cell, ShardHost};
use crate::planted::Planted;
use crate::site::{Place, Site};
use crate::world::{Event, Failure, SKEW_MAX, Step, World};

const LIMITS: Limits = Limits { record_bytes_max: 4096, record_turns_max: 32 };

/// How long a shard that is given up may finish what was let in.
const DRAIN: Span = Span(150);

/// Messages that a follower reads at once.
const READ_MOST: usize = 64;

/// A shard that is followed.
#[derive(Debug, Default)]
pub(super) struct Follower {
    following: Option<Following>,
    /// The last message that was read.
    read: Position,
    caught_up: bool,
}

/// A shard that is becoming this node's.
#[derive(Debug, Default)]
pub(super) struct Claiming {
    follower: Follower,
    /// The request for the tail that is waited for.
    tail_request: Option<u64>,
    pub(super) claim: Option<Claim>,
    pub(super) writing: Option<Writing>,
    /// Where the claim lies: everything before it has to be folded in.
    claimed: Option<Position>,
}

impl World<Cluster> {
    /// A node starts, with nothing in its memory.
    pub(super) fn start(&mut self, node: usize) {
        if self.site.nodes[node].process.is_some() {
            return;
        }
        let skew = self.chance.between(0, 2 * SKEW_MAX) as i64 - SKEW_MAX as i64;
        let incarnation_chance = self.chance.draw() as u16;
        let (now, shards) = (self.now, self.plan.policy.shards);
        let found = &mut self.site.nodes[node];
        found.skew = if self.site.rates.skewed { skew } else { 0 };
        let me = NodeId::new(&found.name, now, incarnation_chance);
        let owner = Owner { name: found.name.clone(), incarnation: me.incarnation };
        found.process = Some(Process {
            keeper: Keeper::new(me, Settings { shards, lease: LEASE }, now),
            owner,
            hostings: Default::default(),
            followers: Default::default(),
            claims: Default::default(),
            verifying: Default::default(),
            intake: Intake::new(shards),
            board: Boards::default(),
            errands: Default::default(),
        });
        let place = Place { node, life: found.life };
        self.note(|| format!("node {node} starts"));
        self.coverage.count("starts of a node");
        self.after(Span(0), Event::Site(Happening::Beat { place }));
        self.after(TICK, Event::Site(Happening::Tick { place }));
    }

    /// A node tells all others, and itself, how it stands.
    pub(super) fn beat(&mut self, place: Place) {
        let wait = Span(BEAT.0 + self.chance.between(0, 10));
        self.after(wait, Event::Site(Happening::Beat { place }));
        self.announce(place);
    }

    /// A heartbeat, in its time or because there is news.
    fn announce(&mut self, place: Place) {
        let now = self.now;
        let Some(process) = self.site.process(place) else { return };
        let hostings = &process.hostings;
        let progress = |shard: Shard| {
            let hosting = hostings.get(&shard.0);
            let seq = hosting.map_or(Seq::NONE, |hosting| hosting.host.log.durable_seq());
            Progress { seq, feed: hosting.map_or(0, |hosting| hosting.outlet.number()) }
        };
        let heartbeat = process.keeper.heartbeat(now, progress);
        for to in self.site.places() {
            for wait in self.heartbeat_way(place, to) {
                let heartbeat = Box::new(heartbeat.clone());
                self.after(wait, Event::Site(Happening::HeartbeatComes { place: to, heartbeat }));
            }
        }
    }

    /// A node's own heartbeat comes back only when a quorum of the journal's servers has it: one that is cut off together
    /// with a server would hear itself through that, while others take its shards over.
    fn heartbeat_way(&mut self, from: Place, to: Place) -> Vec<Span> {
        let echo = from.node == to.node && self.bug != Some(Planted::HearsItselfAlone);
        match echo {
            true if !self.reads_journal(from) => Vec::new(),
            _ => self.way(from.node, to.node, self.site.rates.heartbeats),
        }
    }

    pub(super) fn hear(&mut self, place: Place, heartbeat: Heartbeat) -> Step {
        let now = self.now;
        let Some(process) = self.site.process(place) else { return Ok(()) };
        if heartbeat.node == *process.keeper.me() {
            let orders = process.keeper.stored(now, heartbeat.number);
            return self.carry_out_orders(place, orders);
        }
        for owned in &heartbeat.owned {
            process.intake.expect(Shard(owned.shard), owned.epoch, owned.feed, now);
        }
        let orders = process.keeper.hear(now, heartbeat);
        self.carry_out_orders(place, orders)
    }

    /// The keeper looks around.
    pub(super) fn tick(&mut self, place: Place) -> Step {
        let now = self.now;
        self.after(TICK, Event::Site(Happening::Tick { place }));
        self.read_followed(place);
        let shards = self.plan.policy.shards;
        let Some(Process { keeper, followers, intake, .. }) = self.site.process(place) else { return Ok(()) };
        for (shard, follower) in followers.iter() {
            let seq = follower.following.as_ref().map_or(Seq::NONE, Following::seq);
            keeper.followed(Shard(*shard), seq, follower.caught_up);
        }
        let whole = |shard| keeper.owner(shard, now).is_none() || intake.is_whole(shard);
        if keeper.phase() == Phase::Joining && keeper.is_settled(now) && (0..shards).map(Shard).all(whole) {
            keeper.serve(now);
        }
        let orders = keeper.tick(now);
        let alone = !keeper.alive(now).any(|peer| peer.phase == Phase::Serving);
        let gone = keeper.phase() == Phase::Leaving && (keeper.owned() == 0 || alone);
        self.carry_out_orders(place, orders)?;
        self.finish_claims(place)?;
        self.finish_releases(place)?;
        self.ask_for_pictures(place);
        if gone {
            self.coverage.count("nodes that left in good order");
            self.end_life(place.node);
        }
        Ok(())
    }

    fn carry_out_orders(&mut self, place: Place, orders: Vec<Order>) -> Step {
        for order in orders {
            self.note(|| format!("node {}: {order:?}", place.node));
            match order {
                Order::Follow(shard) => {
                    if let Some(process) = self.site.process(place) {
                        process.followers.insert(shard.0, Follower::default());
                    }
                }
                Order::Unfollow(shard) => {
                    if let Some(process) = self.site.process(place) {
                        process.followers.remove(&shard.0);
                    }
                }
                Order::Claim(shard) => self.begin_claim(place, shard),
                Order::Release(shard) => {
                    let until = self.now + DRAIN;
                    if let Some(hosting) = self.site.hosting(place, shard) {
                        hosting.leaves_at = Some(until);
                    }
                }
                Order::Drop(shard) => {
                    self.coverage.count("shards dropped for a later epoch");
                    self.drop_hosting(place, shard, Failure::Unknown)?;
                }
                Order::Verify(shard) => self.verify(place, shard),
                Order::Namesake(other) => return Err(format!("{other} is its own namesake")),
            }
        }
        Ok(())
    }

    fn begin_claim(&mut self, place: Place, shard: Shard) {
        let request = self.ask_journal(place, (shard, Matter::Claim), Request::Last);
        let Some(process) = self.site.process(place) else { return };
        let follower = process.followers.remove(&shard.0).unwrap_or_default();
        let claiming = Claiming { follower, tail_request: Some(request), ..Claiming::default() };
        process.claims.insert(shard.0, claiming);
    }

    /// Whether an answer was the tail that a claim waits for; goes on with the claim then.
    pub(super) fn tail_for_claim(&mut self, asker: Asker, response: &Option<Response>) -> bool {
        let (place, shard, bug) = (asker.place, asker.shard, self.bug);
        let clock = Millis(self.now.0.saturating_add_signed(self.site.skew(place.node)));
        if asker.matter != Matter::Claim {
            return false;
        }
        let Some(process) = self.site.process(place) else { return false };
        let Some(claiming) = process.claims.get_mut(&shard.0) else { return false };
        if claiming.tail_request != Some(asker.number) {
            return false;
        }
        claiming.tail_request = None;
        let Some(Response::Last(tail)) = response else {
            self.claim_failed(place, shard);
            return true;
        };
        if tail.as_ref().is_some_and(|tail| self.is_claiming(shard, &tail.owner)) {
            self.coverage.count("claims that waited for another's lease");
            self.claim_failed(place, shard);
            return true;
        }
        let (expected, epoch, seq, at) = tail
            .as_ref()
            .map_or((Position::NONE, 0, Seq::NONE, Millis(0)), |tail| (tail.position, tail.epoch, tail.seq, tail.at));
        let epoch = if bug == Some(Planted::EpochReused) { epoch.max(1) } else { epoch + 1 };
        let claim = Claim { expected, epoch, seq, at: at.max(clock) };
        let writing = self.claim_message(place, shard, &claim);
        if let Some(claiming) = self.site.process(place).and_then(|process| process.claims.get_mut(&shard.0)) {
            (claiming.claim, claiming.writing) = (Some(claim), writing);
        }
        self.go_on(place, (shard, Matter::Claim), stampede::journal::jetstream::append::Next::Publish);
        true
    }

    /// Whether the last owner has a lease and has not heard yet that it owns the shard: nobody may go past it until the
    /// lease is over.
    fn is_claiming(&mut self, shard: Shard, owner: &Owner) -> bool {
        let (place, now) = (self.site.place_of(&owner.name, owner.incarnation), self.now);
        let Some(process) = place.and_then(|place| self.site.process(place)) else { return false };
        matches!(process.keeper.role(shard), Role::Claiming { .. }) && now < process.keeper.lease_until()
    }

    pub(super) fn claim_failed(&mut self, place: Place, shard: Shard) {
        let now = self.now;
        if let Some(process) = self.site.process(place) {
            process.claims.remove(&shard.0);
            process.keeper.claim_failed(shard, now);
        }
    }

    /// Somebody else was faster.
    pub(super) fn claim_lost(&mut self, place: Place, shard: Shard) {
        let now = self.now;
        if let Some(process) = self.site.process(place) {
            process.claims.remove(&shard.0);
            process.keeper.lost(shard, now);
        }
    }

    /// The claim is in the journal.
    pub(super) fn claimed(&mut self, place: Place, shard: Shard, position: Position) -> Step {
        self.coverage.count("claims");
        if let Some(claiming) = self.site.process(place).and_then(|process| process.claims.get_mut(&shard.0)) {
            claiming.writing = None;
            claiming.claimed = Some(position);
        }
        self.finish_claims(place)
    }

    /// Claims that have read everything before them become shards of this node.
    fn finish_claims(&mut self, place: Place) -> Step {
        let reads = self.reads_journal(place);
        let Cluster { nodes, stream, shelf, .. } = &mut self.site;
        let Some(process) = nodes[place.node].process.as_mut() else { return Ok(()) };
        let (mut ready, mut overtaken) = (Vec::new(), Vec::new());
        for (shard, claiming) in &mut process.claims {
            let (Some(position), Some(claim)) = (claiming.claimed, claiming.claim) else { continue };
            if !reads {
                continue;
            }
            let restored = claiming.follower.finish(Shard(*shard), (stream, shelf), position, claim.seq);
            match restored {
                Ok(Some(restored)) => ready.push((restored, claim, position)),
                Ok(None) => {}
                Err(_) if stream.last(Shard(*shard)).is_some_and(|tail| tail.epoch > claim.epoch) => {
                    overtaken.push(Shard(*shard));
                }
                Err(_) => {
                    self.coverage.count("followers that started over");
                    claiming.follower = Follower::default();
                }
            }
        }
        for shard in overtaken {
            self.coverage.count("claims overtaken before they were read");
            self.claim_lost(place, shard);
        }
        for (restored, claim, position) in ready {
            self.adopt(place, restored, claim, position)?;
        }
        Ok(())
    }

    /// A shard comes to live on a node.
    fn adopt(&mut self, place: Place, restored: Restored, claim: Claim, position: Position) -> Step {
        let shard = restored.shard;
        let mut host = ShardHost::new(shard, restored.last, LIMITS);
        host.floor = claim.at;
        let complete = restored.last == self.truth.last(usize::from(shard.0));
        for (address, recovered) in restored.machines {
            if complete {
                self.truth.compare(&address, "a takeover", &recovered.machine)?;
            }
            host.cells.insert(address, Cell::new(recovered.machine));
        }
        let addresses: Vec<_> = host.cells.keys().cloned().collect();
        let Some(process) = self.site.process(place) else { return Ok(()) };
        process.claims.remove(&shard.0);
        process.intake.own(shard, claim.epoch);
        let outlet = Outlet::new(claim.epoch);
        let hosting =
            Hosting { host, epoch: claim.epoch, last: position, outlet, writing: None, leaves_at: None, bundle: None };
        process.hostings.insert(shard.0, hosting);
        let doubts = process.keeper.owns(shard, claim.epoch);
        self.note(|| format!("node {} owns shard {} under epoch {}", place.node, shard.0, claim.epoch));
        self.coverage.count("takeovers");
        self.carry_out_orders(place, doubts)?;
        self.announce(place);
        self.draw_pictures(place, shard)?;
        for address in addresses {
            self.rearm(place, &address)?;
        }
        Ok(())
    }

    /// Shards that are being given up and have finished, or had the time to.
    fn finish_releases(&mut self, place: Place) -> Step {
        let now = self.now;
        let Some(process) = self.site.process(place) else { return Ok(()) };
        let done = process.hostings.iter().filter(|(_, hosting)| {
            let host = &hosting.host;
            let quiet = host.log.is_idle() && host.cells.values().all(|cell| cell.inbox.is_empty());
            hosting.leaves_at.is_some_and(|until| quiet || until <= now)
        });
        let done: Vec<Shard> = done.map(|(shard, _)| Shard(*shard)).collect();
        for shard in done {
            self.coverage.count("handovers");
            self.drop_hosting(place, shard, Failure::Unknown)?;
            if let Some(process) = self.site.process(place) {
                process.keeper.released(shard);
            }
            self.announce(place);
        }
        Ok(())
    }

    /// Somebody else owns the shard by now.
    pub(super) fn lose(&mut self, place: Place, shard: Shard, in_flight: Failure) -> Step {
        let now = self.now;
        self.drop_hosting(place, shard, in_flight)?;
        if let Some(process) = self.site.process(place) {
            process.keeper.lost(shard, now);
        }
        self.announce(place);
        Ok(())
    }

    fn verify(&mut self, place: Place, shard: Shard) {
        let number = self.ask_journal(place, (shard, Matter::Verify), Request::Last);
        if let Some(process) = self.site.process(place) {
            process.verifying.insert(shard.0, number);
        }
    }

    /// The journal has said whose a shard is, or nothing.
    pub(super) fn verified(&mut self, asker: Asker, response: Option<Response>) -> Step {
        let (place, shard) = (asker.place, asker.shard);
        let Some(process) = self.site.process(place) else { return Ok(()) };
        if process.verifying.get(&shard.0) != Some(&asker.number) {
            return Ok(());
        }
        process.verifying.remove(&shard.0);
        match response {
            Some(Response::Last(tail)) => {
                match tail.filter(|tail| tail.owner == process.owner) {
                    Some(tail) => {
                        process.keeper.trusted(shard, tail.epoch);
                        self.coverage.count("shards trusted again");
                    }
                    None if matches!(process.keeper.role(shard), Role::Owning { .. }) => {
                        self.coverage.count("zombies refused: shard found another owner");
                        return self.lose(place, shard, Failure::Unknown);
                    }
                    None => {}
                }
                Ok(())
            }
            _ => {
                self.verify(place, shard);
                Ok(())
            }
        }
    }

    fn reads_journal(&self, place: Place) -> bool {
        let cut = self.site.nodes[place.node].cut;
        !cut.out && !cut.back && self.site.stream.away.is_none()
    }

    /// Followers read what has come.
    fn read_followed(&mut self, place: Place) {
        if !self.reads_journal(place) {
            return;
        }
        let most = self.chance.between(1, READ_MOST as u64) as usize;
        let Cluster { nodes, stream, shelf, .. } = &mut self.site;
        let Some(process) = nodes[place.node].process.as_mut() else { return };
        for (shard, follower) in &mut process.followers {
            if follower.read(Shard(*shard), (stream, shelf), most, None).is_err() {
                self.coverage.count("followers that started over");
                *follower = Follower::default();
            }
        }
    }

    /// A node's process ends; it may start again.
    pub(super) fn end_life(&mut self, node: usize) {
        let found = &mut self.site.nodes[node];
        (found.process, found.paused) = (None, None);
        found.life += 1;
        let wait =
            Span(if self.chance.hit(300) { self.chance.between(20, 300) } else { self.chance.between(500, 9000) });
        self.after(wait, Event::Site(Happening::Start { node }));
    }
}

type Sources<'a> = (&'a super::Stream, &'a crate::snapshots::Snapshots);

impl Follower {
    /// Reads on, at most so many messages and not beyond `until`.
    fn read(
        &mut self,
        shard: Shard,
        (stream, shelf): Sources<'_>,
        most: usize,
        until: Option<Position>,
    ) -> Result<(), String> {
        let limit = |position: Position| until.is_none_or(|until| position <= until);
        for stored in stream.read(shard, self.read).take_while(|stored| limit(stored.position)).take(most) {
            let envelope = &stored.envelope;
            if self.following.is_none() {
                let begun = Following::new(shard, envelope.before(), shelf);
                self.following = Some(begun.map_err(|error| error.to_string())?);
            }
            if let (Some(following), Kind::Record(record)) = (&mut self.following, &envelope.kind) {
                following.fold(envelope.seq, record).map_err(|error| error.to_string())?;
            }
            self.read = stored.position;
        }
        self.caught_up |= stream.last(shard).is_none_or(|tail| tail.position <= self.read);
        Ok(())
    }

    /// Reads up to this node's claim; the shard as it is then.
    pub(super) fn finish(
        &mut self,
        shard: Shard,
        sources: Sources<'_>,
        claim: Position,
        last: Seq,
    ) -> Result<Option<Restored>, String> {
        self.read(shard, sources, usize::MAX, Some(claim))?;
        if self.read < claim {
            // Somebody else cut the claim away: it is long over.
            return Err("the claim is not there any more".to_owned());
        }
        let following = match self.following.take() {
            Some(following) => following,
            None => Following::new(shard, last, sources.1).map_err(|error| error.to_string())?,
        };
        following.finish(last).map(Some).map_err(|error| error.to_string())
    }
}
