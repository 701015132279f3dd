//! What reading costs: folding a change, a finished answer, rendering availability, seats.
//!
//! `cargo bench --bench board`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::address::BlockRef;
use actors::block::{Counts, Layout, Row, SeatIx, SeatState, pack};
use actors::event::{BlockSpec, Description, EventSpec, Rules, Sale};
use actors::feed::{Board as Picture, Feed, SeatsChanged};
use actors::ids::EventId;
use actors::money::Currency;
use actors::time::{Millis, Span};
use divan::{Bencher, black_box};
use stampede::board::{Board, Pace, Settings, Subject};
use stampede::encoding::Encoding;

const SEATS: u32 = 10_000;

fn main() {
    divan::main();
}

fn event() -> EventId {
    "aurora-night-1".into()
}

/// A board of one event with so many blocks of 10,000 seats, whose answers are out of date as soon as time passes.
fn concert(blocks: u32) -> (Board, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let reading = clock.clone();
    let board = Board::new(Settings {
        pace: Pace { interval: Span(1), burst: 1 },
        clock: Arc::new(move || Millis(reading.load(Ordering::Relaxed))),
        ..Settings::new(64)
    });
    let rows = (1..=100).map(|row| Row { name: row.to_string(), seats: 100 }).collect::<Vec<_>>();
    let spec = |block: u32| BlockSpec {
        id: format!("B{block}").as_str().into(),
        name: format!("Block {block}"),
        layout: Layout::Seated(rows.clone()),
        price: 8500,
    };
    let spec = EventSpec {
        id: event(),
        name: "Aurora, Night One".to_owned(),
        venue: "Harbour Stadium".to_owned(),
        starts_at: Millis(1_812_826_800_000),
        currency: Currency(*b"EUR"),
        on_sale_at: None,
        rules: Rules { hold_ttl: Span::seconds(420), max_per_hold: 10, max_per_customer: None, no_orphans: true },
        blocks: (0..blocks).map(spec).collect(),
    };
    let pictures = (0..blocks).map(|block| {
        Feed::Board(Box::new(Picture {
            block: at(block),
            seq: 0,
            seats: pack(std::iter::repeat_n(SeatState::Free, SEATS as usize)),
            counts: Counts { free: SEATS, ..Counts::default() },
        }))
    });
    let pictures = pictures.collect();
    let described = Description { spec, sale: Sale::Open, ready: true, revision: 1, created_at: Millis(1) };
    board.publish(vec![Feed::Event(Box::new(described))]);
    board.publish(pictures);
    (board, clock)
}

fn at(block: u32) -> BlockRef {
    BlockRef { event: event(), block: format!("B{block}").as_str().into() }
}

/// The `seq`th change of block 0: two seats are held.
fn change(block: &BlockRef, seq: u64) -> Feed {
    let first = (seq as u32 * 2) % SEATS;
    let seats = [(SeatIx(first), SeatState::Held), (SeatIx(first + 1), SeatState::Held)];
    Feed::Seats(SeatsChanged {
        block: block.clone(),
        seq,
        seats: seats.into_iter().collect(),
        counts: Counts { free: SEATS - 2, held: 2, ..Counts::default() },
    })
}

/// Changes folded one by one; the time is of 1,000.
#[divan::bench]
fn fold_1000_changes(bencher: Bencher<'_, '_>) {
    let (board, _) = concert(1);
    let (block, mut seq) = (at(0), 0);
    bencher
        .with_inputs(|| {
            let feed: Vec<_> = (0..1000).map(|n| change(&block, seq + n + 1)).collect();
            seq += 1000;
            feed
        })
        .bench_local_values(|feed| board.publish(feed));
}

/// An answer that is finished already: what nearly every request costs here.
#[divan::bench]
fn finished_availability(bencher: Bencher<'_, '_>) {
    let (board, _) = concert(60);
    let event = event();
    bencher.bench_local(|| board.answer(Subject::Availability(black_box(&event))));
}

/// One change, then availability of so many blocks is made anew, without compression.
#[divan::bench(args = [1, 60, 1000])]
fn render_availability(bencher: Bencher<'_, '_>, blocks: u32) {
    render(bencher, blocks, Encoding::Identity);
}

/// The same with brotli.
#[divan::bench(args = [1, 60, 1000])]
fn render_availability_br(bencher: Bencher<'_, '_>, blocks: u32) {
    render(bencher, blocks, Encoding::Br);
}

/// The same with gzip.
#[divan::bench(args = [60, 1000])]
fn render_availability_gzip(bencher: Bencher<'_, '_>, blocks: u32) {
    render(bencher, blocks, Encoding::Gzip);
}

fn render(bencher: Bencher<'_, '_>, blocks: u32, encoding: Encoding) {
    let (board, clock) = concert(blocks);
    let (block, event, mut seq) = (at(0), event(), 0);
    bencher
        .with_inputs(|| {
            seq += 1;
            board.publish(vec![change(&block, seq)]);
            clock.fetch_add(1, Ordering::Relaxed);
        })
        .bench_local_values(|()| {
            let answer = board.answer(Subject::Availability(&event)).expect("the event is there");
            answer.variant(encoding).body.len()
        });
}

/// The seats of a block of 10,000 as JSON, made anew after a change.
#[divan::bench]
fn render_seats_of_10000(bencher: Bencher<'_, '_>) {
    let (board, clock) = concert(1);
    let (block, event, mut seq) = (at(0), event(), 0);
    bencher
        .with_inputs(|| {
            seq += 1;
            board.publish(vec![change(&block, seq)]);
            clock.fetch_add(1, Ordering::Relaxed);
        })
        .bench_local_values(|()| board.answer(Subject::Seats(&event, &block.block)).map(|seats| seats.version));
}

/// The text of one change for live sessions.
#[divan::bench]
fn render_live_change(bencher: Bencher<'_, '_>) {
    let (board, _) = concert(1);
    let described = board.event(&event()).expect("the event is there");
    let block = described.blocks().map(|(_, block)| block.clone()).next().expect("it has a block");
    let (at, mut seq) = (at(0), 0);
    bencher
        .with_inputs(|| {
            board.publish(vec![change(&at, seq + 1)]);
            seq += 1;
            seq - 1
        })
        .bench_local_values(|after| block.texts_after(after));
}

/// A seat's name to its index and back, in a block of 100 rows.
#[divan::bench]
fn name_a_seat(bencher: Bencher<'_, '_>) {
    let (board, _) = concert(1);
    let names = board.names(&event(), &at(0).block).expect("the block is there");
    bencher.bench_local(|| names.index(black_box("77-42")).and_then(|seat| names.name(seat)));
}

/// Blocks with enough free places, of 1,000 blocks.
#[divan::bench]
fn candidates_of_1000_blocks(bencher: Bencher<'_, '_>) {
    let (board, _) = concert(1000);
    let described = board.event(&event()).expect("the event is there");
    let wanted = stampede::board::Wanted { quantity: SEATS, block: None, max_price: Some(9000) };
    bencher.bench_local(|| board.candidates(&described, black_box(&wanted)).map(|found| found.len()));
}
