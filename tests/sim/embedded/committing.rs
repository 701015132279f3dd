//! What the node does with what turns wrote: one group appended and synced, and only then told.
//!
//! It stands in for the committer and for the shard's release. Refused appends take every cell that is ahead back to what
//! is durable; a disk that failed ends the node.

use actors::address::Address;
use actors::ids::Shard;
use actors::time::Span;
use stampede::journal::log::{CommitError, StageError};
use stampede::journal::sim_disk::Faults;
use stampede::journal::{self, Seq};

use super::{Embedded, Happening};
use crate::coverage::Fault;
use crate::node::Staged;
use crate::world::{Event, Step, World};

/// How long after a refusal for lack of space it is tried again.
const FULL_RETRY: Span = Span::seconds(1);

impl World<Embedded> {
    pub(crate) fn disk_faults(&self) -> Faults {
        if self.calm { Faults::default() } else { self.plan.disk }
    }

    pub(crate) fn commit_soon(&mut self) {
        let place = self.site.place();
        let Some(node) = &mut self.site.node else { return };
        if !std::mem::replace(&mut node.committing, true) {
            let wait = Span(self.chance.between(0, 2));
            self.after(wait, Event::Site(Happening::Commit { place }));
        }
    }

    /// Writes one group of what waits.
    pub(crate) fn commit(&mut self) -> Step {
        let faults = self.disk_faults();
        self.site.disk.set_faults(faults);
        let makes_ready = self.chance.hit(100);
        let Some(node) = &mut self.site.node else { return Ok(()) };
        if node.full {
            node.committing = false;
            return self.refuse_all();
        }
        let mut group = Vec::new();
        {
            let mut log = node.journal.log();
            for (nth, shard) in node.shards.iter_mut().enumerate() {
                let Some(append) = shard.backlog.take().or_else(|| shard.log.begin()) else { continue };
                match log.stage(journal::Shard(nth as u16), append.after, &append.record) {
                    Ok(seq) => {
                        let times = shard.times.get(&seq).cloned().unwrap_or_default();
                        group.push(Staged { shard: nth, seq, record: append.record, times });
                    }
                    Err(StageError::GroupFull) => shard.backlog = Some(append),
                    Err(error) => return Err(format!("shard {nth} cannot append: {error:?}")),
                }
            }
        }
        if group.is_empty() {
            node.committing = false;
            return Ok(());
        }
        let mut log = node.journal.log();
        let mut outcome = Ok(());
        if makes_ready && log.prepare().is_err() && log.stopped().is_some() {
            outcome = Err(CommitError::Stopped { reason: "preallocation".to_owned() });
        }
        let outcome = outcome.and_then(|()| log.write().map(|_| ()));
        drop(log);
        self.truth.perhaps = group.clone();
        match outcome {
            Ok(()) => {
                node.group = group;
                let wait = if self.chance.hit(20) { self.chance.between(50, 900) } else { self.chance.between(0, 5) };
                let place = self.site.place();
                self.after(Span(wait), Event::Site(Happening::Sync { place }));
                Ok(())
            }
            Err(CommitError::DiskFull) => {
                node.committing = false;
                node.full = true;
                self.truth.perhaps.clear();
                self.meets_all(Fault::DiskFull);
                let place = self.site.place();
                self.after(FULL_RETRY, Event::Site(Happening::Space { place }));
                for staged in group {
                    self.roll_back(staged.shard)?;
                }
                Ok(())
            }
            Err(CommitError::Stopped { reason }) => self.stopped(&reason),
        }
    }

    /// The journal takes nothing: whatever waits is surely not written.
    fn refuse_all(&mut self) -> Step {
        let Some(node) = &self.site.node else { return Ok(()) };
        let waiting = node.shards.iter().enumerate().filter(|(_, shard)| !shard.log.is_idle());
        let waiting: Vec<usize> = waiting.map(|(nth, _)| nth).collect();
        for shard in waiting {
            self.roll_back(shard)?;
        }
        Ok(())
    }

    /// Surely not written: every cell that is ahead goes back to what is durable.
    fn roll_back(&mut self, at: usize) -> Step {
        let Some(node) = &mut self.site.node else { return Ok(()) };
        let shard = &mut node.shards[at];
        shard.read_only = true;
        shard.backlog = None;
        let told = shard.log.failed();
        let durable = shard.log.durable_seq();
        shard.times.clear();
        // Snapshots that will never be durable were not stored: their cells must be taken again.
        for (_, address, _) in std::mem::take(&mut shard.round).waiting {
            if let Some(cell) = shard.cells.get_mut(&address) {
                cell.changed = true;
            }
        }
        let mut back: Vec<Address> = shard.broken.drain(..).map(|(_, address)| address).collect();
        for (address, cell) in &mut shard.cells {
            if cell.last_change > durable {
                (cell.state, cell.last_change) = (None, Seq::NONE);
                back.push(address.clone());
            }
        }
        self.note(|| format!("shard {at} goes back to record {durable}: {back:?}"));
        self.turned_away(
            self.site.place(),
            told.into_iter().flat_map(|told| told.answers).map(|(caller, _)| caller).collect(),
        )?;
        self.bring_back(at, back);
        Ok(())
    }

    pub(crate) fn bring_back(&mut self, at: usize, cells: Vec<Address>) {
        if cells.is_empty() {
            return;
        }
        if let Some(node) = &mut self.site.node {
            node.shards[at].away += cells.len();
        }
        let wait = Span(self.chance.between(1, 300));
        let place = self.site.place();
        self.after(wait, Event::Site(Happening::Rebuilt { place, shard: at, cells }));
    }

    /// Takes commands again when the journal does and all cells are back.
    pub(crate) fn reopen(&mut self) -> Step {
        let Some(node) = &mut self.site.node else { return Ok(()) };
        if node.full {
            return Ok(());
        }
        let mut ring = Vec::new();
        for shard in node.shards.iter_mut().filter(|shard| shard.read_only && shard.away == 0) {
            shard.read_only = false;
            ring.extend(shard.cells.keys().cloned());
        }
        for address in ring {
            self.rearm(self.site.place(), &address)?;
        }
        Ok(())
    }

    pub(crate) fn look_for_space(&mut self) -> Step {
        let Some(node) = &mut self.site.node else { return Ok(()) };
        let prepared = node.journal.log().prepare();
        match prepared {
            Ok(()) => {
                node.full = false;
                self.coverage.count("space again");
                self.reopen()
            }
            Err(CommitError::DiskFull) => {
                let place = self.site.place();
                self.after(FULL_RETRY, Event::Site(Happening::Space { place }));
                Ok(())
            }
            Err(CommitError::Stopped { reason }) => self.stopped(&reason),
        }
    }

    /// Makes the written group durable and tells what waited for it.
    pub(crate) fn sync(&mut self) -> Step {
        let Some(node) = &mut self.site.node else { return Ok(()) };
        let synced = node.journal.log().sync();
        let group = std::mem::take(&mut node.group);
        node.committing = false;
        if let Err(error) = synced {
            return match error {
                CommitError::Stopped { reason } => self.stopped(&reason),
                CommitError::DiskFull => Err("a sync is refused for lack of space".to_owned()),
            };
        }
        self.truth.perhaps.clear();
        self.coverage.count("groups committed");
        for staged in group {
            let (shard, seq) = (staged.shard, staged.seq);
            self.truth.add(staged, &self.provider)?;
            let place = self.site.place();
            self.acknowledged(place, Shard(shard as u16), seq)?;
            self.store_snapshots(shard)?;
        }
        if self
            .site
            .node
            .as_ref()
            .is_some_and(|node| node.shards.iter().any(|shard| shard.backlog.is_some() || !shard.log.is_idle()))
        {
            self.commit_soon();
        }
        Ok(())
    }
}
