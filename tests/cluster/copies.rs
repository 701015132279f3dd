//! The second copy against a real journal: every difference is named, and what was lost at an end comes back.

use std::path::Path;

use stampede::journal::{Journal, Seq};

use crate::nats::Nats as Servers;
use crate::owner::{Owner, data, said, stampede, texts};

fn compare(servers: &Servers, data: &Path, more: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["journal", "compare"], more].concat();
    said(&stampede(servers, data, &arguments))
}

#[test]
fn a_copy_is_equal_to_the_journal_it_was_made_from_and_says_so() {
    let servers = Servers::one();
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (data(&folder, "a"), data(&folder, "b"));
    let owner = Owner::join(&servers, &a);
    owner.claim_all(&[1, 2]);
    owner.append(1, 30, "a");
    owner.append(2, 30, "a");
    let other = Owner::join(&servers, &b);
    other.claim(2);
    other.append(2, 10, "b");
    // Cut behind 20: what the copy still has of it is not missed.
    owner.journal.truncate(stampede::journal::Shard(1), Seq(20));
    drop((owner, other));
    let both = [a.to_str().unwrap(), b.to_str().unwrap()];
    let (text, code) = compare(&servers, &a, &both);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("of 70 records") && text.contains("0 differences"), "{text}");
    let (text, code) = compare(&servers, &a, &[]);
    assert_eq!(code, Some(0), "the configured data directory alone: {text}");
}

#[test]
fn records_that_a_restored_backup_lacks_come_back_from_the_copy() {
    let mut servers = Servers::one();
    let folder = tempfile::tempdir().unwrap();
    let (a, backup) = (data(&folder, "a"), data(&folder, "backup"));
    let owner = Owner::join(&servers, &a);
    owner.claim_all(&[1, 2]);
    owner.append(1, 10, "a");
    owner.append(2, 10, "a");
    let (text, code) = said(&stampede(&servers, &a, &["backup", "--to", backup.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{text}");
    owner.append(1, 5, "a");
    drop(owner);
    servers.kill(0);
    servers.wipe(0);
    servers.start(0);
    servers.await_ready();
    let (text, code) = said(&stampede(&servers, &a, &["restore", "--from", backup.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{text}");

    let (text, code) = compare(&servers, &a, &[]);
    assert_eq!(code, Some(1), "{text}");
    for seq in 11..=15 {
        let named =
            format!("shard=1 seq={seq} epoch=1 copy={}: missing at the end, the journal ends at 10", a.display());
        assert!(text.contains(&named), "{text}");
    }
    assert!(text.contains("5 differences"), "{text}");
    let (text, code) = compare(&servers, &a, &["--restore"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("shard=1: records 11 to 15 written again"), "{text}");

    let b = data(&folder, "b");
    let next = Owner::join(&servers, &b);
    assert_eq!(next.claim(1), Seq(15));
    assert_eq!(next.read(1, Seq::NONE), texts(1, 1..=15, "a"));
    next.append(1, 1, "b");
    drop(next);
    // A node that did not wait for that would have written something else there.
    let late = Owner::join(&servers, &data(&folder, "late"));
    late.claim(2);
    late.append(2, 1, "late");
    drop(late);
    assert_eq!(compare(&servers, &b, &[]).1, Some(0));
    let (text, code) = compare(&servers, &a, &[]);
    assert_eq!(code, Some(0), "nothing of a's is missing: {text}");
}

#[test]
fn another_record_under_a_lost_ones_number_is_named_and_never_overwritten() {
    let mut servers = Servers::one();
    let folder = tempfile::tempdir().unwrap();
    let (a, b, backup) = (data(&folder, "a"), data(&folder, "b"), data(&folder, "backup"));
    let owner = Owner::join(&servers, &a);
    owner.claim(3);
    owner.append(3, 2, "a");
    assert_eq!(stampede(&servers, &a, &["backup", "--to", backup.to_str().unwrap()]).status.code(), Some(0));
    owner.append(3, 2, "a");
    drop(owner);
    servers.kill(0);
    servers.wipe(0);
    servers.start(0);
    servers.await_ready();
    assert_eq!(stampede(&servers, &a, &["restore", "--from", backup.to_str().unwrap()]).status.code(), Some(0));
    let next = Owner::join(&servers, &b);
    next.claim(3);
    next.append(3, 1, "b");
    drop(next);
    for more in [&[][..], &["--restore"]] {
        let (text, code) = compare(&servers, &a, more);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("shard=3 seq=3 epoch=1 ") && text.contains("other bytes in the journal"), "{text}");
    }
    let (text, code) = compare(&servers, &data(&folder, "nobodys"), &[]);
    assert_eq!(code, Some(2), "{text}");
}
