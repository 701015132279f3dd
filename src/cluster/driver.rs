//! The driver: carries out what the keeper orders.
//!
//! Owns the one task that feeds the keeper (heartbeats, reports, ticks), the followers, and the order of steps in which a
//! shard comes and goes:
//!
//! ```text
//!  claim:    read the leader's tail · append the claim · fold what is missing · open the feed · adopt · owner
//!  release:  shut the door · finish what was let in · forget the journal's handle · close the feed · nobody's
//! ```
//!
//! It decides nothing: who should own what is the keeper's, who may write is the journal's.

mod steps;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actors::ids::Shard;
use actors::time::{Millis, Span};
use foldhash::fast::RandomState;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::Shared;
use super::follow::{Follower, Source};
use super::keeper::{Keeper, Order, Progress, Role, Settings};
use super::owners::Owner;
use super::presence::{Heartbeat, NodeId, Phase};
use super::time::{Offsets, timekeepers};
use super::view::{Member, ShardOwner, View};
use crate::clock;
use crate::journal::Journal as _;

/// How often the keeper looks around.
const TICK: Duration = Duration::from_millis(50);

/// Heartbeats in a lease.
const BEATS_PER_LEASE: u32 = 6;

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
    /// The journal says that a shard is still this node's.
    Trusted { shard: Shard, epoch: u64 },
    /// The journal says that it is not.
    Lost { shard: Shard },
    /// The board misses something of a shard.
    Doubt { shard: Shard },
    /// The node wants to go: told when it owns nothing any more, or nobody is there to take it.
    Leave(oneshot::Sender<()>),
}

/// See the module's charter.
pub(super) struct Driver {
    shared: Arc<Shared>,
    keeper: Keeper,
    followers: HashMap<Shard, Follower, RandomState>,
    offsets: Offsets,
    leaving: Vec<oneshot::Sender<()>>,
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
            news: true,
        }
    }

    /// Runs for as long as the node does.
    pub(super) async fn run(
        mut self,
        mut heartbeats: async_nats::Subscriber,
        mut reports: mpsc::UnboundedReceiver<Report>,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = tokio::time::interval(self.shared.settings.lease / BEATS_PER_LEASE);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                message = heartbeats.next() => match message.map(|message| Heartbeat::decode(&message.payload)) {
                    Some(Some(heartbeat)) => self.hear(heartbeat),
                    Some(None) => warn!("heartbeat of another version ignored"),
                    None => return,
                },
                Some(report) = reports.recv() => self.note(report),
                _ = beats.tick() => self.news = true,
                _ = ticks.tick() => self.tick(),
            }
            if std::mem::take(&mut self.news) {
                self.refresh();
                self.beat().await;
            }
        }
    }

    fn hear(&mut self, heartbeat: Heartbeat) {
        let now = clock::monotonic();
        if heartbeat.node != *self.keeper.me() {
            self.offsets.note(&heartbeat, clock::now());
        }
        let known = self.keeper.alive(now).find(|peer| peer.node == heartbeat.node);
        let epochs = |heartbeat: &Heartbeat| -> Vec<(u16, u64)> {
            heartbeat.owned.iter().map(|owned| (owned.shard, owned.epoch)).collect()
        };
        let moved = known.is_none_or(|known| known.phase != heartbeat.phase || epochs(known) != epochs(&heartbeat));
        let orders = self.keeper.hear(now, heartbeat);
        // Trust is taken back before the longer lease is seen.
        self.carry_out(orders);
        self.shared.owners.set_lease(self.keeper.lease_until());
        if moved {
            self.tick();
        }
    }

    fn note(&mut self, report: Report) {
        self.news = true;
        match report {
            Report::Owns { shard, epoch } => {
                let doubts = self.keeper.owns(shard, epoch);
                self.shared.owners.set_trusted(shard, doubts.is_empty());
                self.carry_out(doubts);
            }
            Report::ClaimFailed { shard } => self.keeper.claim_failed(shard),
            Report::ClaimLost { shard } => self.keeper.lost(shard, clock::monotonic()),
            Report::Released { shard } => {
                self.shared.counters.handoffs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.keeper.released(shard);
            }
            Report::Fenced { shard } => {
                warn!(shard = shard.0, "shard was taken over by another node, dropped");
                self.shared.counters.fenced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.shared.give_up(shard);
                self.keeper.lost(shard, clock::monotonic());
            }
            Report::Trusted { shard, epoch } => {
                self.keeper.trusted(shard, epoch);
                let trusted = matches!(self.keeper.role(shard), Role::Owning { trusted: true, .. });
                self.shared.owners.set_trusted(shard, trusted);
            }
            Report::Lost { shard } => {
                warn!(shard = shard.0, "shard found another owner while this node was away, dropped");
                self.shared.drop_shard(shard);
                self.keeper.lost(shard, clock::monotonic());
            }
            Report::Doubt { shard } => self.shared.intake().doubt(shard),
            Report::Leave(done) => {
                self.keeper.leave();
                self.leaving.push(done);
            }
        }
        self.tick();
    }

    fn tick(&mut self) {
        let now = clock::monotonic();
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
        self.news |= !orders.is_empty();
        self.carry_out(orders);
        self.refresh();
        self.ask_for_pictures();
        if self.keeper.phase() == Phase::Serving {
            clock::shift(self.offsets.slew(&self.alive()));
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
        let joining = self.keeper.alive(now).filter(|peer| peer.phase == Phase::Joining).map(|peer| &peer.node);
        let shift = self.offsets.joining(&timekeepers(self.keeper.me(), self.alive(), joining));
        if shift != 0 {
            info!(shift_ms = shift, "this node's clock is not the cluster's, the cluster's is taken");
            clock::shift(shift);
        }
        info!(nodes = self.alive().len() + 1, "joined the cluster");
        self.keeper.serve(now);
        self.news = true;
    }

    fn alive(&self) -> Vec<NodeId> {
        let serving = self.keeper.alive(clock::monotonic()).filter(|peer| peer.phase == Phase::Serving);
        serving.map(|peer| peer.node.clone()).collect()
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        for order in orders {
            let shared = self.shared.clone();
            match order {
                Order::Follow(shard) => {
                    let (journal, shelf) = (shared.journal.clone(), shared.shelf.clone());
                    self.followers.insert(shard, Follower::start(Source { shard, journal, shelf }));
                }
                Order::Unfollow(shard) => drop(self.followers.remove(&shard)),
                Order::Claim(shard) => match self.followers.remove(&shard) {
                    Some(follower) => drop(tokio::spawn(steps::claim(shared, shard, follower))),
                    None => self.keeper.claim_failed(shard),
                },
                Order::Release(shard) => drop(tokio::spawn(steps::release(shared, shard))),
                Order::Drop(shard) => {
                    warn!(shard = shard.0, "shard has another owner under a later epoch, dropped");
                    shared.drop_shard(shard);
                }
                Order::Verify(shard) => {
                    shared.owners.set_trusted(shard, false);
                    drop(tokio::spawn(steps::verify(shared, shard)));
                }
                Order::Namesake(other) => {
                    error!(%other, "another node has this node's name, this one stops");
                    shared.stop_node(format!("another node is called `{}`: `node.name` must be unique", other.name));
                }
            }
        }
    }

    /// Shows everybody else in this process how things stand.
    fn refresh(&mut self) {
        let now = clock::monotonic();
        let mut news = false;
        for shard in (0..self.shared.settings.shards).map(Shard) {
            let owner = self.keeper.owner(shard, now).map(|(node, epoch)| Owner { node: node.clone(), epoch });
            self.shared.set_reachable(shard, owner.is_some());
            news |= self.shared.owners.set(shard, owner);
        }
        if news {
            self.shared.owners.tell();
        }
        let alive: Vec<NodeId> = self.keeper.alive(now).map(|peer| peer.node.clone()).collect();
        self.shared.distribution.set_heard(!alive.is_empty());
        self.shared.bus.nodes().iter().filter(|node| !alive.contains(node)).for_each(|node| self.shared.bus.lost(node));
        self.shared.expect_feeds(self.keeper.alive(now), now);
        self.shared.set_standing(self.keeper.phase(), now < self.keeper.lease_until());
        self.shared.view.store(Arc::new(self.view()));
    }

    fn ask_for_pictures(&self) {
        for shard in self.shared.intake().due(clock::monotonic()) {
            if let Some(owner) = self.shared.owners.owner(shard).filter(|owner| owner.node != self.shared.me) {
                self.shared.bus.put(&owner.node, &super::wire::Item::Picture { shard: shard.0 });
            }
        }
    }

    async fn beat(&mut self) {
        if !*self.shared.nats.connected().borrow() {
            return;
        }
        let (shared, now) = (&self.shared, clock::monotonic());
        let progress = |shard: Shard| Progress {
            seq: shared.journal.last(crate::journal::Shard(shard.0)),
            feed: shared.distribution.number(shard),
        };
        let mut heartbeat = self.keeper.heartbeat(now, progress);
        (heartbeat.now, heartbeat.address) = (clock::now(), shared.address());
        if let Err(error) = shared.nats.client().publish(shared.here(), heartbeat.encode().into()).await {
            warn!(%error, "heartbeat not sent");
        }
    }

    fn view(&self) -> View {
        let now = clock::monotonic();
        let mut nodes =
            vec![Member { node: self.shared.me.clone(), phase: self.keeper.phase(), address: self.shared.address() }];
        nodes.extend(self.keeper.alive(now).map(|peer| Member {
            node: peer.node.clone(),
            phase: peer.phase,
            address: peer.address.clone(),
        }));
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        let shards = (0..self.shared.settings.shards).map(|shard| self.shard_view(Shard(shard))).collect();
        View { nodes, shards }
    }

    fn shard_view(&self, shard: Shard) -> ShardOwner {
        let now = clock::monotonic();
        let owner = self.keeper.owner(shard, now).map(|(node, epoch)| (node.name.clone(), epoch));
        let told = self
            .keeper
            .alive(now)
            .flat_map(|peer| &peer.owned)
            .find(|owned| owned.shard == shard.0)
            .map(|owned| owned.seq);
        let seq = match self.keeper.role(shard) {
            Role::Owning { .. } | Role::Releasing { .. } => self.shared.journal.last(crate::journal::Shard(shard.0)).0,
            Role::Idle | Role::Following { .. } | Role::Claiming { .. } => told.unwrap_or(0),
        };
        let mine = self.followers.get(&shard).map(|follower| follower.come().0.0);
        let theirs = self.keeper.alive(now).filter_map(|peer| {
            peer.followed
                .iter()
                .find(|followed| followed.shard == shard.0)
                .map(|followed| (peer.node.name.clone(), followed.seq))
        });
        let followers = theirs.chain(mine.map(|seq| (self.shared.me.name.clone(), seq)));
        let follower = followers.max_by_key(|(_, seq)| *seq);
        ShardOwner { shard, owner, seq, follower }
    }
}

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
