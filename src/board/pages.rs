//! The list of events, in pages; the pages that many ask for are kept finished.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use actors::ids::EventId;
use actors::time::Millis;

use super::answers::{self, ListAnswer, ListedEvent};
use super::cache::{Cached, Fresh};
use super::event::{Described, Event};

/// Most events a page.
pub const LIMIT_MAX: usize = 1000;

/// Events a page when nobody says how many.
pub const LIMIT_DEFAULT: usize = 100;

/// Finished pages kept. Others are rendered for the one who asks.
pub const PAGES_MAX: usize = 64;

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Page {
    pub(super) after: Option<EventId>,
    pub(super) limit: usize,
}

#[derive(Default)]
pub(super) struct Pages {
    /// Only events with a description.
    events: RwLock<BTreeMap<EventId, Arc<Event>>>,
    finished: RwLock<HashMap<Page, Arc<Cached>>>,
    changes: AtomicU64,
}

impl Pages {
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// An event has another description.
    pub(super) fn changed(&self, id: &EventId, event: &Arc<Event>) {
        let mut events = self.events.write().unwrap_or_else(PoisonError::into_inner);
        events.entry(id.clone()).or_insert_with(|| event.clone());
        drop(events);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn events(&self, after: Option<&EventId>, limit: usize) -> Vec<Arc<Described>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let events = self.events.read().unwrap_or_else(PoisonError::into_inner);
        events
            .range::<EventId, _>((from, Bound::Unbounded))
            .filter_map(|(_, event)| event.described())
            .take(limit)
            .collect()
    }

    /// The place of a finished page; `None` if it is not among those that are kept.
    pub(super) fn finished(&self, page: &Page) -> Option<Arc<Cached>> {
        let finished = self.finished.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = finished.get(page) {
            return Some(known.clone());
        }
        drop(finished);
        let mut finished = self.finished.write().unwrap_or_else(PoisonError::into_inner);
        if finished.len() >= PAGES_MAX && !finished.contains_key(page) {
            return None;
        }
        Some(finished.entry(page.clone()).or_default().clone())
    }

    pub(super) fn render(&self, page: &Page, now: Millis) -> Fresh {
        let version = self.changes();
        let mut found = self.events(page.after.as_ref(), page.limit + 1);
        let more = found.len() > page.limit;
        found.truncate(page.limit);
        let answer = ListAnswer {
            items: found.iter().map(|event| ListedEvent::new(event, now)).collect(),
            next: found.last().filter(|_| more).map(|event| event.spec.id.as_str()),
        };
        answers::json(&answer, version, found.iter().filter_map(|event| answers::opens(event, now)).min())
    }
}
