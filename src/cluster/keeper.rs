//! The keeper: what this node should own, follow and give away.
//!
//! Owns the node's view of who is alive, its lease, and the role it plays for every shard. It decides and does nothing
//! else: heartbeats and reports go in, [`Order`]s come out, time is an argument. The driver carries the orders out; the
//! simulation drives the same code. Safety does not rest on anything here: the journal refuses whoever was overtaken.
//! What rests on it is that the sale goes on, and that nobody is shown a state that may be old.
//!
//! ```text
//!  Idle ──Follow──▶ Following ──Claim──▶ Claiming ──owns──▶ Owning ──Release──▶ Releasing ──released──▶ Idle
//!    ▲               │Unfollow              │claim_failed      │Drop, fenced                              ▲
//!    └───────────────┴──────────────────────┴──────────────────┴──────────────────────────────────────────┘
//! ```
//!
//! - *Alive* is who was heard within the lease. Shards are placed over those who serve ([`super::placement`]); the first
//!   ranked owns, the second follows. A shard that nobody owned for some leases goes to whoever is warm.
//! - *The lease*: every heartbeat is also an append to a stream with several copies. A node has a lease from the moment it
//!   sent a heartbeat that a quorum has stored, for as long as `lease`. Without one it answers nothing that is not public,
//!   and says that it is deaf. Whoever claims a shard first makes sure that its last owner's lease has run out (the driver's
//!   claim step does).
//! - *After a lapse* everybody else who was alive gets a new lease from it (it was this node that did not hear), and each
//!   shard it owns has to prove itself by an append before it is trusted again.
//!
//! Long because roles, lease and placement are one decision: every rule about one reads the others.

use std::collections::{BTreeMap, VecDeque};

use actors::ids::Shard;
use actors::time::{Millis, Span};
use compact_str::CompactString;

use super::placement::rank;
use super::presence::{Followed, Heartbeat, NodeId, Owned, Phase};
use crate::journal::Seq;

/// Shards that are being handed over at the same time, so that most of the node goes on while it gives some away.
const RELEASING_MAX: usize = 8;

/// Leases that a joining node waits at most for others that join.
const JOIN_LEASES_MAX: u64 = 4;

/// Leases after which a shard without an owner goes to any warm node, because the first ranked one seems unable.
const UNOWNED_LEASES_MAX: u64 = 4;

/// Leases for which a node whose claim failed leaves a shard to others.
const FAILED_LEASES: u64 = 4;

/// Heartbeats that may be on their way; the oldest is forgotten beyond.
const ON_THE_WAY_MAX: usize = 64;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read a shard's snapshots and journal and keep up with it.
    Follow(Shard),
    /// Stop that.
    Unfollow(Shard),
    /// Become the owner of a followed shard: report [`Keeper::owns`] or [`Keeper::claim_failed`].
    Claim(Shard),
    /// Finish what was let in and give the shard up: report [`Keeper::released`].
    Release(Shard),
    /// Somebody else owns it by now: give it up at once.
    Drop(Shard),
    /// Prove by an append that the shard is still this node's: report [`Keeper::trusted`] or [`Keeper::lost`].
    Verify(Shard),
    /// Another living node has this node's name: stop.
    Namesake(NodeId),
}

/// What this node is to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Idle,
    /// Keeps up with it.
    Following {
        /// The last record folded in.
        seq: Seq,
        /// Whether everything there was has been read.
        warm: bool,
    },
    /// Is becoming its owner.
    Claiming {
        /// The lease has lapsed since: the claim may be an old one by now.
        doubtful: bool,
    },
    /// Owns it.
    Owning {
        /// Under this epoch.
        epoch: u64,
        /// Whether nobody else can have become the owner unnoticed.
        trusted: bool,
    },
    /// Is giving it up.
    Releasing {
        /// Under this epoch.
        epoch: u64,
    },
}

/// How a node keeps its shards.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Shards of the deployment.
    pub shards: u16,
    /// Silence after which a node counts as dead.
    pub lease: Span,
}

/// Another node.
#[derive(Debug)]
struct Peer {
    last: Heartbeat,
    first_heard: Millis,
    heard: Millis,
    /// Not heard since this node's lease lapsed: it may own more by now than its last heartbeat says.
    stale: bool,
}

/// How far a shard has come: its last durable record and the number of its last feed message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last durable record.
    pub seq: Seq,
    /// The last feed message.
    pub feed: u64,
}

/// See the module's charter. All times are monotonic.
#[derive(Debug)]
pub struct Keeper {
    me: NodeId,
    settings: Settings,
    phase: Phase,
    began: Millis,
    serving_since: Millis,
    peers: BTreeMap<CompactString, Peer>,
    roles: Vec<Role>,
    /// When each shard was lost to another node, whose heartbeat may be on its way.
    lost_at: Vec<Option<Millis>>,
    /// When this node last failed to claim each shard.
    failed_at: Vec<Option<Millis>>,
    /// Since when nobody owns each shard.
    unowned_since: Vec<Option<Millis>>,
    /// Whom shards were last placed over, and how each of them ranks.
    placed: (Vec<CompactString>, Vec<Rank>),
    lease_until: Millis,
    /// Heartbeats that are not stored yet.
    on_the_way: VecDeque<Sent>,
    number: u64,
    /// A quorum has stored that this node was deaf: it may say that it serves again.
    hears_again: bool,
    /// Gives shards up whether or not somebody is ready to take them.
    abandons: bool,
}

/// A heartbeat on its way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Millis,
    deaf: bool,
}

/// What this node should be to a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rank {
    first: bool,
    second: bool,
    /// Who should own it instead of this node.
    successor: Option<CompactString>,
}

impl Keeper {
    /// A node that joins.
    #[must_use]
    pub fn new(me: NodeId, settings: Settings, now: Millis) -> Self {
        Self {
            me,
            settings,
            phase: Phase::Joining,
            began: now,
            serving_since: now,
            peers: BTreeMap::new(),
            roles: vec![Role::Idle; usize::from(settings.shards)],
            lost_at: vec![None; usize::from(settings.shards)],
            failed_at: vec![None; usize::from(settings.shards)],
            unowned_since: vec![None; usize::from(settings.shards)],
            placed: (Vec::new(), vec![Rank::default(); usize::from(settings.shards)]),
            lease_until: Millis(0),
            on_the_way: VecDeque::new(),
            number: 0,
            hears_again: false,
            abandons: false,
        }
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> &NodeId {
        &self.me
    }

    /// What it is doing, as others are told.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Until when it may answer for the shards it owns.
    #[must_use]
    pub fn lease_until(&self) -> Millis {
        self.lease_until
    }

    /// What it is to a shard.
    #[must_use]
    pub fn role(&self, shard: Shard) -> Role {
        self.roles[usize::from(shard.0)]
    }

    /// The other nodes that are alive, with their last heartbeats.
    pub fn alive(&self, now: Millis) -> impl Iterator<Item = &Heartbeat> {
        let lease = self.settings.lease;
        self.peers.values().filter(move |peer| peer.heard + lease > now).map(|peer| &peer.last)
    }

    /// Who owns each shard, by the highest epoch that a living node names. One pass over what they said.
    #[must_use]
    pub fn owners(&self, now: Millis) -> Vec<Option<(&NodeId, u64)>> {
        let mut owners: Vec<Option<(&NodeId, u64)>> = self.roles.iter().map(|role| self.own(*role)).collect();
        for peer in self.alive(now) {
            for owned in &peer.owned {
                let Some(owner) = owners.get_mut(usize::from(owned.shard)) else { continue };
                if owner.is_none_or(|(_, epoch)| epoch < owned.epoch) {
                    *owner = Some((&peer.node, owned.epoch));
                }
            }
        }
        owners
    }

    /// Who owns one shard; as [`Keeper::owners`].
    #[must_use]
    pub fn owner(&self, shard: Shard, now: Millis) -> Option<(&NodeId, u64)> {
        let theirs = self.alive(now).filter_map(|peer| Some((&peer.node, peer.epoch_of(shard)?)));
        theirs.chain(self.own(self.role(shard))).max_by_key(|(_, epoch)| *epoch)
    }

    fn own(&self, role: Role) -> Option<(&NodeId, u64)> {
        match role {
            Role::Owning { epoch, .. } => Some((&self.me, epoch)),
            Role::Idle | Role::Following { .. } | Role::Claiming { .. } | Role::Releasing { .. } => None,
        }
    }

    /// Whether it has listened long enough to know who is there. Nodes that join together wait for each other.
    #[must_use]
    pub fn is_settled(&self, now: Millis) -> bool {
        let lease = self.settings.lease.0;
        let waited = now.0.saturating_sub(self.began.0);
        let newcomer =
            |peer: &Peer| peer.last.phase == Phase::Joining && now.0.saturating_sub(peer.first_heard.0) < lease / 2;
        let alone = !self.peers.values().any(newcomer);
        now < self.lease_until && waited >= lease && (alone || waited >= JOIN_LEASES_MAX * lease)
    }

    /// From now on it takes its share.
    pub fn serve(&mut self, now: Millis) {
        if self.phase == Phase::Joining {
            self.phase = Phase::Serving;
            self.serving_since = now;
        }
    }

    /// From now on it gives everything away.
    pub fn leave(&mut self) {
        self.phase = Phase::Leaving;
    }

    /// From now on it gives everything away even where nobody is ready to take it.
    pub fn abandon(&mut self) {
        self.phase = Phase::Leaving;
        self.abandons = true;
    }

    /// Shards that it owns or is giving up.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.roles.iter().filter(|role| matches!(role, Role::Owning { .. } | Role::Releasing { .. })).count()
    }

    /// What it says now. `progress` tells how far an owned shard has come.
    pub fn heartbeat(&mut self, now: Millis, progress: impl Fn(Shard) -> Progress) -> Heartbeat {
        self.number += 1;
        let joined = self.phase == Phase::Joining;
        let deaf = !joined && !self.hears_again && now >= self.lease_until;
        self.on_the_way.push_back(Sent { number: self.number, at: now, deaf });
        if self.on_the_way.len() > ON_THE_WAY_MAX {
            self.on_the_way.pop_front();
        }
        let (mut owned, mut followed) = (Vec::new(), Vec::new());
        for (shard, role) in (0..).zip(&self.roles) {
            match *role {
                // While it gives a shard up it is still the one who answers for it.
                Role::Owning { epoch, .. } | Role::Releasing { epoch } => {
                    let Progress { seq, feed } = progress(Shard(shard));
                    owned.push(Owned { shard, epoch, seq: seq.0, feed });
                }
                Role::Following { seq, warm } => followed.push(Followed { shard, seq: seq.0, warm }),
                Role::Idle | Role::Claiming { .. } => {}
            }
        }
        let phase = if deaf { Phase::Deaf } else { self.phase };
        Heartbeat { node: self.me.clone(), number: self.number, phase, now, address: String::new(), owned, followed }
    }

    /// A heartbeat of another node has come; its own are ignored.
    pub fn hear(&mut self, now: Millis, heartbeat: Heartbeat) -> Vec<Order> {
        if heartbeat.node == self.me {
            return Vec::new();
        }
        if heartbeat.node.name == self.me.name {
            let younger = heartbeat.node.incarnation > self.me.incarnation;
            return if younger { vec![Order::Namesake(heartbeat.node)] } else { Vec::new() };
        }
        let mut orders = Vec::new();
        for owned in &heartbeat.owned {
            let Some(role) = self.roles.get_mut(usize::from(owned.shard)) else { continue };
            if let Role::Owning { epoch, .. } | Role::Releasing { epoch } = *role
                && epoch < owned.epoch
            {
                *role = Role::Idle;
                orders.push(Order::Drop(Shard(owned.shard)));
            }
        }
        let name = heartbeat.node.name.clone();
        let half_a_lease_ago = Millis(now.0.saturating_sub(self.settings.lease.0 / 2));
        match self.peers.get_mut(&name) {
            // It may be about to hear again, as when all were cut off: it has half a lease for that.
            Some(peer) if heartbeat.phase == Phase::Deaf && peer.last.node == heartbeat.node => {
                peer.heard = peer.heard.min(half_a_lease_ago);
            }
            Some(_) | None if heartbeat.phase == Phase::Deaf => {}
            // A life that began under a clock that was set back is heard once the one before has been silent for a lease.
            Some(peer)
                if peer.heard + self.settings.lease > now
                    && (peer.last.node.incarnation, peer.last.number)
                        >= (heartbeat.node.incarnation, heartbeat.number) => {}
            Some(peer) => {
                if peer.last.node != heartbeat.node {
                    peer.first_heard = now;
                }
                (peer.last, peer.heard, peer.stale) = (heartbeat, now, false);
            }
            None => {
                self.peers.insert(name, Peer { last: heartbeat, first_heard: now, heard: now, stale: false });
            }
        }
        orders
    }

    /// A quorum has stored one of its own heartbeats.
    pub fn stored(&mut self, now: Millis, number: u64) -> Vec<Order> {
        let Some(&Sent { at, deaf, .. }) = self.on_the_way.iter().find(|sent| sent.number == number) else {
            return Vec::new();
        };
        self.on_the_way.retain(|sent| sent.number > number);
        let until = at + self.settings.lease;
        if until <= now {
            return Vec::new();
        }
        // Others may take its shards on the word that it is deaf: that word renews nothing.
        if deaf {
            self.hears_again = true;
            return Vec::new();
        }
        self.hears_again = false;
        let lapsed = self.lease_until;
        self.lease_until = self.lease_until.max(until);
        if lapsed > now {
            return Vec::new();
        }
        // It was this node that did not hear: nobody who lived about then is dead for that.
        let two_leases = Span(2 * self.settings.lease.0);
        for peer in self.peers.values_mut().filter(|peer| peer.heard + two_leases > lapsed) {
            (peer.heard, peer.stale) = (now, true);
        }
        let mut orders = Vec::new();
        for (shard, role) in (0..).zip(&mut self.roles) {
            match role {
                Role::Owning { trusted, .. } => {
                    *trusted = false;
                    orders.push(Order::Verify(Shard(shard)));
                }
                Role::Claiming { doubtful } => *doubtful = true,
                Role::Idle | Role::Following { .. } | Role::Releasing { .. } => {}
            }
        }
        orders
    }

    /// What is to be done now.
    pub fn tick(&mut self, now: Millis) -> Vec<Order> {
        if now >= self.lease_until {
            return Vec::new();
        }
        let lease = self.settings.lease;
        // One that has been silent for long is forgotten.
        self.peers.retain(|_, peer| now.0.saturating_sub(peer.heard.0) < 100 * lease.0);
        self.place(now);
        let owned: Vec<bool> = self.owners(now).iter().map(Option::is_some).collect();
        let mut orders = Vec::new();
        let mut releasing = self.roles.iter().filter(|role| matches!(role, Role::Releasing { .. })).count();
        for shard in (0..self.settings.shards).map(Shard) {
            let at = usize::from(shard.0);
            let unowned = if owned[at] { None } else { self.unowned_since[at].or(Some(now)) };
            self.unowned_since[at] = unowned;
            let Rank { first, second, successor } = &self.placed.1[at];
            let (first, second) = (*first, *second);
            let (role, order) = match self.roles[at] {
                Role::Owning { epoch, .. } if self.abandons => (Role::Releasing { epoch }, Order::Release(shard)),
                Role::Owning { epoch, trusted: true }
                    if releasing < RELEASING_MAX
                        && successor.as_ref().is_some_and(|name| self.is_warm(name, shard, now)) =>
                {
                    releasing += 1;
                    (Role::Releasing { epoch }, Order::Release(shard))
                }
                Role::Idle if first || second => {
                    (Role::Following { seq: Seq::NONE, warm: false }, Order::Follow(shard))
                }
                Role::Following { .. } if !first && !second => (Role::Idle, Order::Unfollow(shard)),
                Role::Following { warm: true, .. }
                    if !owned[at]
                        && self.is_settled_about(shard, now)
                        && self.may_claim(shard, first, unowned, now) =>
                {
                    (Role::Claiming { doubtful: false }, Order::Claim(shard))
                }
                Role::Idle
                | Role::Following { .. }
                | Role::Claiming { .. }
                | Role::Owning { .. }
                | Role::Releasing { .. } => {
                    continue;
                }
            };
            self.roles[at] = role;
            orders.push(order);
        }
        orders
    }

    /// The first ranked node claims; when it has not for some leases, any that is warm does. One that has just failed leaves
    /// it to others for a while.
    fn may_claim(&self, shard: Shard, first: bool, unowned_since: Option<Millis>, now: Millis) -> bool {
        let leases = |number: u64| Span(number * self.settings.lease.0);
        let failed = self.failed_at[usize::from(shard.0)].is_some_and(|failed| failed + leases(FAILED_LEASES) > now);
        let overdue = unowned_since.is_some_and(|since| since + leases(UNOWNED_LEASES_MAX) <= now);
        (first && !failed) || overdue
    }

    /// Whether silence about a shard means that nobody owns it. What living nodes said before this node's lease lapsed does
    /// not count, and neither does their silence about a shard that one of them has only just taken from this node.
    fn is_settled_about(&self, shard: Shard, now: Millis) -> bool {
        let lease = self.settings.lease;
        let unheard = self.peers.values().any(|peer| peer.stale && peer.heard + lease > now);
        let just_lost = self.lost_at[usize::from(shard.0)].is_some_and(|lost| lost + lease > now);
        !unheard && !just_lost
    }

    /// Ranks the nodes that serve, if they are others than before. Those that join count for one that has only just begun
    /// to serve: nodes that start together need not hand over what the fastest took.
    fn place(&mut self, now: Millis) {
        let together = now.0.saturating_sub(self.serving_since.0) < 2 * self.settings.lease.0;
        let counts = |peer: &&Heartbeat| peer.phase == Phase::Serving || together && peer.phase == Phase::Joining;
        let others = self.alive(now).filter(counts).map(|peer| peer.node.name.clone());
        let serving: Vec<_> = others.chain((self.phase == Phase::Serving).then(|| self.me.name.clone())).collect();
        if serving == self.placed.0 {
            return;
        }
        let ranks = (0..self.settings.shards).map(|shard| {
            let Some(ranked) = rank(Shard(shard), serving.iter().map(CompactString::as_str)) else {
                return Rank::default();
            };
            let first = ranked.first == self.me.name;
            let successor = (!first).then(|| ranked.first.into());
            Rank { first, second: ranked.second == Some(&*self.me.name), successor }
        });
        let ranks = ranks.collect();
        self.placed = (serving, ranks);
    }

    /// Whether a living node is close enough behind a shard to take it over at once.
    fn is_warm(&self, name: &str, shard: Shard, now: Millis) -> bool {
        let successor = self.alive(now).find(|peer| peer.node.name == name);
        successor.is_some_and(|peer| peer.warm_at(shard).is_some())
    }

    /// A followed shard has come so far.
    pub fn followed(&mut self, shard: Shard, seq: Seq, warm: bool) {
        if let role @ Role::Following { .. } = &mut self.roles[usize::from(shard.0)] {
            *role = Role::Following { seq, warm };
        }
    }

    /// It owns the shard and serves it; after a lapse of the lease the shard has to prove itself first. A claim that was
    /// overtaken meanwhile is given up.
    pub fn owns(&mut self, shard: Shard, epoch: u64) -> Vec<Order> {
        let role = &mut self.roles[usize::from(shard.0)];
        let Role::Claiming { doubtful } = *role else { return vec![Order::Drop(shard)] };
        *role = Role::Owning { epoch, trusted: !doubtful };
        self.failed_at[usize::from(shard.0)] = None;
        if doubtful { vec![Order::Verify(shard)] } else { Vec::new() }
    }

    /// The claim came to nothing although nobody else was faster.
    pub fn claim_failed(&mut self, shard: Shard, now: Millis) {
        self.roles[usize::from(shard.0)] = Role::Idle;
        self.failed_at[usize::from(shard.0)] = Some(now);
    }

    /// The shard was given up in good order.
    pub fn released(&mut self, shard: Shard) {
        self.roles[usize::from(shard.0)] = Role::Idle;
    }

    /// The journal says that the shard is somebody else's: who that is will be heard, unless it dies within a lease.
    pub fn lost(&mut self, shard: Shard, now: Millis) {
        self.roles[usize::from(shard.0)] = Role::Idle;
        self.lost_at[usize::from(shard.0)] = Some(now);
    }

    /// The journal says that the shard is still this node's.
    pub fn trusted(&mut self, shard: Shard, epoch: u64) {
        if let Role::Owning { epoch: mine, trusted } = &mut self.roles[usize::from(shard.0)]
            && *mine == epoch
        {
            *trusted = true;
        }
    }
}

#[cfg(test)]
mod tests;
