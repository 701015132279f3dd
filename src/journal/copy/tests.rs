//! The second copy: what it keeps, what it gives back, and what it says it lacks.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::journal::jetstream::{Envelope, record};

/// Segments are whole KiB and hold at least one group.
fn options(max_bytes: Option<u64>) -> Options {
    Options { segment_bytes: 64 << 10, group_bytes_max: 8 << 10, max_bytes, ..Options::default() }
}

fn open(dir: &Path, max_bytes: Option<u64>) -> Copy {
    Copy::with(dir, options(max_bytes), QUEUE_BYTES_MAX).unwrap()
}

fn message(shard: u16, seq: u64, bytes: usize) -> Bytes {
    record(Shard(shard), 3, Seq(seq), &vec![seq as u8; bytes])
}

fn write(copy: &Copy, shard: u16, seqs: std::ops::RangeInclusive<u64>, bytes: usize) {
    for seq in seqs {
        copy.wrote(Shard(shard), Seq(seq), message(shard, seq, bytes));
    }
}

fn read(dir: &Path) -> Vec<(u16, u64)> {
    let mut found = Vec::new();
    visit(dir, &mut |bytes| {
        let envelope = Envelope::open(&bytes)?;
        found.push((envelope.shard.0, envelope.seq.0));
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn it_keeps_messages_as_they_are_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let copy = open(dir.path(), None);
    write(&copy, 4, 1..=3, 100);
    write(&copy, 9, 7..=7, 100);
    drop(copy);
    let copy = open(dir.path(), None);
    // The shard was elsewhere meanwhile.
    write(&copy, 4, 20..=21, 100);
    assert_eq!(copy.missed(), 0);
    drop(copy);
    assert_eq!(read(dir.path()), [(4, 1), (4, 2), (4, 3), (9, 7), (4, 20), (4, 21)]);
    let mut messages = Vec::new();
    visit(dir.path(), &mut |bytes| {
        messages.push(bytes);
        Ok(())
    })
    .unwrap();
    assert_eq!(messages[0], message(4, 1, 100));
}

#[test]
fn segments_go_when_all_of_their_shards_were_cut_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let copy = open(dir.path(), None);
    write(&copy, 9, 1..=1, 100);
    write(&copy, 4, 1..=200, 1000);
    copy.truncate(Shard(4), Seq(150));
    drop(copy);
    assert_eq!(read(dir.path()).len(), 201, "shard 9 needs the first segment");
    let copy = open(dir.path(), None);
    copy.truncate(Shard(9), Seq(1));
    copy.truncate(Shard(4), Seq(150));
    drop(copy);
    let left = read(dir.path());
    assert!(left.len() < 130, "{} of 201 are left", left.len());
    assert!((151..=200).all(|seq| left.contains(&(4, seq))), "what was not cut is kept: {left:?}");
}

#[test]
fn without_space_the_oldest_goes_and_the_newest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let copy = open(dir.path(), Some(4 * (64 << 10)));
    write(&copy, 4, 1..=1000, 1000);
    assert_eq!(copy.missed(), 0);
    drop(copy);
    let left = read(dir.path());
    assert!((100..300).contains(&left.len()), "{} of 1000 are left", left.len());
    assert_eq!(left.last(), Some(&(4, 1000)));
    assert!(left.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1), "without a hole");
}

#[test]
fn a_damaged_copy_is_moved_aside_and_a_new_one_begun() {
    let folder = tempfile::tempdir().unwrap();
    let dir = super::folder(folder.path());
    let copy = Copy::open(&dir, None).unwrap();
    write(&copy, 4, 1..=3, 100);
    drop(copy);
    let segment = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|found| found == b"node-a").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let copy = Copy::open(&dir, None).unwrap();
    write(&copy, 4, 4..=4, 100);
    drop(copy);
    assert_eq!(read(&dir), [(4, 4)]);
    assert!(folder.path().join("copy.damaged").is_dir());
}

#[test]
fn what_does_not_fit_is_counted_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let copy = Copy::with(dir.path(), options(None), 5_000).unwrap();
    write(&copy, 4, 1..=1, 6_000);
    assert_eq!(copy.missed(), 1);
    write(&copy, 4, 2..=2, 1_000);
    drop(copy);
    assert_eq!(read(dir.path()), [(4, 2)]);
}
