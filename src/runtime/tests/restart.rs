//! What a restart finds.

use std::time::Duration;

use super::super::format::encode_address;
use super::super::{Shelf, StartError, load};
use super::*;
use crate::runtime::recovery::RecoveryError;

/// The bytes of every machine, as a restart without threads finds them.
fn state(journal: &JournalDouble, shelf: &ShelfDouble) -> Vec<(Address, Vec<u8>)> {
    let (restored, _) = load(journal, shelf, &[actors::ids::Shard(0)], 1).unwrap();
    let machines = restored.into_iter().flat_map(|shard| shard.machines);
    let mut bytes: Vec<_> =
        machines.map(|(address, recovered)| (address, recovered.machine.encode().unwrap())).collect();
    bytes.sort();
    bytes
}

async fn play(story: &Story) {
    story.ask(create()).await.unwrap();
    for number in 0..20 {
        story.ask(rename(&number.to_string())).await.unwrap();
    }
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        play(&story).await;
        story.runtime.kill();
        let story = Story::start(&journal);
        assert_eq!(story.runtime.recovery().entries, 21);
        assert_eq!(name(story.ask(event::Command::Show).await), "19");
        story.runtime.kill();
    });
}

#[test]
fn snapshots_and_replay_give_equal_bytes() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let shelf = Arc::new(ShelfDouble::default());
        let story = Story::start_with(&journal, &shelf, settings());
        play(&story).await;
        story.runtime.stop().await;
        assert_eq!(shelf.bytes().len(), 4, "the event and the three desks of the shard");
        assert_eq!(journal.records(), 21, "nothing is cut behind a single snapshot");
        assert_eq!(state(&journal, &shelf), state(&journal, &ShelfDouble::default()));
    });
}

#[test]
fn a_journal_cut_behind_two_snapshots_restarts_with_the_same_state() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let shelf = Arc::new(ShelfDouble::default());
        let story = Story::start_with(&journal, &shelf, settings());
        play(&story).await;
        story.runtime.stop().await;
        let mut expected = 21;
        for round in 0..3 {
            let story = Story::start_with(&journal, &shelf, settings());
            assert_eq!(story.runtime.recovery().entries, 0, "round {round}: all of it is in the snapshots");
            story.ask(rename("again")).await.unwrap();
            expected += 1;
            for desk in crate::runtime::recovery::always(actors::ids::Shard(0)) {
                // The desks have not changed; their snapshots are confirmed instead of written again.
                assert!(shelf.bytes().contains_key(&(0, encode_address(&desk))));
            }
            story.runtime.stop().await;
        }
        assert_eq!(journal.last_of_shard_0(), expected);
    });
}

#[test]
fn a_round_of_snapshots_comes_with_time_and_cuts_the_journal() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let shelf = Arc::new(ShelfDouble::default());
        let settings = Settings { snapshot_interval: Duration::from_millis(5), ..settings() };
        let story = Story::start_with(&journal, &shelf, settings);
        story.ask(create()).await.unwrap();
        let mut number = 0;
        while journal.records() == number + 1 {
            number += 1;
            story.ask(rename(&number.to_string())).await.unwrap();
        }
        story.runtime.kill();
        let story = Story::start_with(&journal, &shelf, super::settings());
        assert_eq!(name(story.ask(event::Command::Show).await), number.to_string());
        story.runtime.kill();
    });
}

#[test]
fn snapshots_that_are_gone_or_do_not_fit_are_refused_with_the_place() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let shelf = Arc::new(ShelfDouble::default());
        let settings = Settings { snapshot_interval: Duration::from_millis(5), ..settings() };
        let story = Story::start_with(&journal, &shelf, settings);
        story.ask(create()).await.unwrap();
        let mut count = 1;
        while journal.records() == count {
            story.ask(rename(&count.to_string())).await.unwrap();
            count += 1;
        }
        story.runtime.stop().await;
        let story = Story::start_with(&journal, &shelf, super::settings());
        story.ask(rename("last")).await.unwrap();
        story.runtime.stop().await;
        let shards = [actors::ids::Shard(0)];
        journal.keep_first(0);
        let ahead = load(&*journal, &*shelf, &shards, 1).unwrap_err();
        assert!(matches!(ahead, StartError::Recovery(RecoveryError::Ahead { .. })), "{ahead}");
        shelf.clear();
        let gone = load(&*journal, &*shelf, &shards, 1).unwrap_err();
        assert!(matches!(gone, StartError::Recovery(RecoveryError::NoSnapshot { .. })), "{gone}");
    });
}

#[test]
fn snapshots_do_not_wait_for_a_slow_cut() {
    run(async {
        let (journal, shelf) = (Arc::new(JournalDouble::default()), Arc::new(ShelfDouble::default()));
        let settings = Settings { snapshot_interval: Duration::from_millis(1), ..settings() };
        let story = Story::start_with(&journal, &shelf, settings);
        shelf.hold_cuts(true);
        story.ask(create()).await.unwrap();
        until(|| shelf.cuts() == 1).await;
        let stored = || shelf.newest(Shard(0), &encode_address(&concert())).map(|(seq, _)| seq.0);
        // Many more rounds than cuts may wait.
        for round in 0..40 {
            story.ask(rename(&round.to_string())).await.unwrap();
            until(|| stored() >= Some(journal.last_of_shard_0())).await;
        }
        assert_eq!((shelf.cuts(), journal.records()), (1, 41), "nothing is cut meanwhile");
        shelf.hold_cuts(false);
        // A cut that found no place comes with a later round: nothing has to change for that.
        until(|| journal.records() == 0).await;
        story.runtime.stop().await;
    });
}
