//! A shard that is followed record by record is taken over as a replay would bring it back.

use std::collections::BTreeMap;

use super::*;
use crate::journal::{Journal, Seq};
use crate::runtime::follow::Following;
use crate::runtime::load;
use crate::runtime::recovery::{RecoveryError, Restored};

/// The bytes of every machine.
fn bytes(restored: Restored) -> BTreeMap<Address, Vec<u8>> {
    let machines = restored.machines.into_iter();
    machines.map(|(address, recovered)| (address, recovered.machine.encode().unwrap())).collect()
}

/// Folds in what the journal has beyond.
fn catch_up(following: &mut Following, journal: &JournalDouble) -> Seq {
    let from = (crate::journal::Shard(0), following.seq());
    journal.replay(&[from], &mut |_, seq, record| Ok(following.fold(seq, record)?)).unwrap()[0].1
}

#[test]
fn a_follower_ends_where_a_replay_ends() {
    run(async {
        let (journal, shelf) = (Arc::new(JournalDouble::default()), ShelfDouble::default());
        let mut following = Following::new(Shard(0), Seq::NONE, &shelf).unwrap();
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        assert_eq!(catch_up(&mut following, &journal), Seq(1));
        story.ask(rename("Borealis")).await.unwrap();
        story.ask(rename("Australis")).await.unwrap();
        let last = catch_up(&mut following, &journal);
        assert_eq!((following.seq(), last), (Seq(3), Seq(3)));
        let replayed = load(&*journal, &shelf, &[Shard(0)], 1).unwrap().0.remove(0);
        assert_eq!(bytes(following.finish(last).unwrap()), bytes(replayed));
        story.runtime.kill();
    });
}

#[test]
fn a_follower_begins_with_snapshots_where_the_journal_was_cut() {
    run(async {
        let (journal, shelf) = (Arc::new(JournalDouble::default()), Arc::new(ShelfDouble::default()));
        for round in 0..3 {
            let story = Story::start_with(&journal, &shelf, settings());
            let command = if round == 0 { create() } else { rename(&round.to_string()) };
            story.ask(command).await.unwrap();
            story.runtime.stop().await;
        }
        assert!(journal.records() < 3, "the journal was cut");
        let base = Seq(journal.last(crate::journal::Shard(0)).0 - journal.records() as u64);
        let mut following = Following::new(Shard(0), base, &*shelf).unwrap();
        let last = catch_up(&mut following, &journal);
        let restored = following.finish(last).unwrap();
        assert!(restored.machines.contains_key(&concert()));
        let replayed = load(&*journal, &*shelf, &[Shard(0)], 1).unwrap().0.remove(0);
        assert_eq!(bytes(restored), bytes(replayed));
        let cut = Following::new(Shard(0), last.next(), &*shelf).unwrap_err();
        assert!(matches!(cut, RecoveryError::Gap { .. }), "{cut}");
    });
}

#[test]
fn a_follower_takes_over_only_with_every_record() {
    run(async {
        let (journal, shelf) = (Arc::new(JournalDouble::default()), ShelfDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        let mut following = Following::new(Shard(0), Seq::NONE, &shelf).unwrap();
        let early = following.fold(Seq(2), b"").unwrap_err();
        assert!(matches!(early, RecoveryError::Order { .. }), "{early}");
        let behind = following.finish(Seq(1)).unwrap_err();
        assert!(matches!(behind, RecoveryError::Order { .. }), "{behind}");
        story.runtime.kill();
    });
}
