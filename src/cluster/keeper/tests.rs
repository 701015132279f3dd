//! A village of keepers on a bus that the test holds in its hands.

#![allow(clippy::unwrap_used)]

use super::*;

const SHARDS: u16 = 16;
const LEASE: u64 = 1500;
const BEAT: u64 = 250;

struct House {
    keeper: Keeper,
    /// Nothing it says is heard, nothing that is said reaches it.
    cut_off: bool,
    /// It does nothing at all: killed or paused.
    still: bool,
}

/// Orders are carried out at once, claims by a journal that knows the last epoch of every shard.
struct Village {
    houses: Vec<House>,
    now: Millis,
    epochs: Vec<u64>,
    handovers: usize,
}

impl Village {
    fn of(names: &[&str]) -> Self {
        let mut village = Village { houses: Vec::new(), now: Millis(0), epochs: vec![0; 16], handovers: 0 };
        names.iter().for_each(|name| village.join(name));
        village
    }

    fn join(&mut self, name: &str) {
        let me = NodeId::new(name, self.now, 0);
        let settings = Settings { shards: SHARDS, lease: Span(LEASE) };
        let keeper = Keeper::new(me, settings, self.now);
        self.houses.push(House { keeper, cut_off: false, still: false });
    }

    fn run(&mut self, span: u64) {
        let end = self.now.0 + span;
        while self.now.0 < end {
            self.now = Millis(self.now.0 + 50);
            if self.now.0.is_multiple_of(BEAT) {
                (0..self.houses.len()).for_each(|at| self.beat(at));
            }
            for at in 0..self.houses.len() {
                if !self.houses[at].still {
                    let orders = self.houses[at].keeper.tick(self.now);
                    self.carry_out(at, orders);
                    if self.houses[at].keeper.is_settled(self.now) {
                        self.houses[at].keeper.serve(self.now);
                    }
                }
            }
        }
    }

    fn beat(&mut self, at: usize) {
        let (now, house) = (self.now, &mut self.houses[at]);
        if house.still {
            return;
        }
        let heartbeat = house.keeper.heartbeat(now, |_| Progress::default());
        if house.cut_off {
            return;
        }
        for to in 0..self.houses.len() {
            if !self.houses[to].still && !self.houses[to].cut_off {
                let keeper = &mut self.houses[to].keeper;
                let own = *keeper.me() == heartbeat.node;
                let orders =
                    if own { keeper.stored(now, heartbeat.number) } else { keeper.hear(now, heartbeat.clone()) };
                self.carry_out(to, orders);
            }
        }
    }

    fn carry_out(&mut self, at: usize, orders: Vec<Order>) {
        for order in orders {
            let keeper = &mut self.houses[at].keeper;
            match order {
                Order::Follow(shard) => keeper.followed(shard, Seq(1), true),
                Order::Claim(shard) => {
                    self.epochs[usize::from(shard.0)] += 1;
                    assert_eq!(keeper.owns(shard, self.epochs[usize::from(shard.0)]), []);
                }
                Order::Release(shard) => {
                    keeper.released(shard);
                    self.handovers += 1;
                }
                Order::Verify(shard) => {
                    let last = self.epochs[usize::from(shard.0)];
                    let is_mine = keeper.role(shard) == Role::Owning { epoch: last, trusted: false };
                    if is_mine { keeper.trusted(shard, last) } else { keeper.lost(shard, self.now) }
                }
                Order::Unfollow(_) | Order::Drop(_) => {}
                Order::Namesake(_) => panic!("two of the same name"),
            }
        }
    }

    fn named(&mut self, name: &str) -> &mut House {
        self.houses.iter_mut().rev().find(|house| house.keeper.me().name == name).unwrap()
    }

    fn shares(&self) -> Vec<usize> {
        self.houses.iter().map(|house| if house.still { 0 } else { house.keeper.owned() }).collect()
    }

    /// Every shard has exactly one owner among those who live and have a lease, and all agree who.
    fn all_is_owned(&self) {
        for shard in (0..SHARDS).map(Shard) {
            let living = self.houses.iter().filter(|house| !house.still && !house.cut_off);
            let owners: Vec<_> = living.clone().map(|house| house.keeper.owner(shard, self.now)).collect();
            assert!(owners.iter().all(|owner| owner.is_some() && *owner == owners[0]), "{shard:?}: {owners:?}");
            let claimants =
                living.filter(|house| matches!(house.keeper.role(shard), Role::Owning { trusted: true, .. }));
            assert_eq!(claimants.count(), 1);
        }
    }
}

#[test]
fn three_that_start_together_share_without_a_single_handover() {
    let mut village = Village::of(&["a", "b", "c"]);
    village.run(LEASE - 100);
    assert_eq!(village.shares(), [0, 0, 0], "they listen first");
    village.run(LEASE);
    village.all_is_owned();
    assert_eq!((village.shares().iter().sum::<usize>(), village.handovers), (16, 0));
    assert!(village.shares().iter().all(|share| *share > 0));
}

#[test]
fn the_shards_of_the_dead_are_taken_over_within_two_seconds() {
    let mut village = Village::of(&["a", "b", "c"]);
    village.run(2 * LEASE);
    village.named("b").still = true;
    village.run(2000);
    village.all_is_owned();
    assert_eq!(village.handovers, 0);
}

#[test]
fn one_that_leaves_hands_over_everything_and_one_that_comes_gets_its_share() {
    let mut village = Village::of(&["a", "b"]);
    village.run(2 * LEASE);
    village.join("c");
    village.run(3 * LEASE);
    village.all_is_owned();
    let share = village.houses[2].keeper.owned();
    assert!(share > 0);
    assert_eq!(village.handovers, share, "only the newcomer's share moved");
    village.named("a").keeper.leave();
    village.run(LEASE);
    assert_eq!(village.houses[0].keeper.owned(), 0);
    village.houses[0].still = true;
    village.run(2 * LEASE);
    village.all_is_owned();
}

#[test]
fn one_that_was_away_finds_its_shards_taken_and_gives_them_up() {
    let mut village = Village::of(&["a", "b", "c"]);
    village.run(2 * LEASE);
    village.named("c").still = true;
    village.run(10 * LEASE);
    let now = village.now;
    let zombie = village.named("c");
    assert!(zombie.keeper.owned() > 0 && zombie.keeper.lease_until() < now, "it believes, but may not answer");
    zombie.still = false;
    village.run(3 * LEASE);
    village.all_is_owned();
}

#[test]
fn one_that_hears_nothing_calls_itself_deaf_and_is_replaced() {
    let mut village = Village::of(&["a", "b", "c"]);
    village.run(2 * LEASE);
    village.named("c").cut_off = true;
    village.run(2000);
    village.all_is_owned();
    let now = village.now;
    let beat = village.named("c").keeper.heartbeat(now, |_| Progress::default());
    assert_eq!(beat.phase, Phase::Deaf);
    village.named("c").cut_off = false;
    village.run(3 * LEASE);
    village.all_is_owned();
}

#[test]
fn when_all_were_cut_off_nobody_takes_from_anybody() {
    let mut village = Village::of(&["a", "b", "c"]);
    village.run(2 * LEASE);
    let (before, epochs) = (village.shares(), village.epochs.clone());
    village.houses.iter_mut().for_each(|house| house.cut_off = true);
    village.run(10 * LEASE);
    village.houses.iter_mut().for_each(|house| house.cut_off = false);
    village.run(3 * LEASE);
    village.all_is_owned();
    assert_eq!((village.shares(), village.epochs), (before, epochs));
}

#[test]
fn a_later_life_of_the_same_name_replaces_the_earlier() {
    let mut village = Village::of(&["a", "b"]);
    village.run(2 * LEASE);
    village.named("a").still = true;
    village.join("a");
    village.run(4 * LEASE);
    village.houses.remove(0);
    village.all_is_owned();
    assert_eq!(village.shares().iter().sum::<usize>(), 16);
}

#[test]
fn an_older_namesake_must_stop() {
    let settings = Settings { shards: 1, lease: Span(LEASE) };
    let mut old = Keeper::new(NodeId::new("a", Millis(1), 0), settings, Millis(1));
    let mut new = Keeper::new(NodeId::new("a", Millis(2), 0), settings, Millis(2));
    let (from_old, from_new) =
        (old.heartbeat(Millis(3), |_| Progress::default()), new.heartbeat(Millis(3), |_| Progress::default()));
    assert_eq!(new.hear(Millis(3), from_old), []);
    assert_eq!(old.hear(Millis(3), from_new), [Order::Namesake(new.me().clone())]);
}

#[test]
fn a_claim_that_a_lapse_overtook_is_looked_up() {
    let mut keeper = Keeper::new(NodeId::new("a", Millis(0), 0), Settings { shards: 1, lease: Span(LEASE) }, Millis(0));
    let beat = |keeper: &mut Keeper, at| {
        let heartbeat = keeper.heartbeat(Millis(at), |_| Progress::default());
        keeper.stored(Millis(at), heartbeat.number)
    };
    beat(&mut keeper, 1);
    keeper.serve(Millis(1));
    assert_eq!(keeper.tick(Millis(2)), [Order::Follow(Shard(0))]);
    keeper.followed(Shard(0), Seq(0), true);
    assert_eq!(keeper.tick(Millis(3)), [Order::Claim(Shard(0))]);
    assert_eq!(beat(&mut keeper, 10 * LEASE), [], "that it is deaf renews nothing");
    assert!(keeper.lease_until() < Millis(10 * LEASE));
    beat(&mut keeper, 10 * LEASE + 1);
    assert_eq!(keeper.lease_until(), Millis(11 * LEASE + 1));
    assert_eq!(keeper.owns(Shard(0), 1), [Order::Verify(Shard(0))]);
    assert_eq!(keeper.role(Shard(0)), Role::Owning { epoch: 1, trusted: false });
    keeper.trusted(Shard(0), 1);
    assert_eq!(keeper.role(Shard(0)), Role::Owning { epoch: 1, trusted: true });
}

#[test]
fn a_life_that_began_under_a_clock_set_back_is_heard_after_a_lease() {
    let settings = Settings { shards: 1, lease: Span(LEASE) };
    let mut witness = Keeper::new(NodeId::new("w", Millis(0), 0), settings, Millis(0));
    let mut old = Keeper::new(NodeId::new("a", Millis(9), 0), settings, Millis(0));
    let mut new = Keeper::new(NodeId::new("a", Millis(3), 0), settings, Millis(0));
    let mut told = |keeper: &mut Keeper, at: u64| {
        let heartbeat = keeper.heartbeat(Millis(at), |_| Progress::default());
        witness.hear(Millis(at), heartbeat);
        witness.alive(Millis(at)).next().map(|peer| peer.node.clone())
    };
    assert_eq!(told(&mut old, 1), Some(old.me().clone()));
    assert_eq!(told(&mut new, LEASE), Some(old.me().clone()), "the old one may still live");
    assert_eq!(told(&mut new, LEASE + 1), Some(new.me().clone()));
}

/// Two nodes and the only shard, which goes to `first`; the other keeps up with it.
fn pair() -> (Keeper, Keeper) {
    let names = ["a", "b"];
    let ranked = rank(Shard(0), names.into_iter()).unwrap();
    let settings = Settings { shards: 1, lease: Span(LEASE) };
    let keeper = |name: &str| Keeper::new(NodeId::new(name, Millis(0), 0), settings, Millis(0));
    (keeper(ranked.first), keeper(ranked.second.unwrap()))
}

fn beat(from: &mut Keeper, now: u64) -> Heartbeat {
    from.heartbeat(Millis(now), |_| Progress::default())
}

/// It hears itself and ticks; what it wants done.
fn tick(keeper: &mut Keeper, now: u64) -> Vec<Order> {
    let mut orders = Vec::new();
    // One that was deaf says so first.
    for _ in 0..2 {
        let own = beat(keeper, now);
        orders.append(&mut keeper.stored(Millis(now), own.number));
    }
    orders.append(&mut keeper.tick(Millis(now)));
    keeper.followed(Shard(0), Seq(1), true);
    orders
}

#[test]
fn nothing_is_claimed_after_a_lapse_before_the_others_were_heard_again() {
    let (mut first, mut second) = pair();
    first.serve(Millis(0));
    second.serve(Millis(0));
    assert_eq!(tick(&mut second, 0), [Order::Follow(Shard(0))]);
    let early = beat(&mut second, 1);
    first.hear(Millis(1), early);
    assert_eq!(tick(&mut first, 2), [Order::Follow(Shard(0))]);
    // The other takes over while this one hears nothing.
    assert_eq!(tick(&mut second, 50), [Order::Claim(Shard(0))]);
    assert_eq!(second.owns(Shard(0), 2), []);
    let back = 10 * LEASE;
    assert_eq!(tick(&mut first, back), [], "what the other said before the lapse is too old");
    tick(&mut second, back);
    let late = beat(&mut second, back + 1);
    first.hear(Millis(back + 10), late);
    assert_eq!(tick(&mut first, back + 50), [], "it owns it");
    assert_eq!(tick(&mut first, back + 10 + LEASE - 1), []);
    assert_eq!(tick(&mut first, back + 10 + LEASE), [Order::Claim(Shard(0))], "it died");
}

#[test]
fn a_shard_that_was_lost_is_not_taken_back_before_its_new_owner_had_time_to_say_so() {
    let (mut first, mut second) = pair();
    first.serve(Millis(0));
    let silent = beat(&mut second, 0);
    assert_eq!(tick(&mut first, 0), [Order::Follow(Shard(0))]);
    assert_eq!(tick(&mut first, 50), [Order::Claim(Shard(0))]);
    first.owns(Shard(0), 1);
    first.hear(Millis(60), silent);
    first.lost(Shard(0), Millis(100));
    assert_eq!(tick(&mut first, 150), [Order::Follow(Shard(0))]);
    assert_eq!(tick(&mut first, 200), [], "the other has not spoken yet");
    assert_eq!(tick(&mut first, 100 + LEASE), [Order::Claim(Shard(0))], "it never will");
}

#[test]
fn a_shard_that_the_first_cannot_claim_goes_to_the_second() {
    let (mut first, mut second) = pair();
    first.serve(Millis(0));
    second.serve(Millis(0));
    let mut claimed = Vec::new();
    for now in (0..20 * LEASE).step_by(50) {
        let told = beat(&mut first, now);
        second.hear(Millis(now), told);
        let told = beat(&mut second, now);
        first.hear(Millis(now), told);
        for order in tick(&mut first, now) {
            if order == Order::Claim(Shard(0)) {
                first.claim_failed(Shard(0), Millis(now));
            }
        }
        for order in tick(&mut second, now) {
            if order == Order::Claim(Shard(0)) {
                assert_eq!(second.owns(Shard(0), 1), []);
                claimed.push(now);
            }
        }
    }
    assert!(claimed.len() == 1 && claimed[0] <= 5 * LEASE, "{claimed:?}");
}

#[test]
fn a_claim_that_was_overtaken_before_it_was_reported_is_given_up() {
    let (mut first, _) = pair();
    first.serve(Millis(0));
    tick(&mut first, 0);
    assert_eq!(tick(&mut first, 50), [Order::Claim(Shard(0))]);
    first.lost(Shard(0), Millis(60));
    assert_eq!(first.owns(Shard(0), 1), [Order::Drop(Shard(0))]);
    assert_eq!(first.role(Shard(0)), Role::Idle);
}
