//! A node that may have been paused: what it answers when it can no longer be sure that its shards are its own.

use actors::keyed::{Key, KeyDigest};
use actors::refusal::Refusal;

use super::member::{HOME, Member};
use super::*;

#[test]
fn a_read_that_waited_for_a_record_is_not_answered_when_the_lease_is_over_by_then() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        journal.hold(true);
        let renamed = member.ask(rename("Borealis"));
        let append = member.append().await;
        let turns = member.world.noted("turned event_desk");
        let shown = member.ask(event::Command::Show);
        until(|| member.world.noted("turned event_desk") > turns).await;
        member.world.cut_off(true);
        journal.acknowledge(append);
        assert_eq!(name(renamed.await), "Borealis", "the record proves that it was done");
        assert_eq!(shown.await, Err(Failure::OUT_OF_REACH), "others may have changed it since");
        assert_eq!(member.router().view().shards[0].asks, 0);
        member.story.runtime.stop().await;
    });
}

#[test]
fn nothing_that_has_no_record_is_answered_without_a_lease() {
    run(async {
        let member = Member::with_concert(&Arc::default()).await;
        let keyed = || {
            let key = Some(Key { digest: KeyDigest(7), fingerprint: 1 });
            let (router, asked) = (member.router(), Asked { key, command: rename("Borealis").into() });
            async move { router.ask(concert(), asked).await }
        };
        assert!(!keyed().await.unwrap().replayed);
        member.world.cut_off(true);
        assert_eq!(member.ask(event::Command::Show).await, Err(Failure::OUT_OF_REACH), "a read");
        assert_eq!(member.ask(create_another()).await, Err(Failure::OUT_OF_REACH), "a refusal");
        assert_eq!(keyed().await, Err(Failure::OUT_OF_REACH), "an answer of before");
        member.world.cut_off(false);
        assert_eq!(name(member.ask(event::Command::Show).await), "Borealis");
        assert_eq!(member.ask(create_another()).await.unwrap().result, Err(Refusal::EventExists));
        assert!(keyed().await.unwrap().replayed);
        member.story.runtime.stop().await;
    });
}

#[test]
fn that_there_is_no_such_machine_is_not_said_without_a_lease() {
    run(async {
        let member = Member::bare(&Arc::default(), settings());
        assert!(member.adopt(HOME).await);
        member.world.cut_off(true);
        assert_eq!(member.ask(event::Command::Show).await, Err(Failure::OUT_OF_REACH));
        member.world.cut_off(false);
        assert_eq!(member.ask(event::Command::Show).await.unwrap().result, Err(Refusal::UnknownEvent));
        member.story.runtime.stop().await;
    });
}

/// Another concert under the name of the one that exists.
fn create_another() -> event::Command {
    event::Command::Create(Box::new(EventSpec { venue: "Elsewhere".to_owned(), ..spec() }))
}
