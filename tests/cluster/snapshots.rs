//! Bundles in a real object store: the journal is cut behind them, and a node with an empty disk finds all of a shard.

use stampede::journal::{Journal, ReplayError, Seq, Shard};
use stampede::snapshots::Put;
use stampede::snapshots::bucket::{self, Bucket, JetStreamBucket, PutError, Revision};
use tokio::io::AsyncReadExt;

use crate::nats::Nats as Servers;
use crate::owner::{Owner, data, texts};
use crate::process::until;

const S: Shard = Shard(1);

fn bucket_of(owner: &Owner) -> JetStreamBucket {
    JetStreamBucket::new(owner.nats.clone(), owner.runtime.handle().clone())
}

/// More than two chunks.
fn large(fill: u8) -> Vec<u8> {
    (0..1_300_000u32).map(|at| (at % 251) as u8 ^ fill).collect()
}

#[test]
fn an_object_is_replaced_on_condition_and_nothing_is_left_of_the_old_one() {
    let servers = Servers::one();
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::join(&servers, &data(&folder, "a"));
    let bucket = bucket_of(&owner);
    assert_eq!(bucket.head("shard-1-0").unwrap().revision, Revision::NONE);
    let first = bucket::put(&bucket, "shard-1-0", Revision::NONE, Seq(7), &large(1)).unwrap();
    let moved = bucket::put(&bucket, "shard-1-0", Revision::NONE, Seq(6), &large(2));
    assert_eq!(moved, Err(PutError::Moved), "a writer that knows nothing of the first");
    let second = bucket::put(&bucket, "shard-1-0", first, Seq(8), &large(3)).unwrap();
    let head = bucket.head("shard-1-0").unwrap();
    assert_eq!(head.revision, second);
    let manifest = head.manifest.unwrap();
    assert_eq!((manifest.seq, manifest.chunks), (Seq(8), 3));
    assert_eq!(bucket::get(&bucket, "shard-1-0", &manifest).unwrap(), large(3));
    // The client library's own object store reads it too, and finds nothing besides.
    owner.runtime.block_on(async {
        let store = owner.nats.jetstream().get_object_store(owner.nats.snapshots_bucket()).await.unwrap();
        let mut read = Vec::new();
        store.get("shard-1-0").await.unwrap().read_to_end(&mut read).await.unwrap();
        assert_eq!(read, large(3));
        let stream = owner.nats.jetstream().get_stream(format!("OBJ_{}", owner.nats.snapshots_bucket())).await.unwrap();
        assert_eq!(stream.cached_info().state.messages, 4, "three chunks and the object's description");
    });
}

/// A complete round of the shard's two actors.
fn round(owner: &Owner, seq: Seq) -> Option<Seq> {
    let states = [format!("desk at {seq}"), format!("block at {seq}")];
    let actors: [&[u8]; 2] = [b"desk", b"block"];
    let puts: Vec<Put<'_>> =
        actors.iter().zip(&states).map(|(actor, state)| Put { actor, seq, bytes: state.as_bytes() }).collect();
    owner.shared.put_all(S, &puts).unwrap();
    let safe = owner.shared.completed(S).and_then(|completed| owner.shared.safe_to_cut(S, completed));
    if let Some(to) = safe {
        owner.journal.truncate(S, to);
    }
    safe
}

#[test]
fn the_journal_is_cut_behind_two_bundles_and_an_empty_disk_is_enough_to_take_over() {
    let servers = Servers::three();
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::join(&servers, &data(&folder, "a"));
    owner.claim(1);
    assert_eq!(round(&owner, owner.append(1, 10, "a")), None, "one bundle is none");
    assert_eq!(round(&owner, owner.append(1, 10, "a")), Some(Seq(10)));
    until("the journal is cut", || {
        let whole = owner.journal.replay(&[(S, Seq::NONE)], &mut |_, _, _| Ok(()));
        matches!(whole, Err(ReplayError::Cut { first: Seq(11), .. }))
    });
    owner.append(1, 5, "a");
    drop(owner);
    let next = Owner::join(&servers, &data(&folder, "b"));
    next.claim(1);
    assert_eq!(next.shared.actors(S).unwrap(), [b"block".to_vec(), b"desk".to_vec()]);
    assert_eq!(next.shared.newest(S, b"desk").unwrap(), (Seq(20), b"desk at 20".to_vec()));
    assert_eq!(next.read(1, Seq(20)), texts(1, 21..=25, "a"));
    assert_eq!(round(&next, next.append(1, 1, "b")), Some(Seq(20)), "it goes on with the two that are there");
}

#[test]
fn bundles_go_on_through_the_death_of_the_server_that_leads_them() {
    let mut servers = Servers::three();
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::join(&servers, &data(&folder, "a"));
    owner.claim(1);
    let stream = format!("OBJ_{}", owner.nats.snapshots_bucket());
    let mut safe = Seq::NONE;
    for _ in 0..3 {
        let leader = servers.await_leader(&stream);
        servers.kill(leader);
        // Each round may fail while the others elect; none of them may cut what is not in two bundles.
        until("the journal may be cut further", || {
            let before = owner.journal.last(S);
            let now = round(&owner, owner.append(1, 1, "a"));
            assert!(now <= Some(before), "cut to {now:?} with records up to {before} in the bundle before");
            now > Some(safe) && now.is_some_and(|now| std::mem::replace(&mut safe, now) < now)
        });
        servers.start(leader);
        servers.await_ready();
    }
    drop(owner);
    let next = Owner::join(&servers, &data(&folder, "b"));
    let last = next.claim(1);
    next.shared.actors(S).unwrap();
    let (seq, _) = next.shared.newest(S, b"desk").unwrap();
    assert_eq!(next.read(1, seq), texts(1, seq.0 + 1..=last.0, "a"));
}
