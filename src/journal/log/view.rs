//! Reading the durable part of a log while it goes on being written.

use crate::journal::format::JournalId;
use crate::journal::recovery::Segment;
use crate::journal::scan::{self, Damage, Position, Stop};
use crate::journal::tails::Tails;
use crate::journal::{Disk, ReplayError, Seq, Shard, Visit};

/// The segments and how far each is durable, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) journal: JournalId,
    pub(crate) segments: Vec<Segment>,
    pub(crate) tails: Tails,
}

impl View {
    pub(crate) fn replay(
        &self,
        disk: &dyn Disk,
        after: &[(Shard, Seq)],
        visit: &mut Visit<'_>,
    ) -> Result<Vec<(Shard, Seq)>, ReplayError> {
        let wanted = self.wanted(after)?;
        let mut chosen = |shard: Shard, seq: Seq, record: &[u8]| match wanted.get(usize::from(shard.0)) {
            Some(Some(after)) if seq > *after => {
                visit(shard, seq, record).map_err(|source| ReplayError::Visit { shard, seq, source })
            }
            Some(_) | None => Ok(()),
        };
        for (index, segment) in self.segments.iter().enumerate() {
            let until = self.segments.get(index + 1).map_or(&self.tails, |next| &next.before);
            if after.iter().any(|(shard, after)| until.get(*shard) > segment.before.get(*shard).max(*after)) {
                self.read(disk, segment, &mut chosen)?;
            }
        }
        Ok(after.iter().map(|(shard, _)| (*shard, self.tails.get(*shard))).collect())
    }

    /// What each shard starts from, by its number; refuses what the journal cannot continue.
    fn wanted(&self, after: &[(Shard, Seq)]) -> Result<Vec<Option<Seq>>, ReplayError> {
        let mut wanted = Vec::new();
        for &(shard, after) in after {
            let first = self.segments.first().map_or(Seq::NONE, |oldest| oldest.before.get(shard)).next();
            if after.next() < first {
                return Err(ReplayError::Cut { shard, after, first });
            }
            let last = self.tails.get(shard);
            if after > last {
                return Err(ReplayError::Ahead { shard, after, last });
            }
            let index = usize::from(shard.0);
            if index >= wanted.len() {
                wanted.resize(index + 1, None);
            }
            wanted[index] = Some(after);
        }
        Ok(wanted)
    }

    fn read(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        visit: &mut scan::Visit<'_, ReplayError>,
    ) -> Result<(), ReplayError> {
        let end = usize::try_from(segment.end).unwrap_or(usize::MAX);
        let bytes = disk.read_at(segment.number, 0, end).map_err(ReplayError::Io)?;
        let mut position = Position { next_group: None, tails: Some(segment.before.clone()) };
        let walk = scan::walk(&bytes, segment.number, self.journal, &mut position, visit)?;
        let fault = match walk.stop {
            Stop::End if walk.end == end => return Ok(()),
            Stop::End => crate::journal::Fault::GroupMagic { found: 0 },
            Stop::Bad(fault) | Stop::Wrong(fault) => fault,
        };
        let damage = Damage { file: disk.locate(segment.number), offset: walk.end as u64, fault, later: None };
        Err(ReplayError::Damaged(damage))
    }
}
