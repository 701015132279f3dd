//! What the node does while it lives: letters into inboxes, turns, one group written and synced, then told.
//!
//! The same order as the running shard's: changes are written, appended, made durable, and only then the public, the
//! askers and other machines hear of them. Refused appends take every cell that is ahead back to what is durable.

use actors::address::Address;
use actors::keyed::Answer;
use actors::machine::Moment;
use actors::time::{Millis, Span};
use stampede::journal::log::{CommitError, StageError};
use stampede::journal::{self, Seq};
use stampede::runtime::hosted::{self, AnyMachine};

use crate::coverage::Fault;
use crate::model::must;
use crate::node::{Batch, Caller, Cell, Mail, Node, Outcome, Staged, Told, creates, deadline, reads};
use crate::planted::Planted;
use crate::world::{Event, Failure, Step, World};

/// How long after a refusal for lack of space it is tried again.
const FULL_RETRY: Span = Span::seconds(1);

impl Node {
    fn shard_of(&self, address: &Address) -> usize {
        usize::from(address.shard(self.shards.len() as u16).0)
    }
}

impl World {
    /// A message reaches the node.
    pub(crate) fn arrive(&mut self, to: Address, mail: Mail) {
        let epoch = self.epoch;
        let Some(node) = &mut self.node else {
            return self.unanswered(mail.from, Failure::Unknown);
        };
        let at = node.shard_of(&to);
        let shard = &mut node.shards[at];
        let writes = mail.asked.key.is_some() || !reads(&mail.asked.command);
        if shard.read_only && writes {
            return self.unanswered(mail.from, Failure::NotDone);
        }
        if !shard.cells.contains_key(&to) {
            if !creates(&mail.asked.command) {
                let refusal = hosted::unknown(&to);
                if let (Some(caller), Some(refusal)) = (mail.from, refusal) {
                    self.reply(caller, Ok(Answer { result: Err(refusal), replayed: false }));
                }
                return;
            }
            shard.cells.insert(to.clone(), Cell::new(AnyMachine::new(&to)));
        }
        let cell = shard.cells.get_mut(&to).expect("it is there");
        cell.inbox.push_back(mail);
        if !std::mem::replace(&mut cell.rung, true) {
            let wait = Span(self.chance.between(0, 4) / 2);
            self.after(wait, Event::Turn { epoch, cell: to });
        }
    }

    fn unanswered(&mut self, from: Option<Caller>, failure: Failure) {
        if let Some(caller) = from {
            self.reply(caller, Err(failure));
        }
    }

    pub(crate) fn timer(&mut self, address: &Address) -> Step {
        if let Some(cell) = self.cell(address) {
            cell.timer = None;
        }
        self.turn(address)
    }

    fn cell(&mut self, address: &Address) -> Option<&mut Cell> {
        let node = self.node.as_mut()?;
        let at = node.shard_of(address);
        node.shards[at].cells.get_mut(address)
    }

    /// One batch of a cell.
    pub(crate) fn turn(&mut self, address: &Address) -> Step {
        let clock = self.clock();
        let most = self.chance.between(1, 12) as usize;
        let Some(node) = &mut self.node else { return Ok(()) };
        let at = node.shard_of(address);
        let shard = &mut node.shards[at];
        let read_only = shard.read_only;
        let Some(cell) = shard.cells.get_mut(address) else { return Ok(()) };
        cell.rung = false;
        let Some(state) = &cell.state else { return Ok(()) };
        let count = cell.inbox.len().min(most);
        let mut mail: Vec<Mail> = cell.inbox.drain(..count).collect();
        let mut turned_away = Vec::new();
        if read_only {
            mail.retain(|mail| {
                let stays = mail.asked.key.is_none() && reads(&mail.asked.command);
                turned_away.extend(mail.from.filter(|_| !stays));
                stays
            });
        }
        // Without a journal nothing may fall due: the machine is shown the moment before.
        let due = deadline(state);
        let now = match due {
            Some(due) if read_only && due <= clock => Millis(due.0.saturating_sub(1)),
            _ => clock,
        };
        if mail.is_empty() && due.is_none_or(|due| due > now) {
            self.turned_away(turned_away);
            return self.rearm(address);
        }
        let panics_after = cell.panic_next.take().map(|after| after % (mail.len() + 1));
        let callers: Vec<Caller> = mail.iter().filter_map(|mail| mail.from).collect();
        let last = cell.last_change;
        let policy = self.plan.policy;
        let batch = Batch { at: Moment { now, policy: &policy }, mail, panics_after };
        let outcome = shard.turn(address, batch);
        self.turned_away(turned_away);
        self.turned(at, address, outcome, (last, callers, panics_after.is_some()))?;
        self.rearm(address)
    }

    fn turned_away(&mut self, callers: Vec<Caller>) {
        for caller in callers {
            self.unanswered(Some(caller), Failure::NotDone);
        }
    }

    fn turned(
        &mut self,
        at: usize,
        address: &Address,
        outcome: Outcome,
        (last, callers, planned): (Seq, Vec<Caller>, bool),
    ) -> Step {
        self.note(|| {
            let what = match &outcome {
                Outcome::Panicked(what) => format!("panicked: {what}"),
                Outcome::Wrote(seq) => format!("wrote to record {seq}"),
                Outcome::Tells(_) => "changed nothing".to_owned(),
                Outcome::Waits => "changed nothing, waits".to_owned(),
            };
            format!("turn of {address:?}: {what}")
        });
        match outcome {
            Outcome::Panicked(what) => {
                must!(planned, "{address:?} panicked: {what}");
                self.panicked(at, address, last, callers);
            }
            Outcome::Wrote(_) => {
                if self.bug == Some(Planted::AnswersBeforeAppend) {
                    self.tell_early(at)?;
                }
                self.commit_soon();
            }
            Outcome::Tells(told) => self.release(*told)?,
            Outcome::Waits => {}
        }
        Ok(())
    }

    /// Planted: what waits for the disk is told at once.
    fn tell_early(&mut self, at: usize) -> Step {
        let Some(node) = &mut self.node else { return Ok(()) };
        let mut early = Vec::new();
        for told in node.shards[at].log.waiting_mut() {
            early.append(&mut told.answers);
        }
        for (caller, answer) in early {
            self.reply(caller, Ok(answer));
        }
        Ok(())
    }

    fn panicked(&mut self, at: usize, address: &Address, last: Seq, callers: Vec<Caller>) {
        self.turned_away(callers);
        let Some(node) = &mut self.node else { return };
        let shard = &mut node.shards[at];
        if let Some(cell) = shard.cells.get_mut(address) {
            (cell.state, cell.last_change) = (None, Seq::NONE);
        }
        shard.broken.push((last, address.clone()));
        self.bring_back_broken(at);
    }

    /// Cells that panicked come back once what they had written before is durable.
    fn bring_back_broken(&mut self, at: usize) {
        let Some(node) = &mut self.node else { return };
        let shard = &mut node.shards[at];
        let durable = shard.log.durable_seq();
        let ready = shard.broken.extract_if(.., |(last, _)| *last <= durable).map(|(_, address)| address).collect();
        self.bring_back(at, ready);
    }

    fn bring_back(&mut self, at: usize, cells: Vec<Address>) {
        if cells.is_empty() {
            return;
        }
        if let Some(node) = &mut self.node {
            node.shards[at].away += cells.len();
        }
        let wait = Span(self.chance.between(1, 300));
        let epoch = self.epoch;
        self.after(wait, Event::Rebuilt { epoch, shard: at, cells });
    }

    /// Another turn for what is left, and the timer.
    pub(crate) fn rearm(&mut self, address: &Address) -> Step {
        let epoch = self.epoch;
        let (now, skew) = (self.clock(), self.skew);
        let Some(node) = &mut self.node else { return Ok(()) };
        let at = node.shard_of(address);
        let read_only = node.shards[at].read_only;
        let Some(cell) = node.shards[at].cells.get_mut(address) else { return Ok(()) };
        let Some(state) = &cell.state else { return Ok(()) };
        let due = deadline(state);
        let ring = !cell.inbox.is_empty() && !std::mem::replace(&mut cell.rung, true);
        let arm = due.filter(|due| !read_only && cell.timer.is_none_or(|set| set > *due));
        if let Some(due) = arm {
            cell.timer = Some(due.max(now));
        }
        if ring {
            self.after(Span(0), Event::Turn { epoch, cell: address.clone() });
        }
        if let Some(due) = arm {
            // A timer is never early, and often a little late.
            let late = Span(self.chance.between(0, 3));
            let when = Millis(due.max(now).0.saturating_add_signed(-skew));
            self.at(when + late, Event::Timer { epoch, cell: address.clone() });
        }
        Ok(())
    }

    pub(crate) fn commit_soon(&mut self) {
        let epoch = self.epoch;
        let Some(node) = &mut self.node else { return };
        if !std::mem::replace(&mut node.committing, true) {
            let wait = Span(self.chance.between(0, 2));
            self.after(wait, Event::Commit { epoch });
        }
    }

    /// Writes one group of what waits.
    pub(crate) fn commit(&mut self) -> Step {
        let faults = self.disk_faults();
        self.disk.set_faults(faults);
        let makes_ready = self.chance.hit(100);
        let Some(node) = &mut self.node else { return Ok(()) };
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
                let epoch = self.epoch;
                self.after(Span(wait), Event::Sync { epoch });
                Ok(())
            }
            Err(CommitError::DiskFull) => {
                node.committing = false;
                node.full = true;
                self.truth.perhaps.clear();
                self.meets_all(Fault::DiskFull);
                let epoch = self.epoch;
                self.after(FULL_RETRY, Event::Space { epoch });
                for staged in group {
                    self.roll_back(staged.shard);
                }
                Ok(())
            }
            Err(CommitError::Stopped { reason }) => self.stopped(&reason),
        }
    }

    /// The journal takes nothing: whatever waits is surely not written.
    fn refuse_all(&mut self) -> Step {
        let Some(node) = &self.node else { return Ok(()) };
        let waiting = node.shards.iter().enumerate().filter(|(_, shard)| !shard.log.is_idle());
        let waiting: Vec<usize> = waiting.map(|(nth, _)| nth).collect();
        for shard in waiting {
            self.roll_back(shard);
        }
        Ok(())
    }

    /// Surely not written: every cell that is ahead goes back to what is durable.
    fn roll_back(&mut self, at: usize) {
        let Some(node) = &mut self.node else { return };
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
        self.turned_away(told.into_iter().flat_map(|told| told.answers).map(|(caller, _)| caller).collect());
        self.bring_back(at, back);
    }

    /// Takes commands again when the journal does and all cells are back.
    pub(crate) fn reopen(&mut self) -> Step {
        let Some(node) = &mut self.node else { return Ok(()) };
        if node.full {
            return Ok(());
        }
        let mut ring = Vec::new();
        for shard in node.shards.iter_mut().filter(|shard| shard.read_only && shard.away == 0) {
            shard.read_only = false;
            ring.extend(shard.cells.keys().cloned());
        }
        for address in ring {
            self.rearm(&address)?;
        }
        Ok(())
    }

    pub(crate) fn look_for_space(&mut self) -> Step {
        let Some(node) = &mut self.node else { return Ok(()) };
        let prepared = node.journal.log().prepare();
        match prepared {
            Ok(()) => {
                node.full = false;
                self.coverage.count("space again");
                self.reopen()
            }
            Err(CommitError::DiskFull) => {
                let epoch = self.epoch;
                self.after(FULL_RETRY, Event::Space { epoch });
                Ok(())
            }
            Err(CommitError::Stopped { reason }) => self.stopped(&reason),
        }
    }

    /// Makes the written group durable and tells what waited for it.
    pub(crate) fn sync(&mut self) -> Step {
        let Some(node) = &mut self.node else { return Ok(()) };
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
            self.acknowledged(shard, seq)?;
        }
        if self.node.as_ref().is_some_and(|node| {
            node.shards.iter().any(|shard| shard.backlog.is_some() || !shard.log.is_idle())
        }) {
            self.commit_soon();
        }
        Ok(())
    }

    fn acknowledged(&mut self, at: usize, seq: Seq) -> Step {
        let Some(node) = &mut self.node else { return Ok(()) };
        let shard = &mut node.shards[at];
        let mut told = shard.log.durable(seq);
        shard.times.remove(&seq);
        // The public first, so that whoever gets an answer finds it on the board.
        for feed in told.iter_mut().flat_map(|told| std::mem::take(&mut told.feed)) {
            self.boards.fold(&feed)?;
        }
        for told in told {
            self.release(told)?;
        }
        self.bring_back_broken(at);
        self.store_snapshots(at)
    }

    /// Tells what is durable.
    fn release(&mut self, told: Told) -> Step {
        for feed in &told.feed {
            self.boards.fold(feed)?;
        }
        for (caller, answer) in told.answers {
            self.judge_answer(told.at, &answer)?;
            self.reply(caller, Ok(answer));
        }
        for effect in told.effects {
            self.carry_out(effect)?;
        }
        Ok(())
    }
}
