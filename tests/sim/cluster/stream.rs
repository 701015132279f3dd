//! The journal's servers: one stream with a subject per shard, each append on the condition that a known message is the last.
//!
//! What is stored here is durable, whoever hears of it: it joins the truth. The servers are right; everything on the way to
//! them is not. What may never be stored is refused as a violation: a record of an owner that was overtaken, an epoch twice,
//! a time that goes back.

use std::collections::VecDeque;

use actors::ids::Shard;
use actors::time::Millis;
use bytes::Bytes;
use stampede::journal;
use stampede::journal::Seq;
use stampede::journal::jetstream::append::code;
use stampede::journal::jetstream::{Envelope, Kind, Owner, Position, Purpose, Tail};

use crate::gateway::Provider;
use crate::model::{Violation, must};
use crate::node::Staged;
use crate::truth::Truth;
use crate::world::Step;

/// A message as it lies in the stream.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) position: Position,
    pub(super) envelope: Envelope,
}

impl Stored {
    pub(super) fn tail(&self) -> Tail {
        self.envelope.clone().tail(self.position)
    }
}

/// One shard.
#[derive(Debug, Default)]
struct Subject {
    messages: VecDeque<Stored>,
    last: Position,
    epoch: u64,
    owner: Option<Owner>,
    at: Millis,
}

/// A message on its way to be stored.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) expected: Position,
    pub(super) bytes: Bytes,
    /// The moments of the turns in its record.
    pub(super) times: Vec<Millis>,
}

/// See the module's charter.
pub(super) struct Stream {
    subjects: Vec<Subject>,
    last: Position,
    /// No quorum until then.
    pub(super) away: Option<Millis>,
}

impl Stream {
    pub(super) fn new(shards: u16) -> Self {
        let subjects = (0..shards).map(|_| Subject::default()).collect();
        Self { subjects, last: Position::NONE, away: None }
    }

    /// Stores a message if its condition holds; the code of the refusal if it does not.
    pub(super) fn publish(
        &mut self,
        shard: Shard,
        message: Message,
        (truth, provider): (&mut Truth, &Provider),
    ) -> Result<Result<Position, u64>, Violation> {
        let subject = &mut self.subjects[usize::from(shard.0)];
        if subject.last != message.expected {
            return Ok(Err(code::WRONG_LAST_SEQUENCE));
        }
        self.store(shard, message, (truth, provider)).map(Ok)
    }

    /// Stores a message, whatever its condition says.
    pub(super) fn store(
        &mut self,
        shard: Shard,
        message: Message,
        (truth, provider): (&mut Truth, &Provider),
    ) -> Result<Position, Violation> {
        let subject = &mut self.subjects[usize::from(shard.0)];
        let envelope = Envelope::open_at(journal::Shard(shard.0), &message.bytes).map_err(|error| error.to_string())?;
        let Envelope { epoch, seq, owner, at, kind, .. } = &envelope;
        let named = format!("epoch {epoch} of {owner} in shard {}", shard.0);
        must!(*at >= subject.at, "{named}: time goes back from {:?} to {at:?}", subject.at);
        match kind {
            Kind::Claim => {
                must!(*epoch > subject.epoch, "{named} is claimed, although epoch {} was before it", subject.epoch);
                must!(*seq == truth.last(usize::from(shard.0)), "{named} is claimed behind record {seq}");
                (subject.epoch, subject.owner) = (*epoch, Some(owner.clone()));
            }
            Kind::Record(record) => {
                let right = *epoch == subject.epoch && subject.owner.as_ref() == Some(owner);
                must!(right, "{named} is over, and it writes record {seq}: epoch {} has begun", subject.epoch);
                let (shard, record) = (usize::from(shard.0), record.to_vec());
                truth.add(Staged { shard, seq: *seq, record, times: message.times }, provider)?;
            }
        }
        self.last = Position(self.last.0 + 1);
        (subject.last, subject.at) = (self.last, *at);
        subject.messages.push_back(Stored { position: self.last, envelope });
        Ok(self.last)
    }

    /// The last message of a shard.
    pub(super) fn last(&self, shard: Shard) -> Option<Tail> {
        self.subjects[usize::from(shard.0)].messages.back().map(Stored::tail)
    }

    /// The first message behind a position.
    pub(super) fn next(&self, shard: Shard, after: Position) -> Option<Tail> {
        self.read(shard, after).next().map(Stored::tail)
    }

    /// All messages behind a position.
    pub(super) fn read(&self, shard: Shard, after: Position) -> impl Iterator<Item = &Stored> {
        let messages = &self.subjects[usize::from(shard.0)].messages;
        let from = messages.partition_point(|message| message.position <= after);
        messages.range(from..)
    }

    /// Cuts the records up to `to` away, never the last message.
    pub(super) fn purge(&mut self, shard: Shard, to: Seq) -> usize {
        let messages = &mut self.subjects[usize::from(shard.0)].messages;
        let before = messages.len();
        while messages.len() > 1 && messages.front().is_some_and(|first| first.envelope.seq <= to) {
            messages.pop_front();
        }
        before - messages.len()
    }

    /// Whether a position is a shard's last.
    pub(super) fn is_last(&self, shard: u16, position: Position) -> bool {
        self.subjects[usize::from(shard)].last == position
    }

    /// Records follow each other without a gap, up to the last that was acknowledged and further.
    pub(super) fn check(&self, truth: &Truth) -> Step {
        for (nth, subject) in self.subjects.iter().enumerate() {
            let shard = Shard(nth as u16);
            let mut before = subject.messages.front().map_or(Seq::NONE, |first| first.envelope.before());
            for Stored { position, envelope } in &subject.messages {
                must!(envelope.before() == before, "shard {nth}: {position} comes after record {before}");
                before = envelope.seq;
                if let Kind::Record(record) = &envelope.kind {
                    let right = truth.record(nth, envelope.seq).is_some_and(|known| known == record);
                    must!(right, "record {} of shard {nth} is not what was written", envelope.seq);
                }
            }
            must!(before == truth.last(nth), "shard {nth} ends at record {before} of {}", truth.last(nth));
            must!(before >= truth.acknowledged(shard), "shard {nth} lost acknowledged records");
        }
        Ok(())
    }
}
