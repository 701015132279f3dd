//! The embedded journal with its thread: groups, limits, full disks, failed writes and syncs.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::journal::sim_disk::{NextFault, SimDisk};
use crate::journal::{Commit, SegmentNo, Silent, Space, Unavailable, conformance};

const A: Shard = Shard(0);

fn small() -> Options {
    Options {
        segment_bytes: 32 << 10,
        group_bytes_max: 16 << 10,
        full_retry: Duration::from_millis(2),
        ..Options::default()
    }
}

fn start(disk: &Arc<SimDisk>, options: Options) -> Embedded {
    let shared: Arc<SimDisk> = Arc::clone(disk);
    Embedded::start(shared, options, 77, Arc::new(Silent)).unwrap().0
}

fn unavailable(reason: Unavailable) -> Result<Seq, AppendError> {
    Err(AppendError::Unavailable { reason })
}

/// Appends until it is refused; returns the refusal.
async fn exhaust(journal: &Embedded) -> AppendError {
    loop {
        if let Err(error) = journal.append(A, journal.last(A), vec![1; 5000]).await {
            return error;
        }
    }
}

#[tokio::test]
async fn on_files_it_is_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(&mut || Arc::new(Embedded::open(dir.path(), small(), Arc::new(Silent)).unwrap().0)).await;
}

#[tokio::test]
async fn on_a_simulated_disk_it_is_a_journal() {
    let disk = Arc::new(SimDisk::new(5));
    conformance::run(&mut || Arc::new(start(&disk, small()))).await;
}

#[tokio::test]
async fn a_power_cut_after_the_answer_loses_nothing() {
    for seed in 0..20 {
        let disk = Arc::new(SimDisk::new(seed));
        let journal = start(&disk, small());
        join_all((0..8).map(Shard).map(|shard| {
            let journal = &journal;
            async move {
                for n in 0..20 {
                    journal.append(shard, Seq(n), vec![1; 300]).await.unwrap();
                }
            }
        }))
        .await;
        // What the platter has at this moment, seen by another process.
        disk.crash();
        let survivor = Arc::new(disk.copy());
        let again = start(&survivor, small());
        assert!((0..8).map(Shard).all(|shard| again.last(shard) == Seq(20)));
    }
}

#[tokio::test]
async fn an_append_is_under_way_even_if_nobody_waits_for_it() {
    let disk = Arc::new(SimDisk::new(1));
    let journal = start(&disk, small());
    drop(journal.append(A, Seq::NONE, vec![1]));
    assert_eq!(journal.append(A, Seq(1), vec![2]).await, Ok(Seq(2)));
}

#[tokio::test]
async fn a_full_journal_refuses_reads_on_and_recovers_by_itself() {
    let disk = Arc::new(SimDisk::new(1));
    let journal = start(&disk, small());
    disk.set_capacity(70 << 10);
    let mut health = journal.health();
    let refused = exhaust(&journal).await;
    assert_eq!(refused, AppendError::Unavailable { reason: Unavailable::DiskFull });
    health.wait_for(|health| health.status == Status::DiskFull).await.unwrap();
    let last = journal.last(A);
    let mut seen = 0;
    journal
        .replay(&[(A, Seq::NONE)], &mut |_, _, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, last.0);
    disk.set_capacity(u64::MAX);
    health.wait_for(|health| health.status == Status::Serving).await.unwrap();
    assert_eq!(journal.append(A, last, vec![1; 5000]).await, Ok(last.next()));
}

#[tokio::test]
async fn a_journal_at_its_limit_recovers_when_it_is_truncated() {
    let disk = Arc::new(SimDisk::new(1));
    let journal =
        start(&disk, Options { max_bytes: Some(100 << 10), full_retry: Duration::from_secs(3600), ..small() });
    let mut health = journal.health();
    exhaust(&journal).await;
    health.wait_for(|health| health.status == Status::DiskFull).await.unwrap();
    assert!(!health.borrow().space.spare);
    journal.truncate(A, journal.last(A));
    health.wait_for(|health| health.status == Status::Serving && health.space.spare).await.unwrap();
    let last = journal.last(A);
    assert_eq!(journal.append(A, last, vec![1; 5000]).await, Ok(last.next()));
}

#[tokio::test]
async fn a_failed_sync_stops_it_and_whoever_watches_is_told() {
    let disk = Arc::new(SimDisk::new(1));
    let journal = start(&disk, small());
    let mut health = journal.health();
    health.wait_for(|health| health.space.spare).await.unwrap();
    journal.append(A, Seq::NONE, vec![1]).await.unwrap();
    disk.fail_next(NextFault::Sync);
    assert!(matches!(journal.append(A, Seq(1), vec![2]).await, Err(AppendError::Unknown { .. })));
    let stopped = health.wait_for(|health| matches!(health.status, Status::Stopped { .. })).await.unwrap();
    assert!(matches!(&stopped.status, Status::Stopped { reason } if reason.contains("sync failed")));
    drop(stopped);
    assert_eq!(journal.append(A, Seq(1), vec![2]).await, unavailable(Unavailable::Stopped));
    assert_eq!(journal.last(A), Seq(1));
}

#[tokio::test]
async fn a_closed_journal_says_so_and_its_end_is_sealed() {
    let disk = Arc::new(SimDisk::new(1));
    let journal = start(&disk, small());
    let waiting = journal.append(A, Seq::NONE, vec![1]);
    journal.close();
    assert_eq!(waiting.await, Ok(Seq(1)), "what waited was committed");
    assert_eq!(journal.append(A, Seq(1), vec![2]).await, unavailable(Unavailable::Closed));
    assert_eq!(journal.health().borrow().status, Status::Closed);
    drop(journal);
    disk.flip(SegmentNo(1), 4096 + 32 + 40, 0);
    let shared: Arc<SimDisk> = Arc::clone(&disk);
    assert!(matches!(Log::open(shared, small(), 1), Err(OpenError::Damaged(_))), "no torn end after a clean stop");
}

#[tokio::test]
async fn an_idle_journal_seals_its_end() {
    let disk = Arc::new(SimDisk::new(1));
    let journal = start(&disk, Options { seal_after: Duration::from_millis(1), ..small() });
    let mut health = journal.health();
    journal.append(A, Seq::NONE, vec![1]).await.unwrap();
    let group = 32 + 24;
    health
        .wait_for(|health| {
            health.space.segments == 2 && health.space.ready_bytes <= (64 << 10) - 4096 - 32 - group - 32
        })
        .await
        .unwrap();
    let copy = disk.copy();
    copy.flip(SegmentNo(1), 4096 + 32 + 40, 0);
    assert!(matches!(Log::open(Arc::new(copy), small(), 1), Err(OpenError::Damaged(_))));
}

#[tokio::test]
async fn a_queue_has_limits_and_reaching_them_is_an_ordinary_answer() {
    let intake = Intake::new(100, 3);
    let put = |shard: u16, bytes: usize| {
        let (done, _) = oneshot::channel();
        intake.put(Waiting { shard: Shard(shard), after: Seq::NONE, record: vec![0; bytes], done })
    };
    assert_eq!(put(0, 500), Ok(()), "alone, any record may wait");
    assert_eq!(put(1, 1), Err(Unavailable::QueueFull));
    let mut backlog = std::collections::VecDeque::new();
    intake.take(&mut backlog, None);
    assert_eq!([put(0, 1), put(1, 1), put(2, 1)], [Ok(()); 3]);
    assert_eq!(put(3, 1), Err(Unavailable::QueueFull));
    intake.shut(Unavailable::Closed);
    assert_eq!(put(3, 1), Err(Unavailable::Closed));
    let taken = intake.take(&mut backlog, None);
    assert_eq!((backlog.len(), taken.closing), (4, true));
}

#[tokio::test]
async fn too_large_a_record_is_refused_alone() {
    let disk = Arc::new(SimDisk::new(1));
    let journal = start(&disk, small());
    let (large, fine) = tokio::join!(
        journal.append(A, Seq::NONE, vec![0; 17 << 10]),
        journal.append(Shard(1), Seq::NONE, vec![0; 10 << 10]),
    );
    assert!(matches!(large, Err(AppendError::Unavailable { reason: Unavailable::TooLarge { .. } })));
    assert_eq!(fine, Ok(Seq(1)));
}

#[derive(Default)]
struct Counting {
    records: AtomicU64,
    groups: AtomicU64,
    segments: AtomicU64,
}

impl Observer for Counting {
    fn committed(&self, commit: &Commit) {
        assert!(commit.sync <= commit.total && commit.bytes >= commit.records * 18);
        self.records.fetch_add(commit.records as u64, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    fn space(&self, space: &Space) {
        self.segments.store(space.segments, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn what_waits_together_is_committed_together_and_observed() {
    let disk = Arc::new(SimDisk::new(1));
    let shared: Arc<SimDisk> = Arc::clone(&disk);
    let counting = Arc::new(Counting::default());
    let observer: Arc<Counting> = Arc::clone(&counting);
    let (journal, _) = Embedded::start(shared, small(), 1, observer).unwrap();
    join_all((0..500).map(Shard).map(|shard| journal.append(shard, Seq::NONE, vec![1; 64]))).await;
    journal.close();
    assert_eq!(counting.records.load(Ordering::Relaxed), 500);
    assert!(counting.groups.load(Ordering::Relaxed) < 500);
    assert!(counting.segments.load(Ordering::Relaxed) >= 2);
}

#[tokio::test]
async fn a_replay_keeps_the_files_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Embedded::open(dir.path(), small(), Arc::new(Silent)).unwrap();
    for n in 0..40 {
        journal.append(A, Seq(n), vec![1; 5000]).await.unwrap();
    }
    let mut seen = 0;
    let mut health = journal.health();
    let segments = health.borrow().space.segments;
    journal
        .replay(&[(A, Seq::NONE)], &mut |_, _, _| {
            if seen == 0 {
                journal.truncate(A, Seq(40));
                // Another append passes through the committer, which has seen the truncation by then.
                drop(journal.append(Shard(1), Seq::NONE, vec![1]));
                while journal.last(Shard(1)) == Seq::NONE {
                    std::thread::yield_now();
                }
            }
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 40);
    health.wait_for(|health| health.space.segments < segments).await.unwrap();
}
