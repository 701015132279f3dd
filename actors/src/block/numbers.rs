//! Numbers found by the hash of what they stand for: an index of something that is stored elsewhere.
//!
//! A slot is one word with the number and its whole hash, and a number lies in the first vacant slot from its hash on. So a
//! search touches one line of memory as a rule, where a table with its control bytes apart touches two; with many blocks
//! these misses are what a hold costs. Must never know what a number stands for.

/// See the module's charter.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// A power of two, or none: hash in the upper half, number + 1 in the lower; 0 is vacant.
    slots: Vec<u64>,
    used: usize,
}

impl Numbers {
    /// The number with this hash that is the right one.
    pub(super) fn find(&self, hash: u32, is_right: impl Fn(u32) -> bool) -> Option<u32> {
        self.probe(hash, is_right).map(|(_, number)| number)
    }

    /// The slot where a search for this hash begins.
    pub(super) fn foresee(&self, hash: u32) -> u64 {
        let mask = self.slots.len().wrapping_sub(1);
        self.slots.get(hash as usize & mask).copied().unwrap_or(0)
    }

    /// Puts a number in that is not there.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.place(slot(hash, number));
        self.used += 1;
    }

    /// Takes a number out if it is there.
    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        let Some((mut gap, _)) = self.probe(hash, |found| found == number) else { return };
        self.used -= 1;
        let mask = self.slots.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let moved = self.slots[at];
            if moved == 0 {
                break;
            }
            // Whatever could have been in the gap moves there, so that no search ends before it.
            let steps_from_home = at.wrapping_sub(home(moved)) & mask;
            if steps_from_home >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = moved;
                gap = at;
            }
        }
        self.slots[gap] = 0;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used
    }

    fn probe(&self, hash: u32, is_right: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let found = self.slots[at];
            if found == 0 {
                return None;
            }
            let number = (found as u32).wrapping_sub(1);
            if (found >> 32) as u32 == hash && is_right(number) {
                return Some((at, number));
            }
            at = (at + 1) & mask;
        }
    }

    fn place(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = home(slot) & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let larger = (self.slots.len() * 2).max(4);
        let slots = std::mem::replace(&mut self.slots, vec![0; larger]);
        slots.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.place(slot));
    }
}

fn slot(hash: u32, number: u32) -> u64 {
    (u64::from(hash) << 32) | (u64::from(number) + 1)
}

/// Where a slot's search begins, before it is brought into the table.
fn home(slot: u64) -> usize {
    (slot >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that searches run into each other and around the end.
        #[test]
        fn numbers_are_found_by_their_hash_and_nothing_else(steps in vec((0u32..64, 0u32..3), 1..400)) {
            let (mut numbers, mut known) = (Numbers::default(), BTreeMap::new());
            let hash = |number: u32| (number % 7).wrapping_sub(3);
            for (number, kind) in steps {
                if kind == 0 {
                    numbers.remove(hash(number), number);
                    known.remove(&number);
                } else if known.insert(number, ()).is_none() {
                    numbers.insert(hash(number), number);
                }
                prop_assert_eq!(numbers.len(), known.len());
                for number in 0..64 {
                    let found = numbers.find(hash(number), |found| found == number);
                    prop_assert_eq!(found, known.get(&number).map(|()| number));
                }
                prop_assert_eq!(numbers.find(100, |_| true), None);
            }
        }
    }

    #[test]
    fn the_last_number_has_a_slot() {
        let mut numbers = Numbers::default();
        numbers.insert(u32::MAX, u32::MAX - 1);
        assert_eq!(numbers.find(u32::MAX, |_| true), Some(u32::MAX - 1));
    }
}
