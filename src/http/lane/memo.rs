//! The memo: heads of public reads that came before, byte for byte, each with where its answer comes from and the answer
//! that was sent last.
//!
//! Whoever polls sends the same bytes again and again. What they mean follows from the bytes alone, so it is worked out
//! once; what is sent follows from them and from the board's answer, so it is formed once for each answer. Bounded in heads,
//! and what nobody asks for any more is forgotten, so that no old answer is kept alive for long.

use std::hash::BuildHasher;
use std::sync::Arc;

use actix_web::http::StatusCode;
use bytes::Bytes;
use foldhash::fast::RandomState;

use super::head;
use super::reads::Kind;
use crate::board::{Rendered, Source};

/// Heads remembered by one worker. A power of two.
const HEADS_MAX: usize = 4096;
/// Longest head that is remembered, in bytes.
const HEAD_MAX: usize = 1024;

/// See the module's charter.
pub(super) struct Memo {
    hasher: RandomState,
    places: Vec<Place>,
    /// The place of the head that came last.
    last: usize,
}

#[derive(Default)]
struct Place {
    /// Hash of the head that came here last and was not remembered: it is when it comes again.
    seen: u64,
    known: Option<Box<Known>>,
}

/// A head and what was answered.
struct Known {
    head: Box<[u8]>,
    answer: Answer,
    /// Whether it came since the last look.
    used: bool,
}

/// How a head is answered.
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) source: Source,
    /// What the board said.
    pub(super) rendered: Arc<Rendered>,
    pub(super) status: StatusCode,
    /// The headers of the answer from the first that depends on it, and their end.
    pub(super) headers: Box<[u8]>,
    /// The body that is sent.
    pub(super) body: Bytes,
    /// The batch in which it was last compared with the board.
    pub(super) batch: u64,
}

impl Memo {
    pub(super) fn new() -> Self {
        let places = std::iter::repeat_with(Place::default).take(HEADS_MAX).collect();
        Self { hasher: RandomState::default(), places, last: 0 }
    }

    /// The head that these bytes begin with, if it is remembered: its length and its answer.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<(usize, &mut Answer)> {
        // Heads of anything but reads are never remembered, and need not be looked for.
        if !matches!(bytes.first(), Some(b'G' | b'H')) {
            return None;
        }
        if !self.is_at(self.last, bytes) {
            let head = &bytes[..head::length(bytes)?];
            let at = self.place_of(head).0;
            if !self.is_at(at, head) {
                return None;
            }
            self.last = at;
        }
        let known = self.places[self.last].known.as_mut()?;
        known.used = true;
        Some((known.head.len(), &mut known.answer))
    }

    fn is_at(&self, at: usize, bytes: &[u8]) -> bool {
        // No head is the beginning of another: each has its end only at its end.
        self.places[at].known.as_ref().is_some_and(|known| bytes.starts_with(&known.head))
    }

    /// Remembers a head that comes for the second time.
    pub(super) fn keep(&mut self, head: &[u8], answer: impl FnOnce() -> Answer) {
        if head.len() > HEAD_MAX {
            return;
        }
        let (at, hash) = self.place_of(head);
        let place = &mut self.places[at];
        if std::mem::replace(&mut place.seen, hash) == hash {
            place.known = Some(Box::new(Known { head: head.into(), answer: answer(), used: true }));
        }
    }

    fn place_of(&self, head: &[u8]) -> (usize, u64) {
        let hash = self.hasher.hash_one(head);
        (hash as usize % HEADS_MAX, hash)
    }

    /// Forgets what did not come since the last time.
    pub(super) fn forget_unused(&mut self) {
        for place in &mut self.places {
            if place.known.as_mut().is_some_and(|known| !std::mem::take(&mut known.used)) {
                place.known = None;
            }
        }
    }
}
