//! Shards that come and go while the node runs, and what those hear who asked meanwhile.

use std::time::Duration;

use actors::ids::{OrderId, Tag};
use actors::order;

use super::member::{HOME, Member, OTHER, PAST, block_of};
use super::*;
use crate::journal::{AppendError, Seq, Unavailable};

#[test]
fn a_node_that_owns_nothing_sends_everybody_elsewhere() {
    run(async {
        let member = Member::bare(&Arc::default(), settings());
        assert!(!member.router().hosts(HOME) && !member.router().hosts(Shard(7)));
        assert_eq!(member.ask(event::Command::Show).await, Err(Failure::Elsewhere));
        member.router().tell(concert(), rename("x").into());
        assert_eq!(member.world.noted("beyond Event"), 1);
        assert_eq!(member.runtime.hosting().release(HOME).await, None);
        assert!(!member.runtime.hosting().pictures(HOME).await);
        member.runtime.hosting().drop_shard(HOME);
        let view = member.router().view();
        assert_eq!((view.shards.len(), view.shards.iter().any(|shard| shard.hosted)), (2, false));
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_shard_comes_with_its_state_and_its_pictures_are_out_before_it_answers() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let first = Member::with_concert(&journal).await;
        first.ask(rename("Borealis")).await.unwrap();
        assert_eq!(first.runtime.hosting().release(HOME).await, Some(Seq(2)));
        let second = Member::bare(&journal, settings());
        assert!(second.adopt(HOME).await);
        assert_eq!(second.log()[..2], ["public Borealis", "pictured 0"]);
        assert!(second.router().hosts(HOME) && second.router().view().shards[0].writable);
        assert_eq!(name(second.ask(event::Command::Show).await), "Borealis");
        assert_eq!(name(second.ask(rename("Australis")).await), "Australis");
        assert_eq!(first.ask(event::Command::Show).await, Err(Failure::Elsewhere));
        first.is_clean(HOME).await;
        first.story.runtime.stop().await;
        second.story.runtime.stop().await;
    });
}

#[test]
fn what_was_let_in_is_answered_before_a_shard_leaves_and_nobody_is_let_in_meanwhile() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let settings = Settings { handoff_drain: Duration::from_secs(60), ..settings() };
        let member = Member::with_concert_and(&journal, settings).await;
        journal.hold(true);
        let first = member.ask(rename("first"));
        let append = member.append().await;
        let second = member.ask(rename("second"));
        tokio::task::yield_now().await;
        let released = member.runtime.hosting().release(HOME);
        assert!(!member.router().hosts(HOME), "at once");
        assert_eq!(member.ask(event::Command::Show).await, Err(Failure::Elsewhere));
        member.router().tell(concert(), rename("told").into());
        assert_eq!(member.world.noted("beyond Event"), 1);
        journal.hold(false);
        journal.acknowledge(append);
        assert_eq!((name(first.await), name(second.await)), ("first".to_owned(), "second".to_owned()));
        assert_eq!(released.await, Some(Seq(3)));
        member.is_clean(HOME).await;
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_shard_that_cannot_finish_leaves_all_the_same() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let settings = Settings { handoff_drain: Duration::from_millis(20), ..settings() };
        let member = Member::with_concert_and(&journal, settings).await;
        journal.hold(true);
        let in_flight = member.ask(rename("in flight"));
        let append = member.append().await;
        let read = member.ask(event::Command::Show);
        let behind = member.ask(rename("behind"));
        assert_eq!(member.runtime.hosting().release(HOME).await, Some(Seq(1)));
        assert_eq!(in_flight.await, Err(Failure::Unknown), "it may be in the journal");
        assert_eq!(behind.await, Err(Failure::Elsewhere), "the journal has never seen it");
        assert!(matches!(read.await, Err(Failure::Elsewhere)), "a read can be asked again anywhere");
        member.is_clean(HOME).await;
        drop(append);
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_dropped_shard_comes_back_clean_while_its_former_append_is_unresolved() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        journal.hold(true);
        let pending = member.ask(rename("landed"));
        let append = member.append().await;
        member.runtime.hosting().drop_shard(HOME);
        assert_eq!(pending.await, Err(Failure::Unknown));
        member.is_clean(HOME).await;
        journal.hold(false);
        // The record arrives after all, and nobody hears of it: the next life finds it in the journal.
        journal.land(append);
        assert!(member.adopt(HOME).await);
        assert_eq!(name(member.ask(event::Command::Show).await), "landed");
        assert_eq!(name(member.ask(rename("again")).await), "again");
        assert_eq!((member.lives(HOME), journal.last_of_shard_0()), (1, 3));
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_shard_that_comes_twice_lives_once() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        assert!(member.adopt(HOME).await);
        until(|| member.lives(HOME) == 1).await;
        assert_eq!(member.router().view().cells().of(Kind::Event), 1);
        assert_eq!(name(member.ask(rename("Borealis")).await), "Borealis");
        member.story.runtime.stop().await;
    });
}

#[test]
fn cells_of_a_former_life_that_are_brought_back_late_find_nobody() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        let restored = member.restored(HOME);
        journal.hold_replays(true);
        member.router().panic_for_test(concert());
        assert_eq!(member.ask(rename("lost")).await, Err(Failure::RESTARTED));
        let waiting = member.ask(event::Command::Show);
        tokio::task::yield_now().await;
        member.runtime.hosting().drop_shard(HOME);
        assert_eq!(waiting.await, Err(Failure::Elsewhere));
        assert!(member.runtime.hosting().adopt(restored, PAST).await);
        assert_eq!(name(member.ask(rename("new life")).await), "new life");
        journal.hold_replays(false);
        // The rebuilds come one after the other: when this one is done, the late one was there.
        member.router().panic_for_test(concert());
        assert_eq!(member.ask(rename("lost")).await, Err(Failure::RESTARTED));
        assert_eq!(name(member.ask(event::Command::Show).await), "new life");
        assert_eq!(name(member.ask(rename("goes on")).await), "goes on");
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_shard_that_another_node_has_written_to_leaves_and_the_node_goes_on() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        assert!(member.adopt(OTHER).await);
        journal.hold(true);
        let refused = member.ask(rename("refused"));
        let append = member.append().await;
        let behind = member.ask(rename("behind"));
        tokio::task::yield_now().await;
        let shard = crate::journal::Shard(0);
        journal.refuse(append, AppendError::Fenced { shard, after: Seq(1), last: Seq(2) });
        assert_eq!((refused.await, behind.await), (Err(Failure::Elsewhere), Err(Failure::Elsewhere)));
        until(|| member.world.noted("fenced 0") == 1).await;
        member.is_clean(HOME).await;
        assert_eq!(*member.runtime.fatal().borrow(), None);
        let desk = Address::Notifier(OTHER);
        let count = member.router().ask(desk, plain(actors::notice::Command::Count)).await;
        assert!(count.is_ok(), "the other shard serves: {count:?}");
        journal.hold(false);
        assert!(member.adopt(HOME).await);
        assert_eq!(name(member.ask(event::Command::Show).await), "Aurora");
        member.story.runtime.stop().await;
    });
}

#[test]
fn an_outcome_that_cannot_be_known_any_more_is_said_to_be_so_and_the_shard_leaves() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        journal.hold(true);
        let in_flight = member.ask(rename("in flight"));
        let append = member.append().await;
        let behind = member.ask(rename("behind"));
        tokio::task::yield_now().await;
        journal.refuse(append, AppendError::Unknown { reason: "taken over and cut".to_owned() });
        assert_eq!((in_flight.await, behind.await), (Err(Failure::Unknown), Err(Failure::Elsewhere)));
        until(|| member.world.noted("fenced 0") == 1).await;
        member.is_clean(HOME).await;
        assert_eq!(*member.runtime.fatal().borrow(), None);
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_journal_that_is_closed_under_a_shard_is_no_other_owner() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        let closed = AppendError::Unavailable { reason: Unavailable::Closed };
        for (error, heard) in [(AppendError::Unanswered, Failure::Unknown), (closed, Failure::Elsewhere)] {
            journal.hold(true);
            let in_flight = member.ask(rename("in flight"));
            let append = member.append().await;
            let behind = member.ask(rename("behind"));
            tokio::task::yield_now().await;
            journal.refuse(append, error);
            assert_eq!((in_flight.await, behind.await), (Err(heard), Err(Failure::Elsewhere)));
            member.is_clean(HOME).await;
            journal.hold(false);
            assert!(member.adopt(HOME).await);
        }
        assert_eq!((member.world.noted("fenced"), &*member.runtime.fatal().borrow()), (0, &None));
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_node_that_is_alone_stops_when_somebody_else_has_written() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        journal.hold(true);
        let story = Story::start(&journal);
        let mut fatal = story.runtime.fatal();
        let created = story.ask(create());
        let append = story.append().await;
        let shard = crate::journal::Shard(0);
        journal.refuse(append, AppendError::Fenced { shard, after: Seq(0), last: Seq(1) });
        assert_eq!(created.await, Err(Failure::Unknown));
        fatal.changed().await.unwrap();
        assert!(fatal.borrow().is_some());
        story.runtime.kill();
    });
}

#[test]
fn the_time_of_a_shard_does_not_go_back_when_its_owner_was_ahead() {
    run(async {
        let member = Member::bare(&Arc::default(), settings());
        let ahead = crate::clock::now() + Span::seconds(3600);
        let restored = member.restored(HOME);
        assert!(member.runtime.hosting().adopt(restored, ahead).await);
        let Reply::Event(event::Reply::Created(created)) = member.ask(create()).await.unwrap().result.unwrap() else {
            panic!("not created");
        };
        assert!(created.created_at >= ahead, "{created:?}");
        assert_eq!(name(member.ask(event::Command::Show).await), "Aurora", "nobody came too late by that");
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_timer_of_a_shard_that_left_does_not_keep_it() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::bare(&journal, settings());
        assert!(member.adopt(HOME).await);
        let on_sale_at = Some(crate::clock::now() + Span::seconds(3600));
        let described = EventSpec { on_sale_at, ..spec() };
        member.ask(event::Command::Create(Box::new(described))).await.unwrap();
        assert_eq!(member.runtime.hosting().release(HOME).await, Some(Seq(1)));
        member.is_clean(HOME).await;
        member.story.runtime.stop().await;
    });
}

#[test]
fn machines_tell_machines_of_other_nodes_through_the_seam() {
    run(async {
        let member = Member::bare(&Arc::default(), settings());
        assert!(member.adopt(HOME).await);
        let described = EventSpec { blocks: vec![block_of(OTHER)], ..spec() };
        member.ask(event::Command::Create(Box::new(described))).await.unwrap();
        until(|| member.world.noted("beyond Block") >= 1).await;
        assert!(member.adopt(OTHER).await);
        // The event owes its block the layout and says it again: now the block is here.
        until(|| member.router().view().cells().of(Kind::Block) == 1).await;
        member.story.runtime.stop().await;
    });
}

#[test]
fn rounds_of_snapshots_follow_the_shards() {
    run(async {
        let settings = Settings { snapshot_interval: Duration::from_millis(5), ..settings() };
        let member = Member::with_concert_and(&Arc::default(), settings).await;
        let snapshot_at = |shard: usize| member.router().view().shards[shard].snapshot_at;
        until(|| snapshot_at(0).is_some()).await;
        assert!(member.adopt(OTHER).await);
        until(|| snapshot_at(1).is_some()).await;
        assert!(member.runtime.hosting().release(HOME).await.is_some());
        member.is_clean(HOME).await;
        assert!(member.adopt(HOME).await);
        until(|| snapshot_at(0).is_some()).await;
        assert_eq!(name(member.ask(event::Command::Show).await), "Aurora");
        member.story.runtime.stop().await;
    });
}

#[test]
fn shards_come_and_go_many_times_and_nothing_piles_up() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let settings = Settings { arbiters: 2, snapshot_interval: Duration::from_millis(1), ..settings() };
        let member = Member::with_concert_and(&journal, settings).await;
        for round in 0..50 {
            let asked = member.ask(rename(&round.to_string()));
            if round % 2 == 0 {
                asked.await.unwrap();
                assert!(member.runtime.hosting().release(HOME).await.is_some());
            } else {
                member.runtime.hosting().drop_shard(HOME);
                let heard = asked.await;
                assert!(heard.is_ok() || matches!(heard, Err(Failure::Elsewhere | Failure::Unknown)), "{heard:?}");
            }
            member.is_clean(HOME).await;
            assert!(member.adopt(OTHER).await && member.adopt(HOME).await);
            member.runtime.hosting().drop_shard(OTHER);
        }
        member.is_clean(OTHER).await;
        assert_eq!(member.lives(HOME), 1);
        assert_eq!(name(member.ask(rename("last")).await), "last");
        member.story.runtime.stop().await;
    });
}

#[test]
fn a_node_that_stops_takes_no_shard_any_more() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let member = Member::with_concert(&journal).await;
        let (hosting, restored) = (member.runtime.hosting(), member.restored(HOME));
        member.story.runtime.stop().await;
        assert!(!hosting.adopt(restored, PAST).await);
        assert_eq!(hosting.release(HOME).await, None);
    });
}

#[test]
fn a_node_stops_while_a_shard_is_leaving() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let (handoff_drain, drain) = (Duration::from_secs(60), Duration::from_millis(5));
        let settings = Settings { handoff_drain, drain, ..settings() };
        let member = Member::with_concert_and(&journal, settings).await;
        journal.hold(true);
        let pending = member.ask(rename("pending"));
        let append = member.append().await;
        let released = member.runtime.hosting().release(HOME);
        member.story.runtime.stop().await;
        assert_eq!((released.await, pending.await), (None, Err(Failure::Unknown)));
        drop(append);
    });
}

#[test]
fn whoever_waits_for_an_order_hears_what_another_node_made_durable() {
    run(async {
        let member = Member::bare(&Arc::default(), settings());
        let order = OrderId::new(Millis(1), OTHER, Tag(0), 1);
        let changed = member.router().order_changed(order);
        member.router().heard(&[Feed::Order(order, order::State::Paid)]);
        assert_eq!(changed.await, Ok(()));
        member.story.runtime.stop().await;
    });
}
