//! A sorted map made for keys that mostly arrive in order: chunks that are filled to the brim.
//!
//! A B-tree leaves its nodes half empty under ascending keys, which would double the memory of a sold-out block, and walks
//! down to its edge for each. Here appending looks at the last chunk alone and fills it before it opens the next. Must never
//! know what a hold is.

use std::cmp::Ordering;

/// Most entries of a chunk: what an insertion moves at worst.
const CHUNK_MAX: usize = 64;
/// Neighbours that have at most so many together become one.
const MERGE_MAX: usize = 48;

/// See the module's charter.
#[derive(Clone, Debug)]
pub(super) struct Shelf<K, V> {
    chunks: Vec<Chunk<K, V>>,
    length: usize,
}

#[derive(Clone, Debug)]
struct Chunk<K, V> {
    /// Not above the lowest key it holds, and above all of the chunk before.
    first: K,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), length: 0 }
    }
}

impl<K: Copy + Ord, V> Shelf<K, V> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The lowest key.
    pub(super) fn first(&self) -> Option<K> {
        self.chunks.first()?.keys.first().copied()
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        chunk.search(key).ok().map(|at| &chunk.values[at])
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        chunk.search(key).ok().map(|at| &mut chunk.values[at])
    }

    /// Puts an entry in; panics when the key is there already.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk { first: key, keys: Vec::new(), values: Vec::new() });
        }
        let mut number = self.chunk_of(key);
        let mut at = self.chunks[number].search(key).expect_err("a key is used once");
        if self.chunks[number].keys.len() == CHUNK_MAX {
            // Late arrivals cut near the end and so leave a nearly full chunk behind; others cut in the middle.
            let cut = at.max(CHUNK_MAX / 2);
            let tail = self.chunks[number].split(cut, key);
            self.chunks.insert(number + 1, tail);
            if at >= cut && key >= self.chunks[number + 1].first {
                (number, at) = (number + 1, at - cut);
            }
        }
        let chunk = &mut self.chunks[number];
        chunk.first = chunk.first.min(key);
        chunk.keys.insert(at, key);
        chunk.values.insert(at, value);
        self.length += 1;
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let number = self.chunk_of(key);
        let chunk = self.chunks.get_mut(number)?;
        let at = chunk.search(key).ok()?;
        chunk.keys.remove(at);
        let value = chunk.values.remove(at);
        self.length -= 1;
        self.tidy(number);
        Some(value)
    }

    /// Entries in order of their keys, those above `after` only.
    pub(super) fn iter_after(&self, after: Option<K>) -> impl Iterator<Item = (K, &V)> {
        let from = after.map_or(0, |key| self.chunk_of(key));
        let chunks = self.chunks[from.min(self.chunks.len())..].iter();
        let entries = chunks.flat_map(|chunk| chunk.keys.iter().copied().zip(&chunk.values));
        entries.skip_while(move |(key, _)| after.is_some_and(|after| *key <= after))
    }

    fn chunk_of(&self, key: K) -> usize {
        match self.chunks.last() {
            Some(last) if last.first <= key => self.chunks.len() - 1,
            Some(_) | None => self.chunks.partition_point(|chunk| chunk.first <= key).saturating_sub(1),
        }
    }

    fn tidy(&mut self, number: usize) {
        if self.chunks[number].keys.is_empty() {
            self.chunks.remove(number);
            return;
        }
        let fits = |left: usize| {
            self.chunks.get(left + 1).is_some_and(|right| self.chunks[left].keys.len() + right.keys.len() <= MERGE_MAX)
        };
        let left = [number.checked_sub(1), Some(number)].into_iter().flatten().find(|left| fits(*left));
        if let Some(left) = left {
            let mut right = self.chunks.remove(left + 1);
            self.chunks[left].keys.append(&mut right.keys);
            self.chunks[left].values.append(&mut right.values);
        }
    }
}

impl<K: Copy + Ord, V> Chunk<K, V> {
    /// Where a key is, or where it belongs. Most are the last or belong behind it.
    fn search(&self, key: K) -> Result<usize, usize> {
        match self.keys.last().map(|last| last.cmp(&key)) {
            None => Err(0),
            Some(Ordering::Less) => Err(self.keys.len()),
            Some(Ordering::Equal) => Ok(self.keys.len() - 1),
            Some(Ordering::Greater) => self.keys.binary_search(&key),
        }
    }

    /// Cuts the entries from `cut` on off; an empty tail is for `next`.
    fn split(&mut self, cut: usize, next: K) -> Self {
        // Of many chunks few stay half empty: room for all at once costs less than to grow into it.
        let (mut keys, mut values) = (Vec::with_capacity(CHUNK_MAX), Vec::with_capacity(CHUNK_MAX));
        keys.extend(self.keys.drain(cut..));
        values.extend(self.values.drain(cut..));
        Self { first: keys.first().copied().unwrap_or(next), keys, values }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{HoldId, Shard, Tag};
    use crate::time::Millis;

    fn id(number: u16) -> HoldId {
        HoldId::new(Millis(7), Shard(1), Tag(2), number.into())
    }

    fn check(shelf: &Shelf<HoldId, u16>, sorted: &BTreeMap<HoldId, u16>) {
        assert!(shelf.iter_after(None).eq(sorted.iter().map(|(id, value)| (*id, value))));
        assert_eq!((shelf.len(), shelf.first()), (sorted.len(), sorted.keys().next().copied()));
        for pair in shelf.chunks.windows(2) {
            assert!(pair[0].keys.last() < Some(&pair[1].first));
        }
        for chunk in &shelf.chunks {
            assert!(Some(&chunk.first) <= chunk.keys.first() && chunk.keys.len() <= CHUNK_MAX);
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
