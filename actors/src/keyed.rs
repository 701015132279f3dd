//! Idempotency inside the owner: the key and its answer are journaled with the change they caused.
//!
//! [`Keyed`] wraps any machine. A command that comes with a key is judged once; its answer, acceptance or
//! refusal, is stored and given again, byte for byte, until the key is forgotten. A machine may keep the keys of some commands
//! itself ([`Machine::own_key`]); they and those kept here are one set: what one side knows the other refuses. Keys cost one
//! look-up on each side that there is; commands without a key cost nothing here. A stored answer is kept as bytes: there is
//! one for every hold and order of the last day, and hardly any is ever asked for again.

use std::collections::{BTreeMap, VecDeque};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::bytes::End;
use crate::feed::Feed;
use crate::machine::{Machine, Moment, Outbox, Turned};
use crate::planted::{self, Bug};
use crate::refusal::Refusal;
use crate::time::Millis;

/// A customer's or organizer's idempotency key together with who used it: 128 bits of a cryptographic hash made at
/// the edge, so that nobody can meet somebody else's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyDigest(pub u128);

/// A key and the fingerprint of the request it came with (method, path and body).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Who and which key.
    pub digest: KeyDigest,
    /// What was asked: another fingerprint under the same key is refused.
    pub fingerprint: u64,
}

/// A command as it arrives: with or without an idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked<C> {
    /// The key, when the client sent one.
    pub key: Option<Key>,
    /// What is asked.
    pub command: C,
}

impl<C> From<C> for Asked<C> {
    fn from(command: C) -> Self {
        Self { key: None, command }
    }
}

/// What a command is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<R> {
    /// Accepted or refused.
    pub result: Result<R, Refusal>,
    /// Whether this is the stored answer of an earlier request with the same key.
    pub replayed: bool,
}

/// What the journal stores for a keyed machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry<C, R> {
    /// A change of the machine itself.
    Change(C),
    /// The answer that a key got.
    Answered {
        /// Key and fingerprint.
        key: Key,
        /// The stored answer.
        answer: Box<Result<R, Refusal>>,
        /// When the key may be forgotten.
        forget_at: Millis,
    },
    /// Keys whose time had come by then are forgotten.
    Forgotten {
        /// Up to and including this moment.
        until: Millis,
    },
}

/// A machine and the keys it has answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keyed<M: Machine> {
    machine: M,
    answered: BTreeMap<KeyDigest, Stored>,
    /// Keys in the order in which they are forgotten.
    forget: VecDeque<(Millis, KeyDigest)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    fingerprint: u64,
    /// The bincode of what was answered.
    #[serde(with = "serde_bytes")]
    answer: Box<[u8]>,
}

/// Room for an ordinary answer, in bytes, so that it seldom grows while it is encoded.
const ANSWER_BYTES: usize = 256;

/// Most bytes that one stored answer may claim when it is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Stored {
    fn new<R: Serialize>(fingerprint: u64, answer: &Result<R, Refusal>) -> Self {
        let config = bincode::config::standard().with_limit::<ANSWER_BYTES_MAX>();
        let mut bytes = Vec::with_capacity(ANSWER_BYTES);
        bincode::serde::encode_into_writer(answer, End(&mut bytes), config).expect("an answer can be encoded");
        Self { fingerprint, answer: bytes.into() }
    }

    fn answer<R: DeserializeOwned>(&self) -> Result<R, Refusal> {
        let config = bincode::config::standard().with_limit::<ANSWER_BYTES_MAX>();
        let (answer, read) = bincode::serde::decode_from_slice(&self.answer, config).expect("it was encoded here");
        assert_eq!(read, self.answer.len(), "an answer is read whole");
        answer
    }
}

impl<M: Machine> Keyed<M> {
    /// An empty machine without keys.
    #[must_use]
    pub fn new(address: &Address) -> Self {
        Self { machine: M::new(address), answered: BTreeMap::new(), forget: VecDeque::new() }
    }

    /// The machine itself, to read.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.answered.len()
    }

    /// When the machine or its keys want to be woken next.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        let forget = self.forget.front().map(|(due, _)| *due);
        self.machine.deadline().into_iter().chain(forget).min()
    }

    /// See [`Machine::foresee`].
    pub fn foresee(&self, command: &M::Command) -> u64 {
        self.machine.foresee(command)
    }

    /// Folds a stored entry in.
    pub fn apply(&mut self, entry: &Entry<M::Change, M::Reply>) {
        match entry {
            Entry::Change(change) => self.machine.apply(change),
            Entry::Answered { key, answer, forget_at } => {
                self.answered.insert(key.digest, Stored::new(key.fingerprint, answer));
                // The time of a turn never runs backwards; the maximum keeps the queue sorted even if it did.
                let after = self.forget.back().map_or(*forget_at, |(last, _)| *last.max(forget_at));
                self.forget.push_back((after, key.digest));
            }
            Entry::Forgotten { until } => {
                while self.forget.front().is_some_and(|(due, _)| due <= until) {
                    if let Some((_, digest)) = self.forget.pop_front() {
                        self.answered.remove(&digest);
                    }
                }
            }
        }
    }

    /// The whole public picture.
    pub fn picture(&self, feed: &mut Vec<Feed>) {
        self.machine.picture(feed);
    }

    pub(crate) fn wake(&self, at: Moment<'_>, out: &mut Outbox<Entry<M::Change, M::Reply>>) {
        if self.forget.front().is_some_and(|(due, _)| *due <= at.now) {
            out.change(Entry::Forgotten { until: at.now });
        }
        if self.machine.deadline().is_some_and(|due| due <= at.now) {
            let mut inner = Outbox::default();
            self.machine.wake(at, &mut inner);
            lift(&mut inner, out);
        }
    }

    /// What the machine wants is left in `inner`, what its keys want in `out`: [`Keyed::settle`] takes both, in that order.
    pub(crate) fn decide(
        &self,
        at: Moment<'_>,
        asked: Asked<M::Command>,
        inner: &mut Outbox<M::Change>,
        out: &mut Outbox<Entry<M::Change, M::Reply>>,
    ) -> Answer<M::Reply> {
        if let Some(key) = asked.key.or_else(|| M::own_key(&asked.command)) {
            if let Some(stored) = self.answered.get(&key.digest) {
                return replay(key, stored);
            }
            if asked.key.is_some() && self.machine.keeps(key.digest) {
                return Answer { result: Err(Refusal::IdempotencyKeyReused), replayed: false };
            }
        }
        let result = self.machine.decide(at, asked.command, inner);
        if result.is_err() {
            inner.clear();
        }
        if let Some(key) = asked.key {
            let forget_at = at.now + at.policy.idempotency_ttl;
            out.change(Entry::Answered { key, answer: Box::new(result.clone()), forget_at });
        }
        Answer { result, replayed: false }
    }

    /// Folds both outboxes in and moves them to what the turn produced.
    pub(crate) fn settle(
        &mut self,
        inner: &mut Outbox<M::Change>,
        out: &mut Outbox<Entry<M::Change, M::Reply>>,
        turned: &mut Turned<M>,
    ) {
        for change in inner.changes.drain(..) {
            self.machine.apply(&change);
            self.machine.publish(&change, &mut turned.feed);
            turned.entries.push(Entry::Change(change));
        }
        turned.effects.append(&mut inner.effects);
        for entry in out.changes.drain(..) {
            self.apply(&entry);
            if let Entry::Change(change) = &entry {
                self.machine.publish(change, &mut turned.feed);
            }
            if !(planted::is(Bug::KeyNotJournaled) && matches!(entry, Entry::Answered { .. })) {
                turned.entries.push(entry);
            }
        }
        turned.effects.append(&mut out.effects);
    }
}

fn replay<R: DeserializeOwned>(key: Key, stored: &Stored) -> Answer<R> {
    if stored.fingerprint == key.fingerprint {
        Answer { result: stored.answer(), replayed: true }
    } else {
        Answer { result: Err(Refusal::IdempotencyKeyReused), replayed: false }
    }
}

fn lift<C, R>(inner: &mut Outbox<C>, out: &mut Outbox<Entry<C, R>>) {
    out.changes.extend(inner.changes.drain(..).map(Entry::Change));
    out.effects.append(&mut inner.effects);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stored_answer_is_its_fingerprint_its_length_and_its_bytes() {
        let config = bincode::config::standard();
        let stored = Stored { fingerprint: 7, answer: vec![251; 300].into() };
        let bytes = bincode::serde::encode_to_vec(&stored, config).unwrap();
        let golden = [&[7, 251, 44, 1][..], &[251; 300]].concat();
        assert_eq!(bytes, golden);
        assert_eq!(bincode::serde::decode_from_slice(&golden, config).unwrap(), (stored, golden.len()));
        assert!(bincode::serde::decode_from_slice::<Stored, _>(&golden[..303], config).is_err());
    }
}
