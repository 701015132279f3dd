//! One order: how facts are folded into it and what follows from its state. Private to the desk.

use serde::{Deserialize, Serialize};

use super::{BindFailure, Change, Line, OrderView, Settlement, State, TicketView};
use crate::address::{Address, BlockRef};
use crate::block;
use crate::block::Claim;
use crate::ids::{BlockId, Customer, EventId, HoldId, OrderId, PaymentId, TicketId};
use crate::machine::Outbox;
use crate::money::{Currency, Money};
use crate::notice::{self, Letter, LetterKind};
use crate::payment;
use crate::time::{Millis, Span};

/// An order as the desk keeps it. What only matters while something is owed is in `running`, so that the many
/// orders that are done stay small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) customer: Customer,
    pub(super) event: EventId,
    email: Box<str>,
    lines: Box<[Booked]>,
    payment: PaymentId,
    created_at: Millis,
    currency: Currency,
    pub(super) state: State,
    /// Letters the notifier has taken over, one bit a kind.
    letters_taken: u8,
    /// Present while something is owed or due.
    running: Option<Box<Running>>,
    /// Present when there is something to say.
    remarks: Option<Box<Remarks>>,
}

/// A hold of an order and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Booked {
    hold: HoldId,
    block: BlockId,
    claim: Claim,
    price: u64,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Progress {
    Wanted,
    Bound,
    Sold,
    Returned,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Running {
    due: Millis,
    reminders: u32,
    pay_by: Millis,
    token: String,
    /// Whether the money of a refund is back.
    money_back: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Remarks {
    reason: Option<String>,
    checked_in: Vec<(u16, Millis)>,
}

fn bit(kind: LetterKind) -> u8 {
    match kind {
        LetterKind::Confirmation => 1,
        LetterKind::Refund => 2,
    }
}

impl Order {
    /// A new order, from [`Change::Placed`].
    pub(super) fn placed(change: &Change) -> Option<(OrderId, Order)> {
        let Change::Placed { order, customer, event, email, token, payment, lines, at, pay_by, due } = change else {
            return None;
        };
        let currency = lines.first().expect("an order has a hold").price.currency;
        let booked = |line: &Line| Booked {
            hold: line.hold,
            block: line.block.clone(),
            claim: line.claim.clone(),
            price: line.price.amount,
            progress: Progress::Wanted,
        };
        let placed = Order {
            customer: customer.clone(),
            event: event.clone(),
            email: email.as_str().into(),
            lines: lines.iter().map(booked).collect(),
            payment: *payment,
            created_at: *at,
            currency,
            state: State::Placed,
            letters_taken: 0,
            running: Some(Box::new(Running {
                due: *due,
                reminders: 0,
                pay_by: *pay_by,
                token: token.clone(),
                money_back: false,
            })),
            remarks: None,
        };
        Some((*order, placed))
    }

    pub(super) fn places(&self) -> u32 {
        self.lines.iter().map(|line| line.claim.quantity()).sum()
    }

    pub(super) fn total(&self) -> Money {
        let amount = self.lines.iter().map(|line| line.price * u64::from(line.claim.quantity())).sum();
        Money { amount, currency: self.currency }
    }

    /// Whether another order for one of its holds is refused at once. A hold of a paid order is sold at its block, where whoever
    /// orders reads it first; who had read it before that gets an order which its block then lets down. One of an order that
    /// is over may be ordered again.
    pub(super) fn is_after_its_holds(&self) -> bool {
        match self.state {
            State::Placed | State::Paying | State::Selling | State::PaymentFailed => true,
            State::Paid | State::Expired | State::Cancelled | State::Refunding | State::Refunded => false,
        }
    }

    pub(super) fn holds(&self) -> impl Iterator<Item = (HoldId, u32)> {
        self.lines.iter().map(|line| (line.hold, line.claim.quantity()))
    }

    pub(super) fn pays_with(&self, payment: PaymentId) -> bool {
        self.payment == payment
    }

    /// When the order wants attention: a resend, or the end of its time.
    pub(super) fn due(&self) -> Option<Millis> {
        self.running.as_ref().map(|running| running.due)
    }

    pub(super) fn pay_by(&self) -> Option<Millis> {
        self.running.as_ref().map(|running| running.pay_by)
    }

    /// The wait before the next reminder.
    pub(super) fn pace(&self, first: Span, most: Span) -> Span {
        first.backoff(self.running.as_ref().map_or(0, |running| running.reminders + 1), most)
    }

    /// Whether its money was taken and, at second place, given back.
    pub(super) fn money(&self) -> (bool, bool) {
        match self.state {
            State::Placed | State::Paying | State::PaymentFailed | State::Expired | State::Cancelled => (false, false),
            State::Selling | State::Paid => (true, false),
            State::Refunding => (true, self.running.as_ref().is_some_and(|running| running.money_back)),
            State::Refunded => (true, true),
        }
    }

    pub(super) fn is_waiting_for(&self, hold: HoldId) -> bool {
        self.state == State::Placed && self.is_at(hold, Progress::Wanted)
    }

    pub(super) fn is_selling(&self, hold: HoldId) -> bool {
        self.state == State::Selling && self.is_at(hold, Progress::Bound)
    }

    pub(super) fn is_returning(&self, hold: HoldId) -> bool {
        let lets_go = match self.state {
            State::Expired | State::Cancelled => true,
            State::Refunding => self.money().1,
            State::Placed | State::Paying | State::Selling | State::Paid | State::PaymentFailed | State::Refunded => {
                false
            }
        };
        lets_go && self.lines.iter().any(|line| line.hold == hold && line.progress != Progress::Returned)
    }

    fn is_at(&self, hold: HoldId, progress: Progress) -> bool {
        self.lines.iter().any(|line| line.hold == hold && line.progress == progress)
    }

    pub(super) fn has_taken(&self, kind: LetterKind) -> bool {
        self.letters_taken & bit(kind) != 0
    }

    /// When the place was used; the outer `None`: there is no such place.
    pub(super) fn checked_in(&self, place: u16) -> Option<Option<Millis>> {
        (u32::from(place) < self.places()).then(|| {
            let used = &self.remarks.as_ref()?.checked_in;
            used.iter().find(|(used, _)| *used == place).map(|(_, at)| *at)
        })
    }

    /// Folds a fact about this order in.
    pub(super) fn fold(&mut self, change: &Change) {
        match change {
            Change::LineBound { hold, due, .. } => {
                self.step(*hold, Progress::Wanted, Progress::Bound);
                if self.all(Progress::Bound) {
                    // What costs nothing is not charged.
                    self.enter(if self.total().amount == 0 { State::Selling } else { State::Paying }, *due);
                }
            }
            Change::BindRefused { hold, why, due, .. } => {
                self.step(*hold, Progress::Wanted, Progress::Returned);
                self.remark(match why {
                    BindFailure::Expired => "hold_expired",
                    BindFailure::Gone => "hold_lost",
                });
                self.enter(State::Expired, *due);
            }
            Change::Settled { settlement, due, .. } => {
                assert_eq!(self.state, State::Paying, "only a running payment is settled");
                match settlement {
                    Settlement::Captured => self.enter(State::Selling, *due),
                    Settlement::Failed(code) => {
                        self.remark(code);
                        let until = self.pay_by().unwrap_or_default();
                        self.enter(State::PaymentFailed, until);
                    }
                }
            }
            Change::LineSold { hold, due, .. } => {
                self.step(*hold, Progress::Bound, Progress::Sold);
                if self.all(Progress::Sold) {
                    self.enter(State::Paid, *due);
                }
            }
            Change::LineReturned { hold, due, .. } => {
                for line in self.lines.iter_mut().filter(|line| line.hold == *hold) {
                    line.progress = Progress::Returned;
                }
                if self.state == State::Refunding && self.all(Progress::Returned) {
                    self.enter(State::Refunded, *due);
                }
            }
            Change::PaidAgain { payment, token, due, .. } => {
                assert_eq!(self.state, State::PaymentFailed, "only a failed payment is repeated");
                self.payment = *payment;
                if let Some(remarks) = &mut self.remarks {
                    remarks.reason = None;
                }
                if let Some(running) = &mut self.running {
                    running.token.clone_from(token);
                }
                self.enter(State::Paying, *due);
            }
            Change::Ended { state, due, .. } => self.enter(*state, *due),
            Change::RefundBegun { reason, due, .. } => {
                if let Some(reason) = reason {
                    self.remark(reason);
                }
                let money_back = self.total().amount == 0;
                self.enter(State::Refunding, *due);
                if let Some(running) = &mut self.running {
                    running.money_back = money_back;
                }
            }
            Change::MoneyReturned { due, .. } => {
                self.enter(State::Refunding, *due);
                if let Some(running) = &mut self.running {
                    running.money_back = true;
                }
            }
            Change::LetterTaken { kind, .. } => self.letters_taken |= bit(*kind),
            Change::CheckedIn { place, at, .. } => {
                self.remarks.get_or_insert_default().checked_in.push((*place, *at));
            }
            Change::Reminded { due, .. } => {
                if let Some(running) = &mut self.running {
                    running.due = *due;
                    running.reminders += 1;
                }
            }
            Change::Placed { .. }
            | Change::SeekBegun { .. }
            | Change::SeekMoved { .. }
            | Change::SeekReminded { .. }
            | Change::SeekEnded { .. }
            | Change::SeeksForgotten { .. } => unreachable!("not a fact about an order that exists"),
        }
        if !self.is_running() {
            self.running = None;
        }
    }

    fn enter(&mut self, state: State, due: Millis) {
        self.state = state;
        let running = self.running.get_or_insert_with(|| {
            Box::new(Running { due, reminders: 0, pay_by: due, token: String::new(), money_back: false })
        });
        running.due = due;
        running.reminders = 0;
    }

    fn step(&mut self, hold: HoldId, from: Progress, to: Progress) {
        let line = self.lines.iter_mut().find(|line| line.hold == hold).expect("the hold is of this order");
        assert_eq!(line.progress, from, "a hold of an order moves one step at a time");
        line.progress = to;
    }

    fn all(&self, progress: Progress) -> bool {
        self.lines.iter().all(|line| line.progress == progress)
    }

    fn remark(&mut self, reason: &str) {
        self.remarks.get_or_insert_default().reason = Some(reason.to_owned());
    }

    fn is_running(&self) -> bool {
        match self.state {
            State::Placed | State::Paying | State::Selling | State::PaymentFailed | State::Refunding => true,
            State::Expired | State::Cancelled => !self.all(Progress::Returned),
            State::Paid => !self.has_taken(LetterKind::Confirmation),
            State::Refunded => !self.has_taken(LetterKind::Refund),
        }
    }

    /// Sends everything the order is owed in its present state.
    pub(super) fn send_debts(&self, id: OrderId, extension: Span, out: &mut Outbox<Change>) {
        match self.state {
            State::Placed => self.tell_blocks(Progress::Wanted, out, |hold| block::Command::Bind {
                hold,
                order: id,
                customer: self.customer.clone(),
            }),
            State::Paying => out.tell(Address::Payments(id.shard()), self.charge(id, extension)),
            State::Selling => {
                self.tell_blocks(Progress::Bound, out, |hold| block::Command::Sell { hold, order: id });
            }
            State::Expired | State::Cancelled => self.let_go(id, out),
            State::Refunding if self.money().1 => self.let_go(id, out),
            State::Refunding => {
                out.tell(Address::Payments(id.shard()), payment::Command::Refund { payment: self.payment });
            }
            State::Paid => self.write(id, LetterKind::Confirmation, out),
            State::Refunded => self.write(id, LetterKind::Refund, out),
            State::PaymentFailed => {}
        }
    }

    fn charge(&self, id: OrderId, extension: Span) -> payment::Command {
        let running = self.running.as_ref().expect("an order that pays is running");
        payment::Command::Charge {
            payment: self.payment,
            order: id,
            event: self.event.clone(),
            money: self.total(),
            token: running.token.clone(),
            give_up_at: running.pay_by + extension,
        }
    }

    fn let_go(&self, id: OrderId, out: &mut Outbox<Change>) {
        for progress in [Progress::Wanted, Progress::Bound, Progress::Sold] {
            self.tell_blocks(progress, out, |hold| block::Command::Return { hold, order: id });
        }
    }

    fn tell_blocks(&self, at: Progress, out: &mut Outbox<Change>, say: impl Fn(HoldId) -> block::Command) {
        for line in self.lines.iter().filter(|line| line.progress == at) {
            out.tell(self.block_of(line), say(line.hold));
        }
    }

    fn block_of(&self, line: &Booked) -> Address {
        Address::Block(BlockRef { event: self.event.clone(), block: line.block.clone() })
    }

    /// Asks one block to let go of a hold, whatever the order's state says about it.
    pub(super) fn return_hold(&self, id: OrderId, hold: HoldId, out: &mut Outbox<Change>) {
        for line in self.lines.iter().filter(|line| line.hold == hold) {
            out.tell(self.block_of(line), block::Command::Return { hold, order: id });
        }
    }

    fn write(&self, id: OrderId, kind: LetterKind, out: &mut Outbox<Change>) {
        if self.has_taken(kind) {
            return;
        }
        let letter = Letter {
            order: id,
            kind,
            event: self.event.clone(),
            email: self.email.to_string(),
            places: self.lines.iter().map(|line| (line.block.clone(), line.claim.clone())).collect(),
            total: self.total(),
        };
        out.tell(Address::Notifier(id.shard()), notice::Command::Notify(Box::new(letter)));
    }

    pub(super) fn view(&self, id: OrderId) -> OrderView {
        let line = |line: &Booked| Line {
            hold: line.hold,
            block: line.block.clone(),
            claim: line.claim.clone(),
            price: Money { amount: line.price, currency: self.currency },
        };
        OrderView {
            order: id,
            customer: self.customer.clone(),
            event: self.event.clone(),
            email: self.email.to_string(),
            state: self.state,
            reason: self.remarks.as_ref().and_then(|remarks| remarks.reason.clone()),
            lines: self.lines.iter().map(line).collect(),
            total: self.total(),
            payment: self.payment,
            created_at: self.created_at,
            pay_by: self.pay_by().filter(|_| !self.state.is_settled() || self.state == State::PaymentFailed),
            tickets: if self.state == State::Paid { self.tickets(id) } else { Vec::new() },
        }
    }

    pub(super) fn tickets(&self, id: OrderId) -> Vec<TicketView> {
        let mut tickets = Vec::with_capacity(self.places() as usize);
        for line in &self.lines {
            for nth in 0..line.claim.quantity() {
                let place = tickets.len() as u16;
                let seat = match &line.claim {
                    Claim::Seats(seats) => Some(seats[nth as usize]),
                    Claim::Standing(_) => None,
                };
                tickets.push(TicketView {
                    ticket: TicketId { order: id, place },
                    block: line.block.clone(),
                    seat,
                    checked_in_at: self.checked_in(place).flatten(),
                });
            }
        }
        tickets
    }
}
