//! What happens when a machine or the journal breaks.

use std::time::Duration;

use super::*;
use crate::journal::{AppendError, Status};

fn is_unavailable(answer: &Result<Answer<Reply>, Failure>) -> bool {
    matches!(answer, Err(Failure::Unavailable { .. }))
}

#[test]
fn a_machine_that_panics_is_rebuilt_and_counted() {
    run(async {
        let story = Story::start(&Arc::default());
        story.ask(create()).await.unwrap();
        story.ask(rename("Borealis")).await.unwrap();
        assert!(story.router().panic_for_test(concert()));
        let struck = story.ask(rename("lost")).await;
        assert_eq!(struck, Err(Failure::RESTARTED));
        assert_eq!(name(story.ask(event::Command::Show).await), "Borealis");
        assert_eq!(story.router().view().restarts().of(Kind::Event), 1);
        assert_eq!(story.world.noted("restarted event_desk"), 1);
        story.runtime.kill();
    });
}

#[test]
fn a_rebuilt_machine_has_what_it_had_written_before_it_panicked() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let renamed = story.ask(rename("Borealis"));
        let append = story.append().await;
        story.router().panic_for_test(concert());
        assert_eq!(story.ask(rename("lost")).await, Err(Failure::RESTARTED));
        let mut shown = Box::pin(story.ask(event::Command::Show));
        assert!(!is_ready(&mut shown).await, "the first renaming is not durable yet");
        journal.hold(false);
        journal.acknowledge(append);
        assert_eq!((name(renamed.await), name(shown.await)), ("Borealis".to_owned(), "Borealis".to_owned()));
        story.runtime.kill();
    });
}

#[test]
fn a_machine_that_panics_again_and_again_comes_back_each_time() {
    run(async {
        let story = Story::start(&Arc::default());
        story.ask(create()).await.unwrap();
        for round in 1..=3 {
            story.router().panic_for_test(concert());
            assert_eq!(story.ask(rename("lost")).await, Err(Failure::RESTARTED));
            assert_eq!(story.router().view().restarts().of(Kind::Event), round);
        }
        assert_eq!(name(story.ask(event::Command::Show).await), "Aurora");
        story.runtime.kill();
    });
}

#[test]
fn a_full_disk_undoes_what_it_refused_and_ends_by_itself() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let first = story.ask(rename("first"));
        let append = story.append().await;
        let second = story.ask(rename("second"));
        let shown = story.ask(event::Command::Show);
        tokio::task::yield_now().await;
        journal.set_status(Status::DiskFull);
        journal.refuse(append, JournalDouble::disk_full());
        assert!(is_unavailable(&first.await) && is_unavailable(&second.await));
        // The read was let in before or after: it shows what is durable, or nothing.
        if let Ok(answer) = shown.await {
            assert_eq!(name(Ok(answer)), "Aurora");
        }
        assert!(is_unavailable(&story.ask(rename("third")).await), "refused at the door");
        assert_eq!(name(story.ask(event::Command::Show).await), "Aurora", "reads go on");
        assert!(!story.router().view().shards[0].writable);
        journal.hold(false);
        journal.set_status(Status::Serving);
        while is_unavailable(&story.ask(rename("fourth")).await) {
            tokio::task::yield_now().await;
        }
        assert_eq!(name(story.ask(event::Command::Show).await), "fourth");
        assert_eq!(journal.records(), 2);
        story.runtime.kill();
    });
}

#[test]
fn nothing_falls_due_while_the_disk_is_full() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        let mut described = spec();
        let opens = crate::clock::now() + Span(30);
        described.on_sale_at = Some(opens);
        story.ask(event::Command::Create(Box::new(described))).await.unwrap();
        journal.set_status(Status::DiskFull);
        while story.router().view().shards[0].writable || crate::clock::now() < opens {
            tokio::task::yield_now().await;
        }
        assert_eq!(name(story.ask(event::Command::Show).await), "Aurora");
        assert_eq!((journal.records(), story.world.noted("restarted")), (1, 0));
        story.runtime.kill();
    });
}

#[test]
fn an_append_of_unknown_outcome_stops_the_node() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        journal.hold(true);
        let story = Story::start(&journal);
        let mut fatal = story.runtime.fatal();
        let created = story.ask(create());
        let append = story.append().await;
        journal.refuse(append, AppendError::Unknown { reason: "fsync failed".to_owned() });
        assert_eq!(created.await, Err(Failure::Unknown));
        fatal.changed().await.unwrap();
        assert!(fatal.borrow().as_ref().unwrap().contains("fsync failed"));
        assert_eq!(story.ask(event::Command::Show).await, Err(Failure::STOPPING));
        story.runtime.kill();
    });
}

#[test]
fn one_ask_too_many_is_overloaded_and_what_was_let_in_is_answered() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let settings = Settings { mailbox_max: 3, ..settings() };
        let story = Story::start_with(&journal, &Arc::default(), settings);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let first = story.ask(rename("1"));
        let append = story.append().await;
        let (second, third) = (story.ask(rename("2")), story.ask(rename("3")));
        assert_eq!(story.ask(rename("4")).await, Err(Failure::OVERLOADED));
        assert_eq!(story.world.noted("overloaded event_desk"), 1);
        journal.hold(false);
        journal.acknowledge(append);
        assert_eq!(name(first.await), "1");
        assert_eq!((name(second.await), name(third.await)), ("2".to_owned(), "3".to_owned()));
        assert_eq!(name(story.ask(event::Command::Show).await), "3");
        assert_eq!(story.router().view().shards[0].asks, 0);
        story.runtime.kill();
    });
}

#[test]
fn a_shard_lets_only_so_many_asks_in() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        journal.hold(true);
        let settings = Settings { shard_asks_max: 1, deadline: Duration::from_secs(60), ..settings() };
        let story = Story::start_with(&journal, &Arc::default(), settings);
        let created = story.ask(create());
        let append = story.append().await;
        assert_eq!(story.ask(event::Command::Show).await, Err(Failure::OVERLOADED));
        journal.acknowledge(append);
        created.await.unwrap();
        assert_eq!(name(story.ask(event::Command::Show).await), "Aurora");
        story.runtime.kill();
    });
}
