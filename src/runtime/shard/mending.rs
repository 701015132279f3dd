//! Mending: what a shard does when a machine panics or the journal does not acknowledge.
//!
//! Surely not written means back to the durable state; not known means that the node stops. Not this node's to write any
//! more means that the shard leaves, or, on a node that is alone, that the node stops. A journal that was closed says
//! nothing about other nodes: the shard leaves without a word to them. A cell that is away gets no turn
//! until snapshot and journal have brought it back.

use std::rc::Rc;
use std::time::Duration;

use actors::address::{Address, Kind};
use actors::time::Millis;
use tracing::{error, info, warn};

use super::super::failure::Failure;
use super::super::recovery::Restored;
use super::super::release::Release;
use super::{Gate, ShardHost};
use crate::journal::{AppendError, Seq, Shard, Status, Unavailable};

static DISK_FULL: Failure = Failure::not_writable("disk full");
static AWAY: Failure = Failure::not_writable("journal cannot be reached");
static QUEUE_FULL: Failure = Failure::not_writable("journal is behind");
static TOO_LARGE: Failure = Failure::not_writable("record too large");

/// Wait before cells that could not be brought back are tried again.
const REBUILD_AGAIN: Duration = Duration::from_secs(5);

impl ShardHost {
    pub(super) fn not_acknowledged(self: &Rc<Self>, error: &AppendError) {
        self.node.hooks.append_failed(self.id);
        let alone = self.node.router.beyond().is_alone();
        match error {
            AppendError::Unavailable { reason } => match reason {
                Unavailable::DiskFull => self.roll_back(&DISK_FULL, error),
                Unavailable::QueueFull => self.roll_back(&QUEUE_FULL, error),
                Unavailable::TooLarge { .. } => self.roll_back(&TOO_LARGE, error),
                Unavailable::Closed if !alone => {
                    self.fail_waiting(&Failure::Elsewhere);
                    self.deserted(error);
                }
                Unavailable::Stopped | Unavailable::Closed => self.give_up(&Failure::STOPPING, error),
            },
            AppendError::Unknown { .. } | AppendError::Fenced { .. } | AppendError::Unanswered if alone => {
                self.give_up(&Failure::Unknown, error);
            }
            AppendError::Fenced { .. } => {
                // What waited was surely not written.
                self.fail_waiting(&Failure::Elsewhere);
                self.overtaken(error);
            }
            AppendError::Unknown { .. } => self.overtaken(error),
            AppendError::Unanswered => self.deserted(error),
        }
    }

    /// Another node owns the shard: what the cells are ahead is thrown away with them, and whoever waits for the record in
    /// flight hears that it is not known.
    fn overtaken(self: &Rc<Self>, error: &AppendError) {
        warn!(shard = self.id.0, %error, "another node has written to the shard, it leaves");
        self.be_forgotten();
        self.node.router.beyond().fenced(self.id);
    }

    /// The journal was closed under the shard, as when the node stops: the same, but nobody has taken it.
    fn deserted(self: &Rc<Self>, error: &AppendError) {
        info!(shard = self.id.0, %error, "journal is closed, the shard leaves");
        self.be_forgotten();
    }

    fn be_forgotten(self: &Rc<Self>) {
        if let Some(host) = self.host.upgrade() {
            host.forget(self);
        }
    }

    /// Surely not written: what waited was not done, and every cell that is ahead goes back to what is durable.
    fn roll_back(&self, failure: &'static Failure, error: &AppendError) {
        warn!(shard = self.id.0, %error, "append refused, cells go back to what is durable");
        self.set_gate(Gate::ReadOnly(failure));
        self.fail_waiting(failure);
        let durable = self.durable_seq();
        let mut back: Vec<Address> = self.broken.borrow_mut().drain(..).map(|(_, address)| address).collect();
        for (place, cell) in self.cells.borrow().iter() {
            if cell.last_change() > durable {
                cell.pause();
                back.push(place.address.clone());
            }
        }
        self.bring_back(back);
        self.reopen();
    }

    /// Not known, or not this node's to write any more: nothing may be told, and the node must stop.
    fn give_up(&self, failure: &Failure, error: &AppendError) {
        error!(shard = self.id.0, %error, "journal cannot be trusted any more, the node must stop");
        self.set_gate(Gate::Closed(&Failure::STOPPING));
        self.fail_waiting(failure);
        self.node.fatal(format!("shard {}: {error}", self.id.0));
        self.refuse_queued();
    }

    fn fail_waiting(&self, failure: &Failure) {
        let releases = self.log.borrow_mut().failed();
        for release in releases {
            match release {
                Release::Turn(mut told) => told.fail(failure),
                Release::Picture(_) | Release::Mark(_) => {}
            }
        }
    }

    /// Everybody who still waits for a turn hears that it will not come.
    pub(super) fn refuse_queued(&self) {
        for cell in self.cells.borrow().values() {
            self.end_waits(cell, Millis(u64::MAX), &Failure::STOPPING);
        }
    }

    /// A machine panicked.
    pub(in super::super) fn panicked(&self, kind: Kind) {
        self.gauges().restarted(kind);
        self.node.hooks.restarted(kind);
    }

    /// Brings a cell back once what it had written before is durable, or has failed.
    pub(in super::super) fn mend(&self, address: &Address, last_change: Seq) {
        if last_change <= self.durable_seq() || self.log.borrow().is_idle() {
            self.bring_back(vec![address.clone()]);
        } else {
            self.broken.borrow_mut().push((last_change, address.clone()));
        }
    }

    pub(super) fn bring_back(&self, cells: Vec<Address>) {
        if !cells.is_empty() {
            self.away.set(self.away.get() + cells.len());
            self.node.rebuild(self.id, self.life, cells);
        }
    }

    /// Cells were brought back from snapshot and journal, or could not be: then it is tried again for as long as it takes.
    pub(in super::super) fn brought_back(self: &Rc<Self>, addresses: Vec<Address>, restored: Option<Restored>) {
        let Some(restored) = restored else {
            let shard = Rc::downgrade(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(REBUILD_AGAIN).await;
                if let Some(shard) = shard.upgrade().filter(|shard| !shard.has_left()) {
                    shard.node.rebuild(shard.id, shard.life, addresses);
                }
            });
            return;
        };
        self.away.set(self.away.get() - addresses.len());
        let cells = self.cells.borrow();
        for (address, recovered) in restored.machines {
            if let Some(cell) = cells.get(&self.place(&address)) {
                info!(cell = ?address, "cell is back");
                cell.rebuilt(recovered.machine);
            }
        }
        drop(cells);
        self.reopen();
    }

    /// Takes commands again when the journal does and all cells are back.
    pub(in super::super) fn reopen(&self) {
        let status = self.node.journal.status_of(Shard(self.id.0));
        match (status, self.gate()) {
            (Status::Serving, Gate::ReadOnly(_)) if self.away.get() == 0 => {
                info!(shard = self.id.0, "commands are taken again");
                self.set_gate(Gate::Open);
                self.wake_all();
            }
            (Status::DiskFull, Gate::Open) => self.set_gate(Gate::ReadOnly(&DISK_FULL)),
            (Status::Away { reason }, Gate::Open) => {
                warn!(shard = self.id.0, reason, "commands are not taken until the journal answers");
                self.set_gate(Gate::ReadOnly(&AWAY));
            }
            (Status::Stopped { reason }, Gate::Open | Gate::ReadOnly(_)) => {
                self.give_up(&Failure::Unknown, &AppendError::Unknown { reason });
            }
            (Status::Serving | Status::DiskFull | Status::Away { .. } | Status::Closed | Status::Stopped { .. }, _) => {
            }
        }
    }
}
