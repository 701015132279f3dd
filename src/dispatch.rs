//! Dispatch: from a request, or from another machine, to the machine that owns the matter.
//!
//! Owns finding the owner and saying what became of an ask. On one node every owner is local; nothing above this module
//! knows where an owner lives. It decides nothing: machines do. See [`crate::runtime`] for how they run.

use std::time::Duration;

use actors::address::Address;
use actors::ids::OrderId;
use actors::keyed::{Answer, Asked, KeyDigest};
use actors::message::{Message, Reply};

/// The world broke: the ask was not answered. The client gets 503 (or 500) and may try again with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Admission refused it: nothing was done.
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The owner cannot write now, for instance because the disk is full: nothing was done.
    Unavailable {
        /// What is the matter, for people.
        reason: &'static str,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// It may or may not have been done: the same key finds out.
    Unknown,
}

/// A handle to every machine of the deployment. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Dispatch {}

impl Dispatch {
    /// Asks a machine and waits until its answer is durable.
    ///
    /// # Errors
    /// See [`Failure`]; a refusal is an answer, not an error.
    pub async fn ask(&self, to: Address, asked: Asked<Message>) -> Result<Answer<Reply>, Failure> {
        todo!()
    }

    /// Tells a machine something; nobody waits for an answer. Lost when the owner is overloaded or away: whoever owes it
    /// tells it again.
    pub fn tell(&self, to: Address, message: Message) {
        todo!()
    }

    /// Resolves at the next change of an order's state after this call returned its future.
    pub fn order_changed(&self, order: OrderId) -> tokio::sync::oneshot::Receiver<()> {
        todo!()
    }

    /// Resolves when the search under this key has its answer.
    pub fn sought(&self, key: KeyDigest) -> tokio::sync::oneshot::Receiver<()> {
        todo!()
    }
}
