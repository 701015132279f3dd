//! Events, pictures and changes for tests of the board and of what stands on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::address::BlockRef;
use actors::block::{Counts, Layout, Row, SeatIx, SeatState, pack};
use actors::event::{BlockSpec, Description, EventSpec, Rules, Sale};
use actors::feed::{Board as Picture, Feed, SeatsChanged};
use actors::money::Currency;
use actors::time::{Millis, Span};

use super::{Board, Observer, Pace, Settings};

pub(crate) const EVENT: &str = "aurora";

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
pub(crate) struct StoppedClock(Arc<AtomicU64>);

impl StoppedClock {
    pub(crate) fn advance(&self, span: Span) {
        self.0.fetch_add(span.0, Ordering::SeqCst);
    }
}

/// A board whose clock stands at 1,000,000 ms; answers are rendered at most every 50 ms, one at a time.
pub(crate) fn board(observer: Arc<dyn Observer>) -> (Board, StoppedClock) {
    let clock = StoppedClock::default();
    clock.advance(Span(1_000_000));
    let reading = clock.clone();
    let pace = Pace { interval: Span(50), burst: 1 };
    let now = Arc::new(move || Millis(reading.0.load(Ordering::SeqCst)));
    (Board::new(Settings { shards: 64, pace, clock: now, observer }), clock)
}

pub(crate) fn seated(id: &str, rows: u32, seats: u16) -> BlockSpec {
    let rows = (1..=rows).map(|row| Row { name: row.to_string(), seats }).collect();
    BlockSpec { id: id.into(), name: format!("Block {id}"), layout: Layout::Seated(rows), price: 8500 }
}

pub(crate) fn standing(id: &str, places: u32) -> BlockSpec {
    BlockSpec { id: id.into(), name: id.to_owned(), layout: Layout::Standing(places), price: 7000 }
}

pub(crate) fn description(id: &str, blocks: Vec<BlockSpec>) -> Description {
    let rules = Rules { hold_ttl: Span::seconds(420), max_per_hold: 10, max_per_customer: None, no_orphans: true };
    let spec = EventSpec {
        id: id.into(),
        name: "Aurora, Night One".to_owned(),
        venue: "Harbour Stadium".to_owned(),
        starts_at: Millis(1_812_826_800_000),
        currency: Currency(*b"EUR"),
        on_sale_at: None,
        rules,
        blocks,
    };
    Description { spec, sale: Sale::Open, ready: true, revision: 1, created_at: Millis(1_500_000_000_000) }
}

/// The news of a new event: its description and a picture of every block, all free.
pub(crate) fn opening(description: &Description) -> Vec<Feed> {
    let pictures = description.spec.blocks.iter().map(|spec| {
        let capacity = spec.layout.capacity();
        let seats = match spec.layout {
            Layout::Seated(_) => capacity as usize,
            Layout::Standing(_) => 0,
        };
        Feed::Board(Box::new(Picture {
            block: at(description.spec.id.as_str(), spec.id.as_str()),
            seq: 0,
            seats: pack(std::iter::repeat_n(SeatState::Free, seats)),
            counts: Counts { free: capacity, ..Counts::default() },
        }))
    });
    std::iter::once(Feed::Event(Box::new(description.clone()))).chain(pictures).collect()
}

pub(crate) fn at(event: &str, block: &str) -> BlockRef {
    BlockRef { event: event.into(), block: block.into() }
}

/// The owner of one seated block, who publishes its changes.
pub(crate) struct Owner {
    pub(crate) at: BlockRef,
    pub(crate) seq: u64,
    pub(crate) seats: Vec<SeatState>,
}

impl Owner {
    pub(crate) fn new(block: &str, seats: usize) -> Self {
        Self { at: at(EVENT, block), seq: 0, seats: vec![SeatState::Free; seats] }
    }

    pub(crate) fn set(&mut self, seats: impl IntoIterator<Item = u32>, state: SeatState) -> Feed {
        let seats = seats.into_iter().map(|seat| (SeatIx(seat), state)).collect();
        self.change(seats)
    }

    pub(crate) fn change(&mut self, seats: smallvec::SmallVec<[(SeatIx, SeatState); 4]>) -> Feed {
        for (seat, state) in &seats {
            self.seats[seat.0 as usize] = *state;
        }
        self.seq += 1;
        Feed::Seats(SeatsChanged { block: self.at.clone(), seq: self.seq, seats, counts: self.counts() })
    }

    pub(crate) fn picture(&self) -> Feed {
        let seats = pack(self.seats.iter().copied());
        Feed::Board(Box::new(Picture { block: self.at.clone(), seq: self.seq, seats, counts: self.counts() }))
    }

    pub(crate) fn counts(&self) -> Counts {
        let count = |wanted| self.seats.iter().filter(|state| **state == wanted).count() as u32;
        Counts {
            free: count(SeatState::Free),
            held: count(SeatState::Held),
            sold: count(SeatState::Sold),
            blocked: count(SeatState::Blocked),
        }
    }
}
