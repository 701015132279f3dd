//! Many asks at once: each is answered exactly once, by the same words as an ask that goes alone.

use std::sync::atomic::AtomicUsize;
use std::task::{Context, Wake, Waker};

use actors::block::{self, Layout};
use actors::event::BlockSpec;
use actors::refusal::Refusal;
use actors::{address::BlockRef, notice, order};

use super::super::{Answered, Answers, Ask, Outcome};
use super::*;

/// Counts how often the taker was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn ask(ticket: u64, to: Address, command: impl Into<Message>) -> Ask {
    Ask { to, asked: plain(command), ticket }
}

/// Takes so many answers, in the order of their tickets.
async fn taken(answers: &Answers, count: usize) -> Vec<Outcome> {
    let mut taken = Vec::new();
    while taken.len() < count {
        std::future::poll_fn(|context| answers.poll_take(context, &mut taken)).await;
    }
    taken.sort_by_key(|answered: &Answered| answered.ticket);
    assert!(taken.iter().map(|answered| answered.ticket).eq(0..count as u64), "one answer a ticket: {taken:?}");
    taken.into_iter().map(|answered| answered.outcome).collect()
}

#[test]
fn answers_come_when_they_are_durable_and_the_taker_is_woken_once_for_all() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let answers = Answers::new();
        let names = (0..100).map(|number| ask(number, concert(), rename(&number.to_string())));
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        assert!(answers.poll_take(&mut Context::from_waker(&waker), &mut Vec::new()).is_pending());
        story.router().submit(names, &answers);
        assert_eq!(story.router().view().shards[0].asks, 100);
        let append = story.append().await;
        assert!(!answers.take(&mut Vec::new()) && bell.rung() == 0, "nobody is told before the journal knows");
        journal.acknowledge(append);
        until(|| bell.rung() > 0).await;
        until(|| story.router().view().shards[0].asks == 0).await;
        for (number, outcome) in taken(&answers, 100).await.into_iter().enumerate() {
            assert_eq!(name(outcome), number.to_string(), "in the order of the batch");
        }
        assert_eq!((bell.rung(), journal.records()), (1, 2), "one batch, one turn, one record, one wake-up");
        story.runtime.kill();
    });
}

#[test]
fn each_of_a_batch_hears_what_it_would_have_heard_alone() {
    run(async {
        let story = Story::start(&Arc::default());
        let no_block = Address::Block(BlockRef { event: "no".into(), block: "A".into() });
        let no_shard = Address::Orders(Shard(7));
        let show = order::Command::Show {
            order: actors::ids::OrderId::new(Millis(1), Shard(7), actors::ids::Tag(0), 1),
            customer: None,
        };
        let answers = Answers::new();
        let asks = [
            ask(0, concert(), create()),
            ask(1, no_block, block::Command::Audit),
            ask(2, no_shard, show),
            ask(3, Address::Orders(Shard(0)), create()),
            ask(4, concert(), event::Command::Show),
            ask(5, Address::Notifier(Shard(0)), notice::Command::Count),
        ];
        story.router().submit(asks, &answers);
        let [created, block, order, misfit, shown, count] = taken(&answers, 6).await.try_into().unwrap();
        assert_eq!((name(created), name(shown)), ("Aurora".to_owned(), "Aurora".to_owned()));
        assert_eq!(block.unwrap().result, Err(Refusal::UnknownBlock));
        assert_eq!(order.unwrap().result, Err(Refusal::UnknownOrder));
        assert_eq!(misfit, Err(Failure::MISSENT));
        assert!(count.unwrap().result.is_ok());
        assert_eq!(story.router().view().shards[0].asks, 0);

        let router = story.router();
        story.runtime.stop().await;
        router.submit((0..3).map(|ticket| ask(ticket, concert(), event::Command::Show)), &answers);
        assert_eq!(taken(&answers, 3).await, vec![Err(Failure::STOPPING); 3]);
    });
}

#[test]
fn a_batch_that_goes_in_several_bundles_keeps_its_order() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let story = Story::start(&journal);
        story.ask(create()).await.unwrap();
        let answers = Answers::new();
        let names = (0..1500).map(|number| ask(number, concert(), rename(&number.to_string())));
        story.router().submit(names, &answers);
        for (number, outcome) in taken(&answers, 1500).await.into_iter().enumerate() {
            assert_eq!(name(outcome), number.to_string());
        }
        let shown = story.ask(event::Command::Show).await;
        assert_eq!((name(shown), story.router().view().shards[0].asks), ("1499".to_owned(), 0));
        story.runtime.kill();
    });
}

#[test]
fn those_too_many_are_refused_and_counted_no_longer() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        let settings = Settings { shard_asks_max: 4, ..settings() };
        let story = Story::start_with(&journal, &Arc::default(), settings);
        story.ask(create()).await.unwrap();
        journal.hold(true);
        let answers = Answers::new();
        let names = (0..6).map(|number| ask(number, concert(), rename(&number.to_string())));
        story.router().submit(names, &answers);
        assert_eq!(story.world.noted("overloaded"), 2);
        let append = story.append().await;
        journal.hold(false);
        journal.acknowledge(append);
        let outcomes = taken(&answers, 6).await;
        assert!(outcomes[..4].iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(outcomes[4..], [Err(Failure::OVERLOADED), Err(Failure::OVERLOADED)]);
        assert_eq!(story.router().view().shards[0].asks, 0);
        story.runtime.kill();
    });
}

#[test]
fn a_batch_that_waits_for_too_long_or_is_lost_is_not_known() {
    run(async {
        let journal = Arc::new(JournalDouble::default());
        journal.hold(true);
        let settings = Settings { deadline: Duration::from_millis(20), ..settings() };
        let story = Story::start_with(&journal, &Arc::default(), settings);
        let answers = Answers::new();
        story.router().submit([ask(0, concert(), create())], &answers);
        assert_eq!(taken(&answers, 1).await, [Err(Failure::Unknown)]);
        story.runtime.kill();

        let story = Story::start(&journal);
        let router = story.router();
        router.submit([ask(0, concert(), create())], &answers);
        drop(story.append().await);
        router.submit([ask(1, concert(), event::Command::Show)], &answers);
        story.runtime.kill();
        let outcomes = taken(&answers, 2).await;
        let hears = |outcome: &Outcome| matches!(outcome, Err(Failure::Unknown | Failure::Unavailable { .. }));
        assert!(outcomes[0] == Err(Failure::Unknown) && hears(&outcomes[1]), "{outcomes:?}");
    });
}

#[test]
fn asks_of_one_batch_reach_machines_of_several_shards() {
    run(async {
        let (world, _feed) = World::new();
        let mut parts = parts(&Arc::default(), &Arc::default(), settings(), &world);
        parts.settings.arbiters = 2;
        parts.policy.shards = 8;
        let runtime = Runtime::start(parts, &(0..8).map(Shard).collect::<Vec<_>>()).unwrap();
        let router = runtime.router();
        let blocks = (0..32).map(|number| BlockSpec {
            id: format!("B{number}").as_str().into(),
            name: String::new(),
            layout: Layout::Standing(10),
            price: 1,
        });
        let described = EventSpec { blocks: blocks.collect(), ..spec() };
        router.ask(concert(), plain(event::Command::Create(Box::new(described)))).await.unwrap();
        until(|| router.view().cells().of(Kind::Block) == 32).await;
        let answers = Answers::new();
        let block =
            |number| Address::Block(BlockRef { event: "aurora".into(), block: format!("B{number}").as_str().into() });
        router.submit((0..64).map(|ticket| ask(ticket, block(ticket % 32), block::Command::Audit)), &answers);
        for outcome in taken(&answers, 64).await {
            assert!(matches!(outcome.unwrap().result, Ok(Reply::Block(block::Reply::Census(_)))));
        }
        runtime.kill();
    });
}
