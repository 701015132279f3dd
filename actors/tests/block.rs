//! Stories of one block: what customers, orders and the organizer ask, and what they are told.
//!
//! Long because the stories of one machine share one way of telling them.

#![allow(clippy::unwrap_used)]

use actors::address::{Address, BlockRef};
use actors::block::{
    Change, Claim, Command, Counts, HoldState, HoldView, House, Layout, LineState, Reply, Row, SeatBlock, SeatIx,
    SeatState, Setup, Want, pack,
};
use actors::event::{self, Rules, Sale};
use actors::feed::Feed;
use actors::ids::{Customer, HoldId, OrderId, Shard};
use actors::keyed::{Asked, Entry, Key, KeyDigest, Keyed};
use actors::machine::{Effect, Moment, Turned, turn};
use actors::message::Message;
use actors::money::{Currency, Money};
use actors::order::{self, BindFailure};
use actors::policy::Policy;
use actors::refusal::Refusal;
use actors::time::{Millis, Span};

const TTL: u64 = 420_000;
const START: u64 = 1_795_000_000_000;

fn block() -> BlockRef {
    BlockRef { event: "aurora".into(), block: "A".into() }
}

fn rules() -> Rules {
    Rules { hold_ttl: Span(TTL), max_per_hold: 10, max_per_customer: Some(6), no_orphans: true }
}

fn setup(layout: Layout) -> Setup {
    let price = Money { amount: 8500, currency: Currency(*b"EUR") };
    Setup { layout, price, rules: rules(), sale: Sale::Open, on_sale_at: None, revision: 1 }
}

fn rows(seats: &[u16]) -> Layout {
    Layout::Seated(
        seats.iter().enumerate().map(|(at, seats)| Row { name: (at + 1).to_string(), seats: *seats }).collect(),
    )
}

fn seats(indices: &[u32]) -> Want {
    Want::Seats(indices.iter().map(|seat| SeatIx(*seat)).collect())
}

fn list(indices: &[u32]) -> actors::refusal::SeatList {
    indices.iter().map(|seat| SeatIx(*seat)).collect()
}

fn hold(unique: u64) -> HoldId {
    HoldId::new(Millis(START), Shard(3), block().tag(), unique)
}

fn order(unique: u64) -> OrderId {
    OrderId::new(Millis(START), Shard(7), actors::ids::Tag(0), unique)
}

fn ann() -> Customer {
    "ann".into()
}

/// A block, its clock, and a second block that folds the same changes: after every step both are equal, the audit is
/// clean and the feed gives the picture.
struct Story {
    block: Keyed<SeatBlock>,
    twin: Keyed<SeatBlock>,
    board: Option<(u64, Vec<u8>, Counts)>,
    now: Millis,
    policy: Policy,
    holds: u64,
}

/// What one step brought.
struct Step {
    answer: Result<Reply, Refusal>,
    replayed: bool,
    told: Vec<(Address, Message)>,
    /// How many the command made.
    changes: usize,
}

impl Story {
    fn bare() -> Self {
        let address = Address::Block(block());
        let (block, twin) = (Keyed::new(&address), Keyed::new(&address));
        Self { block, twin, board: None, now: Millis(START), policy: Policy::default(), holds: 0 }
    }

    fn new(setup: Setup) -> Self {
        let mut story = Self::bare();
        let step = story.ask(Command::Configure(Box::new(setup)));
        assert_eq!(step.answer, Ok(Reply::Noted));
        story
    }

    /// Milliseconds after the start.
    fn at(&mut self, after: u64) -> &mut Self {
        self.now = Millis(START + after);
        self
    }

    fn turn(&mut self, key: Option<Key>, command: Option<Command>) -> Turned<SeatBlock> {
        let at = Moment { now: self.now, policy: &self.policy };
        let asked = command.map(|command| Asked { key, command });
        let turned = turn(&mut self.block, at, asked);
        turned.entries.iter().for_each(|entry| self.twin.apply(entry));
        self.check(&turned);
        turned
    }

    fn check(&mut self, turned: &Turned<SeatBlock>) {
        assert!(self.block.deadline().is_none_or(|due| due > self.now), "what was due is done");
        let bytes =
            |machine: &Keyed<SeatBlock>| bincode::serde::encode_to_vec(machine, bincode::config::standard()).unwrap();
        assert_eq!(self.block, self.twin, "replayed changes give the same block");
        assert_eq!(bytes(&self.block), bytes(&self.twin));
        let (read, _): (Keyed<SeatBlock>, usize) =
            bincode::serde::decode_from_slice(&bytes(&self.block), bincode::config::standard()).unwrap();
        assert_eq!(read, self.block, "a snapshot gives the same block");
        self.fold(&turned.feed);
        let mut picture = Vec::new();
        self.block.picture(&mut picture);
        if let Some(Feed::Board(board)) = picture.pop() {
            assert_eq!(self.board, Some((board.seq, board.seats, board.counts)), "the feed gives the picture");
        }
    }

    fn fold(&mut self, feed: &[Feed]) {
        for item in feed {
            match item {
                Feed::Board(board) => self.board = Some((board.seq, board.seats.clone(), board.counts)),
                Feed::Seats(changed) => {
                    let (seq, seats, counts) = self.board.as_mut().unwrap();
                    assert_eq!(changed.seq, *seq + 1, "no number is missing");
                    (*seq, *counts) = (changed.seq, changed.counts);
                    for (seat, state) in &changed.seats {
                        let (byte, shift) = (seat.0 as usize / 4, 2 * (seat.0 % 4));
                        seats[byte] = (seats[byte] & !(3 << shift)) | ((*state as u8) << shift);
                    }
                }
                Feed::Event(_) | Feed::Order(..) | Feed::Sought(_) => panic!("not a block's: {item:?}"),
            }
        }
    }

    fn ask(&mut self, command: Command) -> Step {
        self.ask_with(None, command)
    }

    fn ask_with(&mut self, key: Option<Key>, command: Command) -> Step {
        let mut turned = self.turn(key, Some(command));
        let answer = turned.answers.pop().unwrap();
        let told = turned.effects.into_iter().map(|effect| match effect {
            Effect::Tell(to, message) => (to, message),
            Effect::Call(_) | Effect::Deliver(_) => panic!("a block only talks to machines"),
        });
        let changes = turned.entries.iter().filter(|entry| !is_due(entry)).count();
        Step { answer: answer.result, replayed: answer.replayed, told: told.collect(), changes }
    }

    fn hold(&mut self, who: &str, want: Want) -> Step {
        self.holds += 1;
        self.ask(Command::Hold { hold: hold(self.holds), customer: who.into(), want })
    }

    fn release(&mut self, number: u64, who: &str) -> Step {
        self.ask(Command::Release { hold: hold(number), customer: who.into() })
    }

    fn show(&mut self, number: u64, who: &str) -> Step {
        self.ask(Command::Show { hold: hold(number), customer: who.into() })
    }

    fn bind(&mut self, number: u64, to: u64, who: &str) -> Step {
        self.ask(Command::Bind { hold: hold(number), order: order(to), customer: who.into() })
    }

    fn sell(&mut self, number: u64, to: u64) -> Step {
        self.ask(Command::Sell { hold: hold(number), order: order(to) })
    }

    fn take_back(&mut self, number: u64, from: u64) -> Step {
        self.ask(Command::Return { hold: hold(number), order: order(from) })
    }

    fn counts(&self) -> (u32, u32, u32, u32) {
        let Counts { free, held, sold, blocked } = self.block.machine().counts().unwrap();
        (free, held, sold, blocked)
    }

    fn audited(&mut self) -> &mut Self {
        let Ok(Reply::Census(census)) = self.ask(Command::Audit).answer else { panic!("no census") };
        assert_eq!(census.violations, Vec::<String>::new());
        assert_eq!(Some(census.counts), self.block.machine().counts());
        self
    }
}

/// Whether time alone brought a change, not the command.
fn is_due(entry: &Entry<Change, Reply>) -> bool {
    matches!(entry, Entry::Change(Change::Expired { .. } | Change::Forgotten { .. } | Change::Reminded { .. }))
}

impl Step {
    #[track_caller]
    fn refused(self, why: Refusal) {
        assert_eq!(self.answer, Err(why));
        assert_eq!(self.changes, 0, "a refusal changes nothing");
    }

    #[track_caller]
    fn view(self) -> HoldView {
        let (Reply::Held(view) | Reply::Hold(view)) = self.answer.unwrap() else { panic!("not a hold") };
        *view
    }

    #[track_caller]
    fn has(self, indices: &[u32]) {
        assert_eq!(self.view().claim, Claim::Seats(list(indices)));
    }

    #[track_caller]
    fn is(self, state: HoldState) {
        assert_eq!(self.view().state, state);
    }

    /// The one message it sent to the order desk.
    #[track_caller]
    fn tells(self, message: order::Command) {
        assert_eq!(self.answer, Ok(Reply::Noted));
        assert_eq!(self.told, [(Address::Orders(Shard(7)), Message::Order(message))]);
    }
}

fn bound(to: u64, number: u64) -> order::Command {
    order::Command::Bound { order: order(to), hold: hold(number) }
}

fn sold(to: u64, number: u64) -> order::Command {
    order::Command::Sold { order: order(to), hold: hold(number) }
}

fn returned(to: u64, number: u64) -> order::Command {
    order::Command::Returned { order: order(to), hold: hold(number) }
}

fn bind_refused(to: u64, number: u64, why: BindFailure) -> order::Command {
    order::Command::BindRefused { order: order(to), hold: hold(number), why }
}

#[test]
fn a_seat_goes_from_free_to_sold_and_back() {
    let mut story = Story::new(setup(rows(&[10])));
    let view = story.hold("ann", seats(&[3, 2])).view();
    assert_eq!(view.claim, Claim::Seats(list(&[2, 3])));
    assert_eq!((view.price.amount, view.expires_at, view.max_per_customer), (8500, Millis(START + TTL), Some(6)));
    story.bind(1, 1, "ann").tells(bound(1, 1));
    assert_eq!(story.counts(), (8, 2, 0, 0));
    story.sell(1, 1).tells(sold(1, 1));
    assert_eq!(story.counts(), (8, 0, 2, 0));
    story.at(10 * TTL).show(1, "ann").is(HoldState::Sold(order(1)));
    story.take_back(1, 1).tells(returned(1, 1));
    assert_eq!(story.counts(), (10, 0, 0, 0));
    story.show(1, "ann").is(HoldState::Released);
    story.audited();
}

#[test]
fn a_block_without_a_setup_knows_nothing() {
    let mut story = Story::bare();
    story.hold("ann", seats(&[1])).refused(Refusal::UnknownBlock);
    story.show(1, "ann").refused(Refusal::UnknownBlock);
    story.bind(1, 1, "ann").refused(Refusal::UnknownBlock);
    story.ask(Command::Audit).refused(Refusal::UnknownBlock);
    let seek = Command::Seek { hold: hold(1), customer: ann(), quantity: 2, desk: Shard(7), key: KeyDigest(5) };
    let answer = Err(Refusal::UnknownBlock);
    story.ask(seek).tells(order::Command::SeekAnswered { key: KeyDigest(5), hold: hold(1), answer });
}

#[test]
fn a_hold_ends_exactly_at_its_time() {
    let mut story = Story::new(setup(rows(&[10])));
    story.hold("ann", seats(&[2, 3])).has(&[2, 3]);
    story.at(TTL - 1).hold("bob", seats(&[2, 3])).refused(Refusal::SeatTaken(list(&[2, 3])));
    story.at(TTL).hold("bob", seats(&[2, 3])).has(&[2, 3]);
    story.show(1, "ann").is(HoldState::Expired);
    story.bind(1, 1, "ann").tells(bind_refused(1, 1, BindFailure::Expired));
    story.audited();
}

#[test]
fn only_whoever_holds_it_sees_and_releases_a_hold() {
    let mut story = Story::new(setup(rows(&[10])));
    story.hold("ann", seats(&[0, 1])).has(&[0, 1]);
    story.show(1, "bob").refused(Refusal::UnknownHold);
    story.release(1, "bob").refused(Refusal::UnknownHold);
    story.release(9, "ann").refused(Refusal::UnknownHold);
    story.release(1, "ann").is(HoldState::Released);
    let again = story.release(1, "ann");
    assert_eq!(again.changes, 0);
    again.is(HoldState::Released);
    assert_eq!(story.counts(), (10, 0, 0, 0));
}

#[test]
fn the_same_hold_again_is_the_same_hold() {
    let mut story = Story::new(setup(rows(&[10])));
    let first = story.hold("ann", seats(&[0, 1])).view();
    story.holds = 0;
    let again = story.at(5).hold("ann", seats(&[0, 1]));
    assert_eq!(again.changes, 0);
    assert_eq!(again.view(), first);
    story.holds = 0;
    story.hold("bob", seats(&[4])).refused(Refusal::UnknownHold);
}

#[test]
fn a_key_gets_its_first_answer_again() {
    let mut story = Story::new(setup(rows(&[10])));
    let key = Some(Key { digest: KeyDigest(1), fingerprint: 2 });
    let ask = |number| Command::Hold { hold: hold(number), customer: ann(), want: seats(&[0, 1]) };
    let first = story.ask_with(key, ask(1)).view();
    let again = story.ask_with(key, ask(2));
    assert!(again.replayed);
    assert_eq!(again.view(), first);
    assert_eq!(story.counts(), (8, 2, 0, 0));
}

#[test]
fn best_available_up_to_a_price_is_judged_where_the_key_is_known() {
    let mut story = Story::new(setup(rows(&[10])));
    let key = Some(Key { digest: KeyDigest(1), fingerprint: 2 });
    let want = |most| Want::Best { quantity: 2, max_price: Some(most) };
    let ask = |number| Command::Hold { hold: hold(number), customer: ann(), want: want(9000) };
    let first = story.ask_with(key, ask(11)).view();
    let mut dearer = Setup { revision: 2, ..setup(rows(&[10])) };
    dearer.price.amount = 9001;
    story.ask(Command::Configure(Box::new(dearer)));
    assert_eq!(story.ask_with(key, ask(12)).view(), first, "the hold that was acknowledged");
    story.hold("bob", want(9000)).refused(Refusal::SoldOut);
    assert_eq!(story.hold("bob", want(9001)).view().price.amount, 9001);
}

#[test]
fn what_was_bound_belongs_to_its_order_alone() {
    let mut story = Story::new(setup(rows(&[10])));
    story.hold("ann", seats(&[0, 1])).has(&[0, 1]);
    story.sell(1, 1).tells(order::Command::SellRefused { order: order(1), hold: hold(1) });
    story.bind(1, 1, "bob").tells(bind_refused(1, 1, BindFailure::Gone));
    story.bind(1, 1, "ann").tells(bound(1, 1));
    let again = story.bind(1, 1, "ann");
    assert_eq!(again.changes, 0);
    again.tells(bound(1, 1));
    story.bind(1, 2, "ann").tells(bind_refused(2, 1, BindFailure::Gone));
    story.sell(1, 2).tells(order::Command::SellRefused { order: order(2), hold: hold(1) });
    story.release(1, "ann").refused(Refusal::HoldInOrder);
    let foreign = story.take_back(1, 2);
    assert_eq!(foreign.changes, 0);
    foreign.tells(returned(2, 1));
    story.sell(1, 1).tells(sold(1, 1));
    let again = story.sell(1, 1);
    assert_eq!(again.changes, 0);
    again.tells(sold(1, 1));
    story.bind(1, 1, "ann").tells(bound(1, 1));
    story.release(1, "ann").refused(Refusal::HoldInOrder);
    assert_eq!(story.counts(), (8, 0, 2, 0));
    story.bind(7, 1, "ann").tells(bind_refused(1, 7, BindFailure::Gone));
    story.audited();
}

#[test]
fn a_bound_hold_does_not_expire_but_reminds_its_order() {
    let mut story = Story::new(setup(rows(&[10])));
    story.hold("ann", seats(&[0, 1])).has(&[0, 1]);
    story.at(1).bind(1, 1, "ann").tells(bound(1, 1));
    let mut reminders = Vec::new();
    for _ in 0..8 {
        let due = story.block.deadline().unwrap();
        reminders.push(due.0 - START);
        let turned = story.at(due.0 - START).turn(None, None);
        assert_eq!(turned.effects, [Effect::Tell(Address::Orders(Shard(7)), Message::Order(bound(1, 1)))]);
        assert_eq!(turned.feed, [], "nothing that the public sees");
    }
    let waits: Vec<u64> = reminders.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(reminders[0], TTL);
    assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    assert_eq!(story.counts(), (8, 2, 0, 0));
    story.take_back(1, 1).tells(returned(1, 1));
    story.audited();
}

#[test]
fn ended_holds_are_readable_for_a_while() {
    let mut story = Story::new(setup(rows(&[10])));
    let keep = story.policy.ended_hold_ttl.0;
    story.hold("ann", seats(&[0, 1])).has(&[0, 1]);
    story.at(TTL).show(1, "ann").is(HoldState::Expired);
    story.at(TTL + keep - 1).show(1, "ann").is(HoldState::Expired);
    story.at(TTL + keep).show(1, "ann").refused(Refusal::UnknownHold);
    assert_eq!(story.block.machine().holds(), 0);
    story.audited();
}

#[test]
fn ended_holds_that_are_not_kept_leave_at_once() {
    let mut story = Story::new(setup(rows(&[10])));
    story.policy.ended_hold_ttl = Span(0);
    story.hold("ann", seats(&[0, 1])).has(&[0, 1]);
    story.at(TTL).show(1, "ann").refused(Refusal::UnknownHold);
    assert_eq!(story.counts(), (10, 0, 0, 0));
}

#[test]
fn what_cannot_be_held_is_said_by_name() {
    let mut story = Story::new(setup(rows(&[10, 10])));
    story.hold("ann", seats(&[])).refused(Refusal::TooManySeats { most: 10 });
    story.hold("ann", seats(&(0..11).collect::<Vec<_>>())).refused(Refusal::TooManySeats { most: 10 });
    story.hold("ann", seats(&[20])).refused(Refusal::UnknownSeat);
    story.hold("ann", seats(&[4, 5, 4])).refused(Refusal::SeatTwice(list(&[4])));
    story.hold("ann", Want::Standing { quantity: 1 }).refused(Refusal::WrongKind);
    story.hold("ann", seats(&[4, 5])).has(&[4, 5]);
    story.hold("bob", seats(&[6, 5, 4])).refused(Refusal::SeatTaken(list(&[4, 5])));
    story.hold("ann", seats(&[10, 11, 12, 13, 14])).refused(Refusal::CustomerLimit { most: 6 });
    story.hold("ann", Want::Best { quantity: 5, max_price: None }).refused(Refusal::CustomerLimit { most: 6 });
    story.hold("ann", seats(&[10, 11, 12, 13])).has(&[10, 11, 12, 13]);
    story.hold("bob", seats(&[15, 16])).refused(Refusal::OrphanSeat(list(&[14])));
    story.hold("bob", Want::Best { quantity: 10, max_price: None }).refused(Refusal::CustomerLimit { most: 6 });
}

#[test]
fn limits_count_what_is_bound_and_sold_and_nothing_that_ended() {
    let mut story = Story::new(setup(rows(&[40])));
    for (number, first) in [(1, 0), (2, 2), (3, 4)] {
        story.hold("ann", seats(&[first, first + 1])).has(&[first, first + 1]);
        story.bind(number, 1, "ann").tells(bound(1, number));
    }
    story.sell(1, 1).tells(sold(1, 1));
    story.hold("ann", seats(&[10])).refused(Refusal::CustomerLimit { most: 6 });
    story.take_back(2, 1).tells(returned(1, 2));
    story.hold("ann", seats(&[10, 11])).has(&[10, 11]);
    story.audited();
}

#[test]
fn the_sale_opens_pauses_and_changes_its_terms() {
    let opens = Millis(START + 1000);
    let mut described = Setup { on_sale_at: Some(opens), ..setup(rows(&[10])) };
    let mut story = Story::new(described.clone());
    story.at(999).hold("ann", seats(&[0, 1])).refused(Refusal::NotOnSale { on_sale_at: Some(opens) });
    story.at(1000).hold("ann", seats(&[0, 1])).has(&[0, 1]);
    described.revision = 2;
    described.sale = Sale::Paused;
    let step = story.ask(Command::Configure(Box::new(described.clone())));
    let configured = |revision| event::Command::Configured { block: "A".into(), revision };
    let desk = Address::Event("aurora".into());
    assert_eq!(step.told, [(desk.clone(), Message::Event(configured(2)))]);
    story.hold("bob", seats(&[4, 5])).refused(Refusal::NotOnSale { on_sale_at: None });
    story.bind(2, 1, "ann").tells(bound(1, 2));
    described.revision = 4;
    described.sale = Sale::Open;
    described.price.amount = 9900;
    described.layout = rows(&[3]);
    story.ask(Command::Configure(Box::new(described.clone())));
    assert_eq!(story.hold("bob", seats(&[4, 5])).view().price.amount, 9900);
    assert_eq!(story.show(2, "ann").view().price.amount, 8500, "a hold keeps its price");
    described.revision = 3;
    let late = story.ask(Command::Configure(Box::new(described)));
    assert_eq!(late.changes, 0);
    assert_eq!(late.told, [(desk, Message::Event(configured(4)))]);
    assert_eq!(story.counts(), (6, 4, 0, 0));
}

#[test]
fn standing_places_are_counted() {
    let mut story = Story::new(setup(Layout::Standing(12)));
    story.hold("ann", seats(&[0])).refused(Refusal::WrongKind);
    assert_eq!(story.hold("ann", Want::Standing { quantity: 6 }).view().claim, Claim::Standing(6));
    assert_eq!(story.hold("bob", Want::Best { quantity: 4, max_price: None }).view().claim, Claim::Standing(4));
    story.hold("eve", Want::Standing { quantity: 3 }).refused(Refusal::SoldOut);
    story.ask(Command::Block(House::Standing(3))).refused(Refusal::SoldOut);
    let counts = Counts { free: 0, held: 10, sold: 0, blocked: 2 };
    assert_eq!(story.ask(Command::Block(House::Standing(2))).answer, Ok(Reply::Counts(counts)));
    story.ask(Command::Unblock(House::Standing(3))).refused(Refusal::NotBlocked(list(&[])));
    story.ask(Command::Unblock(House::Seats(vec![SeatIx(1)]))).refused(Refusal::WrongKind);
    story.at(TTL).ask(Command::Unblock(House::Standing(2)));
    assert_eq!(story.counts(), (12, 0, 0, 0));
    story.audited();
}

#[test]
fn house_seats_are_not_for_sale() {
    let mut story = Story::new(Setup { sale: Sale::Closed, ..setup(rows(&[10])) });
    let house = |indices: &[u32]| House::Seats(indices.iter().map(|seat| SeatIx(*seat)).collect());
    let counts = Counts { free: 8, held: 0, sold: 0, blocked: 2 };
    assert_eq!(story.ask(Command::Block(house(&[5, 4]))).answer, Ok(Reply::Counts(counts)));
    story.ask(Command::Block(house(&[4, 3]))).refused(Refusal::SeatTaken(list(&[4])));
    story.ask(Command::Block(house(&[3, 3]))).refused(Refusal::SeatTwice(list(&[3])));
    story.ask(Command::Block(house(&[10]))).refused(Refusal::UnknownSeat);
    story.ask(Command::Unblock(house(&[4, 3]))).refused(Refusal::NotBlocked(list(&[3])));
    story.ask(Command::Block(House::Standing(1))).refused(Refusal::WrongKind);
    assert_eq!(story.ask(Command::Block(house(&[]))).changes, 0);
    let states = (0..10).map(|seat| if seat == 4 || seat == 5 { SeatState::Blocked } else { SeatState::Free });
    assert_eq!(story.board.as_ref().unwrap().1, pack(states));
    story.ask(Command::Unblock(house(&[4, 5])));
    assert_eq!(story.counts(), (10, 0, 0, 0));
    story.audited();
}

#[test]
fn a_search_of_a_desk_is_answered_by_message() {
    let mut story = Story::new(setup(rows(&[10])));
    let seek = |number, quantity| Command::Seek {
        hold: hold(number),
        customer: ann(),
        quantity,
        desk: Shard(7),
        key: KeyDigest(number.into()),
    };
    let step = story.ask(seek(1, 2));
    let Some((_, Message::Order(order::Command::SeekAnswered { key, hold: found, answer: Ok(view) }))) =
        step.told.first()
    else {
        panic!("not answered: {:?}", step.told)
    };
    assert_eq!((*key, *found, &view.claim), (KeyDigest(1), hold(1), &Claim::Seats(list(&[4, 5]))));
    let again = story.ask(seek(1, 2));
    assert_eq!((again.changes, &again.told), (0, &step.told));
    let refused = story.ask(seek(2, 5));
    assert_eq!(refused.changes, 0);
    let answer = Err(Refusal::CustomerLimit { most: 6 });
    refused.tells(order::Command::SeekAnswered { key: KeyDigest(2), hold: hold(2), answer });
}

#[test]
fn the_ledger_names_every_claim_page_by_page() {
    let mut story = Story::new(setup(rows(&[20])));
    for first in [0, 2, 4, 6] {
        story.hold(&format!("c{first}"), seats(&[first, first + 1])).has(&[first, first + 1]);
    }
    story.bind(2, 1, "c2").tells(bound(1, 2));
    story.bind(3, 2, "c4").tells(bound(2, 3));
    story.sell(3, 2).tells(sold(2, 3));
    story.release(1, "c0").is(HoldState::Released);
    story.ask(Command::Block(House::Seats(vec![SeatIx(19), SeatIx(18)])));
    let page = |story: &mut Story, after, limit| {
        let answer = story.ask(Command::Ledger { after, limit }).answer.unwrap();
        let Reply::Ledger { lines, next } = answer else { panic!("not a ledger: {answer:?}") };
        (lines, next)
    };
    let (first, next) = page(&mut story, None, 2);
    assert_eq!(next, Some(hold(3)));
    assert_eq!((first[0].state, first[0].hold, first[0].order), (LineState::Bound, Some(hold(2)), Some(order(1))));
    assert_eq!((first[1].state, first[1].customer.as_ref()), (LineState::Sold, Some(&"c4".into())));
    let (rest, next) = page(&mut story, next, 2);
    assert_eq!((rest.len(), next), (2, None));
    assert_eq!((rest[0].state, &rest[0].claim), (LineState::Held, &Claim::Seats(list(&[6, 7]))));
    assert_eq!(
        (rest[1].state, &rest[1].claim, rest[1].hold),
        (LineState::Blocked, &Claim::Seats(list(&[18, 19])), None)
    );
    let (all, _) = page(&mut story, None, 4_000_000);
    assert_eq!(all, [first, rest].concat());
}

#[test]
fn a_single_seat_is_left_alone_only_when_nobody_can_help_it() {
    let mut story = Story::new(setup(rows(&[5, 5])));
    story.hold("ann", seats(&[1, 2])).refused(Refusal::OrphanSeat(list(&[0])));
    story.hold("ann", seats(&[0, 2])).refused(Refusal::OrphanSeat(list(&[1])));
    story.hold("ann", seats(&[0, 1])).has(&[0, 1]);
    story.hold("bob", seats(&[5, 6])).has(&[5, 6]);
    // Three are left in each row: any two leave one alone, so it is allowed.
    story.hold("eve", seats(&[2, 3])).has(&[2, 3]);
    story.hold("joe", seats(&[8])).refused(Refusal::OrphanSeat(list(&[7, 9])));
}

#[test]
fn the_best_seats_are_in_front_in_the_middle_and_together() {
    let mut story =
        Story::new(Setup { rules: Rules { max_per_customer: None, ..rules() }, ..setup(rows(&[10, 10, 10])) });
    story.hold("a", Want::Best { quantity: 2, max_price: None }).has(&[4, 5]);
    story.hold("b", Want::Best { quantity: 2, max_price: None }).has(&[2, 3]);
    // Front row: [0, 1] is 4 seats off, so is [6, 7] 2 off; one row back in the middle costs as much, the front wins.
    story.hold("c", Want::Best { quantity: 2, max_price: None }).has(&[6, 7]);
    story.hold("d", Want::Best { quantity: 3, max_price: None }).has(&[13, 14, 15]);
    // Three more in the second row would be far to the left: 4 + 7 half seats, in the middle of the third 8 + 1.
    story.hold("e", Want::Best { quantity: 3, max_price: None }).has(&[23, 24, 25]);
    story.hold("f", Want::Best { quantity: 4, max_price: None }).has(&[16, 17, 18, 19]);
    // Runs of 2, 2, 3, 3 and 4 are left: six take two groups, and those of 3 are near each other.
    story.hold("g", Want::Best { quantity: 6, max_price: None }).has(&[10, 11, 12, 20, 21, 22]);
    story.hold("h", Want::Best { quantity: 9, max_price: None }).refused(Refusal::SoldOut);
    story.audited();
}

#[test]
fn a_change_that_contradicts_the_block_panics() {
    use actors::machine::Machine;
    let contradictions = [
        Change::Held { hold: hold(2), customer: ann(), claim: Claim::Seats(list(&[1])), until: Millis(9) },
        Change::Held { hold: hold(1), customer: ann(), claim: Claim::Seats(list(&[4])), until: Millis(9) },
        Change::Held { hold: hold(2), customer: ann(), claim: Claim::Standing(1), until: Millis(9) },
        Change::Sold { hold: hold(1), order: order(1) },
        Change::Bound { hold: hold(3), order: order(1) },
        Change::Returned { hold: hold(1), forget_at: Millis(9) },
        Change::Expired { holds: vec![hold(1), hold(1)], forget_at: Millis(9) },
        Change::Blocked(House::Seats(vec![SeatIx(1)])),
        Change::Unblocked(House::Seats(vec![SeatIx(3)])),
        Change::Reminded { holds: vec![(hold(1), Millis(9))] },
    ];
    for change in contradictions {
        let mut machine = SeatBlock::new(&Address::Block(block()));
        let described = setup(rows(&[10]));
        machine.apply(&Change::Configured { shape: (&described.layout).into(), terms: (&described).into() });
        let claim = Claim::Seats(list(&[0, 1]));
        machine.apply(&Change::Held { hold: hold(1), customer: ann(), claim, until: Millis(9) });
        let folded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| machine.apply(&change)));
        assert!(folded.is_err(), "{change:?}");
    }
}
