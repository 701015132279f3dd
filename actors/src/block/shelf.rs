//! A map sorted by hold id, made for ids that mostly arrive in order: chunks that are filled to the brim.
//!
//! A B-tree leaves its nodes half empty under ascending keys, which would double the memory of a sold-out block. Here
//! appending fills a chunk before it opens the next. Must never know what a hold is.

use crate::ids::HoldId;

/// Most entries of a chunk: what an insertion moves at worst.
const CHUNK_MAX: usize = 64;
/// Neighbours that have at most so many together become one.
const MERGE_MAX: usize = 48;

/// See the module's charter.
#[derive(Clone, Debug)]
pub(super) struct Shelf<V> {
    chunks: Vec<Chunk<V>>,
    length: usize,
}

#[derive(Clone, Debug)]
struct Chunk<V> {
    /// Not above the lowest id it holds, and above all of the chunk before.
    first: HoldId,
    ids: Vec<HoldId>,
    values: Vec<V>,
}

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), length: 0 }
    }
}

impl<V> Shelf<V> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn get(&self, id: HoldId) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(id))?;
        chunk.ids.binary_search(&id).ok().map(|at| &chunk.values[at])
    }

    pub(super) fn get_mut(&mut self, id: HoldId) -> Option<&mut V> {
        let at = self.chunk_of(id);
        let chunk = self.chunks.get_mut(at)?;
        chunk.ids.binary_search(&id).ok().map(|at| &mut chunk.values[at])
    }

    /// Puts an entry in; panics when the id is there already.
    pub(super) fn insert(&mut self, id: HoldId, value: V) {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk { first: id, ids: Vec::new(), values: Vec::new() });
        }
        let mut number = self.chunk_of(id);
        let mut at = self.chunks[number].ids.binary_search(&id).expect_err("a hold's id is used once");
        if self.chunks[number].ids.len() == CHUNK_MAX {
            // Late arrivals cut near the end and so leave a nearly full chunk behind; others cut in the middle.
            let cut = at.max(CHUNK_MAX / 2);
            let tail = self.chunks[number].split(cut, id);
            self.chunks.insert(number + 1, tail);
            if at >= cut && id >= self.chunks[number + 1].first {
                (number, at) = (number + 1, at - cut);
            }
        }
        let chunk = &mut self.chunks[number];
        chunk.first = chunk.first.min(id);
        chunk.ids.insert(at, id);
        chunk.values.insert(at, value);
        self.length += 1;
    }

    pub(super) fn remove(&mut self, id: HoldId) -> Option<V> {
        let number = self.chunk_of(id);
        let chunk = self.chunks.get_mut(number)?;
        let at = chunk.ids.binary_search(&id).ok()?;
        chunk.ids.remove(at);
        let value = chunk.values.remove(at);
        self.length -= 1;
        self.tidy(number);
        Some(value)
    }

    /// Entries in order of their ids, those above `after` only.
    pub(super) fn iter_after(&self, after: Option<HoldId>) -> impl Iterator<Item = (HoldId, &V)> {
        let from = after.map_or(0, |id| self.chunk_of(id));
        let chunks = self.chunks[from.min(self.chunks.len())..].iter();
        let entries = chunks.flat_map(|chunk| chunk.ids.iter().copied().zip(&chunk.values));
        entries.skip_while(move |(id, _)| after.is_some_and(|after| *id <= after))
    }

    fn chunk_of(&self, id: HoldId) -> usize {
        match self.chunks.last() {
            Some(last) if last.first <= id => self.chunks.len() - 1,
            Some(_) | None => self.chunks.partition_point(|chunk| chunk.first <= id).saturating_sub(1),
        }
    }

    fn tidy(&mut self, number: usize) {
        if self.chunks[number].ids.is_empty() {
            self.chunks.remove(number);
            return;
        }
        let fits = |left: usize| {
            self.chunks.get(left + 1).is_some_and(|right| self.chunks[left].ids.len() + right.ids.len() <= MERGE_MAX)
        };
        let left = [number.checked_sub(1), Some(number)].into_iter().flatten().find(|left| fits(*left));
        if let Some(left) = left {
            let mut right = self.chunks.remove(left + 1);
            self.chunks[left].ids.append(&mut right.ids);
            self.chunks[left].values.append(&mut right.values);
        }
    }
}

impl<V> Chunk<V> {
    /// Cuts the entries from `cut` on off; an empty tail is for `next`.
    fn split(&mut self, cut: usize, next: HoldId) -> Self {
        let (ids, values) = (self.ids.split_off(cut), self.values.split_off(cut));
        Self { first: ids.first().copied().unwrap_or(next), ids, values }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Shard, Tag};
    use crate::time::Millis;

    fn id(number: u16) -> HoldId {
        HoldId::new(Millis(7), Shard(1), Tag(2), number.into())
    }

    fn check(shelf: &Shelf<u16>, sorted: &BTreeMap<HoldId, u16>) {
        assert!(shelf.iter_after(None).eq(sorted.iter().map(|(id, value)| (*id, value))));
        assert_eq!(shelf.len(), sorted.len());
        for pair in shelf.chunks.windows(2) {
            assert!(pair[0].ids.last() < Some(&pair[1].first));
        }
        for chunk in &shelf.chunks {
            assert!(Some(&chunk.first) <= chunk.ids.first() && chunk.ids.len() <= CHUNK_MAX);
        }
    }

    proptest! {
        /// Mostly ascending, some late, some removed.
        #[test]
        fn a_shelf_is_a_sorted_map(steps in vec((0u16..400, 0u8..4), 1..600)) {
            let (mut shelf, mut sorted) = (Shelf::default(), BTreeMap::new());
            for (at, (number, kind)) in steps.into_iter().enumerate() {
                let ascending = 300 + at as u16;
                let number = if kind < 2 { ascending } else { number };
                if kind == 3 {
                    assert_eq!(shelf.remove(id(number)), sorted.remove(&id(number)));
                } else if sorted.insert(id(number), number).is_none() {
                    shelf.insert(id(number), number);
                }
                assert_eq!(shelf.get(id(number)), sorted.get(&id(number)));
            }
            check(&shelf, &sorted);
            let after = id(350);
            let above: Vec<_> = shelf.iter_after(Some(after)).map(|(id, _)| id).collect();
            assert!(above.iter().eq(sorted.keys().filter(|id| **id > after)));
            for number in (0..900).step_by(3) {
                assert_eq!(shelf.remove(id(number)), sorted.remove(&id(number)));
            }
            check(&shelf, &sorted);
        }
    }

    #[test]
    fn ascending_ids_fill_their_chunks() {
        let mut shelf = Shelf::default();
        (0..640).for_each(|number| shelf.insert(id(number), number));
        assert_eq!(shelf.chunks.len(), 640 / CHUNK_MAX);
        for number in (0..640).filter(|number| number % 16 != 0) {
            assert_eq!(shelf.remove(id(number)), Some(number));
        }
        assert_eq!(shelf.chunks.len(), 1, "what is left moves together");
    }
}
