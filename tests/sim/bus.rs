//! The ways between machines, to the provider, to buyers' letter boxes and to customers: all of them lose, repeat and delay.

use actors::address::Address;
use actors::gateway::{Call, Heard};
use actors::ids::HoldId;
use actors::keyed::{Answer, Asked, KeyDigest};
use actors::machine::Effect;
use actors::message::{Message, Reply};
use actors::notice::{self, Letter};
use actors::order::State;
use actors::time::Span;
use actors::{block, order, payment};

use crate::clients::Asking;
use crate::coverage::Fault;
use crate::gateway::{Fate, about};
use crate::model::{HoldStage, LetterStage, PaymentStage, SeekStage, must};
use crate::node::{Caller, Mail};
use crate::site::{Place, Site};
use crate::world::{Event, Step, World};
use stampede::runtime::Overhearing;

impl<S: Site> World<S> {
    /// What a durable turn wants done.
    pub(crate) fn carry_out(&mut self, from: Place, effect: Effect) -> Step {
        match effect {
            Effect::Tell(to, message) => {
                if S::IS_ALONE {
                    self.overhear(from, &message)?;
                }
                self.tell(from, to, message);
            }
            Effect::Call(call) => self.call(from, call),
            Effect::Deliver(letter) => self.deliver_letter(from, &letter)?,
        }
        Ok(())
    }

    /// Whoever began a search hears what a block tells its desk, as [`Overhearing`] has it: the desk must never say anything
    /// else.
    fn overhear(&mut self, from: Place, message: &Message) -> Step {
        let (key, found) = match message {
            Message::Block(block::Command::Seek { key, hold, .. }) => {
                self.asks(from, *key, *hold);
                return Ok(());
            }
            Message::Order(order::Command::SeekAnswered { key, answer: Ok(found), .. }) => (*key, found),
            _ => return Ok(()),
        };
        let is_trusted =
            self.overhearing.get(&key).is_some_and(|(place, asked)| *place == from && asked.trusts(found.hold));
        let began = |asking: &Asking| {
            let is_first = asking.attempt == 1 && !asking.done && !asking.misuse;
            is_first && asking.key.is_some_and(|own| own.digest == key)
        };
        let Some(wish) = self.crowd.asking.iter().position(began).filter(|_| is_trusted) else { return Ok(()) };
        self.coverage.count("searches overheard");
        let caller = Caller { wish, attempt: 1, errand: None, edge: None };
        let answer = Some(Box::new(Ok((**found).clone())));
        let result = Ok(Reply::Order(order::Reply::Sought { answer, replayed: false }));
        self.answered(caller, Ok(Answer { result, replayed: false }))
    }

    /// A desk asks for a hold. What another process has asked is not known any more.
    fn asks(&mut self, from: Place, key: KeyDigest, hold: HoldId) {
        let (place, asked) = self.overhearing.entry(key).or_insert_with(|| (from, Overhearing::default()));
        if *place == from {
            asked.asks(hold);
        } else {
            self.overhears_no_more(key, hold);
        }
    }

    /// As if the desk had asked once more.
    fn overhears_no_more(&mut self, key: KeyDigest, hold: HoldId) {
        if let Some((_, asked)) = self.overhearing.get_mut(&key) {
            asked.asks(hold);
            asked.asks(hold);
        }
    }

    fn tell(&mut self, from: Place, to: Address, message: Message) {
        let rates = self.rates().bus;
        if self.chance.hit(rates.lost) {
            self.meets(&message, Fault::MessageLost);
            self.note(|| format!("lost: {message:?} to {to:?}"));
            return;
        }
        let copies = if self.chance.hit(rates.doubled) { 2 } else { 1 };
        if copies == 2 {
            self.meets(&message, Fault::MessageTwice);
        }
        for _ in 0..copies {
            let slow = self.chance.hit(rates.slow);
            if let Message::Block(block::Command::Seek { key, hold, .. }) = message
                && (slow || copies > 1)
            {
                // On a node that is alone neither happens: messages arrive once, and in their order.
                self.overhears_no_more(key, hold);
            }
            let wait = if slow { self.chance.between(100, 8000) } else { self.chance.between(0, 3) };
            let mail = Mail { asked: Asked { key: None, command: message.clone() }, from: None };
            self.after(Span(wait), Event::Tell { from, to: to.clone(), mail: Box::new(mail) });
        }
    }

    fn call(&mut self, place: Place, call: Call) {
        let rates = self.rates();
        let timeout = self.plan.policy.gateway_timeout;
        let away = self.provider_away;
        let fate = self.provider.take(&call, rates.gateway, away, &mut self.chance, timeout);
        let (payment, attempt) = about(&call);
        self.note(|| format!("call {call:?}: {fate:?}"));
        if let Some(fault) = fate.fault {
            let fault = if fault == "provider away" { Fault::ProviderAway } else { Fault::ProviderSilent };
            if let Some((_, stage)) = self.truth.model.payments.get(&payment) {
                self.coverage.met(payment_row(*stage), fault);
            }
        }
        if let Some((wait, heard)) = fate.instead.clone() {
            self.after(wait, Event::Heard { place, payment, attempt, heard });
        }
        if let Some(wait) = fate.acts_after {
            self.after(wait, Event::Act { place, call: Box::new(call), fate: Box::new(fate) });
        }
    }

    /// The provider acts; whether anybody hears of it depends on the way back.
    pub(crate) fn act(&mut self, place: Place, call: &Call, fate: &Fate) -> Step {
        let heard = self.provider.act(call, fate, &mut self.chance)?;
        let (payment, attempt) = about(call);
        self.note(|| format!("provider on {call:?}: {heard:?}"));
        self.coverage.count(match heard {
            Heard::Captured => "provider: captured",
            Heard::Declined(_) => "provider: declined",
            Heard::NotFound => "provider: not found",
            Heard::Refunded => "provider: refunded",
            Heard::Unknown => "provider: unknown",
            Heard::Unavailable => "provider: unavailable",
        });
        for wait in &fate.answers_after {
            let heard = heard.clone();
            self.after(*wait, Event::Heard { place, payment, attempt, heard });
        }
        Ok(())
    }

    /// An answer of the provider reaches the process that asked, if that still lives.
    pub(crate) fn heard_back(&mut self, place: Place, command: payment::Command) -> Step {
        let payment::Command::Heard { payment, .. } = &command else { return Ok(()) };
        let to = Address::Payments(payment.shard());
        S::tell(self, place, to, Mail { asked: Asked { key: None, command: command.into() }, from: None })
    }

    fn deliver_letter(&mut self, from: Place, letter: &Letter) -> Step {
        let order = self.truth.model.orders.get(&letter.order);
        let state = order.map(|order| order.state);
        let may = match letter.kind {
            notice::LetterKind::Confirmation => matches!(state, Some(State::Paid | State::Refunding | State::Refunded)),
            notice::LetterKind::Refund => state == Some(State::Refunded),
        };
        must!(may, "a letter {:?} about order {} that is {state:?}", letter.kind, letter.order);
        let rates = self.rates().letters;
        let (order, kind) = (letter.order, letter.kind);
        if self.chance.hit(rates.silent) {
            return Ok(());
        }
        let failed = self.chance.hit(rates.failed);
        let refused = self.chance.hit(rates.refused);
        let command = if failed || refused {
            notice::Command::Failed { order, kind, reason: "mailbox".to_owned(), retryable: !refused }
        } else {
            self.letters_delivered.insert((order, kind));
            notice::Command::Delivered { order, kind }
        };
        let mail = Mail { asked: Asked { key: None, command: command.into() }, from: None };
        let wait = Span(self.chance.between(10, 3000));
        let to = Address::Notifier(order.shard());
        self.after(wait, Event::Tell { from, to, mail: Box::new(mail) });
        Ok(())
    }

    /// Notes which state a message was about when something happened to it.
    pub(crate) fn meets(&mut self, message: &Message, fault: Fault) {
        let model = &self.truth.model;
        let hold = |hold: &actors::ids::HoldId| {
            let stage = model.blocks.values().find_map(|block| block.holds.get(hold)).map(|hold| hold.stage);
            stage.map(hold_row)
        };
        let order = |order: &actors::ids::OrderId| model.orders.get(order).map(|order| order_row(order.state));
        let payment = |payment: &actors::ids::PaymentId| model.payments.get(payment).map(|known| payment_row(known.1));
        let search = |key: &actors::keyed::KeyDigest| model.seeks.get(key).map(|known| search_row(known.0));
        let rows = match message {
            Message::Block(
                block::Command::Bind { hold: id, order: of, .. }
                | block::Command::Sell { hold: id, order: of }
                | block::Command::Return { hold: id, order: of },
            ) => [hold(id), order(of)],
            Message::Block(block::Command::Seek { key, .. }) => [search(key), None],
            Message::Order(
                order::Command::Bound { order: id, hold: of }
                | order::Command::BindRefused { order: id, hold: of, .. }
                | order::Command::Sold { order: id, hold: of }
                | order::Command::SellRefused { order: id, hold: of }
                | order::Command::Returned { order: id, hold: of },
            ) => [order(id), hold(of)],
            Message::Order(order::Command::SeekAnswered { key, .. }) => [search(key), None],
            Message::Order(
                order::Command::Settled { order: id, payment: of, .. }
                | order::Command::RefundSettled { order: id, payment: of },
            ) => [order(id), payment(of)],
            Message::Order(order::Command::LetterTaken { order: id, .. }) => [order(id), None],
            Message::Payment(payment::Command::Charge { payment: id, order: of, .. }) => [payment(id), order(of)],
            Message::Payment(
                payment::Command::Refund { payment: id }
                | payment::Command::SettlementHeard { payment: id }
                | payment::Command::RefundHeard { payment: id },
            ) => [payment(id), None],
            Message::Notice(notice::Command::Notify(letter)) => [order(&letter.order), None],
            _ => [None, None],
        };
        for row in rows.into_iter().flatten() {
            self.coverage.met(row, fault);
        }
    }
}

pub(crate) fn hold_row(stage: HoldStage) -> &'static str {
    match stage {
        HoldStage::Held => "hold held",
        HoldStage::Bound(_) => "hold bound",
        HoldStage::Sold(_) => "hold sold",
        HoldStage::Released => "hold released",
        HoldStage::Expired => "hold expired",
    }
}

pub(crate) fn order_row(state: State) -> &'static str {
    match state {
        State::Placed => "order placed",
        State::Paying => "order paying",
        State::Selling => "order selling",
        State::Paid => "order paid",
        State::PaymentFailed => "order payment_failed",
        State::Expired => "order expired",
        State::Cancelled => "order cancelled",
        State::Refunding => "order refunding",
        State::Refunded => "order refunded",
    }
}

pub(crate) fn payment_row(stage: PaymentStage) -> &'static str {
    match stage {
        PaymentStage::Calling => "payment calling",
        PaymentStage::Waiting => "payment waiting",
        PaymentStage::Doubtful => "payment doubtful",
        PaymentStage::Captured => "payment captured",
        PaymentStage::Failed => "payment failed",
        PaymentStage::Refunding => "payment refunding",
        PaymentStage::Refunded => "payment refunded",
    }
}

pub(crate) fn letter_row(stage: LetterStage) -> &'static str {
    match stage {
        LetterStage::Waiting => "letter waiting",
        LetterStage::Delivered => "letter delivered",
        LetterStage::Dead => "letter dead",
    }
}

pub(crate) fn search_row(stage: SeekStage) -> &'static str {
    match stage {
        SeekStage::Asking => "search asking",
        SeekStage::Answered => "search answered",
    }
}
