//! Nobody is told before the journal knows, and in order.

use std::time::Duration;

use actors::address::BlockRef;
use actors::feed::Feed;
use actors::ids::{HoldId, OrderId, Shard, Tag};
use actors::keyed::{Asked, Key, KeyDigest};
use actors::refusal::Refusal;
use actors::{block, order};

use super::*;

#[test]
fn nothing_is_told_before_the_append_completes() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        journal.hold(true);
        let mut story = Story::start(&journal);
        let mut created = Box::pin(story.ask(create()));
        let append = story.append().await;
        assert!(!is_ready(&mut created).await);
        assert!(story.feed.try_recv().is_err(), "nothing public either");
        journal.acknowledge(append);
        assert_eq!(name(created.await), "Aurora");
        assert!(matches!(story.feed.try_recv(), Ok(Feed::Event(_))), "the board knows before the buyer");
        story.runtime.kill();
    });
}

#[test]
fn a_read_does_not_show_what_is_not_durable() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let mut renamed = Box::pin(story.ask(rename("Borealis")));
        let append = story.append().await;
        let mut shown = Box::pin(story.ask(event::Command::Show));
        // A command for another machine shows that the read had its turn and still waits.
        let router = story.router();
        let desk = router.ask(Address::Notifier(Shard(0)), plain(actors::notice::Command::Count));
        desk.await.unwrap();
        assert!(!is_ready(&mut shown).await && !is_ready(&mut renamed).await);
        journal.acknowledge(append);
        assert_eq!((name(renamed.await), name(shown.await)), ("Borealis".to_owned(), "Borealis".to_owned()));
        story.runtime.kill();
    });
}

#[test]
fn what_arrives_during_an_append_is_one_record_and_one_turn() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let first = story.ask(rename("1"));
        let append = story.append().await;
        let rest: Vec<_> = (2..100).map(|number| story.ask(rename(&number.to_string()))).collect();
        let last = story.ask(event::Command::Show);
        // One task on this thread asks after the other, so all have asked when a later one has.
        tokio::task::yield_now().await;
        journal.acknowledge(append);
        assert_eq!(name(first.await), "1");
        let append = story.append().await;
        journal.hold(false);
        journal.acknowledge(append);
        for (number, answer) in (2..100).zip(rest) {
            assert_eq!(name(answer.await), number.to_string());
        }
        assert_eq!(name(last.await), "99");
        assert!(journal.records() <= 4, "records: {}", journal.records());
        story.runtime.kill();
    });
}

#[test]
fn machines_tell_each_other_only_what_is_durable_and_blocks_come_into_being() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let mut story = Story::start(&journal);
        go_on_sale(&mut story).await;
        assert_eq!(story.router().view().cells().of(Kind::Block), 1);
        story.runtime.kill();
    });
}

/// An event with one block is on sale.
async fn go_on_sale(story: &mut Story) -> BlockRef {
    let mut described = spec();
    let layout = block::Layout::Standing(100);
    described.blocks.push(event::BlockSpec { id: "FLOOR".into(), name: "Floor".to_owned(), layout, price: 5000 });
    story.ask(event::Command::Create(Box::new(described))).await.unwrap();
    loop {
        match story.feed.recv().await.unwrap() {
            Feed::Event(event) if event.ready => return BlockRef { event: "aurora".into(), block: "FLOOR".into() },
            Feed::Event(_) | Feed::Board(_) | Feed::Seats(_) | Feed::Order(..) | Feed::Sought(_) => {}
        }
    }
}

#[test]
fn who_waits_for_a_search_hears_of_the_hold_when_that_is_durable_and_before_its_desk_has_written_it_down() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let mut story = Story::start(&journal);
        let floor = go_on_sale(&mut story).await;
        journal.hold(true);
        let (router, key) = (story.router(), Key { digest: KeyDigest(7), fingerprint: 1 });
        let mut sought = router.sought(key.digest);
        let hold = HoldId::new(Millis(1), Shard(0), floor.tag(), 1);
        let candidates = vec![order::Candidate { block: floor, hold }];
        let seek = order::Command::Seek { key, customer: "ann".into(), quantity: 2, candidates };
        let asked = tokio::task::spawn_local(async move { router.ask(Address::Orders(Shard(0)), plain(seek)).await });
        journal.acknowledge(story.append().await);
        let begun = asked.await.unwrap().unwrap().result.unwrap();
        assert_eq!(begun, Reply::Order(order::Reply::Sought { answer: None, replayed: false }));
        let held = story.append().await;
        assert!(sought.try_recv().is_err(), "the hold is not durable");
        journal.acknowledge(held);
        let heard = tokio::time::timeout(Duration::from_secs(30), sought).await;
        let found = heard.expect("heard within half a minute").unwrap().expect("what was found");
        assert_eq!((found.hold, found.claim.quantity()), (hold, 2));
        // The desk's record is on its way and waits.
        story.append().await;
        story.runtime.kill();
    });
}

#[test]
fn what_does_not_exist_is_refused_and_makes_no_cell() {
    run(async {
        let story = Story::start(&Arc::default());
        let answer = story.ask(event::Command::Show).await.unwrap();
        assert_eq!(answer.result, Err(Refusal::UnknownEvent));
        let router = story.router();
        let unknown = Address::Block(BlockRef { event: "no".into(), block: "A".into() });
        let answer = router.ask(unknown, plain(block::Command::Audit)).await.unwrap();
        assert_eq!(answer.result, Err(Refusal::UnknownBlock));
        let nowhere = Address::Orders(Shard(7));
        let show = order::Command::Show { order: OrderId::new(Millis(1), Shard(7), Tag(0), 1), customer: None };
        let answer = router.ask(nowhere, plain(show)).await.unwrap();
        assert_eq!(answer.result, Err(Refusal::UnknownOrder));
        let misfit = router.ask(Address::Orders(Shard(0)), plain(create())).await;
        assert_eq!(misfit, Err(Failure::MISSENT));
        assert_eq!(router.view().cells().of(Kind::Event), 0);
        story.runtime.kill();
    });
}

#[test]
fn a_key_is_answered_again_without_another_record() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        let key = Some(Key { digest: KeyDigest(5), fingerprint: 1 });
        let router = story.router();
        let first = router.ask(concert(), Asked { key, command: create().into() }).await.unwrap();
        let records = journal.records();
        let again = router.ask(concert(), Asked { key, command: create().into() }).await.unwrap();
        assert_eq!((first.replayed, again.replayed), (false, true));
        assert_eq!(first.result, again.result);
        assert_eq!(journal.records(), records);
        story.runtime.kill();
    });
}

#[test]
fn a_machine_is_woken_at_its_deadline() {
    run(async {
        let mut story = Story::start(&Arc::default());
        let mut described = spec();
        described.on_sale_at = Some(crate::clock::now() + Span(30));
        story.ask(event::Command::Create(Box::new(described))).await.unwrap();
        let mut seen = 0;
        while seen < 2 {
            seen += usize::from(matches!(story.feed.recv().await.unwrap(), Feed::Event(_)));
        }
        story.runtime.kill();
    });
}

#[test]
fn whoever_waits_for_too_long_hears_that_it_is_not_known() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        journal.hold(true);
        let settings = Settings { deadline: Duration::from_millis(20), ..settings() };
        let story = Story::start_with(&journal, &Arc::default(), settings);
        assert_eq!(story.ask(create()).await, Err(Failure::Unknown));
        let append = story.append().await;
        journal.hold(false);
        journal.acknowledge(append);
        assert_eq!(name(story.ask(event::Command::Show).await), "Aurora", "it was done after all");
        story.runtime.kill();
    });
}
