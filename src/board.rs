//! The board: every node's replica of what is public, and the finished answers made from it.
//!
//! Owns what anybody may read: events, places by state, seat states, the latest changes. It is fed by the runtime with
//! what is durable ([`Board::publish`]), decides nothing, and never tells anything that was not published. Reads take
//! no lock that all readers or all blocks share. While the owner of a shard is out of reach ([`Board::set_reachable`])
//! the answers made from that shard go on and say how old they are.
//!
//! [`Block`] folds the feed of one block, [`Event`] gathers the blocks of one event; [`answers`] are the JSON shapes,
//! rendered once per change by `cache` and handed out as [`Rendered`], which knows nothing of any HTTP library.
//! The routes are in `http::public`, live sessions in `http::live`.

pub mod answers;
mod block;
mod cache;
mod event;
#[cfg(test)]
pub(crate) mod fixture;
mod names;
mod observer;
mod pages;
mod reach;
mod ring;
mod serve;
mod striped;
#[cfg(test)]
mod tests;
mod texts;
mod watch;

use std::sync::{Arc, OnceLock};

use actors::address::{Address, BlockRef};
use actors::block::Layout;
use actors::event::Description;
use actors::feed::Feed;
use actors::ids::{BlockId, EventId, Shard, Tag};
use actors::time::{Millis, Span};
use smallvec::SmallVec;

use block::Folded;
use pages::Pages;
use reach::Reach;
use striped::Striped;

use crate::runtime::FeedSink;

pub use block::{Block, PENDING_MAX, PICTURE_WAIT};
pub use cache::{Pace, Rendered};
pub use event::{Described, Event};
pub use names::SeatNames;
pub use observer::{Observer, Served, Silent};
pub use pages::{LIMIT_DEFAULT, LIMIT_MAX, PAGES_MAX};
pub use ring::{CHANGES_MAX, SEATS_MAX};
pub use serve::{Missing, Source, Subject};
pub use watch::{Inbox, Watch};

/// Reads the time; [`crate::clock::now`] outside tests.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// How a board is set up.
pub struct Settings {
    /// Shards of the deployment, `cluster.shards`: where blocks live follows from it.
    pub shards: u16,
    /// How often an answer may be rendered.
    pub pace: Pace,
    /// The time.
    pub clock: Clock,
    /// Who measures it.
    pub observer: Arc<dyn Observer>,
}

impl Settings {
    /// At most 20 renderings of an answer a second under constant change, the node's clock, nobody measuring.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self {
            shards,
            pace: Pace { interval: Span(50), burst: 4 },
            clock: Arc::new(crate::clock::now),
            observer: Arc::new(Silent),
        }
    }
}

/// Asks the owner of a shard for its pictures, which come through [`Board::publish`].
type AskPicture = Box<dyn Fn(Shard) + Send + Sync>;

/// The blocks that share a shard and a tag: one, but for a hash collision.
type Tagged = SmallVec<[BlockRef; 1]>;

/// This node's replica of the public state. Shared by all threads as `Arc<Board>`.
pub struct Board {
    settings: Settings,
    events: Striped<EventId, Arc<Event>>,
    tags: Striped<(Shard, Tag), Tagged>,
    pages: Pages,
    reach: Reach,
    ask_picture: OnceLock<AskPicture>,
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            reach: Reach::new(settings.shards),
            settings,
            events: Striped::new(),
            tags: Striped::new(),
            pages: Pages::default(),
            ask_picture: OnceLock::new(),
        }
    }

    /// Says how to ask for the pictures of a shard when a change of one of its blocks is missing. Set once; without it the
    /// block stays as it is until its owner publishes a picture. `ask` is called on the publishing thread and must not block.
    pub fn on_gap(&self, ask: impl Fn(Shard) + Send + Sync + 'static) {
        assert!(self.ask_picture.set(Box::new(ask)).is_ok(), "the way to a picture is set once");
    }

    /// Whether this node hears from the owner of a shard. While it does not, public answers about an event with its desk
    /// or a block there, and about the seats of such a block, say `stale` and their age in milliseconds.
    pub fn set_reachable(&self, shard: Shard, is_reachable: bool) {
        self.reach.set(shard, is_reachable, self.now());
    }

    /// Folds public changes in. Any thread; those of one block must come in order.
    pub fn publish(&self, feed: Vec<Feed>) {
        for news in feed {
            match news {
                Feed::Event(description) => self.describe(*description),
                Feed::Board(picture) => {
                    let now = self.now();
                    self.fold(picture.block.clone(), |block| block.fold_picture(*picture, now));
                }
                Feed::Seats(change) => {
                    let now = self.now();
                    self.fold(change.block.clone(), |block| block.fold(change, now));
                }
                // Order states are not public: waiting requests listen elsewhere.
                Feed::Order(..) | Feed::Sought(_) => {}
            }
        }
    }

    /// An event with its description and blocks.
    #[must_use]
    pub fn event(&self, id: &EventId) -> Option<Arc<Described>> {
        self.events.get(id)?.described()
    }

    /// An event's replica, for those who keep it or watch it; `None` while it has no description.
    #[must_use]
    pub fn replica(&self, id: &EventId) -> Option<Arc<Event>> {
        self.events.get(id).filter(|event| event.described().is_some())
    }

    /// Up to `limit` events after `after`, by id.
    #[must_use]
    pub fn events(&self, after: Option<&EventId>, limit: usize) -> Vec<Arc<Described>> {
        self.pages.events(after, limit)
    }

    /// The blocks that an id with this shard and tag can belong to: none if the board knows none, more than one if their
    /// hashes collide; then each must be asked.
    #[must_use]
    pub fn block_tagged(&self, shard: Shard, tag: Tag) -> Tagged {
        self.tags.get(&(shard, tag)).unwrap_or_default()
    }

    /// The names of a block's seats; `None` if there is no such block.
    #[must_use]
    pub fn names(&self, event: &EventId, block: &BlockId) -> Option<Arc<SeatNames>> {
        self.event(event)?.names(block)
    }

    /// Where to look for the best `quantity` seats: the seated blocks with as many free places, best first; only `block`
    /// if one is named, of whatever kind; none above `max_price`. The board may be a moment behind: a block that is asked
    /// may still refuse. `None`: there is nowhere to look, but a block that might do is not known here yet.
    #[must_use]
    pub fn candidates(&self, event: &Described, wanted: &Wanted<'_>) -> Option<Vec<BlockRef>> {
        let mut all_known = true;
        let fits = event.blocks().filter(|(spec, block)| {
            let might = wanted.block.map_or(matches!(spec.layout, Layout::Seated(_)), |only| *only == spec.id)
                && wanted.max_price.is_none_or(|most| spec.price <= most);
            all_known &= !might || block.is_known();
            might && block.is_known() && block.free() >= wanted.quantity
        });
        let found: Vec<BlockRef> = fits.map(|(_, block)| block.at().clone()).collect();
        (all_known || !found.is_empty()).then_some(found)
    }

    /// Who measures.
    #[must_use]
    pub fn observer(&self) -> &Arc<dyn Observer> {
        &self.settings.observer
    }

    /// The board's time.
    #[must_use]
    pub fn now(&self) -> Millis {
        (self.settings.clock)()
    }

    fn describe(&self, description: Description) {
        let id = description.spec.id.clone();
        let event = self.events.get_or_insert(&id, || Arc::new(Event::new()));
        if event.described().is_some_and(|known| known.revision > description.revision) {
            return;
        }
        let blocks = description.spec.blocks.iter();
        let blocks = blocks.map(|spec| self.block(&event, &BlockRef { event: id.clone(), block: spec.id.clone() }));
        let blocks = blocks.collect();
        event.describe(Described::new(description, blocks, self.settings.shards));
        self.pages.changed(&id, &event);
    }

    fn fold(&self, at: BlockRef, fold: impl FnOnce(&Block) -> Folded) {
        let event = self.events.get_or_insert(&at.event, || Arc::new(Event::new()));
        match fold(&self.block(&event, &at)) {
            Folded::Changed => event.changed(),
            Folded::Known | Folded::Waiting => {}
            Folded::Gap => {
                event.changed();
                self.settings.observer.gap(&at);
                tracing::debug!(event = %at.event, block = %at.block, "a change of a block is missing, its picture is awaited");
                if let Some(ask) = self.ask_picture.get() {
                    ask(Address::Block(at).shard(self.settings.shards));
                }
            }
        }
    }

    /// A block of an event, made if it is new.
    fn block(&self, event: &Event, at: &BlockRef) -> Arc<Block> {
        if let Some(known) = event.known_block(&at.block) {
            return known;
        }
        let block = event.add_block(&at.block, || Arc::new(Block::new(at.clone())));
        let shard = Address::Block(at.clone()).shard(self.settings.shards);
        self.tags.update((shard, at.tag()), |tagged| {
            if !tagged.contains(at) {
                tagged.push(at.clone());
            }
        });
        block
    }
}

impl FeedSink for Board {
    fn publish(&self, _: Shard, feed: Vec<Feed>) {
        Board::publish(self, feed);
    }
}

/// What best available is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// How many places.
    pub quantity: u32,
    /// Only in this block.
    pub block: Option<&'a BlockId>,
    /// Price of a place at most this, in minor units.
    pub max_price: Option<u64>,
}
