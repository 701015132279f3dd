//! What this node knows of each shard's journal: whether it is the owner, and the furthest it has seen. No I/O.

use std::sync::{Mutex, MutexGuard, PoisonError};

use actors::time::Millis;
use async_nats::Subject;

use super::append::{Position, Tail};
use crate::journal::{Seq, Shard};
use crate::nats::Nats;

/// One shard.
pub(super) struct Lane {
    pub(super) shard: Shard,
    pub(super) stream: String,
    pub(super) subject: Subject,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) owned: Option<Owned>,
    /// The furthest message that the servers ever showed; they must never show less.
    pub(super) seen: Position,
    /// The last record up to there.
    seq: Seq,
    /// Whether its beginning is being cut off.
    pub(super) cutting: bool,
}

/// A shard of this node's.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) epoch: u64,
    /// The last message: the condition of the next one.
    pub(super) position: Position,
    /// The last record.
    pub(super) seq: Seq,
    /// The last message's date.
    pub(super) at: Millis,
    pub(super) in_flight: bool,
}

impl Lane {
    pub(super) fn new(nats: &Nats, shard: Shard) -> Lane {
        Lane {
            shard,
            stream: nats.journal_stream(shard.0),
            subject: Subject::from(nats.journal_subject(shard.0)),
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn see(&mut self, position: Position, seq: Seq) {
        if position > self.seen {
            self.seen = position;
            self.seq = seq;
        }
    }

    pub(super) fn owns(&self, epoch: u64) -> bool {
        self.owned.as_ref().is_some_and(|owned| owned.epoch == epoch)
    }

    /// Another owner was seen: what was owned in `epoch` is not any more.
    pub(super) fn lose(&mut self, tail: &Tail, epoch: u64) {
        self.see(tail.position, tail.seq);
        if self.owns(epoch) {
            self.owned = None;
        }
    }

    pub(super) fn last(&self) -> Seq {
        self.owned.as_ref().map_or(self.seq, |owned| owned.seq)
    }
}
