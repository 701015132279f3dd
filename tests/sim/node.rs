//! What a node hosts: shards and cells, as the running node hosts them, on simulated time.
//!
//! It stands in for threads and actors: what they call is the product's own code ([`turn`], [`ShardLog`], [`Keyed`]). The
//! order of things is the shard's: write, append, durable, then tell.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use actors::address::Address;
use actors::feed::Feed;
use actors::ids::Shard;
use actors::keyed::{Answer, Asked, Keyed};
use actors::machine::{Effect, Moment, Turned, turn};
use actors::message::{Message, Reply};
use actors::time::Millis;
use stampede::journal::Seq;
use stampede::runtime::commit::{Append, Limits, ShardLog};
use stampede::runtime::hosted::{AnyMachine, Hosted};
use stampede::runtime::recovery::panic_text;

use crate::site::Place;

/// Who waits for an answer: which wish of a customer, and which try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) wish: usize,
    pub(crate) attempt: u32,
    /// The errand of the node that took the request in, and which of its tries.
    pub(crate) errand: Option<(u64, u32)>,
    /// That node, where it is another than the one that answers.
    pub(crate) edge: Option<Place>,
}

/// A message in an inbox.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) asked: Asked<Message>,
    pub(crate) from: Option<Caller>,
}

/// What a turn wants told, once it is durable.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Millis,
    pub(crate) answers: Vec<(Caller, Answer<Reply>)>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) feed: Vec<Feed>,
    /// Whether the turn changed anything.
    pub(crate) changed: bool,
    /// The pictures of the whole shard were told before this.
    pub(crate) closes_pictures: bool,
}

/// One running machine.
#[derive(Debug)]
pub(crate) struct Cell {
    /// `None`: it panicked or was ahead of the journal, and is being brought back.
    pub(crate) state: Option<AnyMachine>,
    pub(crate) last_change: Seq,
    /// Whether it differs from its last snapshot.
    pub(crate) changed: bool,
    pub(crate) inbox: VecDeque<Mail>,
    pub(crate) rung: bool,
    pub(crate) timer: Option<Millis>,
    /// Panic in the next turn, after so many commands.
    pub(crate) panic_next: Option<usize>,
}

impl Cell {
    pub(crate) fn new(state: AnyMachine) -> Self {
        Self {
            state: Some(state),
            last_change: Seq::NONE,
            changed: true,
            inbox: VecDeque::new(),
            rung: false,
            timer: None,
            panic_next: None,
        }
    }
}

/// A round of snapshots of one shard.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) running: bool,
    pub(crate) complete: bool,
    /// Waiting until what they contain is durable.
    pub(crate) waiting: Vec<(Seq, Address, Vec<u8>)>,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct ShardHost {
    pub(crate) id: Shard,
    pub(crate) log: ShardLog<Told>,
    pub(crate) cells: BTreeMap<Address, Cell>,
    /// The moments of the turns in each record that is not durable yet.
    pub(crate) times: BTreeMap<Seq, Vec<Millis>>,
    /// Cells that panicked and wait for what they had written before.
    pub(crate) broken: Vec<(Seq, Address)>,
    /// Its time: it never goes back, whatever the clock does.
    pub(crate) floor: Millis,
    /// The journal takes nothing: reads only.
    pub(crate) read_only: bool,
    /// Cells that are being brought back.
    pub(crate) away: usize,
    pub(crate) round: Round,
    /// Begun, but the last group had no room for it.
    pub(crate) backlog: Option<Append>,
}

impl ShardHost {
    pub(crate) fn new(id: Shard, durable: Seq, limits: Limits) -> Self {
        Self {
            id,
            log: ShardLog::new(durable, limits),
            cells: BTreeMap::new(),
            times: BTreeMap::new(),
            broken: Vec::new(),
            floor: Millis(0),
            read_only: false,
            away: 0,
            round: Round::default(),
            backlog: None,
        }
    }

    /// The shard's time by a clock.
    pub(crate) fn advance(&mut self, clock: Millis) -> Millis {
        self.floor = self.floor.max(clock);
        self.floor
    }
}

/// A record of the group that is being written.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) shard: usize,
    pub(crate) seq: Seq,
    pub(crate) record: Vec<u8>,
    pub(crate) times: Vec<Millis>,
}

/// What a turn came to.
pub(crate) enum Outcome {
    /// The state cannot be trusted any more.
    Panicked(String),
    /// Changes joined this record.
    Wrote(Seq),
    /// Nothing changed; this can be told now.
    Tells(Box<Told>),
    /// Nothing changed; it waits behind the cell's last change.
    Waits,
}

/// What a cell is given for a turn.
pub(crate) struct Batch<'a> {
    pub(crate) at: Moment<'a>,
    pub(crate) mail: Vec<Mail>,
    pub(crate) panics_after: Option<usize>,
}

macro_rules! each_kind {
    ($machine:expr, $name:ident, $variant:ident => $body:expr) => {
        match $machine {
            AnyMachine::Event($name) => {
                let $variant = |message| if let Message::Event(command) = message { Some(command) } else { None };
                $body
            }
            AnyMachine::Block($name) => {
                let $variant = |message| if let Message::Block(command) = message { Some(command) } else { None };
                $body
            }
            AnyMachine::Orders($name) => {
                let $variant = |message| if let Message::Order(command) = message { Some(command) } else { None };
                $body
            }
            AnyMachine::Payments($name) => {
                let $variant = |message| if let Message::Payment(command) = message { Some(command) } else { None };
                $body
            }
            AnyMachine::Notifier($name) => {
                let $variant = |message| if let Message::Notice(command) = message { Some(command) } else { None };
                $body
            }
        }
    };
}

/// When a machine wants to be woken.
pub(crate) fn deadline(machine: &AnyMachine) -> Option<Millis> {
    each_kind!(machine, machine, _command => machine.deadline())
}

/// The whole public picture of a machine.
pub(crate) fn picture(machine: &AnyMachine, feed: &mut Vec<Feed>) {
    each_kind!(machine, machine, _command => machine.picture(feed));
}

/// Whether a message only reads.
pub(crate) fn reads(message: &Message) -> bool {
    use actors::block::SeatBlock;
    use actors::event::EventDesk;
    use actors::notice::Notifier;
    use actors::order::OrderDesk;
    use actors::payment::PaymentDesk;
    match message {
        Message::Event(command) => EventDesk::reads(command),
        Message::Block(command) => SeatBlock::reads(command),
        Message::Order(command) => OrderDesk::reads(command),
        Message::Payment(command) => PaymentDesk::reads(command),
        Message::Notice(command) => Notifier::reads(command),
    }
}

/// Whether a message brings its machine into being.
pub(crate) fn creates(message: &Message) -> bool {
    matches!(
        message,
        Message::Event(actors::event::Command::Create(_)) | Message::Block(actors::block::Command::Configure(_))
    )
}

/// Asks a copy of a machine and gives its answers: nothing changes.
pub(crate) fn probe(machine: &AnyMachine, at: Moment<'_>, asked: Vec<Asked<Message>>) -> Vec<Answer<Reply>> {
    each_kind!(machine, machine, command => {
        let mut copy = machine.clone();
        let asked = asked.into_iter().filter_map(|Asked { key, command: message }| {
            Some(Asked { key, command: command(message)? })
        });
        let answers = turn(&mut copy, at, asked).answers;
        answers.into_iter().map(|answer| Answer { result: answer.result.map(Into::into), replayed: answer.replayed }).collect()
    })
}

impl ShardHost {
    /// One turn of a cell, as the runtime's cell does it.
    pub(crate) fn turn(&mut self, address: &Address, batch: Batch<'_>) -> Outcome {
        let Self { log, cells, times, .. } = self;
        let Some(cell) = cells.get_mut(address) else { return Outcome::Waits };
        let Some(mut state) = cell.state.take() else { return Outcome::Waits };
        let last = cell.last_change;
        let at = batch.at.now;
        let ran = each_kind!(&mut state, machine, command => run(log, (address, last), machine, batch, command));
        match ran {
            Ok((Some(seq), _)) => {
                times.entry(seq).or_default().push(at);
                (cell.last_change, cell.changed, cell.state) = (seq, true, Some(state));
                Outcome::Wrote(seq)
            }
            Ok((None, told)) => {
                cell.state = Some(state);
                told.map_or(Outcome::Waits, |told| Outcome::Tells(Box::new(told)))
            }
            Err(what) => Outcome::Panicked(what),
        }
    }
}

type Ran = Result<(Option<Seq>, Option<Told>), String>;

fn run<M: Hosted>(
    log: &mut ShardLog<Told>,
    (address, last): (&Address, Seq),
    machine: &mut Keyed<M>,
    batch: Batch<'_>,
    command: impl Fn(Message) -> Option<M::Command>,
) -> Ran {
    let Batch { at, mail, panics_after } = batch;
    let (from, asked): (Vec<_>, Vec<_>) = mail
        .into_iter()
        .filter_map(|Mail { asked: Asked { key, command: message }, from }| {
            Some((from, Asked { key, command: command(message)? }))
        })
        .unzip();
    let turned = catch_unwind(AssertUnwindSafe(|| {
        let asked = asked.into_iter().enumerate().map(|(nth, asked)| {
            assert!(panics_after != Some(nth), "a panic was asked for");
            asked
        });
        let turned = turn(machine, at, asked);
        assert!(panics_after.is_none(), "a panic was asked for");
        turned
    }));
    let Turned { entries, answers, effects, feed } = turned.map_err(|panic| panic_text(&*panic))?;
    let answers = from.into_iter().zip(answers).filter_map(|(from, answer)| {
        Some((from?, Answer { result: answer.result.map(Into::into), replayed: answer.replayed }))
    });
    let told = Told {
        at: at.now,
        answers: answers.collect(),
        effects,
        feed,
        changed: !entries.is_empty(),
        closes_pictures: false,
    };
    if entries.is_empty() {
        return Ok((None, log.follow(last, told)));
    }
    match log.write(address, &entries, told) {
        Ok(seq) => Ok((Some(seq), None)),
        Err(refused) => Err(refused.0.to_string()),
    }
}
