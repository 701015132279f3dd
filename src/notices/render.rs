//! The words of the mails. Plain text; what people typed (names of events) is stripped of control characters.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::{Notice, NoticeKind};

/// An amount in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Money {
    /// Minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
}

/// What a mail says of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concert {
    /// The event's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where.
    pub venue: String,
    /// When, RFC 3339; empty when not known.
    pub starts_at: String,
}

/// One ticket of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TicketLine {
    /// The ticket's id.
    pub id: String,
    /// Name or id of the block.
    pub block: String,
    /// The seat; none for standing places.
    pub seat: Option<String>,
    /// The signed token the gate reads.
    pub token: String,
}

/// A paid order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPaid {
    /// The order's id.
    pub order: String,
    /// The buyer's mail address.
    pub email: String,
    /// The event.
    pub concert: Concert,
    /// What was paid.
    pub total: Money,
    /// What was bought.
    pub tickets: Vec<TicketLine>,
}

/// An order whose money was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRefunded {
    /// The order's id.
    pub order: String,
    /// The buyer's mail address.
    pub email: String,
    /// The event.
    pub concert: Concert,
    /// What was given back.
    pub amount: Money,
}

/// The mail with the tickets. `id` is the notice's id.
#[must_use]
pub fn order_confirmation(id: &str, paid: &OrderPaid) -> Notice {
    let concert = &paid.concert;
    let mut text = format!("Thank you. Your order {} is paid.\n\n", paid.order);
    describe(&mut text, concert);
    line(&mut text, &format!("Total: {}", written(&paid.total)));
    line(&mut text, "");
    for ticket in &paid.tickets {
        let place = match &ticket.seat {
            Some(seat) => format!("{}, seat {seat}", clean(&ticket.block)),
            None => format!("{}, standing", clean(&ticket.block)),
        };
        line(&mut text, &format!("{place}  (ticket {})", ticket.id));
        line(&mut text, &ticket.token);
        line(&mut text, "");
    }
    text.push_str("Show the code of each ticket at the gate. Each opens once.\n");
    Notice {
        id: id.to_owned(),
        kind: NoticeKind::OrderConfirmation,
        to: paid.email.clone(),
        event: concert.id.clone(),
        order: paid.order.clone(),
        subject: format!("Your tickets for {}", clean(&concert.name)),
        text,
        data: json!({"total": paid.total, "tickets": paid.tickets}),
    }
}

/// The mail that tells of a refund. `id` is the notice's id.
#[must_use]
pub fn refund(id: &str, refunded: &OrderRefunded) -> Notice {
    let concert = &refunded.concert;
    let mut text = format!("Your order {} was refunded.\n\n", refunded.order);
    describe(&mut text, concert);
    line(&mut text, &format!("Refunded: {}", written(&refunded.amount)));
    text.push_str("\nThe tickets of this order are no longer valid.\n");
    Notice {
        id: id.to_owned(),
        kind: NoticeKind::Refund,
        to: refunded.email.clone(),
        event: concert.id.clone(),
        order: refunded.order.clone(),
        subject: format!("Refund for {}", clean(&concert.name)),
        text,
        data: json!({"amount": refunded.amount}),
    }
}

fn describe(text: &mut String, concert: &Concert) {
    line(text, &clean(&concert.name));
    for fact in [&concert.venue, &concert.starts_at] {
        if !fact.is_empty() {
            line(text, &clean(fact));
        }
    }
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

/// Without control characters, which would end a header or a line.
fn clean(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `85.00 EUR`, `8500 JPY`, `8.500 KWD`: as many decimals as the currency has (ISO 4217).
fn written(money: &Money) -> String {
    let decimals = match money.currency.as_str() {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    let unit = 10_u64.pow(decimals);
    let mut words = (money.amount / unit).to_string();
    if decimals > 0 {
        let width = decimals as usize;
        // writing to a string cannot fail
        let _ = write!(words, ".{:0width$}", money.amount % unit);
    }
    format!("{words} {}", clean(&money.currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        for (amount, currency, expected) in
            [(8500, "EUR", "85.00 EUR"), (5, "EUR", "0.05 EUR"), (8500, "JPY", "8500 JPY"), (8501, "KWD", "8.501 KWD")]
        {
            assert_eq!(written(&Money { amount, currency: currency.to_owned() }), expected);
        }
    }
}
