//! The venue as requests name it: events, blocks and seats by their public names, found on the board.

use std::sync::Arc;
use std::time::Duration;

use actors::address::{Address, BlockRef};
use actors::block::SeatIx;
use actors::ids::{BlockId, EventId, HoldId};
use actors::time::Span;

use super::State;
use super::problem::{Code, Problem};
use crate::board::{Described, SeatNames};
use crate::clock;

/// When to ask again for a block that this node has not heard of yet.
const UNKNOWN_BLOCK_RETRY: Duration = Duration::from_secs(1);
/// How long a node of a cluster may be without news of an event that others sell. A hold's id that is older and names a block
/// that nobody has told of is made up.
const NEWS_WITHIN: Span = Span::seconds(3600);
/// Longest text that is looked up as an event's id.
pub(super) const EVENT_ID_MAX: usize = 64;
/// Longest text that is looked up as a block's id.
pub(super) const BLOCK_ID_MAX: usize = 32;

/// Whether this may be an event's id: a slug of 1 to 64 of `[a-z0-9-]`.
pub(super) fn is_event_id(text: &str) -> bool {
    (1..=EVENT_ID_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether this may be a block's id: 1 to 32 of `[A-Za-z0-9_-]`.
pub(super) fn is_block_id(text: &str) -> bool {
    (1..=BLOCK_ID_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// A block and the names of its seats.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) at: BlockRef,
    pub(super) names: Arc<SeatNames>,
}

impl Place {
    /// A new id for a hold in this block.
    pub(super) fn new_hold(&self, shards: u16) -> HoldId {
        new_hold(&self.at, shards)
    }

    /// The seats of these names, in the order asked.
    ///
    /// # Errors
    /// [`Code::UnknownSeat`] with the names that the block does not have, [`Code::WrongKind`] for a standing block.
    pub(super) fn seats<S: FromIterator<SeatIx>>(&self, named: &[impl AsRef<str>]) -> Result<S, Problem> {
        if self.names.is_standing() {
            return Err(Code::WrongKind.into());
        }
        named.iter().map(|name| self.names.index(name.as_ref())).collect::<Option<S>>().ok_or_else(|| {
            let unknown = named.iter().map(AsRef::as_ref).filter(|name| self.names.index(name).is_none());
            Problem::from(Code::UnknownSeat).with("seats", unknown.collect::<Vec<&str>>())
        })
    }
}

/// A new id for a hold in a block.
pub(super) fn new_hold(at: &BlockRef, shards: u16) -> HoldId {
    HoldId::new(clock::now(), Address::Block(at.clone()).shard(shards), at.tag(), clock::unique())
}

/// A block that others may know: an answer that is not to be stored.
pub(super) fn unheard_of() -> Problem {
    Problem::new(Code::Unavailable, "the block is not known here yet").retry_after(UNKNOWN_BLOCK_RETRY)
}

impl State {
    /// The event of that id as it is now.
    ///
    /// # Errors
    /// [`Code::UnknownEvent`].
    pub(super) fn event(&self, id: &str) -> Result<Arc<Described>, Problem> {
        let found = is_event_id(id).then(|| self.board.event(&EventId::from(id))).flatten();
        found.ok_or_else(|| Code::UnknownEvent.into())
    }

    /// The block of that id.
    ///
    /// # Errors
    /// [`Code::UnknownEvent`], [`Code::UnknownBlock`].
    pub(super) fn place(&self, event: &str, block: &str) -> Result<Place, Problem> {
        let event = self.event(event)?;
        if !is_block_id(block) {
            return Err(Code::UnknownBlock.into());
        }
        let at = BlockRef { event: event.spec.id.clone(), block: BlockId::from(block) };
        let names = event.names(&at.block).ok_or(Code::UnknownBlock)?;
        Ok(Place { at, names })
    }

    /// The names of the seats of a block that a machine has named.
    ///
    /// # Errors
    /// [`Code::Unavailable`]: the board does not have the block yet.
    pub(super) fn names(&self, at: &BlockRef) -> Result<Arc<SeatNames>, Problem> {
        self.board.names(&at.event, &at.block).ok_or_else(unheard_of)
    }

    /// The blocks that a hold of this id may be in: nearly always one, none for a made-up id.
    ///
    /// # Errors
    /// [`Code::Unavailable`]: the board does not have the block yet. Another node may have made the hold: that there is none
    /// would be stored as the answer to an order.
    pub(super) fn places_of(&self, hold: HoldId) -> Result<Vec<Place>, Problem> {
        if hold.shard().0 >= self.shards() {
            return Ok(Vec::new());
        }
        let blocks = self.board.block_tagged(hold.shard(), hold.tag());
        let is_alone = self.config.cluster.seeds.is_empty();
        if blocks.is_empty() && !is_alone && clock::now() < hold.made_at() + NEWS_WITHIN {
            return Err(unheard_of());
        }
        blocks.into_iter().map(|at| Ok(Place { names: self.names(&at)?, at })).collect()
    }
}
