//! One event's replica: its description, its blocks, and the finished answers about the whole of it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use actors::address::Address;
use actors::block::Counts;
use actors::event::{BlockSpec, Description};
use actors::ids::{BlockId, Shard};
use actors::time::Millis;
use arc_swap::ArcSwapOption;
use bytestring::ByteString;
use foldhash::fast::RandomState;

use super::answers::{self, AvailabilityAnswer, BlockAvailability, EventAnswer, Money};
use super::block::Block;
use super::cache::{Cached, Fresh};
use super::names::SeatNames;
use super::reach::Age;
use super::texts;

/// One event as this node knows it. It may have blocks before it has a description: feeds of shards do not wait for
/// each other.
pub struct Event {
    described: ArcSwapOption<Described>,
    blocks: RwLock<HashMap<BlockId, Arc<Block>, RandomState>>,
    /// Counts everything folded in that an answer may show.
    changes: AtomicU64,
    /// Counts the descriptions among them.
    descriptions: AtomicU64,
    counts_text: Mutex<Option<(u64, ByteString)>>,
    pub(super) description_answer: Cached,
    pub(super) availability: Cached,
}

/// A description together with its blocks.
pub struct Described {
    description: Description,
    blocks: Vec<Arc<Block>>,
    at: HashMap<BlockId, usize, RandomState>,
    /// Where its desk and its blocks live, each shard once.
    shards: Vec<Shard>,
}

impl Deref for Described {
    type Target = Description;
    fn deref(&self) -> &Description {
        &self.description
    }
}

impl Described {
    /// `shards`: of the deployment.
    pub(super) fn new(description: Description, blocks: Vec<Arc<Block>>, shards: u16) -> Self {
        let at = description.spec.blocks.iter().zip(0..).map(|(block, at)| (block.id.clone(), at)).collect();
        let desk = Address::Event(description.spec.id.clone()).shard(shards);
        let mut homes: Vec<Shard> =
            blocks.iter().map(|block| Address::Block(block.at().clone()).shard(shards)).collect();
        homes.push(desk);
        homes.sort_unstable();
        homes.dedup();
        Self { description, blocks, at, shards: homes }
    }

    /// Where its desk and its blocks live.
    pub(super) fn shards(&self) -> impl Iterator<Item = Shard> {
        self.shards.iter().copied()
    }

    /// A block's description and replica.
    #[must_use]
    pub fn block(&self, id: &BlockId) -> Option<(&BlockSpec, &Arc<Block>)> {
        let at = *self.at.get(id)?;
        Some((&self.description.spec.blocks[at], &self.blocks[at]))
    }

    /// The names of a block's seats.
    #[must_use]
    pub fn names(&self, id: &BlockId) -> Option<Arc<SeatNames>> {
        let (spec, block) = self.block(id)?;
        Some(block.names.get_or_init(|| Arc::new(SeatNames::new(&spec.layout))).clone())
    }

    /// All blocks in the organizer's order, best first.
    pub fn blocks(&self) -> impl Iterator<Item = (&BlockSpec, &Arc<Block>)> {
        self.description.spec.blocks.iter().zip(&self.blocks)
    }
}

impl Event {
    pub(super) fn new() -> Self {
        Self {
            described: ArcSwapOption::empty(),
            blocks: RwLock::default(),
            changes: AtomicU64::new(0),
            descriptions: AtomicU64::new(0),
            counts_text: Mutex::default(),
            description_answer: Cached::default(),
            availability: Cached::default(),
        }
    }

    /// Its description and blocks; `None` before there was one.
    #[must_use]
    pub fn described(&self) -> Option<Arc<Described>> {
        self.described.load_full()
    }

    /// Grows with everything that an answer about the event may show, except time.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The text of the places by state, rendered once per change for all callers; `None` before there was a description.
    #[must_use]
    pub fn counts_text(&self) -> Option<(u64, ByteString)> {
        let described = self.described()?;
        let mut known = self.counts_text.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.changes();
        if let Some((of, text)) = &*known
            && *of >= changes
        {
            return Some((*of, text.clone()));
        }
        let text = texts::counts(described.blocks.iter().map(|block| (block.quoted(), block.counts())));
        *known = Some((changes, text.clone()));
        Some((changes, text))
    }

    /// The text that says where the sale is at a moment, and what tells it from another; `None` before there was a
    /// description.
    #[must_use]
    pub fn status_text(&self, now: Millis) -> Option<ByteString> {
        self.described().map(|described| texts::event(&described, described.status(now)))
    }

    pub(super) fn known_block(&self, id: &BlockId) -> Option<Arc<Block>> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn add_block(&self, id: &BlockId, make: impl FnOnce() -> Arc<Block>) -> Arc<Block> {
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        blocks.entry(id.clone()).or_insert_with(make).clone()
    }

    pub(super) fn describe(&self, described: Described) {
        self.described.store(Some(Arc::new(described)));
        self.descriptions.fetch_add(1, Ordering::AcqRel);
        self.changed();
    }

    pub(super) fn descriptions(&self) -> u64 {
        self.descriptions.load(Ordering::Acquire)
    }

    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Described {
    /// A number that grows with everything the event's answers say, the same on every node.
    ///
    /// The sale's scheduled opening changes what they say without a revision, hence the last term; a new revision that
    /// takes it back weighs more.
    fn version(&self, now: Millis) -> u64 {
        let opened = u64::from(answers::opens(self, now).is_none() && self.ready);
        2 * self.revision + opened + self.blocks.iter().map(|block| block.seq()).sum::<u64>()
    }

    pub(super) fn description_answer(&self, now: Millis, age: Option<Age>) -> Fresh {
        let answer = EventAnswer::new(self, now).aged(age);
        answers::json(&answer, self.revision, answers::earlier(answers::opens(self, now), age))
    }

    pub(super) fn availability(&self, now: Millis, age: Option<Age>) -> Fresh {
        // Read before the blocks: a version may say less than the answer, never more.
        let version = self.version(now);
        let currency = self.spec.currency.as_str();
        let mut free = 0;
        let blocks = self.blocks().map(|(spec, block)| {
            let counts: Counts = block.counts();
            free += u64::from(counts.free);
            BlockAvailability::new(spec.id.as_str(), counts, Money { amount: spec.price, currency })
        });
        let blocks = blocks.collect();
        let event = self.spec.id.as_str();
        let (stale, age_ms) = answers::said(age);
        let answer =
            AvailabilityAnswer { event, version, status: self.status(now).into(), free, blocks, stale, age_ms };
        answers::json(&answer, version, answers::earlier(answers::opens(self, now), age))
    }
}
