//! Starts and rebuilt cells: how state is found again.
//!
//! What a start brings back is compared record by record with the truth and byte by byte with machines that never crashed.

use std::sync::Arc;

use actors::address::Address;
use actors::ids::Shard;
use actors::time::Span;
use stampede::journal::log::{Log, Options};
use stampede::journal::sim_disk::Faults;
use stampede::journal::{self, Disk, OpenError, ReplayError, Seq};
use stampede::runtime::commit::Limits;
use stampede::runtime::hosted::AnyMachine;
use stampede::runtime::recovery::Image;
use stampede::runtime::{Shelf, format, load};

use super::{Embedded, Happening, Held, Node};
use crate::model::must;
use crate::node::{Cell, ShardHost, Staged, picture};
use crate::planted::Planted;
use crate::world::{Event, SKEW_MAX, Step, World};

const LIMITS: Limits = Limits { record_bytes_max: 4096, record_turns_max: 32 };

/// Small files, so that a life sees many of them come and go.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 24 * 1024, group_bytes_max: 8 * 1024, ..Options::default() }
}

impl World<Embedded> {
    /// The disk as the product sees it, or one that only says that it synced.
    fn product_disk(&self) -> Arc<dyn Disk> {
        match self.bug {
            Some(Planted::SkipsFsync) => Arc::new(crate::planted::LyingDisk(self.site.disk.clone())),
            _ => self.site.disk.clone(),
        }
    }

    pub(crate) fn restart(&mut self) -> Step {
        if self.site.node.is_some() {
            return Ok(());
        }
        let faults = self.disk_faults();
        self.site.disk.set_faults(Faults { full: 0, ..faults });
        let fresh = self.chance.draw();
        if !self.calm && self.chance.hit(self.plan.clock_steps) {
            self.site.skew = self.chance.between(0, 2 * SKEW_MAX) as i64 - SKEW_MAX as i64;
            self.coverage.count("clock steps");
        }
        let (log, recovery) = match Log::open(self.product_disk(), options(), fresh) {
            Ok(opened) => opened,
            // The disk fails during recovery too; the next try finds no less.
            Err(OpenError::Io(_) | OpenError::DiskFull { .. }) => {
                self.coverage.count("starts that failed");
                if self.chance.hit(500) {
                    self.site.disk.kill()
                } else {
                    self.site.disk.crash()
                }
                let wait = Span(self.chance.between(100, 2000));
                self.after(wait, Event::Site(Happening::Restart));
                return Ok(());
            }
            Err(error) => return Err(format!("the journal cannot be opened: {error}")),
        };
        if recovery.torn.is_some() {
            self.coverage.count("torn ends cut");
        }
        self.check_records(&log)?;
        self.check_rot()?;
        let journal = Held::new(log);
        let shards: Vec<Shard> = (0..self.plan.policy.shards).map(Shard).collect();
        let (restored, report) =
            load(&journal, &*self.site.snapshots, &shards, 1).map_err(|error| format!("no start: {error}"))?;
        self.check_ruin(&journal, &shards)?;
        if report.snapshots > 0 {
            self.coverage.count("starts from snapshots");
        }
        let mut hosts: Vec<ShardHost> = Vec::new();
        let mut found = Vec::new();
        for restored in restored {
            let mut host = ShardHost::new(restored.shard, restored.last, LIMITS);
            must!(
                restored.last == self.truth.last(usize::from(restored.shard.0)),
                "shard {} starts at record {}",
                restored.shard.0,
                restored.last
            );
            for (address, recovered) in restored.machines {
                self.truth.compare(&address, "a start", &recovered.machine)?;
                let mut cell = Cell::new(recovered.machine);
                cell.changed = recovered.changed || recovered.snapshot.is_none();
                found.push(address.clone());
                host.cells.insert(address, cell);
            }
            hosts.push(host);
        }
        hosts.sort_by_key(|host| host.id.0);
        found.sort();
        let lost = self.truth.machines.keys().find(|address| found.binary_search(address).is_err());
        must!(lost.is_none(), "a start lost {lost:?}");
        let mut feed = Vec::new();
        for cell in hosts.iter().flat_map(|host| host.cells.values()) {
            if let Some(state) = &cell.state {
                picture(state, &mut feed);
            }
        }
        for feed in feed {
            self.site.boards.fold(&feed)?;
        }
        self.site.boards.orders.clear();
        self.note(|| format!("started from {} snapshots and {} records", report.snapshots, report.records));
        self.site.node = Some(Node { journal, shards: hosts, group: Vec::new(), committing: false, full: false });
        for address in found {
            self.rearm(self.site.place(), &address)?;
        }
        Ok(())
    }

    /// Everything acknowledged is there, in order; behind it at most the one group that was under way, whole.
    fn check_records(&mut self, log: &Log) -> Step {
        let perhaps: Vec<Staged> = std::mem::take(&mut self.truth.perhaps);
        let mut extra = 0;
        for nth in 0..usize::from(self.plan.policy.shards) {
            let shard = journal::Shard(nth as u16);
            let last = self.truth.last(nth);
            must!(log.last(shard) >= last, "shard {nth} lost acknowledged records: {} of {last}", log.last(shard));
            let mut wrong = None;
            let mut before: Option<Seq> = None;
            let truth = &self.truth;
            let mut visit = |_: journal::Shard, seq: Seq, record: &[u8]| {
                let expected = truth.record(nth, seq).or_else(|| {
                    let here = perhaps.iter().find(|staged| staged.shard == nth && staged.seq == seq);
                    here.map(|staged| &staged.record)
                });
                extra += u32::from(seq > last);
                if before.replace(seq).is_some_and(|before| seq != before.next()) {
                    wrong = wrong.or(Some(seq));
                }
                if expected.is_none_or(|expected| *expected != record) {
                    wrong = wrong.or(Some(seq));
                }
                Ok(())
            };
            let from = match log.replay(&[(shard, Seq::NONE)], &mut visit) {
                Err(ReplayError::Cut { first, .. }) => log.replay(&[(shard, Seq(first.0 - 1))], &mut visit).map(|_| ()),
                other => other.map(|_| ()),
            };
            from.map_err(|error| format!("shard {nth} cannot be read: {error}"))?;
            must!(wrong.is_none(), "record {wrong:?} of shard {nth} is not what was written");
        }
        let whole = extra == 0 || extra as usize == perhaps.len();
        must!(whole, "{extra} of {} records of the last group were kept", perhaps.len());
        if extra > 0 {
            self.coverage.count("unknown groups found");
            for staged in perhaps {
                self.truth.add(staged, &self.provider)?;
            }
        } else if !perhaps.is_empty() {
            self.coverage.count("unknown groups gone");
        }
        Ok(())
    }

    /// Cells come back from snapshots and journal while the node runs.
    pub(crate) fn rebuilt(&mut self, at: usize, cells: &[Address]) -> Step {
        let Some(node) = &mut self.site.node else { return Ok(()) };
        let name = journal::Shard(at as u16);
        let log = node.journal.log();
        let base = match log.replay(&[(name, Seq::NONE)], &mut |_, _, _| Err("seen".into())) {
            Err(ReplayError::Cut { first, .. }) => Seq(first.0 - 1),
            Ok(_) | Err(ReplayError::Visit { .. }) => Seq::NONE,
            Err(error) => return Err(format!("a running journal cannot be read: {error}")),
        };
        let shard = Shard(at as u16);
        let mut image = Image::new(shard, base).only(cells.to_vec());
        let refused = |error: stampede::runtime::recovery::RecoveryError| format!("cells cannot be rebuilt: {error}");
        let kept = self.site.snapshots.cells(shard).map_err(|error| error.to_string())?;
        for cell in cells {
            let name = format::encode_address(cell);
            match self.site.snapshots.newest(shard, &name) {
                Some((seq, bytes)) => image.snapshot(cell.clone(), seq, &bytes).map_err(refused)?,
                None if kept.contains(&name) => image.without_snapshot(cell).map_err(refused)?,
                None => {}
            }
        }
        image.check_snapshots().map_err(refused)?;
        let last = log
            .replay(&[(name, base)], &mut |_, seq, record| Ok(image.fold(seq, record)?))
            .map_err(|error| format!("cells cannot be rebuilt: {error}"))?;
        drop(log);
        let restored = image.finish(last.first().map_or(base, |last| last.1)).map_err(refused)?;
        node.shards[at].away -= cells.len();
        let mut back: Vec<(Address, AnyMachine)> =
            restored.machines.into_iter().map(|(address, recovered)| (address, recovered.machine)).collect();
        back.sort_by(|a, b| a.0.cmp(&b.0));
        for (address, machine) in back {
            self.truth.compare(&address, "a rebuild", &machine)?;
            if let Some(cell) = node.shards[at].cells.get_mut(&address) {
                (cell.state, cell.changed) = (Some(machine), true);
            }
        }
        self.coverage.count("cells rebuilt");
        self.reopen()?;
        for address in cells {
            self.rearm(self.site.place(), address)?;
        }
        Ok(())
    }
}
