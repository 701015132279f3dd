//! Stories of orders, payments and letters: the three desks of a shard talk to each other for real; blocks, the
//! payment provider and the mail are played by the story.
//!
//! Long because the stories of three desks share one way of telling them.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test says what it expects")]

use actors::address::{Address, BlockRef};
use actors::block::{self, Claim, HoldState, HoldView, SeatIx};
use actors::gateway::{Call, Heard};
use actors::ids::{Customer, HoldId, OrderId, PaymentId, Shard, Tag, TicketId};
use actors::keyed::{Asked, Key, KeyDigest, Keyed};
use actors::machine::{Effect, Machine, Moment, turn};
use actors::message::Message;
use actors::money::{Currency, Money};
use actors::notice::{self, Letter, Notifier};
use actors::order::{self, BindFailure, Candidate, OrderDesk, OrderView, Reply, State};
use actors::payment::{self, PaymentDesk};
use actors::policy::Policy;
use actors::refusal::Refusal;
use actors::time::{Millis, Span};
use serde::{Serialize, de::DeserializeOwned};

const SHARD: Shard = Shard(3);
const START: Millis = Millis(1_000_000);
const HOLD_TTL: Span = Span(60_000);

/// What the blocks of the story do with a message.
#[derive(Clone, Copy, PartialEq)]
enum Blocks {
    Obey,
    Silent,
    RefuseToBind,
    RefuseToSell,
}

struct Story {
    now: Millis,
    policy: Policy,
    orders: Keyed<OrderDesk>,
    payments: Keyed<PaymentDesk>,
    notifier: Keyed<Notifier>,
    blocks: Blocks,
    calls: Vec<Call>,
    letters: Vec<Letter>,
    told_blocks: Vec<block::Command>,
    next: u64,
}

impl Story {
    fn begin() -> Self {
        Self {
            now: START,
            policy: Policy { shards: 1, ..Policy::default() },
            orders: Keyed::new(&Address::Orders(SHARD)),
            payments: Keyed::new(&Address::Payments(SHARD)),
            notifier: Keyed::new(&Address::Notifier(SHARD)),
            blocks: Blocks::Obey,
            calls: Vec::new(),
            letters: Vec::new(),
            told_blocks: Vec::new(),
            next: 0,
        }
    }

    fn unique(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn hold(&mut self, customer: &str, seats: &[u32]) -> HoldView {
        let unique = self.unique();
        HoldView {
            hold: HoldId::new(self.now, Shard(0), Tag(0), unique),
            block: BlockRef { event: "gig".into(), block: "A".into() },
            customer: customer.into(),
            claim: Claim::Seats(seats.iter().copied().map(SeatIx).collect()),
            price: Money { amount: 1000, currency: Currency(*b"EUR") },
            state: HoldState::Held,
            expires_at: self.now + HOLD_TTL,
            max_per_customer: Some(4),
        }
    }

    fn ask(&mut self, command: order::Command) -> Result<Reply, Refusal> {
        self.ask_keyed(None, command)
    }

    fn ask_keyed(&mut self, key: Option<Key>, command: order::Command) -> Result<Reply, Refusal> {
        let at = Moment { now: self.now, policy: &self.policy };
        let turned = turn(&mut self.orders, at, [Asked { key, command }]);
        let answer = turned.answers.into_iter().next().unwrap();
        self.carry(turned.effects);
        answer.result
    }

    fn carry(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(call) => self.calls.push(call),
                Effect::Deliver(letter) => self.letters.push(letter),
                Effect::Tell(_, message) => self.tell(message),
            }
        }
    }

    fn tell(&mut self, message: Message) {
        let at = Moment { now: self.now, policy: &self.policy };
        let effects = match message {
            Message::Order(command) => turn(&mut self.orders, at, [command.into()]).effects,
            Message::Payment(command) => turn(&mut self.payments, at, [command.into()]).effects,
            Message::Notice(command) => turn(&mut self.notifier, at, [command.into()]).effects,
            Message::Block(command) => {
                self.told_blocks.push(command.clone());
                return self.play_block(command);
            }
            Message::Event(_) => Vec::new(),
        };
        self.carry(effects);
    }

    fn play_block(&mut self, command: block::Command) {
        let answer = match (self.blocks, command) {
            (Blocks::Silent, _) => return,
            (Blocks::RefuseToBind, block::Command::Bind { hold, order, .. }) => {
                order::Command::BindRefused { order, hold, why: BindFailure::Expired }
            }
            (Blocks::RefuseToSell, block::Command::Sell { hold, order }) => order::Command::SellRefused { order, hold },
            (_, block::Command::Bind { hold, order, .. }) => order::Command::Bound { order, hold },
            (_, block::Command::Sell { hold, order }) => order::Command::Sold { order, hold },
            (_, block::Command::Return { hold, order }) => order::Command::Returned { order, hold },
            (Blocks::Obey | Blocks::RefuseToBind | Blocks::RefuseToSell, _) => return,
        };
        self.tell(answer.into());
    }

    fn wait(&mut self, span: Span) {
        let until = self.now + span;
        loop {
            let due = [self.orders.deadline(), self.payments.deadline(), self.notifier.deadline()];
            let Some(due) = due.into_iter().flatten().min().filter(|due| *due <= until) else { break };
            self.now = due.max(self.now);
            let at = Moment { now: self.now, policy: &self.policy };
            let mut effects = turn(&mut self.orders, at, []).effects;
            effects.extend(turn(&mut self.payments, at, []).effects);
            effects.extend(turn(&mut self.notifier, at, []).effects);
            self.carry(effects);
        }
        self.now = until;
    }

    fn place(&mut self, customer: &str, holds: Vec<HoldView>) -> Result<OrderId, Refusal> {
        let unique = self.unique();
        let order = OrderId::new(self.now, SHARD, Tag(0), unique);
        let command = self.place_command(order, customer, holds);
        match self.ask(command)? {
            Reply::Order(view) => Ok(view.order),
            other => panic!("{other:?}"),
        }
    }

    fn place_command(&mut self, order: OrderId, customer: &str, holds: Vec<HoldView>) -> order::Command {
        let unique = self.unique();
        order::Command::Place {
            order,
            customer: customer.into(),
            holds: holds.into_iter().map(Some).collect(),
            email: "ann@example.org".to_owned(),
            token: "tok_ok".to_owned(),
            payment: PaymentId::new(self.now, SHARD, Tag(0), unique),
        }
    }

    fn provider_says(&mut self, heard: Heard) {
        let call = self.calls.pop().expect("the provider was called");
        let (payment, attempt) = match call {
            Call::Charge { payment, attempt, .. }
            | Call::Status { payment, attempt }
            | Call::Refund { payment, attempt, .. } => (payment, attempt),
        };
        self.tell(payment::Command::Heard { payment, attempt, heard }.into());
    }

    fn view(&mut self, order: OrderId) -> OrderView {
        match self.ask(order::Command::Show { order, customer: None }).unwrap() {
            Reply::Order(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, order: OrderId) -> State {
        self.view(order).state
    }

    fn paid(&mut self, customer: &str, seats: &[u32]) -> OrderId {
        let hold = self.hold(customer, seats);
        let order = self.place(customer, vec![hold]).unwrap();
        self.provider_says(Heard::Captured);
        assert_eq!(self.state(order), State::Paid);
        order
    }
}

#[test]
fn an_order_is_bound_charged_sold_and_confirmed() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1, 2]);
    let order = story.place("ann", vec![hold]).unwrap();
    assert_eq!(story.state(order), State::Paying);
    assert!(matches!(story.calls[0], Call::Charge { money: Money { amount: 2000, .. }, .. }));
    story.provider_says(Heard::Captured);
    let view = story.view(order);
    assert_eq!((view.state, view.tickets.len()), (State::Paid, 2));
    assert_eq!(story.letters.len(), 1);
    let (about, kind) = (story.letters[0].order, story.letters[0].kind);
    story.tell(notice::Command::Delivered { order: about, kind }.into());
    story.wait(Span::seconds(3600));
    assert!(story.calls.is_empty() && story.letters.len() == 1, "nothing is owed any more");
}

#[test]
fn a_lost_bind_is_sent_again_and_a_silent_block_lets_the_order_expire() {
    let mut story = Story::begin();
    story.blocks = Blocks::Silent;
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    story.wait(story.policy.resend_min);
    assert_eq!(story.told_blocks.len(), 2, "bind is sent again");
    story.wait(HOLD_TTL);
    assert_eq!(story.state(order), State::Expired);
    story.told_blocks.clear();
    story.blocks = Blocks::Obey;
    story.wait(story.policy.resend_max);
    assert!(
        matches!(story.told_blocks[0], block::Command::Return { .. }),
        "the hold is let go until the block says so"
    );
}

#[test]
fn a_bind_that_arrives_after_the_order_is_over_is_taken_back() {
    let mut story = Story::begin();
    story.blocks = Blocks::Silent;
    let hold = story.hold("ann", &[1]);
    let id = hold.hold;
    let order = story.place("ann", vec![hold]).unwrap();
    story.ask(order::Command::Cancel { order, customer: "ann".into() }).unwrap();
    story.blocks = Blocks::Obey;
    story.told_blocks.clear();
    story.tell(order::Command::Bound { order, hold: id }.into());
    assert_eq!(story.told_blocks, [block::Command::Return { hold: id, order }]);
}

#[test]
fn a_hold_that_was_lost_ends_the_order_without_a_charge() {
    let mut story = Story::begin();
    story.blocks = Blocks::RefuseToBind;
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    let view = story.view(order);
    assert_eq!((view.state, view.reason.as_deref()), (State::Expired, Some("hold_expired")));
    assert!(story.calls.is_empty());
}

#[test]
fn a_declined_payment_can_be_repeated_until_the_holds_time() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    story.provider_says(Heard::Declined("card_declined".to_owned()));
    let view = story.view(order);
    assert_eq!((view.state, view.reason.as_deref()), (State::PaymentFailed, Some("card_declined")));

    let again = |story: &mut Story| {
        let unique = story.unique();
        let payment = PaymentId::new(story.now, SHARD, Tag(0), unique);
        story.ask(order::Command::Pay { order, customer: "ann".into(), payment, token: "tok_ok".to_owned() })
    };
    again(&mut story).unwrap();
    assert_eq!(again(&mut story).unwrap_err(), Refusal::PaymentInProgress);
    story.provider_says(Heard::Declined("card_declined".to_owned()));
    story.wait(HOLD_TTL);
    assert_eq!(story.state(order), State::Expired);
    assert_eq!(again(&mut story).unwrap_err(), Refusal::HoldExpired);
}

#[test]
fn an_unknown_outcome_is_asked_for_and_never_charged_twice() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    story.provider_says(Heard::Unknown);
    story.wait(Span::seconds(1));
    assert!(!story.calls.is_empty(), "it is asked for");
    // However long nobody knows, the seats stay bound and nothing is charged again.
    for _ in 0..50 {
        story.provider_says(Heard::Unknown);
        story.wait(story.policy.gateway_backoff_max);
        assert!(story.calls.iter().all(|call| matches!(call, Call::Status { .. })));
    }
    assert_eq!(story.state(order), State::Paying);
    story.provider_says(Heard::Captured);
    assert_eq!(story.state(order), State::Paid);
}

#[test]
fn a_silent_provider_is_asked_after_its_time() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1]);
    story.place("ann", vec![hold]).unwrap();
    story.calls.clear();
    story.wait(story.policy.gateway_timeout);
    assert!(matches!(story.calls[..], [Call::Status { .. }]));
}

#[test]
fn a_charge_that_surely_did_not_happen_is_tried_again_with_the_same_key_and_given_up_in_time() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    let mut payments = Vec::new();
    let over = story.now + HOLD_TTL + story.policy.payment_extension + Span::seconds(60);
    while story.now < over && story.state(order) == State::Paying {
        if let Some(Call::Charge { payment, .. }) = story.calls.last() {
            payments.push(*payment);
            story.provider_says(Heard::Unavailable);
        }
        story.wait(Span::seconds(1));
    }
    assert!(payments.len() > 5 && payments.windows(2).all(|pair| pair[0] == pair[1]));
    story.wait(Span::seconds(1));
    assert_eq!(story.state(order), State::Expired, "the time was over when it was given up");
    assert_eq!(story.view(order).reason.as_deref(), Some("provider_unavailable"));
}

#[test]
fn money_that_comes_after_giving_up_goes_back() {
    let mut story = Story::begin();
    story.policy.charge_attempts_max = 1;
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    let Some(Call::Charge { payment, attempt, .. }) = story.calls.last().cloned() else { panic!() };
    story.provider_says(Heard::Unknown);
    story.wait(Span::seconds(1));
    story.provider_says(Heard::NotFound);
    story.calls.clear();
    assert_eq!(story.state(order), State::PaymentFailed);
    story.tell(payment::Command::Heard { payment, attempt, heard: Heard::Captured }.into());
    assert!(matches!(story.calls[..], [Call::Refund { .. }]));
    story.provider_says(Heard::Refunded);
    assert_eq!(story.state(order), State::PaymentFailed, "the order never saw that money");
    let at = Moment { now: story.now, policy: &story.policy };
    let turned = turn(&mut story.payments, at, [payment::Command::Audit { event: "gig".into() }.into()]);
    let expected = payment::Summary { captured: 1000, refunded: 1000, open: 0 };
    assert_eq!(turned.answers[0].result, Ok(payment::Reply::Summary(expected)));
}

#[test]
fn a_seat_that_cannot_be_sold_ends_in_a_refund() {
    let mut story = Story::begin();
    story.blocks = Blocks::RefuseToSell;
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    story.provider_says(Heard::Captured);
    assert_eq!(story.state(order), State::Refunding);
    story.provider_says(Heard::Refunded);
    let view = story.view(order);
    assert_eq!((view.state, view.reason.as_deref()), (State::Refunded, Some("seat_lost")));
}

#[test]
fn a_refund_returns_the_money_then_the_seats_and_voids_the_tickets() {
    let mut story = Story::begin();
    let order = story.paid("ann", &[1, 2]);
    let ticket = TicketId { order, place: 1 };
    story.ask(order::Command::CheckIn { ticket, event: "gig".into() }).unwrap();
    let again = story.ask(order::Command::CheckIn { ticket, event: "gig".into() });
    assert_eq!(again.unwrap_err(), Refusal::AlreadyCheckedIn { at: story.now });

    story.ask(order::Command::Refund { order }).unwrap();
    story.provider_says(Heard::Unknown);
    assert!(!story.told_blocks.iter().any(|told| matches!(told, block::Command::Return { .. })));
    story.wait(story.policy.gateway_timeout);
    story.provider_says(Heard::Refunded);
    assert_eq!(story.state(order), State::Refunded);
    assert!(story.told_blocks.iter().any(|told| matches!(told, block::Command::Return { .. })));
    let void = story.ask(order::Command::CheckIn { ticket: TicketId { order, place: 0 }, event: "gig".into() });
    assert_eq!(void.unwrap_err(), Refusal::TicketVoid);
}

#[test]
fn tickets_of_other_events_and_places_are_void() {
    let mut story = Story::begin();
    let order = story.paid("ann", &[1]);
    let mut check = |place, event: &str| {
        story.ask(order::Command::CheckIn { ticket: TicketId { order, place }, event: event.into() }).unwrap_err()
    };
    assert_eq!(check(1, "gig"), Refusal::TicketVoid);
    assert_eq!(check(0, "other"), Refusal::TicketVoid);
}

#[test]
fn a_customer_has_no_more_places_of_an_event_than_allowed() {
    let mut story = Story::begin();
    story.paid("ann", &[1, 2, 3]);
    let more = story.hold("ann", &[4, 5]);
    assert_eq!(story.place("ann", vec![more]).unwrap_err(), Refusal::CustomerLimit { most: 4 });
    let one = story.hold("ann", &[4]);
    story.place("ann", vec![one]).unwrap();
    let bobs = story.hold("bob", &[5, 6]);
    story.place("bob", vec![bobs]).unwrap();
}

#[test]
fn holds_are_judged_before_anything_is_charged() {
    let mut story = Story::begin();
    let good = story.hold("ann", &[1]);
    let gone = HoldView { state: HoldState::Released, ..story.hold("ann", &[2]) };
    let old = HoldView { expires_at: story.now, ..story.hold("ann", &[3]) };
    let taken = HoldView { state: HoldState::Bound(OrderId::new(START, SHARD, Tag(0), 9)), ..story.hold("ann", &[4]) };
    let other = HoldView { block: BlockRef { event: "other".into(), block: "A".into() }, ..story.hold("ann", &[5]) };
    assert_eq!(story.place("ann", vec![gone]).unwrap_err(), Refusal::HoldReleased);
    assert_eq!(story.place("ann", vec![old]).unwrap_err(), Refusal::HoldExpired);
    assert_eq!(story.place("ann", vec![taken]).unwrap_err(), Refusal::HoldInOrder);
    assert_eq!(story.place("ann", vec![good.clone(), other]).unwrap_err(), Refusal::MixedEvents);
    assert_eq!(story.place("ann", vec![good.clone(), good.clone()]).unwrap_err(), Refusal::HoldInOrder);
    assert_eq!(story.place("bob", vec![good.clone()]).unwrap_err(), Refusal::UnknownHold);
    assert_eq!(story.place("ann", vec![]).unwrap_err(), Refusal::UnknownHold);
    story.place("ann", vec![good.clone()]).unwrap();
    assert_eq!(story.place("ann", vec![good]).unwrap_err(), Refusal::HoldInOrder, "the desk knows its own orders");
}

#[test]
fn a_hold_that_no_order_is_after_any_more_can_be_ordered_again() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold.clone()]).unwrap();
    story.provider_says(Heard::Declined("card_declined".to_owned()));
    assert_eq!(story.place("ann", vec![hold.clone()]).unwrap_err(), Refusal::HoldInOrder, "it may still be paid");
    story.ask(order::Command::Cancel { order, customer: "ann".into() }).unwrap();
    let again = story.place("ann", vec![hold]).unwrap();
    story.provider_says(Heard::Captured);
    assert_eq!((story.state(order), story.state(again)), (State::Cancelled, State::Paid));
}

#[test]
fn what_costs_nothing_is_not_charged() {
    let mut story = Story::begin();
    let free = HoldView { price: Money { amount: 0, currency: Currency(*b"EUR") }, ..story.hold("ann", &[1]) };
    let order = story.place("ann", vec![free]).unwrap();
    assert!(story.calls.is_empty());
    assert_eq!(story.state(order), State::Paid);
    story.ask(order::Command::Refund { order }).unwrap();
    assert_eq!(story.state(order), State::Refunded);
}

#[test]
fn orders_are_cancelled_only_while_nothing_is_being_paid() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1]);
    let order = story.place("ann", vec![hold]).unwrap();
    let cancel = |story: &mut Story| story.ask(order::Command::Cancel { order, customer: "ann".into() });
    assert_eq!(cancel(&mut story).unwrap_err(), Refusal::PaymentInProgress);
    story.provider_says(Heard::Declined("card_declined".to_owned()));
    cancel(&mut story).unwrap();
    cancel(&mut story).unwrap();
    assert_eq!(story.state(order), State::Cancelled);
    let stranger = story.ask(order::Command::Cancel { order, customer: Customer::from("bob") });
    assert_eq!(stranger.unwrap_err(), Refusal::UnknownOrder);
}

#[test]
fn a_customers_orders_come_in_pages_newest_first() {
    let mut story = Story::begin();
    let mut placed: Vec<OrderId> = (0..4).map(|seat| story.paid("ann", &[seat])).collect();
    story.paid("bob", &[9]);
    placed.reverse();
    let page = |story: &mut Story, before| {
        let asked = order::Command::List { customer: "ann".into(), before, limit: 3 };
        match story.ask(asked).unwrap() {
            Reply::Orders { orders, next } => (orders.iter().map(|order| order.order).collect::<Vec<_>>(), next),
            other => panic!("{other:?}"),
        }
    };
    let (first, next) = page(&mut story, None);
    assert_eq!((&first[..], next), (&placed[..3], Some(placed[2])));
    let (second, end) = page(&mut story, next);
    assert_eq!((&second[..], end), (&placed[3..], None));
}

#[test]
fn the_same_key_gets_the_same_answer_and_another_body_is_refused() {
    let mut story = Story::begin();
    let hold = story.hold("ann", &[1]);
    let key = |fingerprint| Some(Key { digest: KeyDigest(7), fingerprint });
    let first_id = OrderId::new(story.now, SHARD, Tag(0), 100);
    let second_id = OrderId::new(story.now, SHARD, Tag(0), 101);
    let first = story.place_command(first_id, "ann", vec![hold.clone()]);
    let second = story.place_command(second_id, "ann", vec![hold.clone()]);
    let third = story.place_command(second_id, "ann", vec![hold]);
    let answer = story.ask_keyed(key(1), first).unwrap();
    assert_eq!(story.ask_keyed(key(1), second).unwrap(), answer);
    assert_eq!(story.ask_keyed(key(2), third).unwrap_err(), Refusal::IdempotencyKeyReused);
    story.wait(story.policy.idempotency_ttl);
    assert_eq!(story.orders.keys(), 0, "keys are forgotten in the end");
}

#[test]
fn a_search_asks_one_block_after_another_and_remembers_its_answer() {
    let mut story = Story::begin();
    let key = Key { digest: KeyDigest(1), fingerprint: 1 };
    let candidate = |block: &str, unique| Candidate {
        block: BlockRef { event: "gig".into(), block: block.into() },
        hold: HoldId::new(START, Shard(0), Tag(0), unique),
    };
    let (a, b) = (candidate("A", 1), candidate("B", 2));
    let candidates = vec![a.clone(), b.clone()];
    let seek = order::Command::Seek { key, customer: "ann".into(), quantity: 2, candidates };
    assert_eq!(story.ask(seek.clone()), Ok(Reply::Sought { answer: None, replayed: false }));
    story.wait(story.policy.resend_min);
    assert_eq!(story.told_blocks.len(), 2, "the first block is asked again");
    let sold_out = |hold| order::Command::SeekAnswered { key: key.digest, hold, answer: Err(Refusal::SoldOut) };
    story.tell(sold_out(a.hold).into());
    story.tell(sold_out(a.hold).into());
    assert_eq!(story.ask(seek.clone()), Ok(Reply::Sought { answer: None, replayed: true }));
    let view = HoldView { hold: b.hold, ..story.hold("ann", &[1, 2]) };
    let found = order::Command::SeekAnswered { key: key.digest, hold: b.hold, answer: Ok(Box::new(view.clone())) };
    story.tell(found.into());
    story.tell(sold_out(b.hold).into());
    assert_eq!(story.ask(seek), Ok(Reply::Sought { answer: Some(Box::new(Ok(view))), replayed: true }));
}

#[test]
fn a_key_of_a_search_is_for_nothing_else_and_the_other_way_round() {
    let mut story = Story::begin();
    let key = |digest, fingerprint| Key { digest: KeyDigest(digest), fingerprint };
    let seek = |key| order::Command::Seek { key, customer: "ann".into(), quantity: 2, candidates: Vec::new() };
    let list = || order::Command::List { customer: "ann".into(), before: None, limit: 1 };
    let sold_out = || Some(Box::new(Err(Refusal::SoldOut)));
    assert_eq!(story.ask(seek(key(1, 1))), Ok(Reply::Sought { answer: sold_out(), replayed: false }));
    assert_eq!(story.ask_keyed(Some(key(1, 2)), list()), Err(Refusal::IdempotencyKeyReused));
    assert_eq!(story.ask(seek(key(1, 1))), Ok(Reply::Sought { answer: sold_out(), replayed: true }));

    let listed = story.ask_keyed(Some(key(2, 2)), list()).unwrap();
    assert_eq!(story.ask(seek(key(2, 1))), Err(Refusal::IdempotencyKeyReused));
    assert_eq!(story.ask_keyed(Some(key(2, 2)), list()), Ok(listed));
    assert_eq!(story.orders.keys(), 1, "a key that was refused is not kept twice");
}

#[test]
fn a_letter_is_tried_again_and_set_aside_in_the_end() {
    let mut story = Story::begin();
    story.paid("ann", &[1]);
    let (order, kind) = (story.letters[0].order, story.letters[0].kind);
    let fail = |story: &mut Story, retryable| {
        story.tell(notice::Command::Failed { order, kind, reason: "no route".to_owned(), retryable }.into());
    };
    for tries in 1..story.policy.letter_attempts_max {
        assert_eq!(story.letters.len(), tries as usize);
        fail(&mut story, true);
        while story.letters.len() == tries as usize {
            story.wait(Span::seconds(1));
        }
    }
    fail(&mut story, true);
    story.wait(Span::seconds(3600));
    assert_eq!(story.letters.len(), story.policy.letter_attempts_max as usize);
    let at = Moment { now: story.now, policy: &story.policy };
    let turned = turn(&mut story.notifier, at, [notice::Command::Count.into()]);
    assert_eq!(turned.answers[0].result, Ok(notice::Reply::Count { waiting: 0, dead: 1 }));
}

#[test]
fn a_stored_desk_reads_back_with_everything_derived() {
    let mut story = Story::begin();
    story.paid("ann", &[1]);
    let hold = story.hold("bob", &[2]);
    story.place("bob", vec![hold]).unwrap();
    assert_eq!(stored(&story.orders), story.orders);
    assert_eq!(stored(&story.payments), story.payments);
    assert_eq!(stored(&story.notifier), story.notifier);
}

fn stored<M: Machine + Serialize + DeserializeOwned>(machine: &Keyed<M>) -> Keyed<M> {
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(machine, config).unwrap();
    let (back, read) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(read, bytes.len());
    back
}

#[test]
fn a_search_that_is_forgotten_while_it_asks_is_due_no_more() {
    let policy = Policy { shards: 1, idempotency_ttl: Span(4000), resend_min: Span(2000), ..Policy::default() };
    let mut desk: Keyed<OrderDesk> = Keyed::new(&Address::Orders(Shard(0)));
    let block = BlockRef { event: "gig".into(), block: "A".into() };
    let candidates = vec![Candidate { hold: HoldId::new(START, Shard(0), block.tag(), 1), block }];
    let key = Key { digest: KeyDigest(7), fingerprint: 7 };
    let seek = order::Command::Seek { key, customer: "ann".into(), quantity: 1, candidates };
    turn(&mut desk, Moment { now: START, policy: &policy }, [Asked::from(seek)]);
    // No block answers; then the desk sleeps past the next reminder and the key's time at once.
    turn(&mut desk, Moment { now: START + Span(9000), policy: &policy }, []);
    assert_eq!(desk.deadline(), None);
}
