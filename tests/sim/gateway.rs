//! The payment provider: a true ledger by idempotency key, and a way there and back that fails.
//!
//! What it has taken and given back is the truth that desks and orders are measured against. The same key is charged once
//! whatever is asked; a declined key stays declined. While a charge is on its way, a question about it is answered with
//! "unknown": a provider that said "not found" then would break its word, see [`actors::gateway::Heard::NotFound`].

use std::collections::BTreeMap;

use actors::gateway::{Call, Heard};
use actors::ids::{OrderId, PaymentId};
use actors::time::Span;

use crate::chance::Chance;
use crate::model::{Violation, must};
use crate::plan::GatewayRates;

/// What the provider has in its books about one key.
#[derive(Clone, Debug, Default)]
struct Account {
    order: Option<OrderId>,
    amount: u64,
    /// Charges that were sent and have not arrived or failed yet.
    on_the_way: u32,
    captured: bool,
    declined: bool,
    refunded: bool,
}

/// See the module's charter.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    accounts: BTreeMap<PaymentId, Account>,
}

/// What becomes of one call, decided when it is made.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    /// When the provider acts; `None`: it never hears of it.
    pub(crate) acts_after: Option<Span>,
    /// What is heard of it besides what the provider says, and when.
    pub(crate) instead: Option<(Span, Heard)>,
    /// When its answers arrive after it acted.
    pub(crate) answers_after: Vec<Span>,
    declined: bool,
    pub(crate) fault: Option<&'static str>,
}

impl Provider {
    /// Takes a call; the fate says what the caller has to schedule.
    pub(crate) fn take(
        &mut self,
        call: &Call,
        rates: GatewayRates,
        away: bool,
        chance: &mut Chance,
        timeout: Span,
    ) -> Fate {
        let mut fate = Fate {
            acts_after: None,
            instead: None,
            answers_after: Vec::new(),
            declined: chance.hit(rates.declined),
            fault: None,
        };
        let quick = Span(chance.between(20, 400));
        if away || chance.hit(rates.unavailable) {
            fate.instead = Some((quick, Heard::Unavailable));
            fate.fault = Some("provider away");
        } else if chance.hit(rates.lost_request) {
            fate.instead = chance.hit(500).then_some((timeout, Heard::Unknown));
            fate.fault = Some("provider silent");
        } else {
            let slow = chance.hit(rates.slow);
            fate.acts_after = Some(if slow { Span(timeout.0 + chance.between(1, 8000)) } else { quick });
            if chance.hit(rates.unknown) {
                fate.instead = Some((Span(quick.0 * 2), Heard::Unknown));
                fate.fault = Some("provider silent");
            }
            if chance.hit(rates.lost_answer) {
                fate.fault = Some("provider silent");
            } else {
                fate.answers_after.push(Span(chance.between(10, 300)));
            }
            if chance.hit(rates.doubled) {
                fate.answers_after.push(Span(chance.between(10, 9000)));
            }
            if let Call::Charge { payment, .. } = call {
                self.accounts.entry(*payment).or_default().on_the_way += 1;
            }
        }
        fate
    }

    /// The call arrives: what the provider does and says.
    pub(crate) fn act(&mut self, call: &Call, fate: &Fate, chance: &mut Chance) -> Result<Heard, Violation> {
        match call {
            Call::Charge { payment, order, money, token, .. } => {
                let twice = self.accounts.iter().any(|(id, other)| {
                    id != payment && other.order == Some(*order) && other.captured && !other.refunded
                });
                let account = self.accounts.entry(*payment).or_default();
                account.on_the_way = account.on_the_way.saturating_sub(1);
                must!(account.order.is_none_or(|known| known == *order), "key {payment} is used for two orders");
                account.order = Some(*order);
                if account.captured {
                    must!(account.amount == money.amount, "key {payment} is charged another amount");
                    return Ok(Heard::Captured);
                }
                if account.declined || token == "tok_declined" || fate.declined {
                    account.declined = true;
                    return Ok(Heard::Declined("card_declined".to_owned()));
                }
                must!(!twice, "order {order} is charged twice");
                must!(money.amount > 0, "order {order} is charged nothing");
                account.captured = true;
                account.amount = money.amount;
                Ok(Heard::Captured)
            }
            Call::Status { payment, .. } => {
                let account = self.accounts.get(payment).cloned().unwrap_or_default();
                Ok(match account {
                    Account { captured: true, .. } => Heard::Captured,
                    Account { declined: true, .. } => Heard::Declined("card_declined".to_owned()),
                    Account { on_the_way: 1.., .. } => Heard::Unknown,
                    _ if chance.hit(20) => Heard::Unknown,
                    _ => Heard::NotFound,
                })
            }
            Call::Refund { payment, money, .. } => {
                let account = self.accounts.entry(*payment).or_default();
                must!(account.captured, "payment {payment} is given back and was never taken");
                must!(account.amount == money.amount, "payment {payment} is given back in part");
                account.refunded = true;
                Ok(Heard::Refunded)
            }
        }
    }

    /// Whether it has taken the money and not given it back.
    pub(crate) fn has_kept(&self, payment: PaymentId) -> bool {
        self.accounts.get(&payment).is_some_and(|account| account.captured && !account.refunded)
    }

    pub(crate) fn has_returned(&self, payment: PaymentId) -> bool {
        self.accounts.get(&payment).is_some_and(|account| account.refunded)
    }

    /// What it keeps of each order.
    pub(crate) fn kept(&self) -> BTreeMap<OrderId, u64> {
        let mut kept = BTreeMap::new();
        for account in self.accounts.values().filter(|account| account.captured && !account.refunded) {
            if let Some(order) = account.order {
                *kept.entry(order).or_default() += account.amount;
            }
        }
        kept
    }

    /// Sum of what was taken and of what was given back.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let captured = self.accounts.values().filter(|account| account.captured);
        captured.fold((0, 0), |(taken, back), account| {
            (taken + account.amount, back + if account.refunded { account.amount } else { 0 })
        })
    }
}

/// Which payment a call is about, and which attempt it is.
pub(crate) fn about(call: &Call) -> (PaymentId, u32) {
    match call {
        Call::Charge { payment, attempt, .. }
        | Call::Status { payment, attempt }
        | Call::Refund { payment, attempt, .. } => (*payment, *attempt),
    }
}
