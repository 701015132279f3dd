//! A reader of the feed: the board as anybody outside sees it, kept by folding pictures and numbered changes.
//!
//! It outlives the node, as a reader at home does. Numbers may not be missing, and what was once shown under a number may
//! never be something else: that would be a change that was shown before it was durable.

use std::collections::BTreeMap;

use actors::address::BlockRef;
use actors::block::Counts;
use actors::feed::{Board, Feed, SeatsChanged};
use actors::ids::OrderId;
use actors::order::State;

use crate::model::{Violation, must};

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    seq: u64,
    seats: Vec<u8>,
    counts: Counts,
}

/// See the module's charter.
#[derive(Debug, Default)]
pub(crate) struct Boards {
    blocks: BTreeMap<BlockRef, Seen>,
    pub(crate) orders: BTreeMap<OrderId, State>,
    event_revision: u64,
}

impl Boards {
    pub(crate) fn fold(&mut self, feed: &Feed) -> Result<(), Violation> {
        match feed {
            Feed::Event(described) => {
                must!(described.revision >= self.event_revision, "the event's description goes back");
                self.event_revision = described.revision;
            }
            Feed::Board(board) => self.picture(board)?,
            Feed::Seats(changed) => self.change(changed)?,
            Feed::Order(order, state) => {
                self.orders.insert(*order, *state);
            }
            Feed::Sought(_) => {}
        }
        Ok(())
    }

    /// Whether it comes next, and is neither old news nor behind something that is missing.
    pub(crate) fn expects(&self, feed: &Feed) -> bool {
        match feed {
            Feed::Event(described) => described.revision >= self.event_revision,
            Feed::Board(board) => self.seq(&board.block).is_none_or(|seq| board.seq >= seq),
            Feed::Seats(changed) => self.seq(&changed.block).is_some_and(|seq| changed.seq == seq + 1),
            Feed::Order(..) | Feed::Sought(_) => false,
        }
    }

    pub(crate) fn seq(&self, block: &BlockRef) -> Option<u64> {
        self.blocks.get(block).map(|known| known.seq)
    }

    fn picture(&mut self, board: &Board) -> Result<(), Violation> {
        let new = Seen { seq: board.seq, seats: board.seats.clone(), counts: board.counts };
        if let Some(known) = self.blocks.get(&board.block) {
            must!(new.seq >= known.seq, "board of {} goes back from {} to {}", board.block.block, known.seq, new.seq);
            let same = new.seq > known.seq || new == *known;
            must!(same, "board of {} shows two things under number {}", board.block.block, new.seq);
        }
        self.blocks.insert(board.block.clone(), new);
        Ok(())
    }

    fn change(&mut self, changed: &SeatsChanged) -> Result<(), Violation> {
        let name = &changed.block.block;
        let known = self.blocks.get_mut(&changed.block).ok_or_else(|| format!("change of {name} before its board"))?;
        must!(changed.seq == known.seq + 1, "board of {name} is at {}, the next change is {}", known.seq, changed.seq);
        known.seq = changed.seq;
        for (seat, state) in &changed.seats {
            let at = seat.0 as usize;
            let byte = known.seats.get_mut(at / 4).ok_or_else(|| format!("change of seat {at} that {name} has not"))?;
            *byte = *byte & !(3 << (2 * (at % 4))) | (*state as u8) << (2 * (at % 4));
        }
        known.counts = changed.counts;
        Ok(())
    }

    /// What is shown must be the picture that the durable state gives.
    pub(crate) fn compare(&self, picture: &Feed) -> Result<(), Violation> {
        if let Feed::Event(described) = picture {
            let (shown, right) = (self.event_revision, described.revision);
            must!(shown == right, "the event's description is shown as of {shown}, it is {right}");
        }
        if let Feed::Board(board) = picture {
            let known = self.blocks.get(&board.block).ok_or_else(|| format!("no board of {}", board.block.block))?;
            let right = Seen { seq: board.seq, seats: board.seats.clone(), counts: board.counts };
            must!(*known == right, "board of {}: shown {known:?}, the block has {right:?}", board.block.block);
        }
        Ok(())
    }
}
