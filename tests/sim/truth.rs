//! The truth: every record that was made durable, in the simulation's own memory, and what follows from it.
//!
//! Two things follow: a second set of machines that fold every record once (replay must give their bytes), and the
//! [`Model`]. What the disk gives back after a crash is compared with the records here.

use std::collections::BTreeMap;

use actors::address::Address;
use actors::block::{self, SeatBlock};
use actors::event::{self, EventDesk};
use actors::ids::Shard;
use actors::keyed::Entry;
use actors::machine::Machine;
use actors::notice::{self, Notifier};
use actors::order::{self, OrderDesk};
use actors::payment::{self, PaymentDesk};
use actors::policy::Policy;
use actors::time::Millis;
use stampede::journal::Seq;
use stampede::runtime::format::{self, FormatError, Section};
use stampede::runtime::hosted::AnyMachine;
use stampede::runtime::recovery::Image;

use crate::gateway::Provider;
use crate::model::{Model, Violation, must};
use crate::node::Staged;

/// See the module's charter.
pub(crate) struct Truth {
    /// Each shard's records, from the first.
    records: Vec<Vec<Vec<u8>>>,
    pub(crate) machines: BTreeMap<Address, AnyMachine>,
    pub(crate) model: Model,
    /// Written and not acknowledged: a crash may keep all of it or nothing.
    pub(crate) perhaps: Vec<Staged>,
    /// The last record of each shard that somebody was told of.
    acknowledged: Vec<Seq>,
    pub(crate) entries: u64,
}

fn unreadable(error: FormatError) -> Violation {
    format!("a record cannot be read: {error}")
}

impl Truth {
    pub(crate) fn new(policy: &Policy) -> Self {
        let shards = usize::from(policy.shards);
        Self {
            records: vec![Vec::new(); shards],
            machines: BTreeMap::new(),
            model: Model::new(*policy),
            perhaps: Vec::new(),
            acknowledged: vec![Seq::NONE; shards],
            entries: 0,
        }
    }

    pub(crate) fn last(&self, shard: usize) -> Seq {
        Seq(self.records[shard].len() as u64)
    }

    pub(crate) fn record(&self, shard: usize, seq: Seq) -> Option<&Vec<u8>> {
        self.records[shard].get(usize::try_from(seq.0.checked_sub(1)?).ok()?)
    }

    /// The last record of a shard that somebody was told of.
    pub(crate) fn acknowledged(&self, shard: Shard) -> Seq {
        self.acknowledged[usize::from(shard.0)]
    }

    /// What waited for a record is about to be told.
    pub(crate) fn acknowledge(&mut self, shard: Shard, seq: Seq) {
        let known = &mut self.acknowledged[usize::from(shard.0)];
        *known = seq.max(*known);
    }

    /// A record is durable.
    pub(crate) fn add(&mut self, staged: Staged, provider: &Provider) -> Result<(), Violation> {
        let Staged { shard, seq, record, times } = staged;
        must!(seq == self.last(shard).next(), "record {seq} of shard {shard} comes after {}", self.last(shard));
        for (nth, section) in format::sections(&record).map_err(unreadable)?.enumerate() {
            let section = section.map_err(unreadable)?;
            let at = times.get(nth).copied().ok_or("a section without its turn")?;
            self.entries += u64::from(section.entries);
            self.fold(&section, at, provider)?;
        }
        self.records[shard].push(record);
        Ok(())
    }

    fn fold(&mut self, section: &Section<'_>, at: Millis, provider: &Provider) -> Result<(), Violation> {
        let address = &section.address;
        let machine = self.machines.entry(address.clone()).or_insert_with(|| AnyMachine::new(address));
        machine.fold(section).map_err(unreadable)?;
        let model = &mut self.model;
        let mut judged = Ok(());
        macro_rules! judge {
            ($machine:ty, $module:ident, $entry:ident => $judgement:expr) => {
                section.each(|$entry: Entry<<$machine as Machine>::Change, $module::Reply>| {
                    if judged.is_ok() {
                        judged = $judgement;
                    }
                })
            };
        }
        let read = match address {
            Address::Event(_) => judge!(EventDesk, event, entry => model.event(at, &entry)),
            Address::Block(name) => judge!(SeatBlock, block, entry => model.block(at, name, &entry)),
            Address::Orders(_) => judge!(OrderDesk, order, entry => model.order(at, provider, &entry)),
            Address::Payments(_) => judge!(PaymentDesk, payment, entry => model.payment(at, provider, &entry)),
            Address::Notifier(_) => judge!(Notifier, notice, entry => model.notice(at, &entry)),
        };
        read.map_err(unreadable)?;
        judged
    }

    /// Everything again from the first record: the same bytes.
    pub(crate) fn replay(&self) -> Result<(), Violation> {
        for shard in 0..self.records.len() {
            let mut image = Image::new(Shard(shard as u16), Seq::NONE);
            for (nth, record) in self.records[shard].iter().enumerate() {
                image.fold(Seq(nth as u64 + 1), record).map_err(|error| error.to_string())?;
            }
            let restored = image.finish(self.last(shard)).map_err(|error| error.to_string())?;
            for (address, recovered) in &restored.machines {
                if let Some(known) = self.machines.get(address) {
                    same(address, "a full replay", &recovered.machine, known)?;
                }
            }
        }
        Ok(())
    }

    /// A machine that came about in another way must be the same, byte for byte.
    pub(crate) fn compare(&self, address: &Address, how: &str, machine: &AnyMachine) -> Result<(), Violation> {
        match self.machines.get(address) {
            Some(known) => same(address, how, machine, known),
            None => same(address, how, machine, &AnyMachine::new(address)),
        }
    }
}

fn same(address: &Address, how: &str, found: &AnyMachine, right: &AnyMachine) -> Result<(), Violation> {
    let bytes = |machine: &AnyMachine| machine.encode().map_err(|error| error.to_string());
    let (a, b) = (bytes(found)?, bytes(right)?);
    must!(a == b, "{address:?} is another machine after {how}:\n  found {found:?}\n  right {right:?}");
    Ok(())
}
