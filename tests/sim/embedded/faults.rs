//! What goes wrong with the node and its disk.

use actors::address::Address;
use actors::time::Span;
use stampede::journal;
use stampede::journal::sim_disk::Faults;

use super::{Embedded, Happening};
use crate::coverage::Fault;
use crate::model::must;
use crate::world::{Event, Step, World};

impl World<Embedded> {
    pub(crate) fn fault(&mut self, fault: Happening) -> Step {
        if self.calm {
            return match fault {
                Happening::DiskEmpties => self.disk_empties(),
                Happening::Snapshot => self.snapshot_round(),
                _ => Ok(()),
            };
        }
        let every = self.plan.every;
        match fault {
            Happening::PowerCut => {
                self.again(every.power_cut, Event::Site(Happening::PowerCut));
                self.crash(Fault::PowerCut);
            }
            Happening::Kill => {
                self.again(every.kill, Event::Site(Happening::Kill));
                self.crash(Fault::Killed);
            }
            Happening::Panic => {
                self.again(every.panic, Event::Site(Happening::Panic));
                self.panic();
            }
            Happening::DiskFills => {
                self.again(every.full, Event::Site(Happening::DiskFills));
                self.note(|| "the disk is full".to_owned());
                self.site.disk.set_capacity(0);
                let wait = Span(self.chance.between(500, 12_000));
                self.after(wait, Event::Site(Happening::DiskEmpties));
            }
            Happening::DiskEmpties => return self.disk_empties(),
            Happening::Snapshot => return self.snapshot_round(),
            other => unreachable!("not a fault: {other:?}"),
        }
        Ok(())
    }

    fn disk_empties(&mut self) -> Step {
        self.note(|| "the disk has space".to_owned());
        self.site.disk.set_capacity(u64::MAX);
        Ok(())
    }

    pub(crate) fn disk_calms_down(&mut self) -> Step {
        self.site.disk.set_faults(Faults::default());
        self.disk_empties()
    }

    /// The journal failed and the node must stop.
    pub(crate) fn stopped(&mut self, reason: &str) -> Step {
        self.note(|| format!("journal stopped: {reason}"));
        self.meets_all(Fault::DiskFailed);
        self.coverage.count("nodes stopped by their disk");
        let node = self.site.node.as_ref().ok_or("a journal without a node")?;
        let mut log = node.journal.log();
        let last = log.last(journal::Shard(0));
        let refused = log.stage(journal::Shard(0), last, b"more").is_err() || log.write().is_err();
        drop(log);
        must!(refused, "a journal that stopped takes more");
        if self.chance.hit(500) {
            self.site.disk.kill()
        } else {
            self.site.disk.crash()
        }
        self.die();
        Ok(())
    }

    fn crash(&mut self, fault: Fault) {
        if self.site.node.is_none() {
            return;
        }
        self.meets_all(fault);
        match fault {
            Fault::PowerCut => self.site.disk.crash(),
            _ => self.site.disk.kill(),
        }
        self.note(|| format!("{fault:?}"));
        self.coverage.count("crashes");
        self.die();
    }

    fn die(&mut self) {
        self.site.node = None;
        self.site.life += 1;
        let wait = Span(self.chance.between(50, 4000));
        self.after(wait, Event::Site(Happening::Restart));
    }

    /// The next turn of some cell panics.
    fn panic(&mut self) {
        let Some(node) = &mut self.site.node else { return };
        let nth = self.chance.index(node.shards.len());
        let addresses: Vec<Address> = node.shards[nth].cells.keys().cloned().collect();
        let Some(address) = self.chance.pick(&addresses).cloned() else { return };
        let after = self.chance.between(0, 5) as usize;
        if let Some(cell) = node.shards[nth].cells.get_mut(&address) {
            cell.panic_next = Some(after);
        }
        self.note(|| format!("the next turn of {address:?} panics"));
        self.meets_cell(&address, Fault::Panic);
        self.coverage.count("panics planned");
    }
}
