//! The shard: its cells, its log, and the one place that tells anybody anything.
//!
//! Owns the way of a message to its cell, the one append in flight and the release of what became durable: public
//! changes first, then answers, then effects. What happens when a machine or the journal breaks is in [`mending`], how the
//! shard ends its life on this node in [`leaving`].

mod leaving;
mod mending;

use std::cell::{Cell as Local, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use actors::address::{Address, Kind};
use actors::feed::Feed;
use actors::keyed::Answer;
use actors::machine::Effect;
use actors::policy::Policy;
use actors::time::Millis;
use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use super::Settings;
use super::cells::{AnyCell, Arrival, SnapshotRequest, creates};
use super::commit::ShardLog;
use super::control::Life;
use super::failure::Failure;
use super::format::FormatError;
use super::gauges::Gauges;
use super::host::{Host, Node};
use super::hosted::{self, AnyMachine};
use super::place::{Place, Places};
use super::recovery::Restored;
use super::release::{Release, Told};
use super::router::Parcel;
use super::seams::Committed;
use super::snapshotting::Rounds;
use super::waiter::{Outgoing, Waiter};
use crate::journal::Seq;

/// What the shard does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Takes it.
    Open,
    /// Only reads are answered; others get this failure.
    ReadOnly(&'static Failure),
    /// Nothing is answered any more; everybody gets this failure.
    Closed(&'static Failure),
}

/// See the module's charter. Lives on one thread.
pub(super) struct ShardHost {
    id: actors::ids::Shard,
    life: Life,
    node: Arc<Node>,
    host: Weak<Host>,
    log: RefCell<ShardLog<Release>>,
    cells: RefCell<Places<AnyCell>>,
    gate: Local<Gate>,
    /// Something waits to be appended.
    written: Notify,
    /// Cells that panicked and wait for what they had written before.
    broken: RefCell<Vec<(Seq, Address)>>,
    /// Cells that are being brought back.
    away: Local<usize>,
    /// Entries since the last round of snapshots.
    entries: Local<u64>,
    rounds: Local<Rounds>,
    /// The latest moment that the shard's machines have seen, at first that of its last record.
    latest: Local<Millis>,
    /// Whether the shard lives here and lets somebody in; for the snapshots' thread as well.
    here: Arc<AtomicBool>,
    /// The shard's life on this node has ended.
    left: Notify,
    /// Room for answers, the same for all shards of the thread.
    outgoing: Rc<Local<Outgoing>>,
}

impl ShardHost {
    /// A shard whose last record is `durable` and was written at `floor`.
    pub(super) fn new(host: &Rc<Host>, id: actors::ids::Shard, durable: Seq, floor: Millis) -> Self {
        let node = host.node().clone();
        let shard = Self {
            id,
            life: node.next_life(),
            host: Rc::downgrade(host),
            log: RefCell::new(ShardLog::new(durable, node.settings.limits)),
            cells: RefCell::default(),
            gate: Local::new(Gate::Open),
            written: Notify::new(),
            broken: RefCell::default(),
            away: Local::new(0),
            entries: Local::new(0),
            rounds: Local::new(Rounds::begin(id, node.policy.shards, node.settings.snapshot_interval)),
            latest: Local::new(floor),
            here: Arc::new(AtomicBool::new(true)),
            left: Notify::new(),
            outgoing: host.outgoing().clone(),
            node,
        };
        shard.gauges().life_began();
        shard.gauges().durable.store(durable.0, Ordering::Relaxed);
        shard.set_gate(Gate::Open);
        shard
    }

    /// Starts the cells of what was brought back and publishes their pictures.
    pub(super) fn populate(self: &Rc<Self>, restored: Restored) {
        for (address, recovered) in restored.machines {
            let mut picture = Vec::new();
            recovered.machine.picture(&mut picture);
            self.publish(picture);
            self.entries.set(self.entries.get() + u64::from(recovered.changed));
            let changed = recovered.changed || recovered.snapshot.is_none();
            self.start(self.place(&address), recovered.machine, changed);
        }
    }

    /// Takes commands if the journal does, appends, and lets its machines wake.
    pub(super) fn serve(self: &Rc<Self>) {
        self.reopen();
        tokio::task::spawn_local(self.clone().commit());
        self.wake_all();
    }

    fn start(self: &Rc<Self>, place: Place, machine: AnyMachine, changed: bool) {
        let cell = AnyCell::start(place.address.clone(), machine, changed, self);
        self.cells.borrow_mut().insert(place, cell);
    }

    fn place(&self, address: &Address) -> Place {
        Place::of(address.clone(), self.node.policy.shards).1
    }

    pub(super) fn id(&self) -> actors::ids::Shard {
        self.id
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    pub(super) fn here(&self) -> &Arc<AtomicBool> {
        &self.here
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate.get()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.node.settings
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.node.policy
    }

    pub(super) fn gauges(&self) -> &Gauges {
        self.node.router.gauges(self.id)
    }

    /// The time of the shard's machines. It never goes back, also when the shard comes from a node whose clock is ahead.
    pub(super) fn now(&self) -> Millis {
        self.not_before(crate::clock::now())
    }

    /// The time of the shard's machines at a reading of the clock.
    pub(super) fn not_before(&self, clock: Millis) -> Millis {
        let now = clock.max(self.latest.get());
        self.latest.set(now);
        now
    }

    fn set_gate(&self, gate: Gate) {
        self.gate.set(gate);
        self.gauges().writable.store(u32::from(gate == Gate::Open), Ordering::Relaxed);
    }

    /// Puts a message into its cell's inbox; makes the cell if the message may; otherwise answers at once.
    pub(super) fn deliver(self: &Rc<Self>, parcel: Parcel, waiter: Option<Waiter>, at: Millis) {
        let Parcel { shard, to, key, message } = parcel;
        let cells = self.cells.borrow();
        let Some(cell) = cells.get(&to) else {
            drop(cells);
            let writable = self.gate() == Gate::Open;
            if writable
                && creates(&message)
                && let Some(_) = hosted::unknown(&to.address)
            {
                self.start(to.clone(), AnyMachine::new(&to.address), true);
                return self.deliver(Parcel { shard, to, key, message }, waiter, at);
            }
            if let Some(waiter) = waiter {
                let answer = self.without_cell(&to.address, creates(&message));
                waiter.answer(if self.is_sure() { answer } else { Err(Failure::OUT_OF_REACH) });
            }
            return;
        };
        let pushed = match self.gate() {
            Gate::Open | Gate::ReadOnly(_) => cell.push(message, Arrival { key, waiter, at }, self),
            Gate::Closed(failure) => Err((waiter, failure.clone())),
        };
        if let Err((waiter, failure)) = pushed {
            self.turn_away(cell.kind(), waiter, failure);
        }
    }

    fn without_cell(&self, to: &Address, creates: bool) -> Result<Answer<actors::message::Reply>, Failure> {
        match (self.gate(), hosted::unknown(to)) {
            (Gate::ReadOnly(failure), _) if creates => Err(failure.clone()),
            (Gate::Open | Gate::ReadOnly(_), Some(refusal)) => Ok(Answer { result: Err(refusal), replayed: false }),
            (Gate::Open | Gate::ReadOnly(_), None) => Err(Failure::MISSENT),
            (Gate::Closed(failure), _) => Err(failure.clone()),
        }
    }

    fn turn_away(&self, kind: Kind, waiter: Option<Waiter>, failure: Failure) {
        match (&failure, &waiter) {
            (Failure::Overloaded { .. }, Some(_)) => self.node.hooks.overloaded(kind),
            (Failure::Overloaded { .. }, None) => self.node.hooks.dropped(kind),
            (Failure::Unavailable { .. } | Failure::Elsewhere | Failure::Unknown, _) => {}
        }
        if let Some(waiter) = waiter {
            waiter.answer(Err(failure));
        }
    }

    pub(super) fn turned(&self, kind: Kind, commands: usize, entries: usize) {
        self.entries.set(self.entries.get() + entries as u64);
        self.node.hooks.turned(kind, commands, entries);
    }

    /// Takes what a turn changed into the next record; the number of that record.
    pub(super) fn write<E: Serialize>(
        &self,
        from: &Address,
        entries: &[E],
        told: Told,
    ) -> Result<Seq, Box<(FormatError, Release)>> {
        let seq = self.log.borrow_mut().write(from, entries, Release::Turn(told))?;
        self.written.notify_one();
        Ok(seq)
    }

    /// Takes an empty section into the next record: `done` hears when it is durable, and is dropped if it never will be.
    pub(super) fn prove(&self, done: oneshot::Sender<()>) {
        let nothing: [(); 0] = [];
        let written = self.log.borrow_mut().write(&Address::Orders(self.id), &nothing, Release::Mark(done));
        assert!(written.is_ok(), "nothing can be encoded");
        self.written.notify_one();
    }

    /// What changed nothing is told behind the cell's last change.
    pub(super) fn follow(&self, last_change: Seq, release: Release) {
        let now = self.log.borrow_mut().follow(last_change, release);
        if let Some(release) = now {
            self.release(vec![release]);
        }
    }

    pub(super) fn seal(&self, last_change: Seq) -> Seq {
        self.log.borrow_mut().seal(last_change)
    }

    pub(super) fn durable_seq(&self) -> Seq {
        self.log.borrow().durable_seq()
    }

    /// Resolves when that record is durable; an error when it never will be.
    pub(super) fn when_durable(&self, seq: Seq) -> oneshot::Receiver<()> {
        let (mark, reached) = oneshot::channel();
        if let Some(Release::Mark(mark)) = self.log.borrow_mut().follow(seq, Release::Mark(mark)) {
            let _ = mark.send(());
        }
        reached
    }

    /// Appends what was written, one record at a time, for as long as the shard lives here.
    async fn commit(self: Rc<Self>) {
        tokio::select! {
            biased;
            () = self.when_left() => {}
            () = self.append_all() => {}
        }
    }

    async fn append_all(self: &Rc<Self>) {
        loop {
            let next = self.log.borrow_mut().begin();
            let Some(append) = next else {
                self.written.notified().await;
                continue;
            };
            let (entries, bytes, began) = (append.entries, append.record.len(), Instant::now());
            let shard = crate::journal::Shard(self.id.0);
            match self.node.journal.append(shard, append.after, append.record).await {
                Ok(seq) => {
                    self.acknowledged(seq);
                    self.node.hooks.committed(&Committed { shard: self.id, entries, bytes, took: began.elapsed() });
                }
                Err(failure) => self.not_acknowledged(&failure),
            }
        }
    }

    fn acknowledged(&self, seq: Seq) {
        let releases = self.log.borrow_mut().durable(seq);
        self.gauges().durable.store(seq.0, Ordering::Relaxed);
        self.release(releases);
        if !self.broken.borrow().is_empty() {
            // With nothing left to wait for, what a cell waited for has failed.
            let idle = self.log.borrow().is_idle();
            let ready = self.broken.borrow_mut().extract_if(.., |(last, _)| idle || *last <= seq).collect::<Vec<_>>();
            let ready = ready.into_iter().map(|(_, address)| address).collect();
            self.bring_back(ready);
        }
    }

    /// Tells: the public first, so that whoever gets an answer finds it on the board. A record's changes are about as large
    /// as the record; pictures are not bounded by it, so each goes out by itself.
    fn release(&self, mut releases: Vec<Release>) {
        let changes: usize = releases.iter().map(Release::changes).sum();
        let mut feed = Vec::new();
        for release in &mut releases {
            match release {
                Release::Turn(told) if feed.is_empty() => {
                    feed = std::mem::take(&mut told.feed);
                    feed.reserve_exact(changes.saturating_sub(feed.len()));
                }
                Release::Turn(told) => feed.append(&mut told.feed),
                Release::Picture(picture) => {
                    self.publish(std::mem::take(&mut feed));
                    self.publish(std::mem::take(picture));
                }
                Release::Mark(_) => {}
            }
        }
        self.publish(feed);
        let mut outgoing = self.outgoing.take();
        for release in &mut releases {
            if let Release::Turn(told) = release {
                self.answer(told, &mut outgoing);
            }
        }
        outgoing.tell();
        self.outgoing.set(outgoing);
        for release in releases {
            match release {
                Release::Turn(told) => {
                    told.effects.into_iter().for_each(|effect| self.carry_out(&told.from, effect));
                }
                Release::Picture(_) => {}
                Release::Mark(mark) => {
                    let _ = mark.send(());
                }
            }
        }
    }

    fn publish(&self, feed: Vec<Feed>) {
        if !feed.is_empty() {
            self.node.router.hub().released(&feed);
            self.node.feed.publish(self.id, feed);
        }
    }

    /// A record that became durable proves that nobody else had written before it. A turn that changed nothing has none.
    fn answer(&self, told: &mut Told, outgoing: &mut Outgoing) {
        if told.changed || told.answers.is_empty() || self.is_sure() {
            told.answer(outgoing);
        } else {
            told.fail(&Failure::OUT_OF_REACH);
        }
    }

    fn is_sure(&self) -> bool {
        self.node.router.beyond().is_sure_of(self.id)
    }

    fn carry_out(&self, from: &Address, effect: Effect) {
        match effect {
            Effect::Tell(to, message) => {
                self.node.router.hub().told(&message);
                if let Some(host) = self.host.upgrade() {
                    host.tell(to, message);
                }
            }
            Effect::Call(_) | Effect::Deliver(_) if !self.is_sure() => {
                tracing::debug!(shard = self.id.0, "what is owed is left to whoever owns the shard by now");
            }
            Effect::Call(call) => self.node.outward.call(from.clone(), call),
            Effect::Deliver(letter) => self.node.outward.deliver(from.clone(), letter),
        }
    }

    /// Every cell looks at its deadline.
    pub(super) fn wake_all(&self) {
        self.cells.borrow().values().for_each(AnyCell::ring);
    }

    pub(super) fn panic_next(&self, address: &Address) {
        if let Some(cell) = self.cells.borrow().get(&self.place(address)) {
            cell.panic_next();
        }
    }

    /// Ends waits that have become too long: what had no turn was not done, what had one is not known.
    pub(super) fn end_long_waits(&self, now: Millis) {
        let oldest = Millis(now.0.saturating_sub(self.settings().deadline.as_millis() as u64));
        for cell in self.cells.borrow().values() {
            self.end_waits(cell, oldest, &Failure::TOO_LATE);
        }
        for release in self.log.borrow_mut().waiting_mut() {
            match release {
                Release::Turn(told) if told.at < oldest => told.fail(&Failure::Unknown),
                Release::Turn(_) | Release::Picture(_) | Release::Mark(_) => {}
            }
        }
    }

    fn end_waits(&self, cell: &AnyCell, before: Millis, failure: &Failure) {
        let overdue = cell.take_overdue(before);
        self.gauges().taken(cell.kind(), overdue.len());
        for waiter in overdue {
            waiter.answer(Err(failure.clone()));
        }
    }

    /// Whether nothing waits for a turn or for the journal.
    pub(super) fn is_quiet(&self) -> bool {
        self.log.borrow().is_idle() && self.cells.borrow().values().all(AnyCell::is_quiet)
    }

    /// No turn any more.
    pub(super) fn stop(&self) {
        self.set_gate(Gate::Closed(&Failure::STOPPING));
        self.refuse_queued();
    }

    pub(super) fn rounds(&self) -> &Local<Rounds> {
        &self.rounds
    }

    /// Entries since this was last called: begins a round of snapshots.
    pub(super) fn take_entries(&self) -> u64 {
        self.entries.take()
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.get()
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        self.cells.borrow().keys().map(|place| place.address.clone()).collect()
    }

    pub(super) fn take_snapshot(&self, address: &Address) -> Option<SnapshotRequest> {
        self.cells.borrow().get(&self.place(address)).map(AnyCell::take_snapshot)
    }

    pub(super) fn mark_changed(&self, address: &Address) {
        if let Some(cell) = self.cells.borrow().get(&self.place(address)) {
            cell.mark_changed();
        }
        self.entries.set(self.entries.get() + 1);
    }
}
