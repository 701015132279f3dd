//! Crashes, starts, rebuilt cells, snapshots: how state is lost and found again.
//!
//! What a start brings back is compared record by record with the truth and byte by byte with machines that never crashed.

use std::sync::Arc;

use actors::address::Address;
use actors::ids::Shard;
use actors::time::Span;
use stampede::journal::log::{CommitError, Log, Options};
use stampede::journal::sim_disk::Faults;
use stampede::journal::{self, Disk, OpenError, ReplayError, Seq};
use stampede::runtime::commit::Limits;
use stampede::runtime::hosted::AnyMachine;
use stampede::runtime::recovery::Image;
use stampede::runtime::{Shelf, Stored, format, load};

use crate::bus::{hold_row, letter_row, order_row, payment_row, search_row};
use crate::coverage::Fault;
use crate::model::must;
use crate::node::{Cell, Held, Node, Round, ShardHost, Staged, picture};
use crate::planted::Planted;
use crate::world::{Event, SKEW_MAX, Step, World};

const LIMITS: Limits = Limits { record_bytes_max: 4096, record_turns_max: 32 };

/// Small files, so that a life sees many of them come and go.
fn options() -> Options {
    Options { segment_bytes: 24 * 1024, group_bytes_max: 8 * 1024, ..Options::default() }
}

impl World {
    pub(crate) fn fault(&mut self, fault: Event) -> Step {
        if self.calm {
            return match fault {
                Event::DiskEmpties => self.disk_empties(),
                Event::ProviderReturns => self.provider_returns(),
                Event::Snapshot => self.snapshot_round(),
                _ => Ok(()),
            };
        }
        let every = self.plan.every;
        match fault {
            Event::PowerCut => {
                self.again(every.power_cut, Event::PowerCut);
                self.crash(Fault::PowerCut);
            }
            Event::Kill => {
                self.again(every.kill, Event::Kill);
                self.crash(Fault::Killed);
            }
            Event::Panic => {
                self.again(every.panic, Event::Panic);
                self.panic();
            }
            Event::DiskFills => {
                self.again(every.full, Event::DiskFills);
                self.note(|| "the disk is full".to_owned());
                self.disk.set_capacity(0);
                let wait = Span(self.chance.between(500, 12_000));
                self.after(wait, Event::DiskEmpties);
            }
            Event::DiskEmpties => return self.disk_empties(),
            Event::ProviderLeaves => {
                self.again(every.away, Event::ProviderLeaves);
                self.note(|| "the provider is away".to_owned());
                self.provider_away = true;
                let wait = Span(self.chance.between(500, 20_000));
                self.after(wait, Event::ProviderReturns);
            }
            Event::ProviderReturns => return self.provider_returns(),
            Event::Snapshot => return self.snapshot_round(),
            Event::Calm => return self.calm_down(),
            other => unreachable!("not a fault: {other:?}"),
        }
        Ok(())
    }

    fn disk_empties(&mut self) -> Step {
        self.note(|| "the disk has space".to_owned());
        self.disk.set_capacity(u64::MAX);
        Ok(())
    }

    fn provider_returns(&mut self) -> Step {
        self.provider_away = false;
        Ok(())
    }

    fn calm_down(&mut self) -> Step {
        self.note(|| "faults end".to_owned());
        self.calm = true;
        self.provider_away = false;
        self.disk.set_faults(Faults::default());
        self.disk_empties()
    }

    /// The journal failed and the node must stop.
    pub(crate) fn stopped(&mut self, reason: &str) -> Step {
        self.note(|| format!("journal stopped: {reason}"));
        self.meets_all(Fault::DiskFailed);
        self.coverage.count("nodes stopped by their disk");
        let node = self.node.as_ref().ok_or("a journal without a node")?;
        let mut log = node.journal.log();
        let last = log.last(journal::Shard(0));
        let refused = log.stage(journal::Shard(0), last, b"more").is_err() || log.write().is_err();
        drop(log);
        must!(refused, "a journal that stopped takes more");
        if self.chance.hit(500) { self.disk.kill() } else { self.disk.crash() }
        self.die();
        Ok(())
    }

    fn crash(&mut self, fault: Fault) {
        if self.node.is_none() {
            return;
        }
        self.meets_all(fault);
        match fault {
            Fault::PowerCut => self.disk.crash(),
            _ => self.disk.kill(),
        }
        self.note(|| format!("{fault:?}"));
        self.coverage.count("crashes");
        self.die();
    }

    fn die(&mut self) {
        self.node = None;
        self.epoch += 1;
        let wait = Span(self.chance.between(50, 4000));
        self.after(wait, Event::Restart);
    }

    /// The next turn of some cell panics.
    fn panic(&mut self) {
        let Some(node) = &mut self.node else { return };
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

    /// Every state there is meets the fault.
    pub(crate) fn meets_all(&mut self, fault: Fault) {
        let model = &self.truth.model;
        let holds = model.blocks.values().flat_map(|block| block.holds.values()).map(|hold| hold_row(hold.stage));
        let orders = model.orders.values().map(|order| order_row(order.state));
        let payments = model.payments.values().map(|payment| payment_row(payment.1));
        let letters = model.letters.values().map(|letter| letter_row(*letter));
        let searches = model.seeks.values().map(|search| search_row(search.0));
        let mut rows: Vec<&'static str> = holds.chain(orders).chain(payments).chain(letters).chain(searches).collect();
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            self.coverage.met(row, fault);
        }
    }

    /// Every state of one cell meets the fault.
    fn meets_cell(&mut self, address: &Address, fault: Fault) {
        let model = &self.truth.model;
        let here = |shard: Shard| match address {
            Address::Orders(of) | Address::Payments(of) | Address::Notifier(of) => *of == shard,
            Address::Event(_) | Address::Block(_) => false,
        };
        let mut rows: Vec<&'static str> = match address {
            Address::Event(_) => Vec::new(),
            Address::Block(block) => {
                let block = model.blocks.get(block);
                block.into_iter().flat_map(|block| block.holds.values()).map(|hold| hold_row(hold.stage)).collect()
            }
            Address::Orders(_) => {
                let orders = model.orders.iter().filter(|(id, _)| here(id.shard()));
                let searches = model.seeks.values().map(|search| search_row(search.0));
                orders.map(|(_, order)| order_row(order.state)).chain(searches).collect()
            }
            Address::Payments(_) => {
                let payments = model.payments.iter().filter(|(id, _)| here(id.shard()));
                payments.map(|(_, payment)| payment_row(payment.1)).collect()
            }
            Address::Notifier(_) => {
                let letters = model.letters.iter().filter(|((id, _), _)| here(id.shard()));
                letters.map(|(_, letter)| letter_row(*letter)).collect()
            }
        };
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            self.coverage.met(row, fault);
        }
    }

    /// The disk as the product sees it, or one that only says that it synced.
    fn product_disk(&self) -> Arc<dyn Disk> {
        match self.bug {
            Some(Planted::SkipsFsync) => Arc::new(crate::planted::LyingDisk(self.disk.clone())),
            _ => self.disk.clone(),
        }
    }

    pub(crate) fn restart(&mut self) -> Step {
        if self.node.is_some() {
            return Ok(());
        }
        let faults = self.disk_faults();
        self.disk.set_faults(Faults { full: 0, ..faults });
        let fresh = self.chance.draw();
        if !self.calm && self.chance.hit(self.plan.clock_steps) {
            self.skew = self.chance.between(0, 2 * SKEW_MAX) as i64 - SKEW_MAX as i64;
            self.coverage.count("clock steps");
        }
        let (log, recovery) = match Log::open(self.product_disk(), options(), fresh) {
            Ok(opened) => opened,
            // The disk fails during recovery too; the next try finds no less.
            Err(OpenError::Io(_) | OpenError::DiskFull { .. }) => {
                self.coverage.count("starts that failed");
                if self.chance.hit(500) { self.disk.kill() } else { self.disk.crash() }
                let wait = Span(self.chance.between(100, 2000));
                self.after(wait, Event::Restart);
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
            load(&journal, &*self.snapshots, &shards, 1).map_err(|error| format!("no start: {error}"))?;
        if report.snapshots > 0 {
            self.coverage.count("starts from snapshots");
        }
        let mut hosts: Vec<ShardHost> = Vec::new();
        let mut found = Vec::new();
        for restored in restored {
            let mut host = ShardHost::new(restored.shard, restored.last, LIMITS);
            must!(
                restored.last == self.truth.last(usize::from(restored.shard.0)),
                "shard {} starts at record {}", restored.shard.0, restored.last
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
            self.boards.fold(&feed)?;
        }
        self.boards.orders.clear();
        self.note(|| format!("started: {report:?}"));
        self.node = Some(Node { journal, shards: hosts, group: Vec::new(), committing: false, full: false });
        for address in found {
            self.rearm(&address)?;
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
                Err(ReplayError::Cut { first, .. }) => {
                    log.replay(&[(shard, Seq(first.0 - 1))], &mut visit).map(|_| ())
                }
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

    /// A bit turns on a copy of the disk: refused, or nothing that was written is missing.
    fn check_rot(&mut self) -> Step {
        if !self.chance.hit(self.plan.journal_rot) {
            return Ok(());
        }
        let copy = Arc::new(self.disk.copy());
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
                    must!(found == last, "a turned bit at {offset} of {segment} hid records of shard {nth}: {found} of {last}");
                }
                self.coverage.count("turned bits that did not matter");
            }
        }
        Ok(())
    }

    /// Cells come back from snapshots and journal while the node runs.
    pub(crate) fn rebuilt(&mut self, at: usize, cells: &[Address]) -> Step {
        let Some(node) = &mut self.node else { return Ok(()) };
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
        for cell in cells {
            let name = format::encode_address(cell);
            match self.snapshots.newest(shard, &name) {
                Some((seq, bytes)) => image.snapshot(cell.clone(), seq, &bytes).map_err(refused)?,
                None if self.snapshots.cells(shard).contains(&name) => image.without_snapshot(cell).map_err(refused)?,
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
            self.rearm(address)?;
        }
        Ok(())
    }

    /// One round of snapshots of some shard.
    fn snapshot_round(&mut self) -> Step {
        self.again(self.plan.every.snapshot, Event::Snapshot);
        let early = self.bug == Some(Planted::SnapshotClaimsTooMuch);
        let Some(node) = &mut self.node else { return Ok(()) };
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
                round.complete &= self.snapshots.touch(*id, &[(name, log.durable_seq())]).is_ok();
            }
        }
        self.coverage.count("snapshot rounds");
        if !self.calm && self.chance.hit(self.plan.snapshot_rot) && self.snapshots.rot(&mut self.chance) {
            self.note(|| "a snapshot rots".to_owned());
            self.coverage.count("snapshots damaged");
        }
        self.store_snapshots(at)
    }

    /// Stores what is durable by now, and cuts the journal when the round is whole.
    pub(crate) fn store_snapshots(&mut self, at: usize) -> Step {
        let Some(node) = &mut self.node else { return Ok(()) };
        let ShardHost { id, log, round, .. } = &mut node.shards[at];
        if !round.running {
            return Ok(());
        }
        let durable = log.durable_seq();
        for (seq, address, bytes) in round.waiting.extract_if(.., |(seq, _, _)| *seq <= durable) {
            let stored = Stored { cell: format::encode_address(&address), seq, bytes };
            self.snapshots.put(*id, &[stored]).map_err(|error| error.to_string())?;
        }
        if !round.waiting.is_empty() {
            return Ok(());
        }
        let complete = round.complete;
        *round = Round::default();
        if complete && node.group.is_empty() {
            let to = self.snapshots.safe_to_cut(*id).unwrap_or(Seq::NONE);
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
