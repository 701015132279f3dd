//! Bundles: a node dies between any two steps and another finds all of the shard; what does not verify never counts.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::super::bucket::memory::{Fuse, Memory};
use super::*;

const S: Shard = Shard(7);

/// What outlives a node: the bucket and the journal. A record says which actor counts up.
#[derive(Default)]
struct World {
    bucket: Memory,
    /// From the first that was not cut.
    records: BTreeMap<u64, &'static [u8]>,
    cut: u64,
}

/// The counters of all actors.
type Counters = BTreeMap<Vec<u8>, u64>;

/// One life of a node with an empty disk.
struct Node {
    shared: Shared,
    fuse: Fuse,
    counters: Counters,
    _dir: tempfile::TempDir,
}

fn local() -> (tempfile::TempDir, Snapshots) {
    let dir = tempfile::tempdir().unwrap();
    let (snapshots, _) = Snapshots::open(&dir.path().join("snapshots"), 1 << 20).unwrap();
    (dir, snapshots)
}

fn state(counter: u64) -> Vec<u8> {
    [&counter.to_le_bytes()[..], &[counter as u8; 100]].concat()
}

fn counter(state: &[u8]) -> u64 {
    u64::from_le_bytes(state[..8].try_into().unwrap())
}

impl World {
    fn append(&mut self, actors: &[&'static [u8]]) {
        let first = self.last() + 1;
        self.records.extend((first..).zip(actors.iter().copied()));
    }

    fn last(&self) -> u64 {
        self.records.last_key_value().map_or(self.cut, |(last, _)| *last)
    }

    /// A node takes the shard over, with nothing but what outlived the one before.
    fn take_over(&self, fuse: Fuse) -> Node {
        let (dir, local) = local();
        let shared = Shared::new(local, self.bucket.user(fuse.clone()), Duration::ZERO);
        let counters = self.recover(&shared);
        Node { shared, fuse, counters, _dir: dir }
    }

    fn recover(&self, shared: &Shared) -> Counters {
        let mut counters = Counters::new();
        let mut contained = BTreeMap::new();
        for actor in shared.actors(S).unwrap() {
            let (seq, bytes) = shared.newest(S, &actor).unwrap();
            assert!(seq.0 >= self.cut, "the journal was cut to {} and {actor:?} is at {seq}", self.cut);
            counters.insert(actor.clone(), counter(&bytes));
            contained.insert(actor, seq.0);
        }
        assert!(self.cut == 0 || !counters.is_empty(), "cut without a bundle");
        for (seq, actor) in &self.records {
            if contained.get(*actor).is_none_or(|contained| contained < seq) {
                *counters.entry(actor.to_vec()).or_default() += 1;
            }
        }
        counters
    }
}

impl Node {
    fn fold(&mut self, actors: &[&'static [u8]]) {
        for actor in actors {
            *self.counters.entry(actor.to_vec()).or_default() += 1;
        }
    }

    /// A complete round, and what follows from it for the journal.
    fn round(&self, world: &mut World) {
        let seq = Seq(world.last());
        let states: Vec<(&Vec<u8>, Vec<u8>)> = self.counters.iter().map(|(actor, n)| (actor, state(*n))).collect();
        let puts: Vec<Put<'_>> = states.iter().map(|(actor, bytes)| Put { actor, seq, bytes }).collect();
        self.shared.put_all(S, &puts).unwrap();
        if let Some(to) = safe_to_cut(&self.shared) {
            self.fuse.step(|| {
                world.records.retain(|seq, _| *seq > to.0);
                world.cut = world.cut.max(to.0);
            });
        }
    }
}

/// Rounds of records; the second and third bring new actors.
const ROUNDS: [&[&[u8]]; 5] =
    [&[b"desk", b"desk"], &[b"block", b"desk"], &[b"other", b"block"], &[b"desk"], &[b"block", b"other", b"desk"]];

fn expected(rounds: usize) -> Counters {
    let mut counters = Counters::new();
    for actor in ROUNDS[..rounds].concat() {
        *counters.entry(actor.to_vec()).or_default() += 1;
    }
    counters
}

/// A node that dies at its n-th step, and another that takes over; says whether the first lived through.
fn dies_at(step: usize, done: bool) -> bool {
    let replay = format!("replay: dies_at({step}, {done})");
    let mut world = World::default();
    let mut rounds = 0;
    let mut first = world.take_over(Fuse::endless());
    // The look at a takeover needs answers; life is counted from here on.
    first.fuse = Fuse::new(step, done);
    first.shared.bucket = world.bucket.user(first.fuse.clone());
    while rounds < ROUNDS.len() && !first.fuse.is_dead() {
        world.append(ROUNDS[rounds]);
        first.fold(ROUNDS[rounds]);
        first.round(&mut world);
        rounds += 1;
    }
    let lived = !first.fuse.is_dead();
    drop(first);
    let second = world.take_over(Fuse::endless());
    assert_eq!(second.counters, expected(rounds), "{replay}");
    for _ in 0..BUNDLES {
        world.append(&[b"desk"]);
        let mut third = world.take_over(Fuse::endless());
        third.fold(&[]);
        third.round(&mut world);
    }
    assert!(world.cut > 0, "{replay}: two rounds after any death the journal can be cut again");
    let content = world.bucket.content();
    let parts: Vec<&String> = content.chunks.values().map(|(_, part, _)| part).collect();
    let live = content.heads.values().filter_map(|head| head.manifest.as_ref());
    let live: Vec<&String> = live.map(|manifest| &manifest.part).collect();
    assert!(parts.iter().all(|part| live.contains(part)), "{replay}: chunks of a dead writer are left behind");
    lived
}

#[test]
fn a_node_may_die_between_any_two_steps() {
    let mut step = 1;
    while !(dies_at(step, false) & dies_at(step, true)) {
        step += 1;
    }
    assert!(step > 40, "only {step} steps were enumerated");
}

/// After a complete round.
fn safe_to_cut(shared: &Shared) -> Option<Seq> {
    shared.safe_to_cut(S, shared.completed(S)?)
}

fn put(shared: &Shared, seq: u64, actors: &[(&[u8], u64)]) {
    let states: Vec<(&[u8], Vec<u8>)> = actors.iter().map(|(actor, n)| (*actor, state(*n))).collect();
    let puts: Vec<Put<'_>> = states.iter().map(|(actor, bytes)| Put { actor, seq: Seq(seq), bytes }).collect();
    shared.put_all(S, &puts).unwrap();
}

fn node(memory: &Memory, interval: Duration) -> (tempfile::TempDir, Shared) {
    let (dir, local) = local();
    (dir, Shared::new(local, memory.user(Fuse::endless()), interval))
}

#[test]
fn the_journal_is_kept_until_there_are_two_and_cut_behind_the_older() {
    let (_dir, shared) = node(&Memory::default(), Duration::ZERO);
    for (seq, safe) in [(10, None), (20, Some(10)), (30, Some(20)), (30, Some(20)), (40, Some(30))] {
        put(&shared, seq, &[(b"desk", seq)]);
        assert_eq!(safe_to_cut(&shared), safe.map(Seq), "at {seq}");
    }
}

#[test]
fn nothing_is_put_before_its_time_or_without_a_change() {
    let memory = Memory::default();
    let (_dir, shared) = node(&memory, Duration::from_secs(3600));
    put(&shared, 10, &[(b"desk", 1)]);
    assert_eq!(safe_to_cut(&shared), None);
    put(&shared, 20, &[(b"desk", 2)]);
    assert_eq!(safe_to_cut(&shared), None, "the second is not due");
    assert_eq!(memory.content().heads.len(), 1);
}

#[test]
fn a_bundle_never_shows_the_next_round_half_put() {
    let memory = Memory::default();
    let (_dir, shared) = node(&memory, Duration::ZERO);
    put(&shared, 10, &[(b"desk", 1)]);
    let completed = shared.completed(S).unwrap();
    // Before the bundle is made, the next round has put one actor, and not yet the one that is new.
    put(&shared, 20, &[(b"desk", 2)]);
    assert_eq!(shared.safe_to_cut(S, completed), None);
    assert!(memory.content().heads.is_empty(), "with this bundle, records of the new actor could be cut");
    put(&shared, 20, &[(b"new", 1)]);
    assert_eq!(safe_to_cut(&shared), None);
    let found = verified_bundles(&*memory.user(Fuse::endless()), S).unwrap();
    let actors = found.iter().map(|(_, bundle)| bundle.states().count());
    assert_eq!(actors.collect::<Vec<_>>(), [2]);
    // A late word about an earlier round makes a bundle of the latest that is complete.
    put(&shared, 30, &[(b"desk", 3), (b"new", 2)]);
    assert_eq!((shared.completed(S), shared.safe_to_cut(S, completed)), (Some(Seq(30)), Some(Seq(20))));
}

#[test]
fn a_bundle_that_rots_counts_for_nothing_and_is_the_first_to_be_replaced() {
    let memory = Memory::default();
    let (_first, shared) = node(&memory, Duration::ZERO);
    for seq in [10, 20] {
        put(&shared, seq, &[(b"desk", seq)]);
        let _ = safe_to_cut(&shared);
    }
    let newest = object_name(S, 1);
    memory.content().chunks.values_mut().find(|(name, _, _)| *name == newest).unwrap().2[9] ^= 1;
    let (_dir, next) = node(&memory, Duration::ZERO);
    assert_eq!(next.actors(S).unwrap(), [b"desk".to_vec()]);
    assert_eq!(next.newest(S, b"desk").unwrap(), (Seq(10), state(10)), "the one before it");
    put(&next, 30, &[(b"desk", 30)]);
    assert_eq!(safe_to_cut(&next), Some(Seq(10)), "the sound one was kept");
    let found = verified_bundles(&*memory.user(Fuse::endless()), S).unwrap();
    assert_eq!(found.iter().map(|(_, bundle)| bundle.seq()).collect::<Vec<_>>(), [Seq(10), Seq(30)]);
}

#[test]
fn bundles_of_which_none_verifies_are_not_taken_for_none() {
    let memory = Memory::default();
    let (_first, shared) = node(&memory, Duration::ZERO);
    for seq in [10, 20] {
        put(&shared, seq, &[(b"desk", seq)]);
        let _ = safe_to_cut(&shared);
    }
    memory.content().chunks.values_mut().for_each(|(_, _, bytes)| bytes[9] ^= 1);
    let (_dir, next) = node(&memory, Duration::ZERO);
    let refused = next.actors(S).unwrap_err().to_string();
    assert!(refused.contains("no bundle of shard 7 verifies: remove shard-7-0 and shard-7-1"), "{refused}");
    memory.content().heads.clear();
    assert_eq!(next.actors(S), Ok(Vec::new()), "an operator's word");
}

#[test]
fn of_two_writers_one_is_refused_and_looks_again() {
    let memory = Memory::default();
    let (_paused, old) = node(&memory, Duration::ZERO);
    for seq in [10, 20] {
        put(&old, seq, &[(b"desk", seq)]);
        let _ = safe_to_cut(&old);
    }
    let (_dir, new) = node(&memory, Duration::ZERO);
    for seq in [40, 50] {
        put(&new, seq, &[(b"desk", seq)]);
        let _ = safe_to_cut(&new);
    }
    put(&old, 30, &[(b"desk", 30)]);
    assert_eq!(safe_to_cut(&old), None, "its bundle would have replaced a newer one");
    assert_eq!(safe_to_cut(&old), Some(Seq(40)), "what is there by now");
    let found = verified_bundles(&*memory.user(Fuse::endless()), S).unwrap();
    assert_eq!(found.iter().map(|(_, bundle)| bundle.seq()).collect::<Vec<_>>(), [Seq(40), Seq(50)]);
}

#[test]
fn a_local_state_older_than_the_bundle_never_gets_a_later_number() {
    let memory = Memory::default();
    let (_dir, mine) = node(&memory, Duration::ZERO);
    put(&mine, 10, &[(b"desk", 1), (b"block", 1)]);
    let _ = safe_to_cut(&mine);
    let (_other, other) = node(&memory, Duration::ZERO);
    put(&other, 20, &[(b"desk", 2), (b"block", 1), (b"new", 1)]);
    let _ = safe_to_cut(&other);
    // The shard comes back; nothing of it changes until the next round.
    assert_eq!(mine.actors(S).unwrap().len(), 3);
    assert_eq!(mine.newest(S, b"desk").unwrap(), (Seq(20), state(2)));
    mine.touch_all(S, &[(b"desk", Seq(25)), (b"block", Seq(25)), (b"new", Seq(25))]).unwrap();
    assert_eq!(safe_to_cut(&mine), Some(Seq(20)));
    assert_eq!(mine.newest(S, b"desk").unwrap(), (Seq(25), state(2)));
    assert_eq!(mine.newest(S, b"new").unwrap(), (Seq(25), state(1)));
}

#[test]
fn a_store_filled_by_half_a_round_is_not_taken_for_all_of_the_shard() {
    let memory = Memory::default();
    let (_other, other) = node(&memory, Duration::ZERO);
    put(&other, 20, &[(b"desk", 2), (b"new", 1)]);
    let _ = safe_to_cut(&other);
    let (_dir, mine) = node(&memory, Duration::ZERO);
    put(&mine, 30, &[(b"desk", 3)]);
    assert_eq!(mine.actors(S).unwrap(), [b"desk".to_vec(), b"new".to_vec()]);
    assert_eq!(mine.newest(S, b"desk").unwrap().0, Seq(30));
    assert_eq!(mine.newest(S, b"new").unwrap().0, Seq(20));
}

#[test]
fn without_an_answer_nothing_is_listed_and_nothing_cut() {
    let memory = Memory::default();
    let (_dir, local) = local();
    let away = Shared::new(local, memory.user(Fuse::new(0, false)), Duration::ZERO);
    put(&away, 10, &[(b"desk", 1)]);
    assert!(away.actors(S).is_err());
    assert_eq!(safe_to_cut(&away), None);
}
