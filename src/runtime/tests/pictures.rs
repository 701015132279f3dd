//! Pictures: what other nodes are shown of a whole shard.

use super::member::{HOME, Member, block_of};
use super::*;

#[test]
fn pictures_go_out_behind_what_is_not_durable_yet() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        let before = member.log().len();
        journal.hold(true);
        let renamed = member.ask(rename("Borealis"));
        let append = member.append().await;
        let mut pictured = Box::pin(member.runtime.hosting().pictures(HOME));
        let count = plain(actors::notice::Command::Count);
        member.router().ask(Address::Notifier(HOME), count).await.unwrap();
        assert!(!is_ready(&mut pictured).await && member.world.noted("public Borealis") == 0);
        journal.hold(false);
        journal.acknowledge(append);
        renamed.await.unwrap();
        assert!(pictured.await);
        let mut told = member.log().split_off(before);
        told.retain(|line| !line.starts_with("turned"));
        assert_eq!(told, ["public Borealis", "public Borealis", "pictured 0"]);
        assert_eq!(member.world.largest(), 1, "a picture goes out by itself");
        member.story.runtime.stop().await;
    });
}

#[test]
fn pictures_wait_for_a_cell_that_is_being_brought_back() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        let before = member.world.noted("public Aurora");
        journal.hold_replays(true);
        member.router().panic_for_test(concert());
        assert_eq!(member.ask(rename("lost")).await, Err(Failure::RESTARTED));
        let mut pictured = Box::pin(member.runtime.hosting().pictures(HOME));
        let count = plain(actors::notice::Command::Count);
        member.router().ask(Address::Notifier(HOME), count).await.unwrap();
        assert!(!is_ready(&mut pictured).await);
        journal.hold_replays(false);
        assert!(pictured.await);
        assert_eq!(member.world.noted("public Aurora"), before + 1);
        member.story.runtime.stop().await;
    });
}

#[test]
fn pictures_do_not_wait_for_ever_for_a_cell_that_does_not_come_back() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        let before = member.world.noted("public Aurora");
        journal.hold_replays(true);
        member.router().panic_for_test(concert());
        assert_eq!(member.ask(rename("lost")).await, Err(Failure::RESTARTED));
        let pictured = tokio::time::timeout(Duration::from_secs(30), member.runtime.hosting().pictures(HOME)).await;
        assert_eq!(pictured, Ok(true));
        assert_eq!((member.world.noted("pictured 0"), member.world.noted("public Aurora")), (2, before));
        journal.hold_replays(false);
        until(|| member.world.noted("public Aurora") == before + 1).await;
        assert_eq!(name(member.ask(event::Command::Show).await), "Aurora");
        assert_eq!(member.world.noted("public Aurora"), before + 1, "once is enough");
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_shard_that_comes_shows_one_cell_at_a_time() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let first = Member::bare(&journal, settings());
        assert!(first.adopt(HOME).await);
        let described = EventSpec { blocks: vec![block_of(HOME)], ..spec() };
        first.ask(event::Command::Create(Box::new(described))).await.unwrap();
        until(|| first.world.noted("public other") >= 1).await;
        assert!(first.runtime.hosting().release(HOME).await.is_some());
        let second = Member::bare(&journal, settings());
        assert!(second.adopt(HOME).await);
        assert_eq!((second.world.noted("public other"), second.world.noted("public Aurora")), (1, 1));
        assert_eq!(second.world.largest(), 1, "a message to other nodes has its limit");
        first.story.runtime.stop().await;
        second.story.runtime.stop().await;
    });
}
