//! Bundles and answers: nobody is forgotten and nobody is counted twice.

use actors::event;

use super::super::place::Place;
use super::*;

const SHARDS: u16 = 4;

struct Story {
    answers: Arc<Answers>,
    gauges: Arc<[Gauges]>,
}

impl Story {
    fn new() -> Story {
        Story { answers: Answers::new(), gauges: (0..SHARDS).map(|_| Gauges::default()).collect() }
    }

    /// Asks let in and counted, with the tickets from 0 on.
    fn bundle(&self, asks: u64) -> Bundle {
        let mut bundle = Bundle::new(&self.answers, &self.gauges, asks as usize);
        for ticket in 0..asks {
            let (shard, to) = Place::of(Address::Event(format!("concert-{ticket}").as_str().into()), SHARDS);
            assert_eq!(self.gauges[usize::from(shard.0)].asks.enter(1, usize::MAX), 1);
            let message = Message::Event(event::Command::Show);
            assert!(!bundle.push(ticket, Parcel { shard, to, key: None, message }));
        }
        bundle
    }

    fn under_way(&self) -> usize {
        (0..SHARDS).map(|shard| self.gauges[usize::from(shard)].view(Shard(shard), 0).asks).sum()
    }

    /// Tickets and outcomes in order.
    fn taken(&self) -> Vec<(u64, Outcome)> {
        let mut taken = Vec::new();
        self.answers.take(&mut taken);
        taken.sort_by_key(|answered| answered.ticket);
        taken.into_iter().map(|answered| (answered.ticket, answered.outcome)).collect()
    }
}

fn unknown(tickets: impl IntoIterator<Item = u64>) -> Vec<(u64, Outcome)> {
    tickets.into_iter().map(|ticket| (ticket, Err(Failure::Unknown))).collect()
}

#[test]
fn what_is_lost_on_its_way_is_not_known() {
    let story = Story::new();
    let bundle = story.bundle(9);
    assert_eq!((story.under_way(), story.taken()), (9, Vec::new()));
    drop(bundle);
    assert_eq!((story.under_way(), story.taken()), (0, unknown(0..9)));
}

#[test]
fn a_bundle_that_is_opened_halfway_loses_nobody() {
    let story = Story::new();
    let mut bundle = story.bundle(5);
    let (parcel, waiter) = bundle.open().next().expect("it has five");
    assert_eq!((story.under_way(), story.taken()), (1, unknown(1..5)));
    assert_eq!(parcel.to.address, Address::Event("concert-0".into()));
    waiter.answer(Err(Failure::Elsewhere));
    drop(bundle);
    assert_eq!((story.under_way(), story.taken()), (0, vec![(0, Err(Failure::Elsewhere))]));
}

#[test]
fn released_together_they_leave_their_shards_and_reach_whoever_asked() {
    let (ann, bob) = (Story::new(), Story::new());
    let mut outgoing = Outgoing::default();
    for round in 0..2 {
        for story in [&ann, &bob] {
            for (_, waiter) in story.bundle(20).open() {
                outgoing.answer(waiter, Err(Failure::STOPPING));
            }
        }
        assert_eq!(
            (ann.taken(), bob.taken()),
            (Vec::new(), Vec::new()),
            "nobody is told before all are, round {round}"
        );
        outgoing.tell();
        for story in [&ann, &bob] {
            let expected: Vec<_> = (0..20).map(|ticket| (ticket, Err(Failure::STOPPING))).collect();
            assert_eq!((story.under_way(), story.taken()), (0, expected));
        }
    }
}

#[test]
fn a_full_bundle_says_so() {
    let story = Story::new();
    let mut bundle = Bundle::new(&story.answers, &story.gauges, usize::MAX);
    let full = (0..).find(|ticket| {
        let (shard, to) = Place::of(Address::Orders(Shard(0)), SHARDS);
        assert_eq!(story.gauges[0].asks.enter(1, usize::MAX), 1);
        bundle.push(*ticket, Parcel { shard, to, key: None, message: Message::Event(event::Command::Show) })
    });
    assert_eq!(full, Some(BUNDLE_MAX as u64 - 1));
}

#[test]
fn room_is_given_up_to_the_limit_and_not_beyond() {
    let story = Story::new();
    let asks = &story.gauges[0].asks;
    assert_eq!([asks.enter(3, 5), asks.enter(3, 5), asks.enter(3, 5)], [3, 2, 0]);
    asks.leave(4);
    assert_eq!([asks.enter(1, 5), asks.enter(9, 5)], [1, 3]);
}
