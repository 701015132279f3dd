//! The last number of every shard, as a table. No files, no decisions.

use super::{Seq, Shard};

/// The last number of every shard; a shard that has none is not stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tails(Vec<Seq>);

impl Clone for Tails {
    fn clone(&self) -> Self {
        Tails(self.0.clone())
    }

    // Done after every commit: keeps the allocation.
    fn clone_from(&mut self, source: &Self) {
        self.0.clone_from(&source.0);
    }
}

impl Tails {
    pub(crate) fn get(&self, shard: Shard) -> Seq {
        self.0.get(usize::from(shard.0)).copied().unwrap_or(Seq::NONE)
    }

    pub(crate) fn set(&mut self, shard: Shard, seq: Seq) {
        let index = usize::from(shard.0);
        if index >= self.0.len() {
            self.0.resize(index + 1, Seq::NONE);
        }
        self.0[index] = seq;
    }

    /// The shards that have records, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Shard, Seq)> + '_ {
        (0u16..=u16::MAX).zip(&self.0).filter(|(_, seq)| **seq != Seq::NONE).map(|(shard, seq)| (Shard(shard), *seq))
    }
}

impl FromIterator<(Shard, Seq)> for Tails {
    fn from_iter<T: IntoIterator<Item = (Shard, Seq)>>(entries: T) -> Self {
        let mut tails = Tails::default();
        for (shard, seq) in entries {
            tails.set(shard, seq);
        }
        tails
    }
}
