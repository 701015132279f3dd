#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use sled::Tree;

use super::format::{CHUNK_BYTES, decode_meta, encode_begun, encode_meta};
use super::*;

const S: Shard = Shard(7);

fn open(path: &Path) -> Snapshots {
    let (snapshots, moved) = Snapshots::open(path, 8 << 20).unwrap();
    assert_eq!(moved, None);
    snapshots
}

fn state(fill: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| fill ^ (index % 251) as u8).collect()
}

fn newest(snapshots: &Snapshots, actor: &[u8]) -> (Seq, Vec<u8>) {
    snapshots.newest(S, actor).snapshot.unwrap()
}

/// Changes the stored form of the actor's snapshot that lies `back` behind the newest.
fn spoil(snapshots: &Snapshots, actor: &[u8], back: usize, how: &dyn Fn(&Tree, &Tree, &Place)) {
    let id = snapshots.known(S, actor).into_iter().rev().nth(back).unwrap().id;
    snapshots.store.spoil(&Place { shard: S, actor: actor.to_vec(), id }, how);
}

fn lose_a_chunk(_: &Tree, chunks: &Tree, place: &Place) {
    chunks.remove(place.chunk_key(1)).unwrap().unwrap();
}

fn flip_a_bit(_: &Tree, chunks: &Tree, place: &Place) {
    let mut chunk = chunks.get(place.chunk_key(0)).unwrap().unwrap().to_vec();
    chunk[100] ^= 4;
    chunks.insert(place.chunk_key(0), chunk).unwrap();
}

fn flip_the_number(metas: &Tree, _: &Tree, place: &Place) {
    let mut meta = metas.get(place.key()).unwrap().unwrap().to_vec();
    meta[2] ^= 1;
    metas.insert(place.key(), meta).unwrap();
}

fn cut_the_meta(metas: &Tree, _: &Tree, place: &Place) {
    metas.insert(place.key(), &metas.get(place.key()).unwrap().unwrap()[..10]).unwrap();
}

fn as_of_another_version(metas: &Tree, _: &Tree, place: &Place) {
    let mut meta = metas.get(place.key()).unwrap().unwrap().to_vec();
    meta[0] = 9;
    metas.insert(place.key(), meta).unwrap();
}

/// The content of an older snapshot in the place of a newer one.
fn replace_the_content(_: &Tree, chunks: &Tree, place: &Place) {
    for (number, chunk) in (0..).zip(state(99, 10_000).chunks(CHUNK_BYTES)) {
        chunks.insert(place.chunk_key(number), chunk).unwrap();
    }
}

#[test]
fn a_meta_is_these_bytes_for_ever() {
    let place = Place { shard: Shard(5), actor: b"block/A".to_vec(), id: 3 };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&place.key()), "00050007626c6f636b2f410000000000000003");
    assert_eq!(hex(&place.chunk_key(258)), "00050007626c6f636b2f41000000000000000300000102");
    let meta = Meta { seq: Seq(1000), content: Content::of(b"123456789") };
    assert_eq!(meta.content, Content { crc: 0xe306_9283, length: 9 }, "the check value of CRC-32C");
    let bytes = encode_meta(&place, meta);
    assert_eq!(hex(&bytes), "0102e803000000000000839206e309000000000000000f61faf0");
    assert_eq!(decode_meta(&place, &bytes), Ok(meta));
    let begun = encode_begun(&place);
    assert_eq!(hex(&begun), "01010000000000000000000000000000000000000000c1222f65");
    assert_eq!(decode_meta(&place, &begun), Err(Fault::Unfinished));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_meta(&place, &flipped).is_err(), "bit {bit}");
    }
    let elsewhere = Place { actor: b"block/B".to_vec(), ..place.clone() };
    assert_eq!(decode_meta(&elsewhere, &bytes), Err(Fault::MetaChecksum));
    assert_eq!(Place::of_key(&place.key()), Some(place));
}

#[test]
fn the_newest_state_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshots");
    let snapshots = open(&path);
    for (actor, bytes) in [(&b"a"[..], 0), (b"b", 1), (b"c", CHUNK_BYTES), (b"d", CHUNK_BYTES + 1), (b"e", 1_000_000)] {
        snapshots.put(S, actor, Seq(1), &state(1, 50)).unwrap();
        snapshots.put(S, actor, Seq(2), &state(2, bytes)).unwrap();
        assert_eq!(newest(&snapshots, actor), (Seq(2), state(2, bytes)));
    }
    drop(snapshots);
    let snapshots = open(&path);
    assert_eq!(snapshots.actors(S), [b"a", b"b", b"c", b"d", b"e"]);
    assert_eq!(snapshots.actors(Shard(6)), Vec::<Vec<u8>>::new());
    assert_eq!(newest(&snapshots, b"e"), (Seq(2), state(2, 1_000_000)));
    assert_eq!(newest(&snapshots, b"a"), (Seq(2), vec![]));
    assert_eq!(snapshots.newest(S, b"unknown"), Newest::default());
}

#[test]
fn two_are_kept_and_the_third_newest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    for n in 1..=5 {
        snapshots.put(S, b"a", Seq(n), &state(n as u8, 9_000)).unwrap();
    }
    let seqs: Vec<u64> = snapshots.known(S, b"a").iter().map(|known| known.seq.0).collect();
    assert_eq!(seqs, [4, 5]);
    spoil(&snapshots, b"a", 0, &|metas, chunks, _| {
        assert_eq!((metas.len(), chunks.len()), (2, 2 * 3), "nothing of the others is left");
    });
}

#[test]
fn a_damaged_newest_gives_way_to_the_one_before_and_says_so() {
    type Spoil = fn(&Tree, &Tree, &Place);
    let ways: [(Spoil, Fault); 6] = [
        (lose_a_chunk, Fault::ChunkMissing { number: 1 }),
        (flip_a_bit, Fault::Checksum),
        (replace_the_content, Fault::Checksum),
        (flip_the_number, Fault::MetaChecksum),
        (cut_the_meta, Fault::MetaLength),
        (as_of_another_version, Fault::Format { found: 9 }),
    ];
    for (how, fault) in ways {
        for restart in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut snapshots = open(dir.path());
            snapshots.put(S, b"a", Seq(10), &state(1, 10_000)).unwrap();
            snapshots.put(S, b"a", Seq(20), &state(2, 10_000)).unwrap();
            spoil(&snapshots, b"a", 0, &how);
            if restart {
                drop(snapshots);
                snapshots = open(dir.path());
                assert_eq!(snapshots.safe_to_cut(S), None, "one good one is not two: {fault}");
            }
            let found = snapshots.newest(S, b"a");
            assert_eq!(found.snapshot, Some((Seq(10), state(1, 10_000))));
            assert_eq!(found.damaged.iter().map(|(_, found)| found).collect::<Vec<_>>(), [&fault]);
            assert_eq!(snapshots.safe_to_cut(S), None, "{fault}");
            // The next one makes two again, and the good one was not dropped for the bad one.
            snapshots.put(S, b"a", Seq(30), &state(3, 10_000)).unwrap();
            assert_eq!(snapshots.safe_to_cut(S), Some(Seq(10)));
            snapshots.put(S, b"a", Seq(40), &state(4, 10_000)).unwrap();
            assert_eq!(snapshots.safe_to_cut(S), Some(Seq(30)));
            spoil(&snapshots, b"a", 0, &|metas, _, _| assert_eq!(metas.len(), 2));
        }
    }
}

#[test]
fn both_damaged_means_none() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    snapshots.put(S, b"a", Seq(10), &state(1, 10_000)).unwrap();
    snapshots.put(S, b"a", Seq(20), &state(2, 10_000)).unwrap();
    spoil(&snapshots, b"a", 0, &flip_a_bit);
    spoil(&snapshots, b"a", 1, &lose_a_chunk);
    let found = snapshots.newest(S, b"a");
    assert_eq!(found.snapshot, None);
    assert_eq!(found.damaged.iter().map(|(seq, _)| seq.0).collect::<Vec<_>>(), [20, 10]);
    assert_eq!(snapshots.touch(S, b"a", Seq(30)), Err(Error::NothingToTouch));
}

#[test]
fn a_snapshot_that_was_never_finished_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    snapshots.put(S, b"a", Seq(10), &state(1, 10_000)).unwrap();
    let place = snapshots.new_place(S, b"a");
    snapshots.store.spoil(&place, &|metas, chunks, place| {
        metas.insert(place.key(), encode_begun(place)).unwrap();
        chunks.insert(place.chunk_key(0), vec![1; 4096]).unwrap();
    });
    drop(snapshots);
    let snapshots = open(dir.path());
    assert_eq!(snapshots.newest(S, b"a"), Newest { snapshot: Some((Seq(10), state(1, 10_000))), damaged: vec![] });
    spoil(&snapshots, b"a", 0, &|metas, chunks, _| assert_eq!((metas.len(), chunks.len()), (1, 3)));
}

#[test]
fn the_journal_may_be_cut_behind_the_second_newest_of_the_slowest_actor() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    assert_eq!(snapshots.safe_to_cut(S), None);
    let put = |actor: &[u8], seq| snapshots.put(S, actor, Seq(seq), &state(seq as u8, 100)).unwrap();
    put(b"fast", 10);
    assert_eq!(snapshots.safe_to_cut(S), None);
    put(b"fast", 20);
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(10)));
    put(b"slow", 5);
    assert_eq!(snapshots.safe_to_cut(S), None);
    put(b"slow", 6);
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(5)));
    put(b"fast", 30);
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(5)));
    put(b"slow", 40);
    put(b"slow", 50);
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(20)));
    snapshots.remove(S, b"fast").unwrap();
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(40)));
    drop(snapshots);
    assert_eq!(open(dir.path()).safe_to_cut(S), Some(Seq(40)));
}

#[test]
fn an_actor_at_rest_lets_go_of_the_journal_and_keeps_two_copies() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    assert_eq!(snapshots.touch(S, b"a", Seq(1)), Err(Error::NothingToTouch));
    snapshots.put(S, b"a", Seq(10), &state(1, 10_000)).unwrap();
    snapshots.put(S, b"a", Seq(20), &state(2, 10_000)).unwrap();
    snapshots.touch(S, b"a", Seq(30)).unwrap();
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(20)), "the copy covers 30, the one before 20");
    for seq in [40, 50] {
        let ids: Vec<u64> = snapshots.known(S, b"a").iter().map(|known| known.id).collect();
        snapshots.touch(S, b"a", Seq(seq)).unwrap();
        assert_eq!(snapshots.safe_to_cut(S), Some(Seq(seq)));
        assert_eq!(snapshots.known(S, b"a").iter().map(|known| known.id).collect::<Vec<_>>(), ids, "stamps alone");
    }
    assert_eq!(snapshots.touch(S, b"a", Seq(49)), Err(Error::Backwards { seq: Seq(49), newest: Seq(50) }));
    spoil(&snapshots, b"a", 0, &flip_a_bit);
    drop(snapshots);
    let snapshots = open(dir.path());
    let found = snapshots.newest(S, b"a");
    assert_eq!(found.snapshot, Some((Seq(50), state(2, 10_000))), "the other copy is as new");
    assert_eq!(found.damaged.len(), 1);
}

#[test]
fn a_touch_of_the_only_snapshot_copies_it() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    snapshots.put(S, b"a", Seq(10), &state(1, 10_000)).unwrap();
    snapshots.touch(S, b"a", Seq(20)).unwrap();
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(10)));
    assert_eq!(newest(&snapshots, b"a"), (Seq(20), state(1, 10_000)));
}

#[test]
fn a_touch_never_gives_an_older_state_a_later_number() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    snapshots.put(S, b"a", Seq(10), &state(1, 10_000)).unwrap();
    snapshots.put(S, b"a", Seq(20), &state(2, 10_000)).unwrap();
    spoil(&snapshots, b"a", 0, &flip_a_bit);
    assert_eq!(snapshots.touch(S, b"a", Seq(30)), Err(Error::NothingToTouch));
    assert_eq!(newest(&snapshots, b"a"), (Seq(10), state(1, 10_000)), "the journal has what came after 10");
}

#[test]
fn several_actors_are_stored_at_once_and_shards_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    let actors: Vec<Vec<u8>> = (0..100).map(|n| format!("actor/{n:03}").into_bytes()).collect();
    let bytes = state(1, 3000);
    for seq in [Seq(1), Seq(2)] {
        let puts: Vec<Put<'_>> = actors.iter().map(|actor| Put { actor, seq, bytes: &bytes }).collect();
        snapshots.put_all(S, &puts).unwrap();
    }
    snapshots.put(Shard(8), b"actor/000", Seq(900), b"another shard's").unwrap();
    assert_eq!(snapshots.actors(S), actors);
    assert_eq!(snapshots.safe_to_cut(S), Some(Seq(1)));
    assert_eq!(newest(&snapshots, b"actor/000"), (Seq(2), bytes));
}

#[test]
fn what_is_out_of_range_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    snapshots.put(S, &[1; 256], Seq(5), b"longest key").unwrap();
    assert_eq!(snapshots.put(S, &[1; 257], Seq(5), b""), Err(Error::TooLarge { bytes: 257, most: 256 }));
    let backwards = snapshots.put(S, &[1; 256], Seq(4), b"older");
    assert_eq!(backwards, Err(Error::Backwards { seq: Seq(4), newest: Seq(5) }));
}

#[test]
fn an_unreadable_store_is_moved_aside_and_an_empty_one_started() {
    type Spoil = fn(&Path);
    let ways: [(&str, Spoil); 4] = [
        ("data of garbage", |path| std::fs::write(path.join("db"), state(77, 2 << 20)).unwrap()),
        ("configuration of garbage", |path| std::fs::write(path.join("conf"), state(78, 64)).unwrap()),
        ("a file instead of a directory", |path| {
            std::fs::remove_dir_all(path).unwrap();
            std::fs::write(path, b"not a store").unwrap();
        }),
        ("a directory instead of the data", |path| {
            std::fs::remove_file(path.join("db")).unwrap();
            std::fs::create_dir(path.join("db")).unwrap();
        }),
    ];
    for (name, how) in ways {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshots");
        let snapshots = open(&path);
        snapshots.put(S, b"a", Seq(10), &state(1, 10_000)).unwrap();
        drop(snapshots);
        for round in 0..2 {
            how(&path);
            let (snapshots, moved) = Snapshots::open(&path, 8 << 20).unwrap();
            // sled may make an empty store out of garbage by itself; what matters is that nothing wrong comes out.
            if moved.is_some() {
                assert!(dir.path().join("snapshots.damaged").exists(), "{name}, round {round}");
            }
            assert_eq!(snapshots.newest(S, b"a").snapshot, None, "{name}");
            snapshots.put(S, b"b", Seq(1), b"on it goes").unwrap();
        }
    }
}

#[test]
fn a_store_in_use_is_not_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    assert!(matches!(Snapshots::open(dir.path(), 8 << 20), Err(Error::Store { .. })));
    assert!(dir.path().join("db").exists());
}

#[test]
fn nothing_is_spilled_into_files_that_are_never_synced() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    for n in 1..20 {
        snapshots.put(S, &[n as u8; 256], Seq(n), &state(n as u8, 300_000)).unwrap();
        snapshots.put(S, &[1; 256], Seq(100 + n), &state(n as u8, 2_000_000)).unwrap();
    }
    drop(snapshots);
    let blobs = std::fs::read_dir(dir.path().join("blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 20, ..Default::default() })]
    /// Against a list of what was put: the newest comes back, and a cut never goes beyond the second newest state.
    #[test]
    fn puts_touches_and_restarts_behave_like_a_list(
        steps in proptest::collection::vec((0u8..3, 0u8..4, 0usize..9_000), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut snapshots = open(dir.path());
        let mut model: BTreeMap<u8, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
        for (seq, (actor, what, length)) in (1u64..).zip(steps) {
            let list = model.entry(actor).or_default();
            match what {
                0 | 1 => {
                    let bytes = state(seq as u8, length);
                    snapshots.put(S, &[actor], Seq(seq), &bytes).unwrap();
                    list.push((seq, bytes));
                }
                2 if !list.is_empty() => {
                    snapshots.touch(S, &[actor], Seq(seq)).unwrap();
                    list.last_mut().unwrap().0 = seq;
                }
                _ => {
                    drop(snapshots);
                    snapshots = open(dir.path());
                }
            }
            for (actor, list) in model.iter().filter(|(_, list)| !list.is_empty()) {
                let (seq, bytes) = list.last().unwrap();
                assert_eq!(newest(&snapshots, &[*actor]), (Seq(*seq), bytes.clone()));
            }
            if let Some(safe) = snapshots.safe_to_cut(S) {
                assert!(model.values().filter(|list| !list.is_empty()).all(|list| Seq(list.last().unwrap().0) >= safe));
            }
        }
    }
}
