//! What a node does with messages: into inboxes, out of them in batches, each batch a turn; panics and timers; and what is
//! told once it is durable.
//!
//! It stands in for the running cell and its shard, line by line. How what turns wrote becomes durable is the site's:
//! [`crate::embedded::committing`], [`crate::cluster::appending`].

use actors::address::Address;
use actors::ids::Shard;
use actors::keyed::Answer;
use actors::machine::Moment;
use actors::time::{Millis, Span};
use stampede::journal::Seq;
use stampede::runtime::hosted::{self, AnyMachine};

use crate::model::must;
use crate::node::{Batch, Caller, Cell, Mail, Outcome, Told, creates, deadline, reads};
use crate::planted::Planted;
use crate::site::{Place, Site};
use crate::world::{Event, Failure, Step, World};

impl<S: Site> World<S> {
    pub(crate) fn shard_of(&self, address: &Address) -> Shard {
        address.shard(self.plan.policy.shards)
    }

    fn clock_of(&self, place: Place) -> Millis {
        Millis(self.now.0.saturating_add_signed(self.site.skew(place.node)))
    }

    /// A message reaches a process.
    pub(crate) fn arrive(&mut self, place: Place, to: Address, mail: Mail) -> Step {
        if let Err(failure) = S::lets_in(self, place, &to, &mail) {
            return self.unanswered(place, mail.from, failure);
        }
        let shard = self.shard_of(&to);
        let Some(host) = self.site.host(place, shard) else { return Ok(()) };
        if !host.cells.contains_key(&to) {
            if !creates(&mail.asked.command) {
                let refusal = hosted::unknown(&to);
                if let (Some(caller), Some(refusal)) = (mail.from, refusal) {
                    self.answer(place, shard, caller, Answer { result: Err(refusal), replayed: false })?;
                }
                return Ok(());
            }
            host.cells.insert(to.clone(), Cell::new(AnyMachine::new(&to)));
        }
        let cell = host.cells.get_mut(&to).expect("it is there");
        cell.inbox.push_back(mail);
        if !std::mem::replace(&mut cell.rung, true) {
            let wait = Span(self.chance.between(0, 4) / 2);
            self.after(wait, Event::Turn { place, cell: to });
        }
        Ok(())
    }

    fn unanswered(&mut self, from: Place, caller: Option<Caller>, failure: Failure) -> Step {
        caller.map_or(Ok(()), |caller| S::answer(self, from, caller, Err(failure)))
    }

    pub(crate) fn timer(&mut self, place: Place, address: &Address) -> Step {
        let shard = self.shard_of(address);
        if let Some(cell) = self.site.host(place, shard).and_then(|host| host.cells.get_mut(address)) {
            cell.timer = None;
        }
        self.turn(place, address)
    }

    /// One batch of a cell.
    pub(crate) fn turn(&mut self, place: Place, address: &Address) -> Step {
        let (clock, shard) = (self.clock_of(place), self.shard_of(address));
        let most = self.chance.between(1, 12) as usize;
        let Some(host) = self.site.host(place, shard) else { return Ok(()) };
        let (clock, read_only) = (host.advance(clock), host.read_only);
        let Some(cell) = host.cells.get_mut(address) else { return Ok(()) };
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
            self.turned_away(place, turned_away)?;
            return self.rearm(place, address);
        }
        let panics_after = cell.panic_next.take().map(|after| after % (mail.len() + 1));
        let callers: Vec<Caller> = mail.iter().filter_map(|mail| mail.from).collect();
        let last = cell.last_change;
        let policy = self.plan.policy;
        // A command may leave something due at once; a turn that only wakes may not.
        let only_woke = mail.is_empty();
        let batch = Batch { at: Moment { now, policy: &policy }, mail, panics_after };
        let outcome = host.turn(address, batch);
        let state = host.cells.get(address).and_then(|cell| cell.state.as_ref());
        let again = state.and_then(deadline).filter(|due| *due <= now);
        must!(
            !only_woke || again.is_none(),
            "{address:?} is due at {again:?} after its turn at {now:?}: it would never rest"
        );
        self.turned_away(place, turned_away)?;
        self.turned(place, address, outcome, (last, callers, panics_after.is_some()))?;
        self.rearm(place, address)
    }

    pub(crate) fn turned_away(&mut self, place: Place, callers: Vec<Caller>) -> Step {
        callers.into_iter().try_for_each(|caller| S::answer(self, place, caller, Err(Failure::NotDone)))
    }

    fn turned(
        &mut self,
        place: Place,
        address: &Address,
        outcome: Outcome,
        (last, callers, planned): (Seq, Vec<Caller>, bool),
    ) -> Step {
        let shard = self.shard_of(address);
        self.note(|| {
            let what = match &outcome {
                Outcome::Panicked(what) => format!("panicked: {what}"),
                Outcome::Wrote(seq) => format!("wrote to record {seq}"),
                Outcome::Tells(_) => "changed nothing".to_owned(),
                Outcome::Waits => "changed nothing, waits".to_owned(),
            };
            format!("turn of {address:?} on node {}: {what}", place.node)
        });
        match outcome {
            Outcome::Panicked(what) => {
                must!(planned, "{address:?} panicked: {what}");
                self.panicked(place, address, last, callers)?;
            }
            Outcome::Wrote(_) => {
                if self.bug == Some(Planted::AnswersBeforeAppend) {
                    self.tell_early(place, shard)?;
                }
                S::wrote(self, place, shard);
            }
            Outcome::Tells(told) => self.release(place, shard, *told)?,
            Outcome::Waits => {}
        }
        Ok(())
    }

    /// Planted: what waits for the journal is told at once.
    fn tell_early(&mut self, place: Place, shard: Shard) -> Step {
        let Some(host) = self.site.host(place, shard) else { return Ok(()) };
        let early: Vec<_> = host.log.waiting_mut().flat_map(|told| std::mem::take(&mut told.answers)).collect();
        early.into_iter().try_for_each(|(caller, answer)| S::answer(self, place, caller, Ok(answer)))
    }

    fn panicked(&mut self, place: Place, address: &Address, last: Seq, callers: Vec<Caller>) -> Step {
        self.turned_away(place, callers)?;
        let shard = self.shard_of(address);
        let Some(host) = self.site.host(place, shard) else { return Ok(()) };
        if let Some(cell) = host.cells.get_mut(address) {
            (cell.state, cell.last_change) = (None, Seq::NONE);
        }
        host.broken.push((last, address.clone()));
        self.bring_back_broken(place, shard);
        Ok(())
    }

    /// Cells that panicked come back once what they had written before is durable.
    fn bring_back_broken(&mut self, place: Place, shard: Shard) {
        let Some(host) = self.site.host(place, shard) else { return };
        let durable = host.log.durable_seq();
        let ready = host.broken.extract_if(.., |(last, _)| *last <= durable).map(|(_, address)| address).collect();
        S::bring_back(self, place, shard, ready);
    }

    /// The record in flight is durable: what waited for it is told.
    pub(crate) fn acknowledged(&mut self, place: Place, shard: Shard, seq: Seq) -> Step {
        let Some(host) = self.site.host(place, shard) else { return Ok(()) };
        let mut told = host.log.durable(seq);
        host.times.remove(&seq);
        self.truth.acknowledge(shard, seq);
        // The public first, so that whoever gets an answer finds it on the board.
        for told in told.iter_mut().filter(|told| !told.feed.is_empty()) {
            S::publish(self, place, shard, std::mem::take(&mut told.feed))?;
        }
        for told in told {
            self.release(place, shard, told)?;
        }
        self.bring_back_broken(place, shard);
        Ok(())
    }

    /// Tells what is durable.
    pub(crate) fn release(&mut self, place: Place, shard: Shard, told: Told) -> Step {
        if !told.feed.is_empty() {
            S::publish(self, place, shard, told.feed)?;
        }
        if told.closes_pictures {
            S::pictured(self, place, shard);
        }
        for (caller, answer) in told.answers {
            self.judge_answer(told.at, &answer)?;
            self.answer(place, shard, caller, answer)?;
        }
        // What is owed is in the state: whoever owns the shard by now does it.
        if !S::may_act(self, place, shard) {
            self.coverage.count("effects left to the next owner");
            return Ok(());
        }
        for effect in told.effects {
            self.carry_out(place, effect)?;
        }
        Ok(())
    }

    /// Another turn for what is left, and the timer.
    pub(crate) fn rearm(&mut self, place: Place, address: &Address) -> Step {
        let (clock, skew, shard) = (self.clock_of(place), self.site.skew(place.node), self.shard_of(address));
        let Some(host) = self.site.host(place, shard) else { return Ok(()) };
        let (now, read_only) = (clock.max(host.floor), host.read_only);
        let Some(cell) = host.cells.get_mut(address) else { return Ok(()) };
        let Some(state) = &cell.state else { return Ok(()) };
        let due = deadline(state);
        let ring = !cell.inbox.is_empty() && !std::mem::replace(&mut cell.rung, true);
        let arm = due.filter(|due| !read_only && cell.timer.is_none_or(|set| set > *due));
        if let Some(due) = arm {
            cell.timer = Some(due.max(now));
        }
        if ring {
            self.after(Span(0), Event::Turn { place, cell: address.clone() });
        }
        if let Some(due) = arm {
            // A timer is never early, and often a little late.
            let late = Span(self.chance.between(0, 3));
            let when = Millis(due.max(clock).0.saturating_add_signed(-skew));
            self.at(when + late, Event::Timer { place, cell: address.clone() });
        }
        Ok(())
    }
}
