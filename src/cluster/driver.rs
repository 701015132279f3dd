//! The driver: carries out what the keeper orders.
//!
//! Owns the one task that feeds the keeper (heartbeats, reports, ticks), the followers, and the order of steps in which a
//! shard comes and goes:
//!
//! ```text
//!  claim:    read the leader's tail · wait until its owner's lease is over · append the claim · fold what is missing ·
//!            open the feed · adopt · owner
//!  release:  shut the door · finish what was let in · forget the journal's handle · close the feed · nobody's
//! ```
//!
//! Whatever comes in, the keeper looks around at most once in [`LOOK_MIN`]: a hundred shards that move are a few looks.

mod steps;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actors::ids::Shard;
use actors::time::{Millis, Span};
use foldhash::fast::RandomState;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use super::Shared;
use super::follow::{Follower, Source};
use super::keeper::{Keeper, Order, Progress, Role, Settings};
use super::presence::{Heartbeat, NodeId, Phase};
use super::time::{Offsets, timekeepers};
use super::view::{Member, ShardOwner, View};
use crate::clock;
use crate::journal::Journal as _;

/// Least time between two looks around.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// Time between two looks around when nothing happens.
const LOOK_MAX: Duration = Duration::from_millis(50);

/// Heartbeats in a lease.
const BEATS_PER_LEASE: u32 = 6;

/// Heartbeats and reports that are taken between two looks, at most.
const TAKEN_MAX: usize = 1024;

/// What a step came to.
#[derive(Debug)]
pub(super) enum Report {
    /// A claimed shard is served here.
    Owns { shard: Shard, epoch: u64 },
    /// A claim came to nothing.
    ClaimFailed { shard: Shard },
    /// A claim came to nothing because somebody else was faster.
    ClaimLost { shard: Shard },
    /// A shard was given up in good order.
    Released { shard: Shard },
    /// The journal refused this node's append.
    Fenced { shard: Shard },
    /// A shard has proved that it is still this node's, after so many lapses of the lease.
    Trusted { shard: Shard, epoch: u64, lapse: u64 },
    /// A quorum has stored this node's heartbeat.
    Stored { number: u64 },
    /// The board misses something of a shard.
    Doubt { shard: Shard },
    /// The node wants to go: told when it owns nothing any more, or nobody is there to take it.
    Leave(oneshot::Sender<()>),
    /// The node has waited long enough for others to be ready.
    Abandon,
}

/// See the module's charter.
pub(super) struct Driver {
    shared: Arc<Shared>,
    keeper: Keeper,
    followers: HashMap<Shard, Follower, RandomState>,
    offsets: Offsets,
    leaving: Vec<oneshot::Sender<()>>,
    /// How often the lease has lapsed.
    lapses: u64,
    /// Something happened that the keeper has not looked at.
    unseen: bool,
    /// Something changed that others should hear before the next beat is due.
    news: bool,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let settings = Settings { shards: shared.settings.shards, lease: span(shared.settings.lease) };
        let keeper = Keeper::new(shared.me.clone(), settings, clock::monotonic());
        Self {
            shared,
            keeper,
            followers: HashMap::default(),
            offsets: Offsets::default(),
            leaving: Vec::new(),
            lapses: 0,
            unseen: true,
            news: true,
        }
    }

    /// Runs for as long as the node does.
    pub(super) async fn run(
        mut self,
        mut heartbeats: async_nats::Subscriber,
        mut reports: mpsc::UnboundedReceiver<Report>,
    ) {
        let mut beats = tokio::time::interval(self.shared.settings.lease / BEATS_PER_LEASE);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        loop {
            let look_at = looked + if self.unseen { LOOK_MIN } else { LOOK_MAX };
            tokio::select! {
                biased;
                _ = beats.tick() => self.news = true,
                () = tokio::time::sleep_until(look_at) => {
                    looked = Instant::now();
                    self.look();
                }
                message = heartbeats.next() => match message {
                    Some(message) => self.hear(&message),
                    None => return,
                },
                Some(report) = reports.recv() => self.note(report),
            }
            for _ in 0..TAKEN_MAX {
                match (reports.try_recv(), heartbeats.next().now_or_never()) {
                    (Err(_), None) => break,
                    (report, message) => {
                        report.into_iter().for_each(|report| self.note(report));
                        message.flatten().iter().for_each(|message| self.hear(message));
                    }
                }
            }
            if std::mem::take(&mut self.news) {
                self.beat();
            }
        }
    }

    fn hear(&mut self, message: &async_nats::Message) {
        let Some(heartbeat) = Heartbeat::decode(&message.payload) else {
            warn!(subject = %message.subject, "heartbeat of another version ignored");
            return;
        };
        if heartbeat.node == self.shared.me {
            return;
        }
        let now = clock::monotonic();
        self.offsets.note(&heartbeat, clock::now());
        self.shared.sightings().note(&heartbeat, now);
        self.unseen = true;
        let orders = self.keeper.hear(now, heartbeat);
        self.carry_out(orders);
    }

    fn note(&mut self, report: Report) {
        let now = clock::monotonic();
        self.unseen = true;
        match report {
            Report::Owns { shard, epoch } => {
                let orders = self.keeper.owns(shard, epoch);
                self.shared.owners.set_trusted(shard, orders.is_empty());
                self.carry_out(orders);
                self.news = true;
            }
            Report::ClaimFailed { shard } => self.keeper.claim_failed(shard, now),
            Report::ClaimLost { shard } => self.keeper.lost(shard, now),
            Report::Released { shard } => {
                self.shared.counters.handoffs.fetch_add(1, Ordering::Relaxed);
                self.keeper.released(shard);
                self.news = true;
            }
            Report::Fenced { shard } => {
                warn!(shard = shard.0, "shard was taken over by another node, dropped");
                self.shared.counters.fenced.fetch_add(1, Ordering::Relaxed);
                self.shared.give_up(shard);
                self.keeper.lost(shard, now);
                self.news = true;
            }
            Report::Trusted { shard, epoch, lapse } if lapse == self.lapses => {
                self.keeper.trusted(shard, epoch);
                let trusted = matches!(self.keeper.role(shard), Role::Owning { trusted: true, .. });
                self.shared.owners.set_trusted(shard, trusted);
            }
            // It was proved before the lease lapsed once more.
            Report::Trusted { .. } => {}
            Report::Stored { number } => {
                let orders = self.keeper.stored(now, number);
                self.lapses += u64::from(!orders.is_empty());
                // Trust is taken back before the longer lease is seen.
                self.carry_out(orders);
                self.shared.owners.set_lease(self.keeper.lease_until());
            }
            Report::Doubt { shard } => self.shared.intake().doubt(shard),
            Report::Leave(done) => {
                self.keeper.leave();
                self.leaving.push(done);
                self.news = true;
            }
            Report::Abandon => self.keeper.abandon(),
        }
    }

    /// Looks around: what follows from all that happened since the last look.
    fn look(&mut self) {
        let now = clock::monotonic();
        self.unseen = false;
        for (shard, follower) in &self.followers {
            let (seq, warm) = follower.come();
            self.keeper.followed(*shard, seq, warm);
        }
        if self.keeper.phase() == Phase::Joining
            && self.keeper.is_settled(now)
            && self.shared.is_board_of_owned_whole(now, &self.keeper)
        {
            self.serve(now);
        }
        let orders = self.keeper.tick(now);
        self.carry_out(orders);
        self.refresh(now);
        self.ask_for_pictures();
        if self.keeper.phase() == Phase::Serving {
            clock::shift(self.offsets.slew(&self.serving()));
        }
        let alone = !self.keeper.alive(now).any(|peer| peer.phase == Phase::Serving);
        if self.keeper.phase() == Phase::Leaving && (self.keeper.owned() == 0 || alone) {
            for done in self.leaving.drain(..) {
                // Whoever waited may have lost patience.
                let _ = done.send(());
            }
        }
    }

    /// Joins those who serve: with their time, and with a share of the shards.
    fn serve(&mut self, now: Millis) {
        let serving = self.serving();
        info!(nodes = serving.len() + 1, "joined the cluster");
        let joining = self.keeper.alive(now).filter(|peer| peer.phase == Phase::Joining).map(|peer| &peer.node);
        let shift = self.offsets.joining(&timekeepers(self.keeper.me(), serving, joining));
        if shift != 0 {
            info!(shift_ms = shift, "this node's clock is not the cluster's, the cluster's is taken");
            clock::shift(shift);
        }
        self.keeper.serve(now);
        self.news = true;
    }

    /// The others that serve.
    fn serving(&self) -> Vec<NodeId> {
        let serving = self.keeper.alive(clock::monotonic()).filter(|peer| peer.phase == Phase::Serving);
        serving.map(|peer| peer.node.clone()).collect()
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        for order in orders {
            let shared = self.shared.clone();
            match order {
                Order::Follow(shard) => {
                    let (journal, shelf, cold) = (shared.journal.clone(), shared.shelf.clone(), shared.cold.clone());
                    let follower = Follower::start(&shared.tasks, Source { shard, journal, shelf, cold });
                    self.followers.insert(shard, follower);
                }
                Order::Unfollow(shard) => drop(self.followers.remove(&shard)),
                Order::Claim(shard) => match self.followers.remove(&shard) {
                    Some(follower) => {
                        let claim = steps::claim(shared.clone(), shard, follower);
                        drop(shared.tasks.spawn(claim));
                    }
                    None => self.keeper.claim_failed(shard, clock::monotonic()),
                },
                Order::Release(shard) => drop(shared.tasks.spawn(steps::release(shared.clone(), shard))),
                Order::Drop(shard) => {
                    warn!(shard = shard.0, "shard has another owner under a later epoch, dropped");
                    shared.drop_shard(shard);
                }
                Order::Verify(shard) => {
                    shared.owners.set_trusted(shard, false);
                    drop(shared.tasks.spawn(steps::verify(shared.clone(), shard, self.lapses)));
                }
                Order::Namesake(other) => {
                    error!(%other, "another node has this node's name, this one stops");
                    shared.stop_node(format!("another node is called `{}`: `node.name` must be unique", other.name));
                }
            }
        }
    }

    /// Shows everybody else in this process how things stand.
    fn refresh(&mut self, now: Millis) {
        let (shared, mut news) = (&self.shared, false);
        for (shard, owner) in (0..).map(Shard).zip(self.keeper.owners(now)) {
            let answers = match owner {
                Some((node, _)) if *node == shared.me => shared.owners.may_answer(shard, now),
                owner => owner.is_some(),
            };
            shared.set_reachable(shard, answers);
            news |= shared.owners.set(shard, owner);
        }
        if news {
            shared.owners.tell();
            shared.unpark();
        }
        let alive: Vec<&NodeId> = self.keeper.alive(now).map(|peer| &peer.node).collect();
        shared.distribution.set_heard(!alive.is_empty());
        shared.bus.nodes().iter().filter(|node| !alive.contains(node)).for_each(|node| shared.bus.lost(node));
        shared.expect_feeds(self.keeper.alive(now), now);
        shared.set_standing(self.keeper.phase(), now < self.keeper.lease_until());
    }

    fn ask_for_pictures(&self) {
        for shard in self.shared.intake().due(clock::monotonic()) {
            if let Some(owner) = self.shared.owners.owner(shard).filter(|owner| owner.node != self.shared.me) {
                self.shared.bus.put(&owner.node, &super::wire::Item::Picture { shard: shard.0 });
            }
        }
    }

    /// Tells all others how things stand here, by an append that renews this node's lease when a quorum has it.
    fn beat(&mut self) {
        let (shared, now) = (self.shared.clone(), clock::monotonic());
        shared.view.store(Arc::new(self.view(now)));
        let progress = |shard: Shard| Progress {
            seq: shared.journal.last(crate::journal::Shard(shard.0)),
            feed: shared.distribution.number(shard),
        };
        let mut heartbeat = self.keeper.heartbeat(now, progress);
        (heartbeat.now, heartbeat.address) = (clock::now(), shared.address());
        let told = heartbeat.encode();
        drop(self.shared.tasks.spawn(async move {
            if shared.tell_heartbeat(told).await {
                shared.report(Report::Stored { number: heartbeat.number });
            }
        }));
    }

    fn view(&self, now: Millis) -> View {
        let (phase, address) = (self.keeper.phase(), self.shared.address());
        let mut nodes = vec![Member { node: self.shared.me.clone(), phase, address }];
        nodes.extend(self.keeper.alive(now).map(|peer| Member {
            node: peer.node.clone(),
            phase: peer.phase,
            address: peer.address.clone(),
        }));
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        let owners = self.keeper.owners(now);
        let mut shards: Vec<ShardOwner> =
            (0..).map(Shard).zip(&owners).map(|(shard, owner)| self.owned(shard, *owner)).collect();
        for peer in self.keeper.alive(now) {
            for owned in &peer.owned {
                if let Some(shard) = shards.get_mut(usize::from(owned.shard)) {
                    shard.seq = shard.seq.max(owned.seq);
                }
            }
            for followed in &peer.followed {
                if let Some(shard) = shards.get_mut(usize::from(followed.shard)) {
                    shard.followed_by(&peer.node.name, followed.seq);
                }
            }
        }
        for (shard, follower) in &self.followers {
            shards[usize::from(shard.0)].followed_by(&self.shared.me.name, follower.come().0.0);
        }
        View { nodes, shards }
    }

    /// A shard as its owner has it, if that is this node.
    fn owned(&self, shard: Shard, owner: Option<(&NodeId, u64)>) -> ShardOwner {
        let mine = owner.is_some_and(|(node, _)| *node == self.shared.me);
        let seq = if mine { self.shared.journal.last(crate::journal::Shard(shard.0)).0 } else { 0 };
        ShardOwner { shard, owner: owner.map(|(node, epoch)| (node.name.clone(), epoch)), seq, follower: None }
    }
}

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
