//! Backup and restore of a whole deployment with real servers.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use stampede::backup;
use stampede::journal::{AppendError, Journal, ReplayError, Seq, Shard};
use stampede::snapshots::Put;

use crate::nats::Nats as Servers;
use crate::owner::{Owner, SHARDS, config, data, said, stampede, text, texts};
use crate::process::until;

/// After a complete round.
fn safe_to_cut(owner: &Owner, shard: Shard) -> Option<Seq> {
    owner.shared.safe_to_cut(shard, owner.shared.completed(shard)?)
}

/// Two bundles, and the journal cut behind the older.
fn snapshots(owner: &Owner, shard: u16) {
    for _ in 0..2 {
        let seq = owner.append(shard, 10, "a");
        owner.shared.put_all(Shard(shard), &[Put { actor: b"desk", seq, bytes: b"state" }]).unwrap();
        if let Some(to) = safe_to_cut(owner, Shard(shard)) {
            owner.journal.truncate(Shard(shard), to);
        }
    }
    until("the journal is cut", || {
        let whole = owner.journal.replay(&[(Shard(shard), Seq::NONE)], &mut |_, _, _| Ok(()));
        matches!(whole, Err(ReplayError::Cut { .. }))
    });
}

fn empty(servers: &mut Servers) {
    for place in servers.places() {
        servers.kill(place);
        servers.wipe(place);
    }
    for place in servers.places() {
        servers.start(place);
    }
    servers.await_ready();
}

#[test]
fn a_deployment_comes_back_whole_and_its_old_owner_can_write_no_more() {
    let mut servers = Servers::three();
    let folder = tempfile::tempdir().unwrap();
    let (a, to) = (data(&folder, "a"), data(&folder, "backup"));
    let old = Owner::join(&servers, &a);
    old.claim_all(&[0, 1, 2]);
    snapshots(&old, 0);
    old.append(0, 7, "a");
    old.append(1, 5, "a");
    let taken = backup::take(&config(&servers, &a), &to).unwrap();
    assert_eq!((taken.shards, taken.messages, taken.bundles), (3, 17 + 6 + 1, 2));
    // The old deployment goes on, and is lost.
    old.append(1, 3, "a");
    empty(&mut servers);
    let restored = backup::restore(&config(&servers, &a), &to).unwrap();
    assert_eq!((restored.shards, restored.messages), (3, taken.messages));

    let refused = old.runtime.block_on(async {
        let appending = old.journal.append(Shard(1), Seq(8), text(1, Seq(9), "a").into_bytes());
        tokio::time::timeout(std::time::Duration::from_secs(3), appending).await
    });
    // It is told that it is fenced, or nothing while its journal does not trust servers that lost what it wrote.
    let is_refused = matches!(refused, Err(_) | Ok(Err(AppendError::Fenced { .. })));
    assert!(is_refused, "an old owner wrote into the restored deployment: {refused:?}");

    let next = Owner::join(&servers, &data(&folder, "b"));
    assert_eq!((next.claim(0), next.claim(1), next.claim(2)), (Seq(27), Seq(5), Seq::NONE));
    assert_eq!(next.claim(3), Seq::NONE, "a shard that never was written");
    assert_eq!(newest(&next, 0), Some((Seq(20), b"state".to_vec())));
    assert_eq!(next.read(0, Seq(20)), texts(0, 21..=27, "a"));
    assert_eq!(next.read(1, Seq::NONE), texts(1, 1..=5, "a"));
    next.append(1, 1, "b");
    assert!(next.journal.epoch(Shard(1)).unwrap() > 1 << 20, "epochs go on far behind the old ones");
}

fn newest(owner: &Owner, shard: u16) -> Option<(Seq, Vec<u8>)> {
    let actors = owner.shared.actors(Shard(shard)).unwrap();
    actors.iter().find_map(|actor| owner.shared.newest(Shard(shard), actor))
}

#[test]
fn a_backup_under_load_holds_every_record_that_was_acknowledged_before_it() {
    let mut servers = Servers::one();
    let folder = tempfile::tempdir().unwrap();
    let (a, to) = (data(&folder, "a"), data(&folder, "backup"));
    let owner = Owner::join(&servers, &a);
    owner.claim_all(&[0, 1, 2, 3]);
    let before: Vec<Seq> = (0..SHARDS).map(|shard| owner.append(shard, 20, "a")).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Rounds of bundles and cuts as fast as they go.
            while !stop.load(Ordering::Relaxed) {
                for shard in 0..SHARDS {
                    let seq = owner.append(shard, 3, "a");
                    owner.shared.put_all(Shard(shard), &[Put { actor: b"desk", seq, bytes: b"state" }]).unwrap();
                    if let Some(cut) = safe_to_cut(&owner, Shard(shard)) {
                        owner.journal.truncate(Shard(shard), cut);
                    }
                }
            }
        });
        let taken = backup::take(&config(&servers, &a), &to);
        stop.store(true, Ordering::Relaxed);
        taken.unwrap();
    });
    drop(owner);
    empty(&mut servers);
    backup::restore(&config(&servers, &a), &to).unwrap();
    let next = Owner::join(&servers, &data(&folder, "b"));
    for (shard, before) in (0..SHARDS).zip(before) {
        let last = next.claim(shard);
        assert!(last >= before, "shard {shard}: {last} of at least {before}");
        let base = newest(&next, shard).map_or(Seq::NONE, |(seq, _)| seq);
        assert_eq!(next.read(shard, base), texts(shard, base.0 + 1..=last.0, "a"));
    }
}

/// Two shards of different streams that answer each other: each record follows from the other shard's one before.
#[test]
fn no_shard_of_a_backup_knows_of_what_another_has_not_done() {
    let mut servers = Servers::three();
    let folder = tempfile::tempdir().unwrap();
    let a = data(&folder, "a");
    let owner = Owner::join(&servers, &a);
    owner.claim_all(&[0, 1, 2, 3]);
    let stop = AtomicBool::new(false);
    let backups: Vec<_> = (0..5).map(|n| data(&folder, &format!("backup-{n}"))).collect();
    let taken = std::thread::scope(|scope| {
        for (ask, answer) in [(0, 1), (3, 2)] {
            let (owner, stop) = (&owner, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    owner.append(ask, 1, "asking");
                    owner.append(answer, 1, "answering");
                }
            });
        }
        let taken: Result<Vec<_>, _> = backups.iter().map(|to| backup::take(&config(&servers, &a), to)).collect();
        stop.store(true, Ordering::Relaxed);
        taken.unwrap()
    });
    drop(owner);
    for (n, (backup, taken)) in backups.iter().zip(taken).enumerate() {
        empty(&mut servers);
        backup::restore(&config(&servers, &a), backup).unwrap();
        let next = Owner::join(&servers, &data(&folder, &format!("next-{n}")));
        for (ask, answer) in [(0, 1), (3, 2)] {
            let (asked, answered) = (next.claim(ask).0, next.claim(answer).0);
            assert!(asked == answered || asked == answered + 1, "{n}: {asked} asked, {answered} answered, {taken:?}");
        }
    }
}

#[test]
fn nothing_is_restored_over_anything_or_from_anything_that_is_not_whole() {
    let mut servers = Servers::one();
    let folder = tempfile::tempdir().unwrap();
    let (a, to) = (data(&folder, "a"), data(&folder, "backup"));
    let restore = |servers: &Servers, from: &Path, more: &[&str]| {
        let arguments = [&["restore", "--from", from.to_str().unwrap()], more].concat();
        said(&stampede(servers, &a, &arguments))
    };
    let (text, code) = said(&stampede(&servers, &a, &["backup", "--to", to.to_str().unwrap()]));
    assert!(code == Some(2) && text.contains("no deployment"), "{text}");
    let owner = Owner::join(&servers, &a);
    owner.claim(1);
    owner.append(1, 5, "a");
    let (text, code) = said(&stampede(&servers, &a, &["backup", "--to", to.to_str().unwrap()]));
    assert!(code == Some(0) && text.contains("1 shards, 6 journal messages"), "{text}");
    let (text, code) = restore(&servers, &to, &[]);
    assert!(code == Some(2) && text.contains("exists under the name"), "{text}");
    // Beside it, under another name, it may be.
    let (text, code) = restore(&servers, &to, &["--set", "cluster.name=rehearsal"]);
    assert_eq!(code, Some(0), "{text}");
    drop(owner);
    empty(&mut servers);
    let (text, code) = restore(&servers, &to, &["--set", "cluster.shards=8"]);
    assert!(code == Some(2) && text.contains("`cluster.shards` is 8"), "{text}");
    let journal = to.join("journal-1");
    let sound = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, [&sound[..50], &[sound[50] ^ 1], &sound[51..]].concat()).unwrap();
    let (text, code) = restore(&servers, &to, &[]);
    assert!(code == Some(2) && text.contains("journal-1") && text.contains("checksum"), "{text}");
    std::fs::write(&journal, &sound).unwrap();
    let (text, code) = restore(&servers, &to, &[]);
    assert_eq!(code, Some(0), "what was refused left nothing behind: {text}");
}
