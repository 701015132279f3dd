//! What the simulated provider's books say: every charge and refund by key, each entered once.
//!
//! Owns the lines and what follows from them. It does no I/O and knows no clock: [`super::ledger`] keeps the lines in a file.
//! Keys are kept as 128-bit hashes, so that a million charges cost tens of megabytes, not hundreds.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// Money that went through the provider in one currency, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Charges captured.
    pub charges: u64,
    /// Money captured.
    pub captured: u64,
    /// Refunds made.
    pub refunds: u64,
    /// Money given back.
    pub refunded: u64,
}

/// Why a charge is declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decline {
    CardDeclined,
    InvalidToken,
}

impl Decline {
    pub(super) fn code(self) -> &'static str {
        match self {
            Decline::CardDeclined => "card_declined",
            Decline::InvalidToken => "invalid_token",
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Decline::CardDeclined => "The card was declined.",
            Decline::InvalidToken => "The payment token is not known.",
        }
    }
}

/// What the books say of one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) amount: u64,
    pub(super) refunded: u64,
    pub(super) number: u32,
    currency: [u8; 3],
    pub(super) decline: Option<Decline>,
}

/// A charge that was taken in and will be captured by whoever looks at it when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Undecided {
    pub(super) amount: u64,
    pub(super) currency: String,
    /// Milliseconds since the epoch.
    pub(super) due: u64,
}

/// One line of the books.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    TakenIn { key: String, amount: u64, currency: String, due: u64 },
    Captured { key: String, amount: u64, currency: String, number: u32 },
    Declined { key: String, amount: u64, currency: String, number: u32, code: Decline },
    Refunded { key: String, charge: String, amount: u64, number: u32 },
}

/// See the module's charter.
#[derive(Debug, Default)]
pub(super) struct Books {
    charges: HashMap<u128, Entry>,
    undecided: HashMap<u128, Undecided>,
    refunds: HashMap<u128, (u128, u64, u32)>,
    totals: BTreeMap<[u8; 3], Totals>,
    numbers: u32,
}

impl Books {
    /// The charge with this key.
    pub(super) fn charge(&self, key: &str) -> Option<Entry> {
        self.charges.get(&hash(key)).copied()
    }

    /// The charge with this key, taken in and not decided.
    pub(super) fn undecided(&self, key: &str) -> Option<&Undecided> {
        self.undecided.get(&hash(key))
    }

    /// How many charges are taken in and not decided, due or not.
    pub(super) fn undecided_count(&self) -> usize {
        self.undecided.len()
    }

    /// Whether `entry` was entered for this money.
    pub(super) fn is_same(entry: &Entry, amount: u64, currency: &str) -> bool {
        entry.amount == amount && Some(entry.currency) == code(currency)
    }

    /// The number of the refund with this key, and whether it was for this money.
    pub(super) fn refund(&self, key: &str, charge: &str, amount: u64) -> Option<(u32, bool)> {
        let (known_charge, known_amount, number) = self.refunds.get(&hash(key))?;
        Some((*number, (*known_charge, *known_amount) == (hash(charge), amount)))
    }

    /// The number for the next charge or refund.
    pub(super) fn next_number(&self) -> u32 {
        self.numbers + 1
    }

    /// All money by currency.
    pub(super) fn totals(&self) -> BTreeMap<String, Totals> {
        self.totals.iter().map(|(code, totals)| (String::from_utf8_lossy(code).into_owned(), *totals)).collect()
    }

    /// Enters a line, or says what it contradicts.
    pub(super) fn enter(&mut self, line: &Line) -> Result<(), &'static str> {
        let number = match line {
            Line::TakenIn { key, amount, currency, due } => {
                return self.take_in(key, Undecided { amount: *amount, currency: currency.clone(), due: *due });
            }
            Line::Captured { key, amount, currency, number } => {
                self.enter_charge(key, (*amount, currency), *number, None)?;
                *number
            }
            Line::Declined { key, amount, currency, number, code } => {
                self.enter_charge(key, (*amount, currency), *number, Some(*code))?;
                *number
            }
            Line::Refunded { key, charge, amount, number } => {
                self.enter_refund(key, charge, *amount, *number)?;
                *number
            }
        };
        self.numbers = self.numbers.max(number);
        Ok(())
    }

    fn take_in(&mut self, key: &str, undecided: Undecided) -> Result<(), &'static str> {
        if self.charges.contains_key(&hash(key)) || self.undecided.insert(hash(key), undecided).is_some() {
            return Err("taken_in_twice");
        }
        Ok(())
    }

    fn enter_charge(
        &mut self,
        key: &str,
        (amount, currency): (u64, &str),
        number: u32,
        decline: Option<Decline>,
    ) -> Result<(), &'static str> {
        let currency = code(currency).ok_or("bad_currency")?;
        if self.charges.contains_key(&hash(key)) {
            return Err("charged_twice");
        }
        self.undecided.remove(&hash(key));
        self.charges.insert(hash(key), Entry { amount, refunded: 0, number, currency, decline });
        if decline.is_none() {
            let totals = self.totals.entry(currency).or_default();
            totals.charges += 1;
            totals.captured = totals.captured.saturating_add(amount);
        }
        Ok(())
    }

    fn enter_refund(&mut self, key: &str, charge: &str, amount: u64, number: u32) -> Result<(), &'static str> {
        let entry = self.charges.get_mut(&hash(charge)).ok_or("refund_without_charge")?;
        if entry.decline.is_some() || amount > entry.amount - entry.refunded {
            return Err("refund_exceeds_charge");
        }
        if self.refunds.insert(hash(key), (hash(charge), amount, number)).is_some() {
            return Err("refunded_twice");
        }
        entry.refunded += amount;
        let totals = self.totals.entry(entry.currency).or_default();
        totals.refunds += 1;
        totals.refunded = totals.refunded.saturating_add(amount);
        Ok(())
    }
}

fn hash(key: &str) -> u128 {
    xxh3_128(key.as_bytes())
}

/// The three letters of a currency.
pub(super) fn code(currency: &str) -> Option<[u8; 3]> {
    let code: [u8; 3] = currency.as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_uppercase).then_some(code)
}
