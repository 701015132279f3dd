//! Stored bytes that change by themselves: on copies of disk and shelf, so that the life goes on.
//!
//! Damage is refused or does no harm; it never hides what was acknowledged.

use std::sync::Arc;

use actors::ids::Shard;
use stampede::journal::log::Log;
use stampede::journal::{self, Disk, OpenError};
use stampede::runtime::load;

use super::restart::options;
use super::{Embedded, Held};
use crate::model::must;
use crate::world::{Step, World};

impl World<Embedded> {
    /// A bit turns on a copy of the disk: refused, or nothing that was written is missing.
    pub(crate) fn check_rot(&mut self) -> Step {
        if !self.chance.hit(self.plan.journal_rot) {
            return Ok(());
        }
        let copy = Arc::new(self.site.disk.copy());
        let (mut log, _) = Log::open(copy.clone(), options(), 1).map_err(|error| format!("a copy: {error}"))?;
        log.seal().map_err(|error| format!("a copy cannot be sealed: {error:?}"))?;
        drop(log);
        let segments = copy.list().map_err(|error| error.to_string())?;
        let Some(segment) = self.chance.pick(&segments).copied() else { return Ok(()) };
        let length = copy.length(segment).map_err(|error| error.to_string())?;
        let used = copy.read_at(segment, 0, length as usize).map_err(|error| error.to_string())?;
        let used = used.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64);
        let offset = self.chance.between(0, used);
        copy.flip(segment, offset, self.chance.between(0, 7) as u8);
        match Log::open(copy, options(), 1) {
            Err(OpenError::Damaged(_) | OpenError::Missing { .. }) => self.coverage.count("turned bits refused"),
            Err(error) => return Err(format!("a turned bit is not called damage: {error}")),
            Ok((log, _)) => {
                for nth in 0..usize::from(self.plan.policy.shards) {
                    let (last, found) = (self.truth.last(nth), log.last(journal::Shard(nth as u16)));
                    must!(
                        found == last,
                        "a turned bit at {offset} of {segment} hid records of shard {nth}: {found} of {last}"
                    );
                }
                self.coverage.count("turned bits that did not matter");
            }
        }
        Ok(())
    }

    /// Both snapshots of a cell are damaged: the journal has everything, or the start is refused.
    pub(crate) fn check_ruin(&mut self, journal: &Held, shards: &[Shard]) -> Step {
        if !self.chance.hit(self.plan.snapshot_rot) {
            return Ok(());
        }
        let Some(ruined) = self.site.snapshots.ruined(&mut self.chance) else { return Ok(()) };
        match load(journal, &ruined, shards, 1) {
            Err(_) => self.coverage.count("starts refused for want of snapshots"),
            Ok((restored, _)) => {
                let mut found = 0;
                for (address, recovered) in restored.into_iter().flat_map(|restored| restored.machines) {
                    found += usize::from(self.truth.machines.contains_key(&address));
                    self.truth.compare(&address, "a start without its snapshots", &recovered.machine)?;
                }
                must!(found == self.truth.machines.len(), "a start without its snapshots lost a cell");
                self.coverage.count("starts without snapshots of a cell");
            }
        }
        Ok(())
    }
}
