//! Finished answers, rendered once per change and paced: however many ask, and however fast the world changes.
//!
//! A reader gets the finished answer if nothing changed. Otherwise one reader renders, unless the pace forbids it, and
//! all others get the last finished answer meanwhile: it is out of date by less than the interval and one rendering.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use actors::time::{Millis, Span};
use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::observer::Served;
use crate::encoding::{Encoded, Encoding, Variant};

/// A finished public answer: everything needed to write it to a socket.
#[derive(Debug)]
pub struct Rendered {
    /// The body in every encoding, each with its ETag, compressed when first asked for.
    pub encoded: Encoded,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
    /// `Vary`.
    pub vary: &'static str,
    /// Grows with every change of what the answer says; a block's `seq` where it is about one block.
    pub version: u64,
}

impl Rendered {
    /// The body in an encoding, or as it is where that would not be smaller.
    #[must_use]
    pub fn variant(&self, encoding: Encoding) -> &Variant {
        self.encoded.get(encoding)
    }
}

/// An answer that was just made.
pub(super) struct Fresh {
    pub(super) body: Vec<u8>,
    pub(super) version: u64,
    /// From when on the passing of time alone makes it wrong.
    pub(super) until: Option<Millis>,
}

/// What does not change between two renderings of one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
    pub(super) vary: &'static str,
}

impl Kind {
    pub(super) fn finish(self, fresh: Fresh) -> Rendered {
        let Kind { content_type, cache_control, vary } = self;
        let encoded = Encoded::new(Bytes::from(fresh.body));
        Rendered { encoded, content_type, cache_control, vary, version: fresh.version }
    }
}

/// How often one answer may be rendered: every `interval`, and `burst` times at once after a quiet time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Least time between two renderings under constant change. Shorter is fresher and costs work in proportion.
    pub interval: Span,
    /// Renderings that may follow each other at once, so that a quiet event is always up to date.
    pub burst: u32,
}

struct Finished {
    changes: u64,
    until: Millis,
    answer: Arc<Rendered>,
}

/// What a reader asks for, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// The answer must contain these many changes, if the pace allows it.
    pub(super) changes: u64,
    pub(super) now: Millis,
    pub(super) pace: Pace,
    pub(super) kind: Kind,
}

/// The place of one answer.
#[derive(Default)]
pub(super) struct Cached {
    last: ArcSwapOption<Finished>,
    /// Not before this time may it be rendered again.
    due: AtomicU64,
    /// Held by the one who renders; when the renderings so far would have been spread evenly.
    rendering: Mutex<Millis>,
}

impl Cached {
    /// The finished answer, or a new one. `render` must read the world, so it may say more than was asked for.
    pub(super) fn get(&self, ask: Ask, render: impl FnOnce() -> Fresh) -> (Arc<Rendered>, Served) {
        let last = self.last.load();
        let Some(last) = last.as_deref() else {
            let turn = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
            return self.render(turn, ask, render);
        };
        if last.is_current(ask.changes, ask.now) {
            return (last.answer.clone(), Served::Hit);
        }
        if ask.now.0 < self.due.load(Ordering::Acquire) {
            return (last.answer.clone(), Served::Stale);
        }
        match self.rendering.try_lock() {
            Ok(turn) => self.render(turn, ask, render),
            Err(TryLockError::Poisoned(turn)) => self.render(turn.into_inner(), ask, render),
            Err(TryLockError::WouldBlock) => (last.answer.clone(), Served::Stale),
        }
    }

    /// Whether [`Cached::get`] would hand out this very answer.
    pub(super) fn still_gives(&self, given: &Arc<Rendered>, ask: Ask) -> bool {
        let last = self.last.load();
        let same = last.as_deref().filter(|last| Arc::ptr_eq(&last.answer, given));
        same.is_some_and(|last| last.is_current(ask.changes, ask.now) || ask.now.0 < self.due.load(Ordering::Acquire))
    }

    fn render(
        &self,
        mut turn: MutexGuard<'_, Millis>,
        ask: Ask,
        render: impl FnOnce() -> Fresh,
    ) -> (Arc<Rendered>, Served) {
        let Ask { changes, now, pace, kind } = ask;
        // Somebody else may have rendered while this reader waited for its turn.
        if let Some(last) = self.last.load().as_deref()
            && last.is_current(changes, now)
        {
            return (last.answer.clone(), Served::Hit);
        }
        let fresh = render();
        let until = fresh.until.unwrap_or(Millis(u64::MAX));
        let answer = Arc::new(kind.finish(fresh));
        self.last.store(Some(Arc::new(Finished { changes, until, answer: answer.clone() })));
        *turn = (*turn).max(now) + pace.interval;
        let ahead = pace.interval.0 * u64::from(pace.burst.saturating_sub(1));
        self.due.store(turn.0.saturating_sub(ahead), Ordering::Release);
        (answer, Served::Rendered)
    }
}

impl Finished {
    fn is_current(&self, changes: u64, now: Millis) -> bool {
        self.changes >= changes && now < self.until
    }
}
