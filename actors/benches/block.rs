//! What a block's turns cost: `cargo bench -p actors --bench block`.
//!
//! A round is one turn of [`BATCH`] commands, each judged and folded in; items are commands. Blocks have 100 rows of 100 seats
//! unless a name says otherwise. The last two show memory: what stays allocated is the `grow` and `max alloc` of the round.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use actors::address::{Address, BlockRef};
use actors::block::{Change, Claim, Command, Layout, Row, SeatBlock, SeatIx, Setup, Want};
use actors::event::{Rules, Sale};
use actors::ids::{Customer, HoldId, OrderId, Shard, Tag};
use actors::keyed::{Asked, Entry, Keyed};
use actors::machine::{Machine, Moment, Turned, turn};
use actors::money::{Currency, Money};
use actors::policy::Policy;
use actors::time::{Millis, Span};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const NOW: Millis = Millis(1_795_000_000_000);
const TTL: Span = Span::seconds(420);
const SIDE: u16 = 100;
const BATCH: u32 = 50;
const MILLION: u32 = 1_000_000;

fn main() {
    divan::main();
}

fn hold_id(number: u32) -> HoldId {
    HoldId::new(Millis(NOW.0 + u64::from(number / 50)), Shard(1), Tag(7), number.into())
}

fn order_id(number: u32) -> OrderId {
    OrderId::new(NOW, Shard(2), Tag(0), number.into())
}

fn customer(number: u32) -> Customer {
    format!("customer-{number}").as_str().into()
}

fn seated(rows: u16, width: u16) -> Layout {
    Layout::Seated((0..rows).map(|row| Row { name: row.to_string(), seats: width }).collect())
}

fn hall() -> Keyed<SeatBlock> {
    block(seated(SIDE, SIDE))
}

fn block(layout: Layout) -> Keyed<SeatBlock> {
    let rules = Rules { hold_ttl: TTL, max_per_hold: 10, max_per_customer: Some(100), no_orphans: true };
    let price = Money { amount: 8500, currency: Currency(*b"EUR") };
    let setup = Setup { layout, price, rules, sale: Sale::Open, on_sale_at: None, revision: 1 };
    let name = BlockRef { event: "aurora-night-1".into(), block: "A".into() };
    let mut block = Keyed::new(&Address::Block(name));
    answer(&mut block, NOW, vec![Command::Configure(Box::new(setup))]);
    block
}

/// One turn in which everything is accepted.
fn answer(block: &mut Keyed<SeatBlock>, now: Millis, commands: Vec<Command>) -> Turned<SeatBlock> {
    let policy = Policy::default();
    let turned = turn(block, Moment { now, policy: &policy }, commands.into_iter().map(Asked::from));
    assert!(turned.answers.iter().all(|answer| answer.result.is_ok()), "{:?}", turned.answers);
    turned
}

/// Takes seats, each by a hold of its own, without asking the rules.
fn take(block: &mut Keyed<SeatBlock>, seats: impl Iterator<Item = u32>) {
    for seat in seats {
        let number = MILLION + seat;
        let claim = Claim::Seats([SeatIx(seat)].into_iter().collect());
        let held = Change::Held { hold: hold_id(number), customer: customer(number), claim, until: NOW + TTL };
        block.apply(&Entry::Change(held));
    }
}

/// Whether a seat is taken when `percent` of all are, at random; the same in every run.
fn is_taken(seat: u32, percent: u64) -> bool {
    let mixed = (u64::from(seat) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 33) % 100 < percent
}

/// A batch of holds, each of another customer, in a copy of the block a round.
fn holds(bencher: Bencher, block: &Keyed<SeatBlock>, want: impl Fn(u32) -> Want + Sync) {
    let command = |number: u32| Command::Hold {
        hold: hold_id(MILLION * 2 + number),
        customer: customer(number),
        want: want(number),
    };
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| (block.clone(), (0..BATCH).map(command).collect::<Vec<_>>()))
        .bench_local_values(|(mut block, commands)| {
            let turned = answer(&mut block, NOW, commands);
            (block, turned)
        });
}

#[divan::bench]
fn hold_two_named_seats(bencher: Bencher) {
    holds(bencher, &hall(), |number| {
        let first = 131 * number / 2 * 2;
        Want::Seats([SeatIx(first), SeatIx(first + 1)].into_iter().collect())
    });
}

#[divan::bench]
fn hold_best_in_an_empty_hall(bencher: Bencher) {
    holds(bencher, &hall(), |_| Want::Best { quantity: 2, max_price: None });
}

#[divan::bench(args = [2, 4, 8])]
fn hold_best_in_a_hall_half_full_at_random(bencher: Bencher, quantity: u32) {
    let mut block = hall();
    take(&mut block, (0..10_000).filter(|seat| is_taken(*seat, 50)));
    holds(bencher, &block, |_| Want::Best { quantity, max_price: None });
}

/// The front is sold out except for single seats; pairs are in the last rows.
#[divan::bench(args = [2, 6])]
fn hold_best_in_a_hall_free_at_the_back(bencher: Bencher, quantity: u32) {
    let mut block = hall();
    take(&mut block, (0..9_000).filter(|seat| seat % 7 != 0));
    holds(bencher, &block, |_| Want::Best { quantity, max_price: None });
}

/// No two seats are side by side: every choice is split.
#[divan::bench(args = [2, 4])]
fn hold_best_where_only_single_seats_are_left(bencher: Bencher, quantity: u32) {
    let mut block = hall();
    take(&mut block, (0..10_000).filter(|seat| seat % 3 != 0 || is_taken(*seat, 80)));
    holds(bencher, &block, |_| Want::Best { quantity, max_price: None });
}

/// Three percent are free, at random.
#[divan::bench(args = [2, 4])]
fn hold_best_in_a_hall_nearly_full_at_random(bencher: Bencher, quantity: u32) {
    let mut block = hall();
    take(&mut block, (0..10_000).filter(|seat| is_taken(*seat, 97)));
    holds(bencher, &block, |_| Want::Best { quantity, max_price: None });
}

#[divan::bench]
fn hold_standing_places(bencher: Bencher) {
    holds(bencher, &block(Layout::Standing(10_000)), |_| Want::Standing { quantity: 2 });
}

/// Holding, binding and selling two seats: three commands.
#[divan::bench]
fn sell_two_named_seats(bencher: Bencher) {
    let commands = |number: u32| {
        let (hold, order, customer) = (hold_id(number), order_id(number), customer(number));
        let seats = [SeatIx(131 * number / 2 * 2), SeatIx(131 * number / 2 * 2 + 1)].into_iter().collect();
        [
            Command::Hold { hold, customer: customer.clone(), want: Want::Seats(seats) },
            Command::Bind { hold, order, customer },
            Command::Sell { hold, order },
        ]
    };
    let hall = hall();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| (hall.clone(), (0..BATCH).flat_map(commands).collect::<Vec<_>>()))
        .bench_local_values(|(mut block, commands)| {
            let turned = answer(&mut block, NOW, commands);
            (block, turned)
        });
}

/// Ten thousand holds of two seats end in one moment.
#[divan::bench(sample_count = 20)]
fn expire_ten_thousand_holds(bencher: Bencher) {
    let mut block = block(seated(200, 100));
    sell(&mut block, 20_000, Stop::Held);
    bencher.counter(ItemsCount::new(10_000u32)).with_inputs(|| block.clone()).bench_local_values(|mut block| {
        let turned = answer(&mut block, NOW + TTL, Vec::new());
        assert_eq!(block.machine().counts().unwrap().held, 0);
        (block, turned)
    });
}

/// How far a seat goes.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Held,
    Sold,
}

/// Folds holds of two seats in, one customer each, as a replay does.
fn sell(block: &mut Keyed<SeatBlock>, seats: u32, stop: Stop) {
    for first in (0..seats).step_by(2) {
        let (hold, order) = (hold_id(first), order_id(first));
        let claim = Claim::Seats([SeatIx(first), SeatIx(first + 1)].into_iter().collect());
        block.apply(&Entry::Change(Change::Held { hold, customer: customer(first), claim, until: NOW + TTL }));
        if stop == Stop::Sold {
            block.apply(&Entry::Change(Change::Bound { hold, order }));
            block.apply(&Entry::Change(Change::Sold { hold, order }));
        }
    }
}

/// A million free seats in rows of 100.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn memory_of_a_million_free_seats() -> Keyed<SeatBlock> {
    block(seated(10_000, 100))
}

/// 500,000 holds of two seats, sold: three changes each.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn memory_and_replay_of_a_million_sold_seats(bencher: Bencher) {
    let empty = block(seated(10_000, 100));
    bencher.counter(ItemsCount::new(MILLION / 2 * 3)).with_inputs(|| empty.clone()).bench_local_values(|mut block| {
        sell(&mut block, MILLION, Stop::Sold);
        block
    });
}

/// Writing and reading the snapshot of a hall of 10,000 sold seats.
#[divan::bench]
fn snapshot_of_a_sold_hall(bencher: Bencher) {
    let mut block = hall();
    sell(&mut block, 10_000, Stop::Sold);
    bencher.counter(ItemsCount::new(10_000u32)).bench_local(|| {
        let bytes = bincode::serde::encode_to_vec(&block, bincode::config::standard()).unwrap();
        let read: (Keyed<SeatBlock>, usize) =
            bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
        read.0
    });
}

/// The whole picture of a hall.
#[divan::bench]
fn picture_of_a_hall(bencher: Bencher) {
    let block = hall();
    bencher.bench_local(|| {
        let mut feed = Vec::new();
        block.machine().picture(&mut feed);
        feed
    });
}
