//! What each segment of the copy holds: of every shard in it, the last record. Decides which segments nobody needs.

use std::collections::BTreeMap;

use super::Greatest;
use crate::journal::{SegmentNo, Seq, Shard};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Held {
    segments: BTreeMap<SegmentNo, Greatest>,
    cuts: Greatest,
}

impl Held {
    pub(super) fn add(&mut self, segment: SegmentNo, shard: Shard, seq: Seq) {
        let last = self.segments.entry(segment).or_default().entry(shard).or_default();
        *last = seq.max(*last);
    }

    pub(super) fn cut(&mut self, shard: Shard, to: Seq) {
        let cut = self.cuts.entry(shard).or_default();
        *cut = to.max(*cut);
    }

    /// Whether every record of the segment was cut. One that holds nothing is not needed either.
    pub(super) fn is_unneeded(&self, segment: SegmentNo) -> bool {
        let is_cut = |(shard, last): (&Shard, &Seq)| self.cuts.get(shard).is_some_and(|cut| last <= cut);
        self.segments.get(&segment).is_none_or(|held| held.iter().all(is_cut))
    }

    pub(super) fn forget(&mut self, segment: SegmentNo) {
        self.segments.remove(&segment);
    }
}
