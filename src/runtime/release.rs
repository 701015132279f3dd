//! What waits for durability: the answers, effects and public changes of one turn.

use std::cell::Cell;
use std::rc::Rc;

use actors::address::Address;
use actors::feed::Feed;
use actors::keyed::Answer;
use actors::machine::Effect;
use actors::message::Reply;
use actors::time::Millis;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::waiter::{Outgoing, Waiter};

/// What comes back from the shard log once it may be told.
pub(super) enum Release {
    /// What a turn wants told.
    Turn(Told),
    /// What the public may see of a cell.
    Picture(Vec<Feed>),
    /// Somebody only wants to know that everything before is durable.
    Mark(oneshot::Sender<()>),
}

impl Release {
    /// Public changes of a turn.
    pub(super) fn changes(&self) -> usize {
        match self {
            Release::Turn(told) => told.feed.len(),
            Release::Picture(_) | Release::Mark(_) => 0,
        }
    }

    /// The waiters, when nothing of it will ever be told.
    pub(super) fn into_waiters(self) -> impl Iterator<Item = Waiter> {
        let answers = match self {
            Release::Turn(told) => told.answers,
            Release::Picture(_) | Release::Mark(_) => Vec::new(),
        };
        answers.into_iter().map(|(waiter, _)| waiter)
    }
}

/// Answers, effects and public changes of one turn.
pub(super) struct Told {
    pub(super) from: Address,
    /// When the turn was, by the node's clock.
    pub(super) at: Millis,
    pub(super) answers: Vec<(Waiter, Answer<Reply>)>,
    pub(super) effects: Vec<Effect>,
    pub(super) feed: Vec<Feed>,
    /// Whether the turn has entries in the journal.
    pub(super) changed: bool,
    /// The cell's count of asks that are not answered yet.
    unanswered: Rc<Cell<usize>>,
}

impl Told {
    pub(super) fn new(from: Address, at: Millis, unanswered: Rc<Cell<usize>>) -> Self {
        Self { from, at, answers: Vec::new(), effects: Vec::new(), feed: Vec::new(), changed: false, unanswered }
    }

    /// Answers everybody who waits with what the machine said.
    pub(super) fn answer(&mut self, outgoing: &mut Outgoing) {
        self.count_down();
        for (waiter, answer) in self.answers.drain(..) {
            outgoing.answer(waiter, Ok(answer));
        }
    }

    /// Answers everybody who waits with a failure.
    pub(super) fn fail(&mut self, failure: &Failure) {
        self.count_down();
        let mut outgoing = Outgoing::default();
        for (waiter, _) in self.answers.drain(..) {
            outgoing.answer(waiter, Err(failure.clone()));
        }
    }

    fn count_down(&self) {
        self.unanswered.set(self.unanswered.get() - self.answers.len());
    }
}
