//! Rounds of snapshots, as the runtime takes them, and the cut of the journal behind them.

use stampede::journal::log::CommitError;
use stampede::journal::{self, Seq};
use stampede::runtime::{Shelf, Stored, format};

use super::{Embedded, Happening};
use crate::node::{Round, ShardHost};
use crate::planted::Planted;
use crate::world::{Event, Step, World};

impl World<Embedded> {
    /// One round of snapshots of some shard.
    pub(crate) fn snapshot_round(&mut self) -> Step {
        self.again(self.plan.every.snapshot, Event::Site(Happening::Snapshot));
        let early = self.bug == Some(Planted::SnapshotClaimsTooMuch);
        let Some(node) = &mut self.site.node else { return Ok(()) };
        let at = self.chance.index(node.shards.len());
        let ShardHost { id, log, cells, round, .. } = &mut node.shards[at];
        if round.running {
            return Ok(());
        }
        *round = Round { running: true, complete: true, waiting: Vec::new() };
        for (address, cell) in cells.iter_mut() {
            let Some(state) = &cell.state else {
                round.complete = false;
                continue;
            };
            if cell.changed {
                let bytes = state.encode().map_err(|error| error.to_string())?;
                cell.changed = false;
                let seq = log.seal(cell.last_change);
                let seq = if early && !log.is_idle() { seq.next() } else { seq };
                round.waiting.push((seq, address.clone(), bytes));
            } else {
                let name = format::encode_address(address);
                // What cannot be confirmed is not cut for.
                round.complete &= self.site.snapshots.touch(*id, &[(name, log.durable_seq())]).is_ok();
            }
        }
        self.coverage.count("snapshot rounds");
        if !self.calm && self.chance.hit(self.plan.snapshot_rot) && self.site.snapshots.rot(&mut self.chance) {
            self.note(|| "a snapshot rots".to_owned());
            self.coverage.count("snapshots damaged");
        }
        self.store_snapshots(at)
    }

    /// Stores what is durable by now, and cuts the journal when the round is whole.
    pub(crate) fn store_snapshots(&mut self, at: usize) -> Step {
        let Some(node) = &mut self.site.node else { return Ok(()) };
        let ShardHost { id, log, round, .. } = &mut node.shards[at];
        if !round.running {
            return Ok(());
        }
        let durable = log.durable_seq();
        for (seq, address, bytes) in round.waiting.extract_if(.., |(seq, _, _)| *seq <= durable) {
            let stored = Stored { cell: format::encode_address(&address), seq, bytes };
            self.site.snapshots.put(*id, &[stored]).map_err(|error| error.to_string())?;
        }
        if !round.waiting.is_empty() {
            return Ok(());
        }
        let complete = round.complete;
        *round = Round::default();
        if complete && node.group.is_empty() {
            let to = self.site.snapshots.completed(*id).unwrap_or(Seq::NONE);
            let mut journal = node.journal.log();
            journal.truncate(journal::Shard(id.0), to);
            let deleted = journal.delete_unneeded();
            drop(journal);
            match deleted {
                Ok(0) => {}
                Ok(_) => self.coverage.count("segments deleted"),
                Err(CommitError::Stopped { reason }) => return self.stopped(&reason),
                Err(CommitError::DiskFull) => return Err("no space to delete".to_owned()),
            }
        }
        Ok(())
    }
}
