//! What must hold: of every answer, at every recount, and when everything has ended.
//!
//! The machines' own word (audits, lists, pictures) is compared with the [`crate::model`], the provider's ledger and the
//! readers' boards, all of which were worked out without them.

use std::collections::BTreeMap;

use actors::address::{Address, BlockRef};
use actors::block::{self, Claim, HoldState, HoldView};
use actors::ids::OrderId;
use actors::keyed::{Answer, Asked};
use actors::machine::Moment;
use actors::message::{Message, Reply};
use actors::order::{self, OrderView, State};
use actors::payment;
use actors::time::Millis;
use stampede::runtime::hosted::AnyMachine;

use crate::asking::public;
use crate::model::{BlockModel, HoldStage, LetterStage, Owner, Violation, must};
use crate::node::probe;
use crate::site::Site;
use crate::world::{Step, World};

impl<S: Site> World<S> {
    /// What is told must be true by then.
    pub(crate) fn judge_answer(&self, at: Millis, answer: &Answer<Reply>) -> Step {
        let model = &self.truth.model;
        match &answer.result {
            // A stored answer may be older than what became of it.
            Ok(_) if answer.replayed => {}
            Ok(Reply::Block(block::Reply::Held(view) | block::Reply::Hold(view))) => self.judge_view(view)?,
            Ok(Reply::Order(order::Reply::Order(view))) => {
                let known = model.orders.get(&view.order);
                let known = known.ok_or_else(|| format!("order {} is told of and is not durable", view.order))?;
                let same = known.customer == view.customer
                    && known.total == view.total.amount
                    && known.lines.len() == view.lines.len()
                    && known.lines.iter().zip(&view.lines).all(|(a, b)| a.0 == b.hold);
                must!(same, "order {} is told as {view:?} and is {known:?}", view.order);
            }
            Ok(Reply::Order(order::Reply::CheckedIn { ticket, at: when })) => {
                must!(*when == at, "a ticket is used at another time than its turn");
                let known = model.is_checked_in(ticket.ticket, *when);
                must!(known, "ticket {} is told as used and is not", ticket.ticket);
            }
            Ok(Reply::Order(order::Reply::Sought { answer: Some(found), replayed: false })) => {
                if let Ok(view) = &**found {
                    must!(self.hold_exists(view), "search: hold {} is told of and is not durable", view.hold);
                }
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    fn hold_exists(&self, view: &HoldView) -> bool {
        self.truth.model.hold_of(view.hold, &view.block).is_some()
    }

    fn judge_view(&self, view: &HoldView) -> Step {
        let known = self.truth.model.hold_of(view.hold, &view.block);
        // Ended ones may be forgotten in the same record.
        let Some(known) = known else {
            let over = matches!(view.state, HoldState::Released | HoldState::Expired);
            must!(over, "hold {} is told of and is not durable", view.hold);
            return Ok(());
        };
        let same = known.customer == view.customer && known.claim == view.claim && known.until == view.expires_at;
        must!(same, "hold {} is told as {view:?} and is {known:?}", view.hold);
        Ok(())
    }

    /// Everything counted anew.
    pub(crate) fn recount(&mut self) -> Step {
        self.coverage.count("recounts");
        let policy = self.plan.policy;
        let at = Moment { now: self.clock(), policy: &policy };
        for (address, machine) in &self.truth.machines {
            match address {
                Address::Block(name) => self.recount_block(at, name, machine)?,
                Address::Orders(_) => self.recount_orders(at, machine)?,
                Address::Event(_) | Address::Payments(_) | Address::Notifier(_) => {}
            }
        }
        self.site.recount(&self.truth)?;
        self.compare_running()
    }

    fn recount_block(&self, at: Moment<'_>, name: &BlockRef, machine: &AnyMachine) -> Step {
        let Some(model) = self.truth.model.blocks.get(name) else { return Ok(()) };
        model.is_consistent(name)?;
        let command = Message::Block(block::Command::Audit);
        // At the moment before anything falls due: the copy must not wake.
        let before = Moment { now: Millis(0), ..at };
        let answers = probe(machine, before, vec![Asked { key: None, command }]);
        let Some(Ok(Reply::Block(block::Reply::Census(census)))) =
            answers.into_iter().next().map(|answer| answer.result)
        else {
            return Err(format!("block {} cannot be audited", name.block));
        };
        must!(census.violations.is_empty(), "block {}: {:?}", name.block, census.violations);
        let counts = model.counts();
        must!(census.counts == counts, "block {} counts {:?}, there are {counts:?}", name.block, census.counts);
        let sum = counts.free + counts.held + counts.sold + counts.blocked;
        must!(sum == census.capacity, "block {}: {counts:?} of {} places", name.block, census.capacity);
        // A hold that is sold has an order that has its money; a bound one never outlives its order unseen.
        for (hold, known) in &model.holds {
            if let HoldStage::Sold(order) = known.stage {
                let state = self.truth.model.orders.get(&order).map(|order| order.state);
                let may = matches!(state, Some(State::Selling | State::Paid | State::Refunding));
                must!(may, "hold {hold} is sold to order {order}, which is {state:?}");
            }
        }
        Ok(())
    }

    fn orders_of(&self, machine: &AnyMachine) -> Result<Vec<OrderView>, Violation> {
        let policy = self.plan.policy;
        let at = Moment { now: Millis(0), policy: &policy };
        let event = self.plan.event.id.clone();
        let command = Message::Order(order::Command::ListEvent { event, after: None, limit: 100_000 });
        let answers = probe(machine, at, vec![Asked { key: None, command }]);
        match answers.into_iter().next().map(|answer| answer.result) {
            Some(Ok(Reply::Order(order::Reply::Orders { orders, next: None }))) => Ok(orders),
            other => Err(format!("orders cannot be listed: {other:?}")),
        }
    }

    fn recount_orders(&self, _at: Moment<'_>, machine: &AnyMachine) -> Step {
        for view in self.orders_of(machine)? {
            let known = self.truth.model.orders.get(&view.order);
            let known = known.ok_or_else(|| format!("order {} came from nowhere", view.order))?;
            must!(known.state == view.state, "order {} is {:?} and must be {:?}", view.order, view.state, known.state);
            must!(known.payments.last() == Some(&view.payment), "order {} pays with another payment", view.order);
            let used = view.tickets.iter().filter(|ticket| ticket.checked_in_at.is_some()).count();
            must!(
                view.state != State::Paid || used == known.checked_in.len(),
                "order {} lost a used ticket",
                view.order
            );
            if view.state == State::Paid {
                for (hold, block, places) in &known.lines {
                    let hold_model = self.truth.model.hold_of(*hold, block);
                    let sold = hold_model.is_some_and(|hold| hold.stage == HoldStage::Sold(view.order));
                    must!(sold, "order {} is paid, its hold {hold} is {hold_model:?}", view.order);
                    let quantity = hold_model.map_or(0, |hold| hold.claim.quantity());
                    must!(quantity == *places, "order {} paid {places} places of {quantity}", view.order);
                }
            }
        }
        Ok(())
    }

    /// What runs is what is durable, wherever nothing waits for the disk.
    fn compare_running(&self) -> Step {
        for (host, is_complete) in self.site.hosts() {
            for (address, cell) in &host.cells {
                let settled = is_complete && cell.last_change <= host.log.durable_seq();
                if let (Some(state), true) = (&cell.state, settled) {
                    self.truth.compare(address, "running", state)?;
                }
            }
        }
        Ok(())
    }

    /// After faults have stopped and all waits are over, everything has ended.
    pub(crate) fn end_check(&mut self) -> Step {
        S::end_check(self)?;
        for _ in 0..self.truth.model.letters_again {
            self.coverage.count("letters written again after an outage");
        }
        self.truth.replay()?;
        self.ended_wishes()?;
        self.ended_debts()?;
        self.ended_seats()?;
        self.ended_money()?;
        self.asked_again()
    }

    /// Whether nobody waits for anything any more.
    pub(crate) fn owes_nothing(&self) -> bool {
        self.ended_wishes().is_ok() && self.ended_debts().is_ok() && self.ended_seats().is_ok()
    }

    fn ended_wishes(&self) -> Step {
        let open = self.crowd.asking.iter().find(|asking| !asking.done);
        must!(open.is_none(), "a wish was never answered: {open:?}");
        Ok(())
    }

    fn ended_debts(&self) -> Step {
        for (address, machine) in &self.truth.machines {
            let quiet = match machine {
                AnyMachine::Orders(desk) => desk.machine().owes_nothing(),
                AnyMachine::Payments(desk) => desk.machine().owes_nothing(),
                AnyMachine::Notifier(desk) => desk.machine().owes_nothing(),
                AnyMachine::Event(_) | AnyMachine::Block(_) => true,
            };
            must!(quiet, "{address:?} still owes something: {machine:?}");
        }
        for (order, known) in &self.truth.model.orders {
            let state = known.state;
            must!(state.is_settled() && state != State::PaymentFailed, "order {order} is still {state:?}");
        }
        for ((order, kind), stage) in &self.truth.model.letters {
            must!(*stage != LetterStage::Waiting, "the letter {kind:?} about {order} was never delivered");
            let told = *stage != LetterStage::Delivered || self.letters_delivered.contains(&(*order, *kind));
            must!(told, "the letter {kind:?} about {order} is called delivered and was not");
        }
        Ok(())
    }

    fn ended_seats(&self) -> Step {
        let mut sold: BTreeMap<OrderId, u32> = BTreeMap::new();
        for (name, block) in &self.truth.model.blocks {
            for (hold, known) in &block.holds {
                match known.stage {
                    HoldStage::Held => {
                        must!(known.until > self.clock(), "hold {hold} of {} outlived its time", name.block);
                    }
                    HoldStage::Bound(order) => return Err(format!("hold {hold} is still bound to {order}")),
                    HoldStage::Sold(order) => *sold.entry(order).or_default() += known.claim.quantity(),
                    HoldStage::Released | HoldStage::Expired => {}
                }
            }
        }
        let paid = self.truth.model.orders.iter().filter(|(_, order)| order.state == State::Paid);
        let paid: BTreeMap<OrderId, u32> =
            paid.map(|(id, order)| (*id, order.lines.iter().map(|line| line.2).sum())).collect();
        must!(sold == paid, "sold places {sold:?}, places of paid orders {paid:?}");
        Ok(())
    }

    fn ended_money(&self) -> Step {
        let kept = self.provider.kept();
        let paid = self.truth.model.orders.iter().filter(|(_, order)| order.state == State::Paid && order.total > 0);
        let paid: BTreeMap<OrderId, u64> = paid.map(|(id, order)| (*id, order.total)).collect();
        must!(kept == paid, "the provider keeps {kept:?}, paid orders are {paid:?}");
        let (captured, refunded) = self.provider.sums();
        let (mut summed, mut back) = (0, 0);
        let policy = self.plan.policy;
        let at = Moment { now: Millis(0), policy: &policy };
        for (address, machine) in &self.truth.machines {
            if let Address::Payments(_) = address {
                let event = self.plan.event.id.clone();
                let command = Message::Payment(payment::Command::Audit { event });
                let answer = probe(machine, at, vec![Asked { key: None, command }]).into_iter().next();
                if let Some(Ok(Reply::Payment(payment::Reply::Summary(summary)))) = answer.map(|answer| answer.result) {
                    must!(summary.open == 0, "{address:?} has open payments");
                    (summed, back) = (summed + summary.captured, back + summary.refunded);
                }
            }
        }
        let same = (summed, back) == (captured, refunded);
        must!(same, "desks took {summed} and gave back {back}, the provider {captured} and {refunded}");
        Ok(())
    }

    /// Every key that was answered and is remembered gives the same answer again; whatever was told is still there.
    fn asked_again(&mut self) -> Step {
        let policy = self.plan.policy;
        let at = Moment { now: self.clock(), policy: &policy };
        let mut questions: BTreeMap<Address, Vec<(usize, Asked<Message>)>> = BTreeMap::new();
        for number in 0..self.crowd.asking.len() {
            let asking = &self.crowd.asking[number];
            let remembered = self.remembers(asking);
            if asking.told.is_some() && !asking.misuse && asking.key.is_some() && remembered {
                let (to, asked) = self.crowd.request(number, self.clock(), &mut self.chance);
                questions.entry(to).or_default().push((number, asked));
            }
        }
        for (address, asked) in questions {
            let (numbers, asked): (Vec<usize>, Vec<Asked<Message>>) = asked.into_iter().unzip();
            let known = self.truth.machines.get(&address);
            let Some(machine) = known else {
                let all_refused = numbers.iter().all(|number| matches!(self.crowd.asking[*number].told, Some(Err(_))));
                must!(all_refused, "{address:?} answered and is not there");
                continue;
            };
            for (number, answer) in numbers.into_iter().zip(probe(machine, at, asked)) {
                let asking = &self.crowd.asking[number];
                let told = asking.told.as_ref();
                let result = match answer.result {
                    Ok(Reply::Order(order::Reply::Sought { answer, .. })) => {
                        Ok(Reply::Order(order::Reply::Sought { answer, replayed: false }))
                    }
                    other => other,
                };
                must!(told.map(public) == Some(public(&result)), "{asking:?} is now answered {result:?}");
            }
        }
        Ok(())
    }
}

impl BlockModel {
    /// The seats and the holds say the same.
    fn is_consistent(&self, name: &BlockRef) -> Step {
        let mut owners = vec![Owner::Free; self.seats.len()];
        for (hold, known) in self.holds.iter().filter(|(_, hold)| hold.is_live()) {
            if let Claim::Seats(seats) = &known.claim {
                for seat in seats {
                    let owner = &mut owners[seat.0 as usize];
                    must!(*owner == Owner::Free, "seat {} of {} has two live claims", seat.0, name.block);
                    *owner = Owner::Hold(*hold);
                }
            }
        }
        for (at, owner) in self.seats.iter().enumerate() {
            let right = if *owner == Owner::House { owners[at] == Owner::Free } else { owners[at] == *owner };
            must!(right, "seat {at} of {} is {owner:?} and {:?}", name.block, owners[at]);
        }
        Ok(())
    }
}
