//! What the node does with messages: into inboxes, out of them in batches, each batch a turn; panics and timers.
//!
//! It stands in for the running cell and its shard, line by line. What becomes of what turns wrote is in
//! [`crate::committing`].

use actors::address::Address;
use actors::keyed::Answer;
use actors::machine::Moment;
use actors::time::{Millis, Span};
use stampede::journal::Seq;
use stampede::runtime::hosted::{self, AnyMachine};

use crate::model::must;
use crate::node::{Batch, Caller, Cell, Mail, Node, Outcome, creates, deadline, reads};
use crate::planted::Planted;
use crate::world::{Event, Failure, Step, World};

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
        // A command may leave something due at once; a turn that only wakes may not.
        let only_woke = mail.is_empty();
        let batch = Batch { at: Moment { now, policy: &policy }, mail, panics_after };
        let outcome = shard.turn(address, batch);
        let state = shard.cells.get(address).and_then(|cell| cell.state.as_ref());
        let again = state.and_then(deadline).filter(|due| *due <= now);
        must!(
            !only_woke || again.is_none(),
            "{address:?} is due at {again:?} after its turn at {now:?}: it would never rest"
        );
        self.turned_away(turned_away);
        self.turned(at, address, outcome, (last, callers, panics_after.is_some()))?;
        self.rearm(address)
    }

    pub(crate) fn turned_away(&mut self, callers: Vec<Caller>) {
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
    pub(crate) fn bring_back_broken(&mut self, at: usize) {
        let Some(node) = &mut self.node else { return };
        let shard = &mut node.shards[at];
        let durable = shard.log.durable_seq();
        let ready = shard.broken.extract_if(.., |(last, _)| *last <= durable).map(|(_, address)| address).collect();
        self.bring_back(at, ready);
    }

    pub(crate) fn bring_back(&mut self, at: usize, cells: Vec<Address>) {
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
}
