//! One block's replica: seat states, places by state, the latest changes, and its finished answers.
//!
//! Owns folding: change by change in the order of their numbers, never with one missing. When one is missing it keeps what
//! follows (a bounded number) and waits for a whole picture.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use actors::address::BlockRef;
use actors::block::{Counts, SeatIx, SeatState};
use actors::feed;
use actors::time::{Millis, Span};
use arc_swap::ArcSwap;
use bytestring::ByteString;

use super::cache::{Cached, Rendered};
use super::names::SeatNames;
use super::ring::Ring;
use super::texts::{self, Texts};
use super::watch::Watch;

/// Changes kept while a picture is awaited. More would bridge a slower picture; then the picture is asked for again.
pub const PENDING_MAX: usize = 256;

/// How long a picture that was asked for may take before it is asked for again.
pub const PICTURE_WAIT: Span = Span::seconds(1);

/// One block of one event as this node knows it.
pub struct Block {
    at: BlockRef,
    quoted: String,
    state: RwLock<State>,
    /// As in `state`, for searches over many blocks.
    free: AtomicU32,
    /// One more than `seq` in `state`; 0 before there was a picture. For readers, who meet no lock.
    heard: AtomicU64,
    watches: ArcSwap<Vec<Arc<Watch>>>,
    texts: Mutex<Texts>,
    pub(super) names: OnceLock<Arc<SeatNames>>,
    pub(super) layout: OnceLock<Arc<Rendered>>,
    pub(super) seats_json: Cached,
    pub(super) seats_bytes: Cached,
}

/// The public state of a block at one change.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether there was a picture. Before it nothing is known.
    pub(super) known: bool,
    pub(super) seq: u64,
    /// Packed, see [`actors::block::pack`].
    pub(super) seats: Vec<u8>,
    pub(super) counts: Counts,
    ring: Ring,
    pending: VecDeque<feed::SeatsChanged>,
    asked_at: Option<Millis>,
}

/// What became of something folded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// The block is another now.
    Changed,
    /// It was known already.
    Known,
    /// A change is missing: ask for a picture.
    Gap,
    /// A change is missing, and a picture is on its way.
    Waiting,
}

impl Block {
    pub(super) fn new(at: BlockRef) -> Self {
        Self {
            quoted: texts::quoted(at.block.as_str()),
            at,
            state: RwLock::default(),
            free: AtomicU32::new(0),
            heard: AtomicU64::new(0),
            watches: ArcSwap::default(),
            texts: Mutex::default(),
            names: OnceLock::new(),
            layout: OnceLock::new(),
            seats_json: Cached::default(),
            seats_bytes: Cached::default(),
        }
    }

    /// Which block.
    #[must_use]
    pub fn at(&self) -> &BlockRef {
        &self.at
    }

    /// Places by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.read().counts
    }

    /// Free places. Cheaper than [`Block::counts`].
    #[must_use]
    pub fn free(&self) -> u32 {
        self.free.load(Ordering::Relaxed)
    }

    /// The number of the last change folded in.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.heard.load(Ordering::Acquire).saturating_sub(1)
    }

    /// Whether there was a picture of it.
    pub(super) fn is_known(&self) -> bool {
        self.heard.load(Ordering::Acquire) > 0
    }

    /// From now on `watch` hears of every change.
    pub fn watch(&self, watch: &Arc<Watch>) {
        self.watches.rcu(|watches| {
            let mut watches = Vec::clone(watches);
            watches.push(watch.clone());
            watches
        });
    }

    /// The opposite of [`Block::watch`].
    pub fn unwatch(&self, watch: &Arc<Watch>) {
        self.watches.rcu(|watches| {
            let mut watches = Vec::clone(watches);
            watches.retain(|known| !Arc::ptr_eq(known, watch));
            watches
        });
    }

    /// The text of the whole block and its number; `None` before there was a picture.
    #[must_use]
    pub fn board_text(&self) -> Option<(u64, ByteString)> {
        let state = self.read();
        state.known.then(|| (state.seq, texts::board(&self.quoted, state.seq, &state.seats, state.counts)))
    }

    /// The texts of the changes after `seq`, oldest first, each rendered once for all callers as long as they keep up.
    /// `None` when one of them is gone, or when `seq` is of the future or of an unknown block.
    #[must_use]
    pub fn texts_after(&self, seq: u64) -> Option<Vec<ByteString>> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = texts.reaches(seq);
        let missing = {
            let state = self.read();
            if !state.known {
                return None;
            }
            state.ring.after(if shared { texts.last() } else { seq })?
        };
        // A reader far behind is served for itself: the run stays the one of the readers that keep up.
        if !shared && missing.len() > texts::TEXTS_MAX {
            drop(texts);
            return Some(missing.iter().map(|kept| texts::change(&self.quoted, kept)).collect());
        }
        for kept in &missing {
            texts.push(kept.seq, texts::change(&self.quoted, kept));
        }
        Some(texts.after(seq).cloned().collect())
    }

    #[cfg(test)]
    pub(super) fn kept_after(&self, seq: u64) -> Option<Vec<super::ring::Kept>> {
        self.read().ring.after(seq)
    }

    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds a whole picture in. One that is older than what is known says nothing new.
    pub(super) fn fold_picture(&self, picture: feed::Board, now: Millis) -> Folded {
        let mut state = self.write();
        if state.known && picture.seq <= state.seq {
            return Folded::Known;
        }
        let feed::Board { block: _, seq, seats, counts } = picture;
        let pending = std::mem::take(&mut state.pending);
        *state = State { known: true, seq, seats, counts, ring: Ring::starting(seq), pending, asked_at: None };
        state.fold_pending();
        let ask = !state.pending.is_empty() && state.ask(now);
        self.publish(state);
        if ask { Folded::Gap } else { Folded::Changed }
    }

    /// Folds one numbered change in.
    pub(super) fn fold(&self, change: feed::SeatsChanged, now: Millis) -> Folded {
        let mut state = self.write();
        if state.known && change.seq <= state.seq {
            return Folded::Known;
        }
        if state.known && state.fold_next(&change) {
            state.fold_pending();
            self.publish(state);
            return Folded::Changed;
        }
        if state.pending.len() == PENDING_MAX {
            state.pending.pop_front();
        }
        state.pending.push_back(change);
        if state.ask(now) { Folded::Gap } else { Folded::Waiting }
    }

    fn publish(&self, state: RwLockWriteGuard<'_, State>) {
        self.free.store(state.counts.free, Ordering::Relaxed);
        self.heard.store(state.seq + 1, Ordering::Release);
        drop(state);
        for watch in self.watches.load().iter() {
            watch.mark();
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Folds in what waited for a missing change, as far as it goes.
    fn fold_pending(&mut self) {
        while let Some(change) = self.pending.pop_front() {
            if change.seq > self.seq && !self.fold_next(&change) {
                self.pending.push_front(change);
                return;
            }
        }
    }

    /// Whether a picture is to be asked for now.
    fn ask(&mut self, now: Millis) -> bool {
        let due = self.asked_at.is_none_or(|asked| asked + PICTURE_WAIT <= now);
        if due {
            self.asked_at = Some(now);
        }
        due
    }

    /// Folds a change in if it is the next one and names only seats that there are.
    fn fold_next(&mut self, change: &feed::SeatsChanged) -> bool {
        let next = change.seq == self.seq + 1;
        if !next || change.seats.iter().any(|(seat, _)| seat.0 as usize / 4 >= self.seats.len()) {
            return false;
        }
        for (seat, state) in &change.seats {
            set(&mut self.seats, *seat, *state);
        }
        self.seq = change.seq;
        self.counts = change.counts;
        self.ring.push(change);
        true
    }
}

fn set(packed: &mut [u8], seat: SeatIx, state: SeatState) {
    let (at, shift) = (seat.0 as usize / 4, 2 * (seat.0 % 4));
    packed[at] = packed[at] & !(3 << shift) | (state as u8) << shift;
}
