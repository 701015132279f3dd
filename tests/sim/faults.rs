//! What goes wrong with the node and around it, and which states were there when it did.

use actors::address::Address;
use actors::ids::Shard;
use actors::time::Span;
use stampede::journal;
use stampede::journal::sim_disk::Faults;

use crate::bus::{hold_row, letter_row, order_row, payment_row, search_row};
use crate::coverage::Fault;
use crate::model::must;
use crate::world::{Event, Step, World};

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
        if self.chance.hit(500) {
            self.disk.kill()
        } else {
            self.disk.crash()
        }
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
}
