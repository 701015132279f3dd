//! The desk itself: judges what it is asked and what it hears of the provider, folds changes, wakes what is due.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Change, Command, Reply, Summary};
use crate::address::Address;
use crate::gateway::{Call, Heard};
use crate::ids::{EventId, OrderId, PaymentId};
use crate::machine::{Machine, Moment, Outbox};
use crate::money::Money;
use crate::order;
use crate::planted::{self, Bug};
use crate::refusal::Refusal;
use crate::time::{Millis, Span};

/// Where a payment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// A charge is out; without an answer by its time the outcome is unknown.
    Calling,
    /// It surely did not happen; the next attempt waits for its time.
    Waiting,
    /// The outcome is unknown; the provider is asked.
    Doubtful,
    Captured,
    Failed,
    Refunding,
    Refunded,
}

/// A payment as the desk keeps it; what matters only while it runs is in `running`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Payment {
    order: OrderId,
    event: EventId,
    money: Money,
    phase: Phase,
    running: Option<Box<Running>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Running {
    token: String,
    code: String,
    give_up_at: Millis,
    due: Millis,
    /// Charges that were called so far.
    attempt: u32,
    /// Repetitions in the present phase, for the backoff.
    tries: u32,
}

impl Payment {
    fn is_open(&self) -> bool {
        match self.phase {
            Phase::Calling | Phase::Waiting | Phase::Doubtful => true,
            Phase::Captured | Phase::Failed | Phase::Refunding | Phase::Refunded => false,
        }
    }

    fn enter(&mut self, phase: Phase, due: Millis) {
        let running = self.running.get_or_insert_with(|| {
            Box::new(Running { token: String::new(), code: String::new(), give_up_at: due, due, attempt: 0, tries: 0 })
        });
        running.tries = if self.phase == phase { running.tries + 1 } else { 0 };
        running.due = due;
        self.phase = phase;
    }

    fn attempt(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.attempt)
    }

    fn tries(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.tries)
    }

    fn charge(&self, payment: PaymentId, attempt: u32) -> Call {
        let token = self.running.as_ref().map(|running| running.token.clone()).unwrap_or_default();
        Call::Charge { payment, order: self.order, money: self.money, token, attempt }
    }

    fn refund(&self, payment: PaymentId) -> Call {
        Call::Refund { payment, money: self.money, attempt: self.tries() }
    }

    fn fold(&mut self, change: &Change) {
        match change {
            Change::Asked { .. } => unreachable!("a payment is asked for once"),
            Change::Called { due, .. } => {
                assert!(self.is_open(), "only an open payment is charged");
                self.enter(Phase::Calling, *due);
                if let Some(running) = &mut self.running {
                    running.attempt += 1;
                }
            }
            Change::Postponed { due, .. } => self.enter(Phase::Waiting, *due),
            Change::Doubted { due, .. } => self.enter(Phase::Doubtful, *due),
            Change::Captured { due, .. } => self.enter(Phase::Captured, *due),
            Change::Failed { code, due, .. } => {
                self.enter(Phase::Failed, *due);
                if let Some(running) = &mut self.running {
                    running.code.clone_from(code);
                }
            }
            Change::Refunding { due, .. } => {
                assert!(
                    matches!(self.phase, Phase::Captured | Phase::Failed | Phase::Refunding),
                    "only money that was taken goes back"
                );
                self.enter(Phase::Refunding, *due);
            }
            Change::Refunded { due, .. } => self.enter(Phase::Refunded, *due),
            Change::Heard { .. } => self.running = None,
            Change::Reminded { due, .. } => self.enter(self.phase, *due),
        }
    }
}

/// All payments of the orders of one shard. See the module's charter.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentDesk {
    payments: BTreeMap<PaymentId, Payment>,
    /// Derived from `payments`: when each running payment wants attention.
    due: BTreeSet<(Millis, PaymentId)>,
}

/// Only what is not derived is stored.
impl Serialize for PaymentDesk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payments.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PaymentDesk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let payments: BTreeMap<PaymentId, Payment> = Deserialize::deserialize(deserializer)?;
        let due = payments.iter().filter_map(|(id, payment)| Some((payment.running.as_ref()?.due, *id))).collect();
        Ok(Self { payments, due })
    }
}

impl PaymentDesk {
    fn charge(&self, asked: Change, out: &mut Outbox<Change>) {
        let Change::Asked { payment, .. } = asked else { return };
        match self.payments.get(&payment) {
            None => {
                let new = opened(&asked);
                out.call(new.charge(payment, 1));
                out.change(asked);
            }
            // Settled and heard, but the order desk asks again: its memory of the answer is older than ours.
            Some(known) if !known.is_open() => self.tell(payment, known, out),
            Some(_) => {}
        }
    }

    /// Tells the order desk how a payment ended.
    fn tell(&self, payment: PaymentId, known: &Payment, out: &mut Outbox<Change>) {
        let code = known.running.as_ref().map_or("", |running| &running.code);
        tell(payment, known.order, (known.phase, code), out);
    }

    /// Records how a payment ended and tells the order desk.
    fn end(&self, payment: PaymentId, known: &Payment, change: Change, out: &mut Outbox<Change>) {
        let ended = match &change {
            Change::Captured { .. } => (Phase::Captured, ""),
            Change::Failed { code, .. } => (Phase::Failed, code.as_str()),
            Change::Refunded { .. } => (Phase::Refunded, ""),
            Change::Asked { .. }
            | Change::Called { .. }
            | Change::Postponed { .. }
            | Change::Doubted { .. }
            | Change::Refunding { .. }
            | Change::Heard { .. }
            | Change::Reminded { .. } => unreachable!("a payment does not end with that"),
        };
        tell(payment, known.order, ended, out);
        out.change(change);
    }

    /// The order desk has heard it: nothing is owed any more.
    fn note(&self, payment: PaymentId, is_settled: impl Fn(&Payment) -> bool, out: &mut Outbox<Change>) {
        if self.payments.get(&payment).is_some_and(|known| known.running.is_some() && is_settled(known)) {
            out.change(Change::Heard { payment });
        }
    }

    fn refund(&self, at: Moment<'_>, payment: PaymentId, out: &mut Outbox<Change>) {
        let Some(known) = self.payments.get(&payment) else { return };
        match known.phase {
            Phase::Captured => {
                out.call(known.refund(payment));
                out.change(Change::Refunding { payment, due: at.now + at.policy.gateway_timeout });
            }
            Phase::Refunded => self.tell(payment, known, out),
            Phase::Calling | Phase::Waiting | Phase::Doubtful | Phase::Failed | Phase::Refunding => {}
        }
    }

    fn heard(&self, at: Moment<'_>, payment: PaymentId, attempt: u32, heard: Heard, out: &mut Outbox<Change>) {
        let Some(known) = self.payments.get(&payment) else { return };
        let due = at.now + at.policy.resend_min;
        match (known.phase, heard) {
            // What is sure is taken whenever it comes, late or twice.
            (Phase::Calling | Phase::Waiting | Phase::Doubtful, Heard::Captured) => {
                self.end(payment, known, Change::Captured { payment, due }, out);
            }
            (Phase::Calling | Phase::Waiting | Phase::Doubtful, Heard::Declined(code)) => {
                self.end(payment, known, Change::Failed { payment, code, due }, out);
            }
            // Money that came after we had given up goes back.
            (Phase::Failed, Heard::Captured) => {
                out.call(known.refund(payment));
                out.change(Change::Refunding { payment, due: at.now + at.policy.gateway_timeout });
            }
            (Phase::Calling, Heard::Unavailable) if attempt == known.attempt() => {
                self.postpone(at, payment, known, "provider_unavailable", out);
            }
            (Phase::Calling, Heard::Unknown) if planted::is(Bug::UnknownIsFailed) => {
                self.end(payment, known, Change::Failed { payment, code: "unknown".to_owned(), due }, out);
            }
            (Phase::Calling, Heard::Unknown | Heard::NotFound | Heard::Refunded) if attempt == known.attempt() => {
                let due = at.now + pause(at, payment, known.tries());
                out.change(Change::Doubted { payment, due });
            }
            (Phase::Doubtful, Heard::NotFound) if attempt == known.attempt() => {
                if known.attempt() >= at.policy.charge_attempts_max {
                    let code = "provider_timeout".to_owned();
                    self.end(payment, known, Change::Failed { payment, code, due }, out);
                } else {
                    self.postpone(at, payment, known, "provider_timeout", out);
                }
            }
            (Phase::Refunding, Heard::Refunded) => self.end(payment, known, Change::Refunded { payment, due }, out),
            // Nothing new: the time that is running decides when it is tried again.
            (
                Phase::Calling | Phase::Waiting | Phase::Doubtful,
                Heard::Unavailable | Heard::Unknown | Heard::NotFound | Heard::Refunded,
            )
            | (Phase::Captured | Phase::Failed | Phase::Refunding | Phase::Refunded, _) => {}
        }
    }

    /// It surely did not happen: try again later, or give up when the time is over.
    fn postpone(&self, at: Moment<'_>, payment: PaymentId, known: &Payment, code: &str, out: &mut Outbox<Change>) {
        let due = at.now + pause(at, payment, known.attempt());
        let late = known.running.as_ref().is_some_and(|running| running.give_up_at < due);
        if late {
            let change = Change::Failed { payment, code: code.to_owned(), due: at.now + at.policy.resend_min };
            self.end(payment, known, change, out);
        } else {
            out.change(Change::Postponed { payment, due });
        }
    }

    fn wake_payment(&self, at: Moment<'_>, payment: PaymentId, out: &mut Outbox<Change>) {
        let known = &self.payments[&payment];
        let timeout = at.now + at.policy.gateway_timeout;
        match known.phase {
            Phase::Waiting => {
                out.call(known.charge(payment, known.attempt() + 1));
                out.change(Change::Called { payment, due: timeout });
            }
            Phase::Calling | Phase::Doubtful if planted::is(Bug::NewKeyAfterUnknown) => {
                out.call(known.charge(PaymentId(payment.0.saturating_add(1)), known.attempt() + 1));
                out.change(Change::Doubted { payment, due: timeout });
            }
            Phase::Calling | Phase::Doubtful => {
                out.call(Call::Status { payment, attempt: known.attempt() });
                let wait = at.policy.gateway_backoff_min.backoff(known.tries() + 1, at.policy.gateway_backoff_max);
                out.change(Change::Doubted { payment, due: at.now + wait });
            }
            Phase::Refunding => {
                if !planted::is(Bug::RefundDropped) {
                    out.call(known.refund(payment));
                }
                let wait = at
                    .policy
                    .gateway_timeout
                    .backoff(known.tries(), at.policy.gateway_backoff_max.max(at.policy.gateway_timeout));
                out.change(Change::Refunding { payment, due: at.now + wait });
            }
            Phase::Captured | Phase::Failed | Phase::Refunded => {
                self.tell(payment, known, out);
                let wait = at.policy.resend_min.backoff(known.tries() + 1, at.policy.resend_max);
                out.change(Change::Reminded { payment, due: at.now + wait });
            }
        }
    }

    fn audit(&self, event: &EventId) -> Summary {
        let mut summary = Summary::default();
        for payment in self.payments.values().filter(|payment| payment.event == *event) {
            match payment.phase {
                Phase::Calling | Phase::Waiting | Phase::Doubtful => summary.open += 1,
                Phase::Captured => summary.captured += payment.money.amount,
                Phase::Refunding => {
                    summary.captured += payment.money.amount;
                    summary.open += 1;
                }
                Phase::Refunded => {
                    summary.captured += payment.money.amount;
                    summary.refunded += payment.money.amount;
                }
                Phase::Failed => {}
            }
        }
        summary
    }

    /// Whether no payment waits for anybody, for the simulation's end check.
    #[must_use]
    pub fn owes_nothing(&self) -> bool {
        self.due.is_empty()
    }
}

/// Tells an order desk in which phase, and with which code if it failed, a payment has ended.
fn tell(payment: PaymentId, order: OrderId, (phase, code): (Phase, &str), out: &mut Outbox<Change>) {
    let command = match phase {
        Phase::Calling | Phase::Waiting | Phase::Doubtful | Phase::Refunding => return,
        Phase::Captured => order::Command::Settled { order, payment, settlement: order::Settlement::Captured },
        Phase::Failed => {
            order::Command::Settled { order, payment, settlement: order::Settlement::Failed(code.to_owned()) }
        }
        Phase::Refunded => order::Command::RefundSettled { order, payment },
    };
    out.tell(Address::Orders(order.shard()), command);
}

/// The wait before the provider is called again: doubled each time, between half and all of it, spread by the payment's id
/// so that a thousand payments do not come back in the same moment.
fn pause(at: Moment<'_>, payment: PaymentId, tries: u32) -> Span {
    let whole = at.policy.gateway_backoff_min.backoff(tries, at.policy.gateway_backoff_max).0;
    let spread = xxhash_rust::xxh3::xxh3_64_with_seed(&payment.0.get().to_le_bytes(), u64::from(tries));
    Span(whole / 2 + spread % (whole / 2 + 1))
}

fn opened(asked: &Change) -> Payment {
    let Change::Asked { order, event, money, token, give_up_at, due, .. } = asked else {
        unreachable!("a payment is opened by being asked for");
    };
    Payment {
        order: *order,
        event: event.clone(),
        money: *money,
        phase: Phase::Calling,
        running: Some(Box::new(Running {
            token: token.clone(),
            code: String::new(),
            give_up_at: *give_up_at,
            due: *due,
            attempt: 1,
            tries: 0,
        })),
    }
}

impl Machine for PaymentDesk {
    type Command = Command;
    type Change = Change;
    type Reply = Reply;

    fn new(_address: &Address) -> Self {
        Self { payments: BTreeMap::new(), due: BTreeSet::new() }
    }

    fn decide(&self, at: Moment<'_>, command: Command, out: &mut Outbox<Change>) -> Result<Reply, Refusal> {
        match command {
            Command::Charge { payment, order, event, money, token, give_up_at } => {
                let due = at.now + at.policy.gateway_timeout;
                self.charge(Change::Asked { payment, order, event, money, token, give_up_at, due }, out);
            }
            Command::Refund { payment } => self.refund(at, payment, out),
            Command::SettlementHeard { payment } => {
                let settled = |known: &Payment| matches!(known.phase, Phase::Captured | Phase::Failed);
                self.note(payment, settled, out);
            }
            Command::RefundHeard { payment } => self.note(payment, |known| known.phase == Phase::Refunded, out),
            Command::Heard { payment, attempt, heard } => self.heard(at, payment, attempt, heard, out),
            Command::Audit { event } => return Ok(Reply::Summary(self.audit(&event))),
        }
        Ok(Reply::Noted)
    }

    fn apply(&mut self, change: &Change) {
        let id = match change {
            Change::Asked { payment, due, .. } => {
                self.due.insert((*due, *payment));
                let known = self.payments.insert(*payment, opened(change));
                assert!(known.is_none(), "a payment is asked for once");
                return;
            }
            Change::Called { payment, .. }
            | Change::Postponed { payment, .. }
            | Change::Doubted { payment, .. }
            | Change::Captured { payment, .. }
            | Change::Failed { payment, .. }
            | Change::Refunding { payment, .. }
            | Change::Refunded { payment, .. }
            | Change::Heard { payment }
            | Change::Reminded { payment, .. } => *payment,
        };
        let payment = self.payments.get_mut(&id).expect("a change names a payment of this desk");
        if let Some(running) = &payment.running {
            self.due.remove(&(running.due, id));
        }
        payment.fold(change);
        if let Some(running) = &payment.running {
            self.due.insert((running.due, id));
        }
    }

    fn wake(&self, at: Moment<'_>, out: &mut Outbox<Change>) {
        for (_, payment) in self.due.iter().take_while(|(due, _)| *due <= at.now) {
            self.wake_payment(at, *payment, out);
        }
    }

    fn deadline(&self) -> Option<Millis> {
        self.due.first().map(|(due, _)| *due)
    }
}
