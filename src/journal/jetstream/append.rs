//! The decision about one append: from what the servers said, or did not say, to what is to be done next.
//!
//! Pure: no I/O, no clock, no chance, so that the simulation drives the same code as the network does. An append is
//! published on the condition that a known message is the last of its subject. That makes every repetition harmless, and
//! it makes every lost answer decidable: as long as the known message is the last one, ours is not there; once it is not,
//! the message right behind it is ours, or never will be.

use std::fmt;
use std::time::Duration;

use actors::planted::{self, Bug};
use actors::time::Millis;

use super::envelope::{Mark, Owner};
use crate::journal::Seq;

/// Where a message lies: its sequence in the stream. Numbers are never used twice; 0 means "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Before the first message.
    pub const NONE: Position = Position(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It makes somebody the owner; its `seq` is the last record's before it.
    Claim,
    /// It is a record; its `seq` is the record's.
    Record,
}

/// The facts of a message that is in the journal, without its record. Mostly the last one of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where it lies.
    pub position: Position,
    /// Number of the last record up to here.
    pub seq: Seq,
    /// Epoch of the owner who wrote it.
    pub epoch: u64,
    /// Who wrote it.
    pub owner: Owner,
    /// When, on the owner's clock.
    pub at: Millis,
    /// What it is for.
    pub purpose: Purpose,
    /// Checksum of the whole envelope.
    pub crc: u32,
}

impl Tail {
    /// What tells this message from every other.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { incarnation: self.owner.incarnation, epoch: self.epoch, seq: self.seq, crc: self.crc }
    }
}

/// Why an append cannot end now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The shard's subject is empty although something was written to it: servers came back without their data, or
    /// the stream was deleted. Nothing is started over; an operator must look.
    Emptied,
    /// The last message is older than one that was acknowledged: the servers lost records.
    WentBack {
        /// What is the last one now.
        to: Position,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::Emptied => write!(f, "journal in NATS is empty although it was written to"),
            Blocked::WentBack { to } => {
                write!(f, "journal in NATS lost acknowledged messages: its last one is now {to}")
            }
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Publish the message, the same bytes on the same condition as every time.
    Publish,
    /// Ask the stream's leader for the last message of the subject, then call [`Attempt::on_tail`].
    ReadTail,
    /// Ask the leader for the first message behind the expected one, then call [`Attempt::on_next`].
    ReadNext,
    /// It is in the journal, here.
    Done(Position),
    /// Another owner wrote in its place: surely not written, and never will be.
    Fenced(Tail),
    /// Somebody else owns the shard, and what lay behind the expected message was cut away: nobody can tell any more.
    Unknown(Tail),
    /// Nothing can be decided in this state of the servers; pause, then read the last message again.
    Wait(Blocked),
}

/// Error codes of JetStream that the decision knows.
pub mod code {
    /// The condition does not hold; the server names the last sequence.
    pub const WRONG_LAST_SEQUENCE: u64 = 10071;
    /// Something else on this subject is in flight, or the condition does not hold.
    pub const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
}

/// One append, from its first publication until it is definite.
#[derive(Clone, Debug)]
pub struct Attempt {
    expected: Position,
    purpose: Purpose,
    mine: Mark,
    /// The other owner's message that was seen behind the expected one.
    other: Option<Tail>,
    rounds: u32,
}

impl Attempt {
    /// An append of `mine` on condition that `expected` is the last message; publish it first.
    #[must_use]
    pub fn new(expected: Position, purpose: Purpose, mine: Mark) -> Self {
        Self { expected, purpose, mine, other: None, rounds: 0 }
    }

    /// The position that must be the last one when the message is stored.
    #[must_use]
    pub fn expected(&self) -> Position {
        self.expected
    }

    /// How long to pause before the next try: short at first, because most trouble is a leader election.
    #[must_use]
    pub fn pause(&self) -> Duration {
        const FIRST: Duration = Duration::from_millis(5);
        const DOUBLINGS_MAX: u32 = 6;
        match self.rounds {
            0 => Duration::ZERO,
            rounds => FIRST * (1 << (rounds - 1).min(DOUBLINGS_MAX)),
        }
    }

    /// The server stored it.
    #[must_use]
    pub fn on_ack(&self, position: Position) -> Next {
        Next::Done(position)
    }

    /// The server did not store this copy. Whatever the code, an earlier copy may be there: only the leader's last message
    /// decides. In particular [`code::WRONG_LAST_SEQUENCE_CONSTANT`] does not mean that somebody else is the owner.
    #[must_use]
    pub fn on_refused(&mut self, code: u64) -> Next {
        if planted::is(Bug::RefusalIgnored) {
            return Next::Done(Position(self.expected.0 + 1));
        }
        // A false condition is decided by one look; anything else is a server in trouble, which wants a pause.
        if code != code::WRONG_LAST_SEQUENCE {
            self.rounds += 1;
        }
        Next::ReadTail
    }

    /// No answer in time, from whatever was asked.
    #[must_use]
    pub fn on_timeout(&mut self) -> Next {
        self.rounds += 1;
        Next::ReadTail
    }

    /// The leader's last message of the subject; `None`: there is none.
    #[must_use]
    pub fn on_tail(&mut self, tail: Option<Tail>) -> Next {
        let Some(tail) = tail else {
            return if self.expected == Position::NONE { self.again() } else { self.wait(Blocked::Emptied) };
        };
        if tail.position == self.expected {
            return self.again();
        }
        if tail.mark() == self.mine {
            return Next::Done(tail.position);
        }
        if tail.position < self.expected {
            return self.wait(Blocked::WentBack { to: tail.position });
        }
        // Ours may lie between the two: written, its answer lost, and then another owner came.
        self.other = Some(tail);
        Next::ReadNext
    }

    /// The first message behind the expected one; `None`: there is none (any more).
    #[must_use]
    pub fn on_next(&mut self, next: Option<Tail>) -> Next {
        let (Some(next), Some(other)) = (next, self.other.take()) else { return Next::ReadTail };
        if next.mark() == self.mine {
            return Next::Done(next.position);
        }
        match self.purpose {
            // A claim that is not the one right behind the expected message never will be.
            Purpose::Claim => Next::Fenced(other),
            // Records of one epoch lie behind each other: if the next owner's claim does not count ours, it is not there.
            Purpose::Record if next.purpose == Purpose::Claim && next.seq < self.mine.seq => Next::Fenced(other),
            Purpose::Record => Next::Unknown(other),
        }
    }

    fn again(&mut self) -> Next {
        self.rounds += 1;
        Next::Publish
    }

    fn wait(&mut self, blocked: Blocked) -> Next {
        self.rounds += 1;
        Next::Wait(blocked)
    }
}

#[cfg(test)]
mod tests;
