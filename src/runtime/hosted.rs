//! The five kinds of machine as the runtime sees them, and the one place that maps an address to its machine.
//!
//! Owns the exhaustive matches over the kinds, so that a sixth kind does not compile until it is placed here. Decides
//! nothing about the machines themselves.

use std::fmt::Debug;

use actors::address::{Address, Kind};
use actors::block::{self, SeatBlock};
use actors::event::{self, EventDesk};
use actors::feed::Feed;
use actors::keyed::{Entry, Keyed};
use actors::machine::Machine;
use actors::message::Reply;
use actors::notice::{self, Notifier};
use actors::order::{self, OrderDesk};
use actors::payment::{self, PaymentDesk};
use actors::refusal::Refusal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::format::{self, FormatError, Section};

/// A machine that a cell can host.
pub trait Hosted:
    Machine<Command: Send + Unpin, Change: Send, Reply: Send + Into<Reply>>
    + Serialize
    + DeserializeOwned
    + Send
    + Unpin
    + 'static
{
    /// Which kind it is.
    const KIND: Kind;

    /// Whether a command only reads: it is answered also while the journal takes nothing.
    fn reads(command: &Self::Command) -> bool;
}

impl Hosted for EventDesk {
    const KIND: Kind = Kind::Event;

    fn reads(command: &event::Command) -> bool {
        match command {
            event::Command::Show => true,
            event::Command::Create(_)
            | event::Command::Patch(_)
            | event::Command::Open
            | event::Command::Pause
            | event::Command::Close
            | event::Command::Configured { .. } => false,
        }
    }
}

impl Hosted for SeatBlock {
    const KIND: Kind = Kind::Block;

    fn reads(command: &block::Command) -> bool {
        match command {
            block::Command::Show { .. } | block::Command::Ledger { .. } | block::Command::Audit => true,
            block::Command::Configure(_)
            | block::Command::Hold { .. }
            | block::Command::Seek { .. }
            | block::Command::Release { .. }
            | block::Command::Bind { .. }
            | block::Command::Sell { .. }
            | block::Command::Return { .. }
            | block::Command::Block(_)
            | block::Command::Unblock(_) => false,
        }
    }
}

impl Hosted for OrderDesk {
    const KIND: Kind = Kind::Orders;

    fn reads(command: &order::Command) -> bool {
        match command {
            order::Command::Show { .. }
            | order::Command::List { .. }
            | order::Command::ListEvent { .. }
            | order::Command::Audit { .. } => true,
            order::Command::Place { .. }
            | order::Command::Pay { .. }
            | order::Command::Cancel { .. }
            | order::Command::Refund { .. }
            | order::Command::CheckIn { .. }
            | order::Command::Seek { .. }
            | order::Command::Bound { .. }
            | order::Command::BindRefused { .. }
            | order::Command::Sold { .. }
            | order::Command::SellRefused { .. }
            | order::Command::Returned { .. }
            | order::Command::SeekAnswered { .. }
            | order::Command::Settled { .. }
            | order::Command::RefundSettled { .. }
            | order::Command::LetterTaken { .. } => false,
        }
    }
}

impl Hosted for PaymentDesk {
    const KIND: Kind = Kind::Payments;

    fn reads(command: &payment::Command) -> bool {
        match command {
            payment::Command::Audit { .. } => true,
            payment::Command::Charge { .. }
            | payment::Command::Refund { .. }
            | payment::Command::SettlementHeard { .. }
            | payment::Command::RefundHeard { .. }
            | payment::Command::Heard { .. } => false,
        }
    }
}

impl Hosted for Notifier {
    const KIND: Kind = Kind::Notifier;

    fn reads(command: &notice::Command) -> bool {
        match command {
            notice::Command::Count => true,
            notice::Command::Notify(_) | notice::Command::Delivered { .. } | notice::Command::Failed { .. } => false,
        }
    }
}

/// A machine of any kind, with its keys.
#[derive(Debug)]
pub enum AnyMachine {
    /// An event desk.
    Event(Box<Keyed<EventDesk>>),
    /// A seat block.
    Block(Box<Keyed<SeatBlock>>),
    /// An order desk.
    Orders(Box<Keyed<OrderDesk>>),
    /// A payment desk.
    Payments(Box<Keyed<PaymentDesk>>),
    /// A notifier.
    Notifier(Box<Keyed<Notifier>>),
}

impl AnyMachine {
    /// The empty machine of an address.
    #[must_use]
    pub fn new(address: &Address) -> Self {
        match address {
            Address::Event(_) => AnyMachine::Event(Box::new(Keyed::new(address))),
            Address::Block(_) => AnyMachine::Block(Box::new(Keyed::new(address))),
            Address::Orders(_) => AnyMachine::Orders(Box::new(Keyed::new(address))),
            Address::Payments(_) => AnyMachine::Payments(Box::new(Keyed::new(address))),
            Address::Notifier(_) => AnyMachine::Notifier(Box::new(Keyed::new(address))),
        }
    }

    /// The machine of an address as a snapshot holds it.
    ///
    /// # Errors
    /// Bytes that are no snapshot of such a machine.
    pub fn decode(address: &Address, snapshot: &[u8]) -> Result<Self, FormatError> {
        Ok(match address {
            Address::Event(_) => AnyMachine::Event(Box::new(format::decode_snapshot(snapshot)?)),
            Address::Block(_) => AnyMachine::Block(Box::new(format::decode_snapshot(snapshot)?)),
            Address::Orders(_) => AnyMachine::Orders(Box::new(format::decode_snapshot(snapshot)?)),
            Address::Payments(_) => AnyMachine::Payments(Box::new(format::decode_snapshot(snapshot)?)),
            Address::Notifier(_) => AnyMachine::Notifier(Box::new(format::decode_snapshot(snapshot)?)),
        })
    }

    /// Its snapshot: equal states give equal bytes.
    ///
    /// # Errors
    /// State that cannot be encoded, which is our bug.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        match self {
            AnyMachine::Event(machine) => format::encode_snapshot(machine),
            AnyMachine::Block(machine) => format::encode_snapshot(machine),
            AnyMachine::Orders(machine) => format::encode_snapshot(machine),
            AnyMachine::Payments(machine) => format::encode_snapshot(machine),
            AnyMachine::Notifier(machine) => format::encode_snapshot(machine),
        }
    }

    /// What the public may see of it.
    pub fn picture(&self, feed: &mut Vec<Feed>) {
        match self {
            AnyMachine::Event(machine) => machine.picture(feed),
            AnyMachine::Block(machine) => machine.picture(feed),
            AnyMachine::Orders(machine) => machine.picture(feed),
            AnyMachine::Payments(machine) => machine.picture(feed),
            AnyMachine::Notifier(machine) => machine.picture(feed),
        }
    }

    /// Folds a section of a record in. A change that contradicts the state panics, as everywhere.
    ///
    /// # Errors
    /// A section that cannot be decoded; some of its entries may be folded in by then.
    pub fn fold(&mut self, section: &Section<'_>) -> Result<(), FormatError> {
        match self {
            AnyMachine::Event(machine) => fold(machine, section),
            AnyMachine::Block(machine) => fold(machine, section),
            AnyMachine::Orders(machine) => fold(machine, section),
            AnyMachine::Payments(machine) => fold(machine, section),
            AnyMachine::Notifier(machine) => fold(machine, section),
        }
    }
}

fn fold<M: Hosted>(machine: &mut Keyed<M>, section: &Section<'_>) -> Result<(), FormatError> {
    section.each(|entry: Entry<M::Change, M::Reply>| machine.apply(&entry))
}

/// What an ask is answered whose machine does not exist; `None` for those that always do.
#[must_use]
pub fn unknown(address: &Address) -> Option<Refusal> {
    match address {
        Address::Event(_) => Some(Refusal::UnknownEvent),
        Address::Block(_) => Some(Refusal::UnknownBlock),
        Address::Orders(_) | Address::Payments(_) | Address::Notifier(_) => None,
    }
}

/// The entries of a section in words, for people who look into a journal.
///
/// # Errors
/// A section that cannot be decoded.
pub fn in_words(section: &Section<'_>) -> Result<Vec<String>, FormatError> {
    match section.address {
        Address::Event(_) => words::<EventDesk>(section),
        Address::Block(_) => words::<SeatBlock>(section),
        Address::Orders(_) => words::<OrderDesk>(section),
        Address::Payments(_) => words::<PaymentDesk>(section),
        Address::Notifier(_) => words::<Notifier>(section),
    }
}

fn words<M: Hosted<Change: Debug, Reply: Debug>>(section: &Section<'_>) -> Result<Vec<String>, FormatError> {
    let mut words = Vec::new();
    section.each(|entry: Entry<M::Change, M::Reply>| words.push(format!("{entry:?}")))?;
    Ok(words)
}
