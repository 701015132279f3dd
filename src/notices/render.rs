//! The words of the mails. Plain text; what people typed (names of events) is stripped of control characters.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Facts, Notice, NoticeKind};

/// An amount in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Room for the words of a mail beside its tickets, in bytes.
const WORDS_BYTES: usize = 512;

/// Room for the words about one ticket, in bytes.
const TICKET_BYTES: usize = 640;

/// The mail with the tickets. `id` is the notice's id.
#[must_use]
pub fn order_confirmation(id: String, paid: OrderPaid) -> Notice {
    let OrderPaid { order, email, concert, total, tickets } = paid;
    let mut text = String::with_capacity(WORDS_BYTES + TICKET_BYTES * tickets.len());
    put(&mut text, format_args!("Thank you. Your order {order} is paid.\n\n"));
    describe(&mut text, &concert);
    put(&mut text, format_args!("Total: {}\n\n", written(&total)));
    for TicketLine { id, block, seat, token } in &tickets {
        let block = clean(block);
        match seat {
            Some(seat) => put(&mut text, format_args!("{block}, seat {seat}  (ticket {id})\n{token}\n\n")),
            None => put(&mut text, format_args!("{block}, standing  (ticket {id})\n{token}\n\n")),
        }
    }
    text.push_str("Show the code of each ticket at the gate. Each opens once.\n");
    Notice {
        id,
        kind: NoticeKind::OrderConfirmation,
        to: email,
        subject: format!("Your tickets for {}", clean(&concert.name)),
        event: concert.id,
        order,
        text,
        data: Facts::Paid { tickets, total },
    }
}

/// The mail that tells of a refund. `id` is the notice's id.
#[must_use]
pub fn refund(id: String, refunded: OrderRefunded) -> Notice {
    let OrderRefunded { order, email, concert, amount } = refunded;
    let mut text = String::with_capacity(WORDS_BYTES);
    put(&mut text, format_args!("Your order {order} was refunded.\n\n"));
    describe(&mut text, &concert);
    put(&mut text, format_args!("Refunded: {}\n", written(&amount)));
    text.push_str("\nThe tickets of this order are no longer valid.\n");
    Notice {
        id,
        kind: NoticeKind::Refund,
        to: email,
        subject: format!("Refund for {}", clean(&concert.name)),
        event: concert.id,
        order,
        text,
        data: Facts::Refunded { amount },
    }
}

fn describe(text: &mut String, concert: &Concert) {
    put(text, format_args!("{}\n", clean(&concert.name)));
    for fact in [&concert.venue, &concert.starts_at] {
        if !fact.is_empty() {
            put(text, format_args!("{}\n", clean(fact)));
        }
    }
}

/// Writing to a string cannot fail.
fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(words);
}

/// Without control characters, which would end a header or a line.
fn clean(words: &str) -> Cow<'_, str> {
    if words.chars().any(char::is_control) {
        Cow::Owned(words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(words)
    }
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
        put(&mut words, format_args!(".{:0width$}", money.amount % unit));
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
