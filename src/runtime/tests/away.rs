//! A journal that cannot be reached: what is under way stays unresolved, nothing new is let in, reads go on.

use super::*;
use crate::journal::Status;

#[test]
fn a_journal_that_is_away_takes_nothing_new_and_comes_back_by_itself() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let mut pending = Box::pin(story.ask(rename("pending")));
        let append = story.append().await;
        journal.set_status(Status::Away { reason: "no answer".to_owned() });
        until(|| !story.router().view().shards[0].writable).await;
        assert!(matches!(story.ask(rename("refused")).await, Err(Failure::Unavailable { .. })));
        let desk = story.router();
        let count = desk.ask(Address::Notifier(Shard(0)), plain(actors::notice::Command::Count)).await;
        assert!(count.is_ok(), "reads go on: {count:?}");
        assert!(!is_ready(&mut pending).await, "what became of it is not known yet");
        journal.hold(false);
        journal.acknowledge(append);
        assert_eq!(name(pending.await), "pending");
        journal.set_status(Status::Serving);
        until(|| story.router().view().shards[0].writable).await;
        assert_eq!(name(story.ask(rename("after")).await), "after");
        assert_eq!((journal.records(), story.world.noted("restarted")), (3, 0));
        story.runtime.kill();
    });
}

#[test]
fn a_shard_whose_journal_is_away_stops_alone() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let ((world, _feed), policy) = (World::new(), Policy { shards: 2, ..Policy::default() });
        let parts = Parts { policy, ..parts(&journal, &Arc::default(), settings(), &world) };
        let runtime = Runtime::start(parts, &[Shard(0), Shard(1)]).unwrap();
        let writable = || runtime.router().view().shards.iter().map(|shard| shard.writable).collect::<Vec<_>>();
        until(|| writable() == [true, true]).await;
        journal.set_away(&[crate::journal::Shard(1)]);
        until(|| writable() == [true, false]).await;
        // What changes with another shard opens nothing and closes nothing.
        journal.set_away(&[crate::journal::Shard(0)]);
        until(|| writable() == [false, true]).await;
        journal.set_away(&[]);
        until(|| writable() == [true, true]).await;
        runtime.kill();
    });
}
