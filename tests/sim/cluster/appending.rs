//! What a node does with what turns wrote: one append of a shard at a time, and only then told.
//!
//! Whether an append is done, was never done, or has to be tried again is decided by the product ([`Attempt`]); here its
//! decisions are carried out. Claims are appended in the same way.

use actors::ids::Shard;
use actors::time::{Millis, Span};
use bytes::Bytes;
use stampede::journal;
use stampede::journal::Seq;
use stampede::journal::jetstream::append::{Attempt, Next};
use stampede::journal::jetstream::{Head, Position, Purpose, seal};
use stampede::runtime::commit::Append;

use super::links::{Request, Response};
use super::stream::Message;
use super::{Asker, Cluster, Happening, Matter};
use crate::node::Told;
use crate::site::{Place, Site};
use crate::world::{Event, Failure, Step, World};

/// A message on its way into the journal.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) attempt: Attempt,
    bytes: Bytes,
    times: Vec<Millis>,
    pub(super) seq: Seq,
    /// The request that is waited for.
    waits_for: u64,
    /// Whether an answer was missed.
    missed: bool,
}

impl World<Cluster> {
    pub(super) fn commit_soon(&mut self, place: Place, shard: Shard) {
        let idle = self.site.hosting(place, shard).is_some_and(|hosting| hosting.writing.is_none());
        if idle {
            let wait = Span(self.chance.between(0, 2));
            self.after(wait, Event::Site(Happening::Commit { place, shard }));
        }
    }

    /// Appends the next record of a shard.
    pub(super) fn commit(&mut self, place: Place, shard: Shard) {
        let clock = Millis(self.now.0.saturating_add_signed(self.site.skew(place.node)));
        let Some(process) = self.site.process(place) else { return };
        let owner = process.owner.clone();
        let Some(hosting) = process.hostings.get_mut(&shard.0).filter(|hosting| hosting.writing.is_none()) else {
            return;
        };
        let Some(Append { after, record, .. }) = hosting.host.log.begin() else { return };
        let (seq, expected, epoch) = (after.next(), hosting.last, hosting.epoch);
        let times = hosting.host.times.get(&seq).cloned().unwrap_or_default();
        let at = hosting.host.advance(clock);
        let head = Head { shard: journal::Shard(shard.0), purpose: Purpose::Record, epoch, seq, at, owner: &owner };
        let (bytes, mark) = seal(record, &head);
        let attempt = Attempt::new(expected, Purpose::Record, mark);
        hosting.writing = Some(Writing { attempt, bytes, times, seq, waits_for: 0, missed: false });
        self.go_on(place, (shard, Matter::Append), Next::Publish);
    }

    /// The message that makes a node the owner.
    pub(super) fn claim_message(&mut self, place: Place, shard: Shard, before: &Claim) -> Option<Writing> {
        let process = self.site.process(place)?;
        let head = Head {
            shard: journal::Shard(shard.0),
            purpose: Purpose::Claim,
            epoch: before.epoch,
            seq: before.seq,
            at: before.at,
            owner: &process.owner,
        };
        let (bytes, mark) = seal(Vec::new(), &head);
        let attempt = Attempt::new(before.expected, Purpose::Claim, mark);
        let seq = before.seq;
        Some(Writing { attempt, bytes, times: Vec::new(), seq, waits_for: 0, missed: false })
    }

    fn writing(&mut self, place: Place, (shard, matter): (Shard, Matter)) -> Option<&mut Writing> {
        match matter {
            Matter::Append => self.site.hosting(place, shard)?.writing.as_mut(),
            Matter::Claim => self.site.process(place)?.claims.get_mut(&shard.0)?.writing.as_mut(),
            Matter::Verify => None,
        }
    }

    /// Carries out what was decided about an append or a claim.
    pub(super) fn go_on(&mut self, place: Place, what: (Shard, Matter), next: Next) {
        let Some(writing) = self.writing(place, what) else { return };
        let pause = Span(writing.attempt.pause().as_millis() as u64);
        let request = match next {
            Next::Publish | Next::ReadTail if pause > Span(0) => {
                let number = self.site.number();
                let asker = Asker { place, shard: what.0, matter: what.1, number };
                if let Some(writing) = self.writing(place, what) {
                    writing.waits_for = number;
                }
                let reads = next == Next::ReadTail;
                return self.after(pause, Event::Site(Happening::TryAgain { asker, reads }));
            }
            Next::Publish => Request::Publish(Message {
                expected: writing.attempt.expected(),
                bytes: writing.bytes.clone(),
                times: writing.times.clone(),
            }),
            Next::ReadTail => Request::Last,
            Next::ReadNext => Request::Next(writing.attempt.expected()),
            Next::Done(_) | Next::Fenced(_) | Next::Unknown(_) | Next::Wait(_) => return,
        };
        let number = self.ask_journal(place, what, request);
        if let Some(writing) = self.writing(place, what) {
            writing.waits_for = number;
        }
    }

    /// The pause is over.
    pub(super) fn try_again_at(&mut self, asker: Asker, reads: bool) {
        let (place, what) = (asker.place, (asker.shard, asker.matter));
        let Some(writing) = self.writing(place, what).filter(|writing| writing.waits_for == asker.number) else {
            return;
        };
        let request = if reads {
            Request::Last
        } else {
            let (expected, bytes) = (writing.attempt.expected(), writing.bytes.clone());
            Request::Publish(Message { expected, bytes, times: writing.times.clone() })
        };
        let number = self.ask_journal(place, what, request);
        if let Some(writing) = self.writing(place, what) {
            writing.waits_for = number;
        }
    }

    /// The journal has answered, or not in time.
    pub(super) fn responded(&mut self, asker: Asker, response: Option<Response>) -> Step {
        let (place, what) = (asker.place, (asker.shard, asker.matter));
        if asker.matter == Matter::Verify {
            return self.verified(asker, response);
        }
        if self.tail_for_claim(asker, &response) {
            return Ok(());
        }
        let Some(writing) = self.writing(place, what).filter(|writing| writing.waits_for == asker.number) else {
            return Ok(());
        };
        let next = match response {
            None => {
                writing.missed = true;
                writing.attempt.on_timeout()
            }
            Some(Response::Stored(position)) => writing.attempt.on_ack(position),
            Some(Response::Refused(code)) => writing.attempt.on_refused(code),
            Some(Response::Last(tail)) => writing.attempt.on_tail(tail),
            Some(Response::Next(next)) => writing.attempt.on_next(next),
        };
        let missed = writing.missed;
        match &next {
            Next::Done(_) if missed => self.coverage.count("unknown outcome: it was done"),
            Next::Fenced(_) if missed => self.coverage.count("unknown outcome: it was not done"),
            Next::Unknown(_) => self.coverage.count("unknown outcome: nobody can tell"),
            Next::Wait(blocked) => return Err(format!("shard {}: {blocked}", asker.shard.0)),
            _ => {}
        }
        match (next, asker.matter) {
            (Next::Done(position), Matter::Append) => self.appended(place, asker.shard, position),
            (Next::Done(position), _) => self.claimed(place, asker.shard, position),
            (Next::Fenced(tail), Matter::Append) => {
                self.note(|| format!("node {} is fenced in shard {} by {tail:?}", place.node, asker.shard.0));
                self.coverage.count("fenced appends");
                self.lose(place, asker.shard, Failure::Elsewhere)
            }
            (Next::Unknown(_), Matter::Append) => self.lose(place, asker.shard, Failure::Unknown),
            (Next::Fenced(_) | Next::Unknown(_), _) => {
                self.coverage.count("claims lost to another");
                self.claim_lost(place, asker.shard);
                Ok(())
            }
            (next, _) => {
                self.go_on(place, what, next);
                Ok(())
            }
        }
    }

    fn appended(&mut self, place: Place, shard: Shard, position: Position) -> Step {
        let Some(hosting) = self.site.hosting(place, shard) else { return Ok(()) };
        let Some(writing) = hosting.writing.take() else { return Ok(()) };
        hosting.last = position;
        self.coverage.count("appends");
        self.acknowledged(place, shard, writing.seq)?;
        self.commit_soon(place, shard);
        self.bundle_durable(place, shard)
    }

    /// The shard leaves this node at once: `in_flight` is what became of the record in flight.
    pub(super) fn drop_hosting(&mut self, place: Place, shard: Shard, in_flight: Failure) -> Step {
        let Some(process) = self.site.process(place) else { return Ok(()) };
        let Some(mut hosting) = process.hostings.remove(&shard.0) else { return Ok(()) };
        let left = hosting.host.log.abandon();
        for Told { answers, changed, .. } in left.in_flight {
            let failure = if changed { in_flight } else { Failure::Elsewhere };
            answers.into_iter().try_for_each(|(caller, _)| Cluster::answer(self, place, caller, Err(failure)))?;
        }
        let behind = left.behind.into_iter().flat_map(|told| told.answers).map(|(caller, _)| caller);
        let queued = hosting.host.cells.into_values().flat_map(|cell| cell.inbox).filter_map(|mail| mail.from);
        for caller in behind.chain(queued) {
            Cluster::answer(self, place, caller, Err(Failure::Elsewhere))?;
        }
        Ok(())
    }
}

/// What a claim says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) expected: Position,
    pub(super) epoch: u64,
    pub(super) seq: Seq,
    pub(super) at: Millis,
}
