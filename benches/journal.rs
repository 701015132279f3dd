//! What the two storage layers cost: `cargo bench --bench journal`.
//!
//! Commits by records per group, replay per million records, snapshots by size; all on real files in cargo's
//! target directory.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use futures_util::future::join_all;
use stampede::journal::log::Log;
use stampede::journal::{DataDir, Embedded, FileDisk, Journal, Options, Seq, Shard, Silent};
use stampede::snapshots::{Put, Snapshots};
use tempfile::TempDir;

const RECORD: [u8; 64] = [7; 64];
const SHARDS: u16 = 64;

fn main() {
    divan::main();
}

/// A directory beside the build, so that the files are on a real disk and not in memory.
fn dir() -> TempDir {
    tempfile::tempdir_in(option_env!("CARGO_TARGET_TMPDIR").unwrap_or(".")).expect("a directory")
}

fn log(dir: &TempDir) -> Log {
    let disk = FileDisk::create_dir(&dir.path().join("journal")).expect("a directory");
    let mut log = Log::open(Arc::new(disk), Options::default(), 1).expect("a journal").0;
    log.prepare().expect("space");
    log
}

fn commit(log: &mut Log, records: u16) {
    for n in 0..records {
        let shard = Shard(n % SHARDS);
        let after = Seq(log.last(shard).0 + u64::from(n / SHARDS));
        log.stage(shard, after, &RECORD).expect("staged");
    }
    log.write().expect("written");
    log.sync().expect("synced");
}

/// One group written and synced, without the thread.
#[divan::bench(args = [1, 10, 100, 1000], sample_count = 300, sample_size = 1)]
fn commit_group(bencher: Bencher<'_, '_>, records: u16) {
    let dir = dir();
    let mut log = log(&dir);
    bencher.counter(ItemsCount::new(records)).bench_local(|| commit(&mut log, records));
}

/// The same through the committer: each shard has one append in flight, all wait for the answers.
#[divan::bench(args = [1, 10, 64, 1000], sample_count = 300, sample_size = 1)]
fn append_and_wait(bencher: Bencher<'_, '_>, shards: u16) {
    let dir = dir();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let locked = DataDir::lock(dir.path()).expect("a lock");
    let path = locked.path().join("journal");
    let (journal, _) = Embedded::open(&path, Options::default(), Arc::new(Silent)).expect("a journal");
    bencher.counter(ItemsCount::new(shards)).bench_local(|| {
        let all = (0..shards).map(Shard).map(|shard| journal.append(shard, journal.last(shard), RECORD.to_vec()));
        for answer in runtime.block_on(join_all(all)) {
            answer.expect("appended");
        }
    });
}

fn million() -> TempDir {
    let dir = dir();
    let mut log = log(&dir);
    for _ in 0..1000 {
        commit(&mut log, 1000);
    }
    log.seal().expect("sealed");
    dir
}

/// Opening a journal of a million records: every byte checked.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn open_million(bencher: Bencher<'_, '_>) {
    let dir = million();
    let disk = Arc::new(FileDisk::create_dir(&dir.path().join("journal")).expect("a directory"));
    bencher.counter(ItemsCount::new(1_000_000u32)).bench_local(|| {
        let disk: Arc<FileDisk> = Arc::clone(&disk);
        Log::open(disk, Options::default(), 1).expect("a journal").1
    });
}

/// Visiting a million records.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn replay_million(bencher: Bencher<'_, '_>) {
    let dir = million();
    let log = log(&dir);
    let all: Vec<(Shard, Seq)> = (0..SHARDS).map(|shard| (Shard(shard), Seq::NONE)).collect();
    bencher.counter(ItemsCount::new(1_000_000u32)).bench_local(|| {
        let mut bytes = 0;
        log.replay(&all, &mut |_, _, record| {
            bytes += record.len();
            Ok(())
        })
        .expect("replayed");
        assert_eq!(bytes, 64_000_000);
    });
}

/// One snapshot written, made durable and read back.
#[divan::bench(args = [1 << 10, 16 << 10, 256 << 10, 1 << 20], sample_count = 50, sample_size = 1)]
fn snapshot_put(bencher: Bencher<'_, '_>, bytes: usize) {
    let dir = dir();
    let (snapshots, _) = Snapshots::open(&dir.path().join("snapshots"), 64 << 20).expect("a store");
    let state = vec![3; bytes];
    let mut seq = Seq::NONE;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        seq = seq.next();
        snapshots.put(Shard(1), b"block/1", seq, &state).expect("stored");
    });
}

/// A hundred actors' snapshots of 4 KiB made durable together.
#[divan::bench(sample_count = 30, sample_size = 1)]
fn snapshot_put_hundred(bencher: Bencher<'_, '_>) {
    let dir = dir();
    let (snapshots, _) = Snapshots::open(&dir.path().join("snapshots"), 64 << 20).expect("a store");
    let state = vec![3; 4 << 10];
    let actors: Vec<String> = (0..100).map(|n| format!("block/{n}")).collect();
    let mut seq = Seq::NONE;
    bencher.counter(ItemsCount::new(100u32)).bench_local(|| {
        seq = seq.next();
        let puts = actors.iter().map(|actor| Put { actor: actor.as_bytes(), seq, bytes: &state });
        snapshots.put_all(Shard(1), &puts.collect::<Vec<_>>()).expect("stored");
    });
}

/// The newest snapshot read and verified, from the cache.
#[divan::bench(args = [1 << 10, 16 << 10, 256 << 10, 1 << 20], sample_count = 100)]
fn snapshot_get(bencher: Bencher<'_, '_>, bytes: usize) {
    let dir = dir();
    let (snapshots, _) = Snapshots::open(&dir.path().join("snapshots"), 64 << 20).expect("a store");
    snapshots.put(Shard(1), b"block/1", Seq(1), &vec![3; bytes]).expect("stored");
    bencher.counter(BytesCount::new(bytes)).bench_local(|| snapshots.newest(Shard(1), b"block/1"));
}
