//! The directory: what was written is read, and nothing that is not whole is taken for a backup.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const S: Shard = Shard(4);

fn manifest() -> Manifest {
    let shard = ShardManifest { shard: 4, messages: 3, before: 10, last: 12, epoch: 2, bundles: vec![9, 11] };
    Manifest {
        format: FORMAT,
        taken_at: "2026-11-24T10:00:00Z".to_owned(),
        name: "stampede".to_owned(),
        deployment: serde_json::json!({ "id": "d1", "shards": 64 }),
        position_max: 77,
        moment_us: 600,
        shards: vec![shard],
    }
}

fn messages() -> [Vec<u8>; 3] {
    [b"claim".to_vec(), vec![7; 100_000], Vec::new()]
}

fn write(dir: &Path) {
    let mut writing = Writing::create(dir).unwrap();
    let mut given_up = writing.journal(S).unwrap();
    given_up.add(b"a journal that is begun anew").unwrap();
    drop(given_up);
    let mut journal = writing.journal(S).unwrap();
    for message in messages() {
        journal.add(&message).unwrap();
        journal.pause().unwrap();
    }
    writing.finish_journal(journal).unwrap();
    writing.bundle(S, 0, b"older").unwrap();
    writing.bundle(S, 1, b"newer").unwrap();
    writing.finish(&manifest()).unwrap();
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let reading = Reading::open(dir.path()).unwrap();
    assert_eq!(reading.manifest, manifest());
    assert_eq!(reading.bundle(S, 1).unwrap(), b"newer");
    let read: Vec<Bytes> = reading.journal(S).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, messages());
    let again = Writing::create(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(again.contains("is not empty"), "{again}");
}

#[test]
fn a_flipped_bit_a_missing_file_and_an_unfinished_backup_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for file in ["manifest.json", "journal-4", "bundle-4-0", "bundle-4-1"] {
        let path = dir.path().join(file);
        let sound = fs::read(&path).unwrap();
        let mut spoilt = sound.clone();
        spoilt[3] ^= 1;
        fs::write(&path, &spoilt).unwrap();
        let refused = Reading::open(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(file) && refused.contains("checksum"), "{refused}");
        fs::remove_file(&path).unwrap();
        let refused = Reading::open(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(file), "{refused}");
        fs::write(&path, &sound).unwrap();
    }
    let sums = fs::read_to_string(dir.path().join(SUMS)).unwrap();
    let fewer: Vec<&str> = sums.lines().filter(|line| !line.ends_with("bundle-4-1")).collect();
    fs::write(dir.path().join(SUMS), fewer.join("\n")).unwrap();
    let refused = Reading::open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("does not list `bundle-4-1`"), "{refused}");
    fs::remove_file(dir.path().join(SUMS)).unwrap();
    let refused = Reading::open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("never finished"), "{refused}");
}
