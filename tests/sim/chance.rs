//! Chance: the one source of everything that is not decided. Same seed, same run, on every machine.

/// splitmix64, by Sebastiano Vigna (public domain).
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `least` to `most`, both possible.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.draw() % (most - least + 1)
    }

    /// An index of a list of `length`.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        (self.draw() % length as u64) as usize
    }

    /// True so often in a thousand.
    pub(crate) fn hit(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.draw() % 1000 < u64::from(per_thousand)
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { Some(&list[self.index(list.len())]) }
    }
}
