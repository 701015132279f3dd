//! The notifier: what a buyer is owed in writing, told at least once, de-duplicated by id.
//!
//! Owns letters from the moment the order desk hands them over until they are delivered or set aside as dead. It
//! never writes a file or opens a socket: delivery is an effect, its outcome a command.

use serde::{Deserialize, Serialize};

use crate::block::Claim;
use crate::ids::{BlockId, EventId, OrderId};
use crate::money::Money;

/// What a letter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LetterKind {
    /// The order is paid; the seats are yours.
    Confirmation,
    /// The money was given back.
    Refund,
}

impl LetterKind {
    /// The kind's name in letters and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LetterKind::Confirmation => "order_confirmation",
            LetterKind::Refund => "order_refund",
        }
    }
}

/// A letter about an order. Its id is the order and the kind: there is at most one of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// About which order.
    pub order: OrderId,
    /// What it says.
    pub kind: LetterKind,
    /// Of which event.
    pub event: EventId,
    /// To whom.
    pub email: String,
    /// The places, block by block.
    pub places: Vec<(BlockId, Claim)>,
    /// The sum that was paid or given back.
    pub total: Money,
}

/// What a notifier can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// From the order desk: see that this is delivered. Answered with [`crate::order::Command::LetterTaken`].
    Notify(Box<Letter>),
    /// From the host: the letter is delivered.
    Delivered {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
    },
    /// From the host: it could not be delivered.
    Failed {
        /// About which order.
        order: OrderId,
        /// Which letter.
        kind: LetterKind,
        /// Why, for the log of dead letters.
        reason: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// How many letters wait and how many are dead.
    Count,
}

/// What a notifier answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// How things stand.
    Count {
        /// Letters that are not delivered yet.
        waiting: u64,
        /// Letters that were set aside.
        dead: u64,
    },
    /// A message was dealt with.
    Noted,
}
