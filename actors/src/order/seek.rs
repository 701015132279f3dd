//! Searches under an idempotency key: best available over several blocks, one block at a time.
//!
//! The desk journals which block it asks before it asks it, so that a retry after a crash or a failover finds the
//! same search and never takes seats twice. A block's first word counts, so a host that knows a word to be the first may pass
//! it on to whoever waits before the desk has heard it. Private to the desk.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{CANDIDATES_MAX, Candidate, Change, Reply};
use crate::address::Address;
use crate::block::{self, HoldView};
use crate::ids::{Customer, HoldId};
use crate::keyed::{Key, KeyDigest};
use crate::machine::{Moment, Outbox};
use crate::refusal::Refusal;
use crate::time::Millis;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seeks {
    known: BTreeMap<KeyDigest, Seek>,
    /// Keys in the order in which they are forgotten.
    forget: VecDeque<(Millis, KeyDigest)>,
    /// When each running search asks again. Few at a time.
    due: BTreeMap<KeyDigest, Millis>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seek {
    fingerprint: u64,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Stage {
    Asking {
        customer: Customer,
        quantity: u32,
        candidates: Vec<Candidate>,
        /// Position of the candidate that is being asked.
        asked: u32,
        reminders: u32,
    },
    Answered(Box<Result<HoldView, Refusal>>),
}

impl Seeks {
    pub(super) fn begin(
        &self,
        at: Moment<'_>,
        key: Key,
        customer: Customer,
        quantity: u32,
        mut candidates: Vec<Candidate>,
        out: &mut Outbox<Change>,
    ) -> Result<Reply, Refusal> {
        if let Some(known) = self.known.get(&key.digest) {
            return known.report(key);
        }
        candidates.truncate(CANDIDATES_MAX);
        let forget_at = at.now + at.policy.idempotency_ttl;
        let due = at.now + at.policy.resend_min;
        let first = candidates.first().cloned();
        if let Some(first) = &first {
            ask(at, key.digest, &customer, quantity, first, out);
        }
        out.change(Change::SeekBegun { key, customer, quantity, candidates, due, forget_at });
        if first.is_none() {
            let answer = Box::new(Err(Refusal::SoldOut));
            out.change(Change::SeekEnded { key: key.digest, answer: answer.clone() });
            return Ok(Reply::Sought { answer: Some(answer), replayed: false });
        }
        Ok(Reply::Sought { answer: None, replayed: false })
    }

    pub(super) fn knows(&self, key: KeyDigest) -> bool {
        self.known.contains_key(&key)
    }

    /// A block's word: the answer, or the next candidate's turn. Words about another candidate are old news.
    pub(super) fn answered(
        &self,
        at: Moment<'_>,
        key: KeyDigest,
        hold: HoldId,
        answer: Result<Box<HoldView>, Refusal>,
        out: &mut Outbox<Change>,
    ) {
        let Some(Stage::Asking { customer, quantity, candidates, asked, .. }) =
            self.known.get(&key).map(|seek| &seek.stage)
        else {
            return;
        };
        if candidates.get(*asked as usize).is_none_or(|candidate| candidate.hold != hold) {
            return;
        }
        let next = candidates.get(*asked as usize + 1);
        match (&answer, next) {
            (Err(Refusal::SoldOut | Refusal::UnknownBlock | Refusal::WrongKind), Some(next)) => {
                ask(at, key, customer, *quantity, next, out);
                out.change(Change::SeekMoved { key, due: at.now + at.policy.resend_min });
            }
            _ => out.change(Change::SeekEnded { key, answer: Box::new(answer.map(|hold| *hold)) }),
        }
    }

    pub(super) fn wake(&self, at: Moment<'_>, out: &mut Outbox<Change>) {
        if self.forget.front().is_some_and(|(due, _)| *due <= at.now) {
            out.change(Change::SeeksForgotten { until: at.now });
        }
        for (key, _) in self.due.iter().filter(|(_, due)| **due <= at.now) {
            if let Some(Stage::Asking { customer, quantity, candidates, asked, reminders }) =
                self.known.get(key).map(|seek| &seek.stage)
            {
                ask(at, *key, customer, *quantity, &candidates[*asked as usize], out);
                let wait = at.policy.resend_min.backoff(reminders + 1, at.policy.resend_max);
                out.change(Change::SeekReminded { key: *key, due: at.now + wait });
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        let asking = self.due.values().copied().min();
        let forgetting = self.forget.front().map(|(due, _)| *due);
        asking.into_iter().chain(forgetting).min()
    }

    pub(super) fn fold(&mut self, change: &Change) {
        match change {
            Change::SeekBegun { key, customer, quantity, candidates, due, forget_at } => {
                let stage = Stage::Asking {
                    customer: customer.clone(),
                    quantity: *quantity,
                    candidates: candidates.clone(),
                    asked: 0,
                    reminders: 0,
                };
                self.known.insert(key.digest, Seek { fingerprint: key.fingerprint, stage });
                let after = self.forget.back().map_or(*forget_at, |(last, _)| *last.max(forget_at));
                self.forget.push_back((after, key.digest));
                self.due.insert(key.digest, *due);
            }
            Change::SeekMoved { key, due } => {
                if let Some(Seek { stage: Stage::Asking { asked, reminders, .. }, .. }) = self.known.get_mut(key) {
                    *asked += 1;
                    *reminders = 0;
                    self.due.insert(*key, *due);
                }
            }
            Change::SeekReminded { key, due } => {
                if let Some(Seek { stage: Stage::Asking { reminders, .. }, .. }) = self.known.get_mut(key) {
                    *reminders += 1;
                    // Forgotten in the same turn, it must not be due for ever.
                    self.due.insert(*key, *due);
                }
            }
            Change::SeekEnded { key, answer } => {
                let seek = self.known.get_mut(key).expect("a search that ends was begun");
                seek.stage = Stage::Answered(answer.clone());
                self.due.remove(key);
            }
            Change::SeeksForgotten { until } => {
                while self.forget.front().is_some_and(|(due, _)| due <= until) {
                    if let Some((_, key)) = self.forget.pop_front() {
                        self.known.remove(&key);
                        self.due.remove(&key);
                    }
                }
            }
            Change::Placed { .. }
            | Change::LineBound { .. }
            | Change::BindRefused { .. }
            | Change::Settled { .. }
            | Change::LineSold { .. }
            | Change::LineReturned { .. }
            | Change::PaidAgain { .. }
            | Change::Ended { .. }
            | Change::RefundBegun { .. }
            | Change::MoneyReturned { .. }
            | Change::LetterTaken { .. }
            | Change::CheckedIn { .. }
            | Change::Reminded { .. } => unreachable!("not a fact about a search"),
        }
    }
}

impl Seek {
    fn report(&self, key: Key) -> Result<Reply, Refusal> {
        if self.fingerprint != key.fingerprint {
            return Err(Refusal::IdempotencyKeyReused);
        }
        let answer = match &self.stage {
            Stage::Asking { .. } => None,
            Stage::Answered(answer) => Some(answer.clone()),
        };
        Ok(Reply::Sought { answer, replayed: true })
    }
}

fn ask(
    at: Moment<'_>,
    key: KeyDigest,
    customer: &Customer,
    quantity: u32,
    candidate: &Candidate,
    out: &mut Outbox<Change>,
) {
    let Address::Orders(desk) = Address::home_of(customer, at.policy.shards) else { return };
    let command = block::Command::Seek { hold: candidate.hold, customer: customer.clone(), quantity, desk, key };
    out.tell(Address::Block(candidate.block.clone()), command);
}
