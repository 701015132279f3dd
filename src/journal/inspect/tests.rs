//! Looking into a journal that rests, moves or is damaged.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::*;
use crate::journal::log::Log;
use crate::journal::{Options, VisitError};

fn small() -> Options {
    Options { segment_bytes: 20 << 10, group_bytes_max: 2 << 10, ..Options::default() }
}

fn journal(dir: &Path) -> Log {
    let disk = Arc::new(FileDisk::create_dir(dir).unwrap());
    let (mut log, _) = Log::open(disk, small(), 77).unwrap();
    for n in 0..100 {
        log.append(Shard(n % 2), Seq(u64::from(n / 2)), &[1; 200]).unwrap();
    }
    log
}

#[test]
fn a_running_journal_is_verified_and_dumped_without_touching_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = journal(dir.path());
    log.stage(Shard(0), Seq(50), b"on its way").unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.recovery.records, 100);
    assert_eq!(report.shards, [(Shard(0), Seq(1), Seq(50)), (Shard(1), Seq(1), Seq(50))]);
    assert_eq!(report.segments.len() as u64, log.space().segments);
    let mut seen = Vec::new();
    dump(dir.path(), &mut |shard, seq, record| {
        assert_eq!(record, [1; 200]);
        seen.push((seq.0, shard.0));
        Ok(())
    })
    .unwrap();
    let written: Vec<(u64, u16)> = (0..100).map(|n| (u64::from(n / 2) + 1, n % 2)).collect();
    assert_eq!(seen, written, "in the order of writing");
    log.write().unwrap();
    log.sync().unwrap();
    assert_eq!(verify(dir.path()).unwrap().recovery.records, 101);
}

#[test]
fn deleted_records_are_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = journal(dir.path());
    log.truncate(Shard(0), Seq(40));
    log.truncate(Shard(1), Seq(40));
    assert!(log.delete_unneeded().unwrap() > 0);
    let report = verify(dir.path()).unwrap();
    let (_, first, last) = report.shards[0];
    assert!(first > Seq(1) && first <= Seq(41) && last == Seq(50));
    let mut seen = 0;
    dump(dir.path(), &mut |_, _, _| {
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, report.recovery.records);
}

#[test]
fn damage_is_named_and_an_unfinished_end_is_not_damage() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let log = journal(dir.path());
    let view = log.view();
    let last = view.segments.last().unwrap();
    let disk = FileDisk::read_only(dir.path());
    let write = |number, offset, bytes: &[u8]| {
        let file = std::fs::OpenOptions::new().write(true).open(disk.locate(number)).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    };
    write(last.number, last.end, b"half a group");
    let torn = verify(dir.path()).unwrap().recovery.torn.unwrap();
    assert_eq!((torn.file, torn.offset), (disk.locate(last.number), last.end));
    let first = view.segments[0].number;
    write(first, 5000, b"rot");
    let text = verify(dir.path()).unwrap_err().to_string();
    assert!(text.contains(disk.locate(first).to_str().unwrap()) && text.contains("offset="), "{text}");
    assert!(matches!(dump(dir.path(), &mut |_, _, _| Ok(())), Err(DumpError::Open(_))));
}

#[test]
fn an_absent_directory_and_an_unwilling_visitor_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    assert!(verify(&dir.path().join("nowhere")).is_err());
    let _log = journal(dir.path());
    let ended = dump(dir.path(), &mut |_, _, _| Err(VisitError::from("enough")));
    assert!(matches!(ended, Err(DumpError::Replay(ReplayError::Visit { seq: Seq(1), .. }))));
}
