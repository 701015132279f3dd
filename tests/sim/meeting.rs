//! Which states were there when a fault happened: rows for the table of [`crate::coverage`].

use actors::address::Address;
use actors::ids::Shard;

use crate::bus::{hold_row, letter_row, order_row, payment_row, search_row};
use crate::coverage::Fault;
use crate::site::Site;
use crate::world::World;

impl<S: Site> World<S> {
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
    pub(crate) fn meets_cell(&mut self, address: &Address, fault: Fault) {
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
