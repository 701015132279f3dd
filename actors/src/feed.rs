//! The feed: numbered public changes, released only when they are durable.
//!
//! Boards fold it, WebSockets pass it on, waiting requests listen to it. It holds nothing that is not public,
//! except order states, which stay on the node and only wake those who may ask.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::address::BlockRef;
use crate::block::{Counts, SeatIx, SeatState};
use crate::event::Description;
use crate::ids::OrderId;
use crate::keyed::KeyDigest;
use crate::order;

/// One public change or picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Feed {
    /// An event as it is now.
    Event(Box<Description>),
    /// A whole block.
    Board(Box<Board>),
    /// Some seats of a block.
    Seats(SeatsChanged),
    /// An order has reached another state.
    Order(OrderId, order::State),
    /// A best-available search under a key has its answer.
    Sought(KeyDigest),
}

/// A block as the public sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Which block.
    pub block: BlockRef,
    /// The number of the last change it contains; 0 before the first.
    pub seq: u64,
    /// One state a seat in row-major order, empty for a standing block; packed, see [`crate::block::pack`].
    pub seats: Vec<u8>,
    /// Places by state.
    pub counts: Counts,
}

/// A numbered change of a block: no number is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeatsChanged {
    /// Which block.
    pub block: BlockRef,
    /// Its number: one more than the change before.
    pub seq: u64,
    /// The seats and their new states; empty for a standing block.
    pub seats: SmallVec<[(SeatIx, SeatState); 4]>,
    /// Places by state after it.
    pub counts: Counts,
}
