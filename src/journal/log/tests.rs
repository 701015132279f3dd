//! The log without its thread: order of writes and syncs, segments, truncation.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::*;
use crate::journal::sim_disk::{NextFault, SimDisk};
use crate::journal::{AppendError, Unavailable};

const A: Shard = Shard(0);
const B: Shard = Shard(1);

/// Segments of 20 KB: ten records of 1,500 bytes fit, as groups of one.
fn small() -> Options {
    Options { segment_bytes: 20 << 10, group_bytes_max: 2 << 10, ..Options::default() }
}

fn disk() -> Arc<SimDisk> {
    Arc::new(SimDisk::new(1))
}

fn open(disk: &Arc<SimDisk>, options: &Options) -> Log {
    let shared: Arc<SimDisk> = Arc::clone(disk);
    Log::open(shared, options.clone(), 77).unwrap().0
}

fn fill(log: &mut Log, shard: Shard, records: u64) {
    for _ in 0..records {
        log.append(shard, log.last(shard), &[9; 1500]).unwrap();
    }
}

fn numbers(log: &Log, shard: Shard, after: Seq) -> Vec<u64> {
    let mut numbers = Vec::new();
    log.replay(&[(shard, after)], &mut |_, seq, _| {
        numbers.push(seq.0);
        Ok(())
    })
    .unwrap();
    numbers
}

#[test]
fn a_journal_grows_over_segments_and_opens_again() {
    let disk = disk();
    let mut log = open(&disk, &small());
    fill(&mut log, A, 40);
    assert!(log.space().segments > 3);
    let again = open(&disk, &small());
    assert_eq!(again.last(A), Seq(40));
    assert_eq!(numbers(&again, A, Seq(36)), [37, 38, 39, 40]);
    assert_eq!(numbers(&again, A, Seq::NONE).len(), 40);
}

#[test]
fn a_segment_goes_when_all_shards_agree_and_not_before() {
    let disk = disk();
    let mut log = open(&disk, &small());
    log.append(B, Seq::NONE, b"held back").unwrap();
    fill(&mut log, A, 40);
    let before = log.space().segments;
    log.truncate(A, Seq(40));
    assert_eq!(log.delete_unneeded(), Ok(0), "B still needs the oldest");
    log.truncate(B, Seq(1));
    let deleted = log.delete_unneeded().unwrap();
    assert!(deleted > 2);
    assert_eq!(log.space().segments, before - deleted);
}

#[test]
fn numbers_go_on_after_everything_was_deleted_and_the_node_started_anew() {
    let disk = disk();
    let mut log = open(&disk, &small());
    log.append(B, Seq::NONE, b"long ago").unwrap();
    fill(&mut log, A, 40);
    log.truncate(A, Seq(40));
    log.truncate(B, Seq(1));
    log.delete_unneeded().unwrap();
    let mut log = open(&disk, &small());
    assert_eq!((log.last(A), log.last(B)), (Seq(40), Seq(1)), "the tails of the oldest segment know");
    assert_eq!(log.append(B, Seq(1), b"next"), Ok(Seq(2)));
    assert_eq!(numbers(&log, B, Seq(1)), [2]);
    let lost = log.replay(&[(B, Seq::NONE)], &mut |_, _, _| Ok(()));
    assert!(matches!(lost, Err(ReplayError::Cut { shard: B, after: Seq(0), first: Seq(2) })), "{lost:?}");
}

#[test]
fn truncation_beyond_the_end_cuts_nothing_that_comes_later() {
    let disk = disk();
    let mut log = open(&disk, &small());
    log.truncate(A, Seq(1000));
    fill(&mut log, A, 40);
    assert_eq!(log.delete_unneeded(), Ok(0));
    assert_eq!(numbers(&log, A, Seq::NONE).len(), 40);
}

#[test]
fn max_bytes_is_an_early_disk_full_and_truncation_ends_it() {
    let disk = disk();
    let mut log = open(&disk, &Options { max_bytes: Some(40 << 10), ..small() });
    let refused = loop {
        match log.append(A, log.last(A), &[1; 1500]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Unavailable { reason: Unavailable::DiskFull });
    let last = log.last(A);
    assert_eq!(numbers(&log, A, Seq::NONE).len() as u64, last.0, "reads go on");
    assert!(log.space().bytes <= 40 << 10);
    log.truncate(A, last);
    assert_eq!(log.delete_unneeded(), Ok(1));
    assert_eq!(log.append(A, last, &[1; 1500]), Ok(last.next()));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = disk();
    let mut log = open(&disk, &small());
    disk.set_capacity(50 << 10);
    while log.append(A, log.last(A), &[1; 1500]).is_ok() {}
    let last = log.last(A);
    let refused = log.append(A, last, &[1; 1500]);
    assert_eq!(refused, Err(AppendError::Unavailable { reason: Unavailable::DiskFull }));
    assert_eq!(disk.list().unwrap().len(), 2, "no unfinished file is left");
    disk.set_capacity(100 << 10);
    assert_eq!(log.append(A, last, &[1; 1500]), Ok(last.next()));
    assert_eq!(numbers(&open(&disk, &small()), A, Seq::NONE).len() as u64, last.0 + 1);
}

#[test]
fn a_write_without_space_is_taken_back_wherever_it_broke_off() {
    for part in [0, 1, 31, 32, 500, 1581, 1582] {
        let disk = disk();
        let mut log = open(&disk, &small());
        log.append(A, Seq::NONE, b"kept").unwrap();
        disk.fail_next(NextFault::Full(part));
        let refused = log.append(A, Seq(1), &[1; 1500]);
        assert_eq!(refused, Err(AppendError::Unavailable { reason: Unavailable::DiskFull }));
        let restarted = Arc::new(disk.copy());
        assert_eq!(open(&restarted, &small()).last(A), Seq(1), "nothing refused is ever found");
        assert_eq!(log.append(A, Seq(1), b"goes on"), Ok(Seq(2)));
        assert_eq!(numbers(&open(&disk, &small()), A, Seq::NONE), [1, 2]);
    }
}

#[test]
fn a_failed_write_stops_the_journal_for_ever() {
    for part in [0, 1, 700, 1582] {
        let disk = disk();
        let mut log = open(&disk, &small());
        log.append(A, Seq::NONE, b"kept").unwrap();
        disk.fail_next(NextFault::Write(part));
        assert!(matches!(log.append(A, Seq(1), &[1; 1500]), Err(AppendError::Unknown { .. })));
        assert!(log.stopped().unwrap().contains("write failed"));
        assert!(matches!(log.append(A, Seq(1), b"x"), Err(AppendError::Unknown { .. })));
        let last = open(&disk, &small()).last(A);
        assert!(last == Seq(1) || last == Seq(2));
    }
}

#[test]
fn a_failed_sync_stops_the_journal_and_is_never_tried_again() {
    let disk = disk();
    let mut log = open(&disk, &small());
    log.append(A, Seq::NONE, b"kept").unwrap();
    disk.fail_next(NextFault::Sync);
    assert!(matches!(log.append(A, Seq(1), b"perhaps"), Err(AppendError::Unknown { .. })));
    let syncs = disk.happened().syncs;
    assert!(matches!(log.append(A, Seq(1), b"x"), Err(AppendError::Unknown { .. })));
    assert_eq!(disk.happened().syncs, syncs);
}

#[test]
fn what_shows_after_a_failed_sync_is_made_durable_before_it_is_believed() {
    for seed in 0..50 {
        let disk = Arc::new(SimDisk::new(seed));
        let mut log = open(&disk, &small());
        log.append(A, Seq::NONE, b"kept").unwrap();
        disk.fail_next(NextFault::Sync);
        assert!(log.append(A, Seq(1), b"perhaps").is_err());
        disk.kill();
        let seen = open(&disk, &small()).last(A);
        assert_eq!(seen, Seq(2), "the kernel still shows it");
        disk.crash();
        assert_eq!(open(&disk, &small()).last(A), seen, "whoever saw it may have told");
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_made_durable_before_it_is_believed() {
    for seed in 0..50 {
        let disk = Arc::new(SimDisk::new(seed));
        let mut log = open(&disk, &small());
        log.stage(A, Seq::NONE, b"written, not synced").unwrap();
        log.write().unwrap();
        drop(log);
        disk.kill();
        assert_eq!(open(&disk, &small()).last(A), Seq(1));
        disk.crash();
        assert_eq!(open(&disk, &small()).last(A), Seq(1));
    }
}

#[test]
fn a_failed_directory_sync_stops_the_journal() {
    let disk = disk();
    let mut log = open(&disk, &small());
    fill(&mut log, A, 40);
    log.truncate(A, Seq(40));
    disk.fail_next(NextFault::SyncDir);
    assert!(matches!(log.delete_unneeded(), Err(CommitError::Stopped { .. })));
    assert!(log.append(A, Seq(40), b"x").is_err());
}

#[test]
fn staged_records_are_numbered_together_and_dropped_together() {
    let disk = disk();
    let mut log = open(&disk, &small());
    assert_eq!(log.stage(A, Seq(0), b"1"), Ok(Seq(1)));
    assert_eq!(log.stage(A, Seq(1), b"2"), Ok(Seq(2)));
    assert_eq!(log.stage(B, Seq(0), b"1"), Ok(Seq(1)));
    assert_eq!(log.stage(B, Seq(0), b"1"), Err(StageError::Fenced { last: Seq(1) }));
    log.discard();
    assert_eq!(log.stage(A, Seq(0), b"1"), Ok(Seq(1)));
    log.write().unwrap();
    assert_eq!(log.last(A), Seq(0), "not before the sync");
    log.sync().unwrap();
    assert_eq!(log.last(A), Seq(1));
}

#[test]
fn a_group_has_a_limit_and_so_has_a_record() {
    let disk = disk();
    let mut log = open(&disk, &small());
    let most = (2 << 10) - 32 - 18;
    assert_eq!(log.stage(A, Seq(0), &vec![0; most + 1]), Err(StageError::TooLarge { most }));
    assert_eq!(log.stage(A, Seq(0), &vec![0; most]), Ok(Seq(1)));
    assert_eq!(log.stage(B, Seq(0), b""), Err(StageError::GroupFull));
    log.write().unwrap();
    log.sync().unwrap();
    assert_eq!(open(&disk, &small()).last(A), Seq(1));
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let bad = |options: Options| match Log::open(disk(), options, 1) {
        Err(error @ OpenError::Options { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("accepted"),
    };
    assert!(bad(Options { segment_bytes: 4096, ..small() }).contains("segment_bytes"));
    assert!(bad(Options { group_bytes_max: 10, ..small() }).contains("group_bytes_max"));
    assert!(bad(Options { max_bytes: Some(1), ..small() }).contains("max_bytes"));
}

#[test]
fn segments_of_another_size_are_read_all_the_same() {
    let disk = disk();
    fill(&mut open(&disk, &small()), A, 10);
    let larger = Options { segment_bytes: 64 << 10, group_bytes_max: 8 << 10, ..small() };
    let mut log = open(&disk, &larger);
    fill(&mut log, A, 60);
    log.append(A, Seq(70), &[3; 8000]).unwrap();
    assert_eq!(numbers(&open(&disk, &small()), A, Seq::NONE).len(), 71);
}
