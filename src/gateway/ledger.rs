//! The simulated provider's own books, apart from everything the server knows.
//!
//! One NDJSON line per decision, written before anybody hears of it, read back at start. It survives the server as a
//! real provider would: a line is handed to the operating system, which is enough for a process that is killed. The
//! books know each charge and refund by key and never enter one twice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::GatewayError;

/// Longest line of the books, in bytes.
const LINE_BYTES_MAX: usize = 1024;

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

/// Books that cannot be read or written.
#[derive(Debug)]
pub struct LedgerError {
    path: PathBuf,
    line: usize,
    reason: String,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider ledger {}:{}: {}", self.path.display(), self.line, self.reason)
    }
}

impl std::error::Error for LedgerError {}

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

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Captured { key: String, amount: u64, currency: String, number: u32 },
    Declined { key: String, amount: u64, currency: String, number: u32, code: Decline },
    Refunded { key: String, charge: String, amount: u64, number: u32 },
}

/// The books. Keys are kept as 128-bit hashes, so that a million charges cost tens of megabytes, not hundreds.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    path: PathBuf,
    charges: HashMap<u128, Entry>,
    refunds: HashMap<u128, (u128, u64, u32)>,
    totals: BTreeMap<[u8; 3], Totals>,
    lines: u32,
    /// Bytes of whole lines.
    end: u64,
    is_broken: bool,
}

impl Ledger {
    /// Opens or makes the books at `path`. A last line cut off by a kill was heard of by nobody and is removed.
    pub(super) fn open(path: &Path) -> Result<Ledger, LedgerError> {
        let fail = |line: usize, reason: String| LedgerError { path: path.to_owned(), line, reason };
        let open = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = open.map_err(|error| fail(0, error.to_string()))?;
        let mut ledger = Ledger {
            file,
            path: path.to_owned(),
            charges: HashMap::new(),
            refunds: HashMap::new(),
            totals: BTreeMap::new(),
            lines: 0,
            end: 0,
            is_broken: false,
        };
        ledger.read_back()?;
        Ok(ledger)
    }

    fn read_back(&mut self) -> Result<(), LedgerError> {
        let path = self.path.clone();
        let fail = |line: usize, reason: String| LedgerError { path: path.clone(), line, reason };
        let broken = |error: io::Error| fail(0, error.to_string());
        let mut reader = BufReader::new(self.file.try_clone().map_err(broken)?);
        reader.seek(SeekFrom::Start(0)).map_err(broken)?;
        let (mut text, mut number) = (Vec::new(), 0_usize);
        loop {
            text.clear();
            let length = reader.read_until(b'\n', &mut text).map_err(broken)?;
            if length == 0 {
                return Ok(());
            }
            if text.last() != Some(&b'\n') {
                return self.file.set_len(self.end).map_err(broken);
            }
            number += 1;
            self.end += length as u64;
            let line = serde_json::from_slice(&text).map_err(|error| fail(number, error.to_string()))?;
            self.enter(&line).map_err(|reason| fail(number, reason.to_owned()))?;
        }
    }

    /// The charge with this key.
    pub(super) fn charge(&self, key: &str) -> Option<Entry> {
        self.charges.get(&hash(key)).copied()
    }

    /// Whether `entry` was entered for this money.
    pub(super) fn is_same(entry: &Entry, amount: u64, currency: &str) -> bool {
        entry.amount == amount && Some(entry.currency) == code(currency)
    }

    /// Enters the decision on a charge, once: a key that is known keeps its first entry.
    pub(super) fn decide(
        &mut self,
        key: &str,
        (amount, currency): (u64, &str),
        decline: Option<Decline>,
    ) -> Result<Entry, GatewayError> {
        if let Some(known) = self.charge(key) {
            return Ok(known);
        }
        let (key, currency, number) = (key.to_owned(), currency.to_owned(), self.lines + 1);
        let line = match decline {
            None => Line::Captured { key, amount, currency, number },
            Some(code) => Line::Declined { key, amount, currency, number, code },
        };
        let key = match &line {
            Line::Captured { key, .. } | Line::Declined { key, .. } | Line::Refunded { key, .. } => hash(key),
        };
        self.write(&line)?;
        Ok(self.charges[&key])
    }

    /// Enters a refund, once. Returns its number.
    pub(super) fn refund(&mut self, key: &str, charge: &str, amount: u64) -> Result<u32, GatewayError> {
        if let Some((known_charge, known_amount, number)) = self.refunds.get(&hash(key)) {
            let is_same = (*known_charge, *known_amount) == (hash(charge), amount);
            return if is_same { Ok(*number) } else { Err(GatewayError::Rejected { code: "idempotency_mismatch" }) };
        }
        let entry = self.charge(charge).filter(|entry| entry.decline.is_none());
        let entry = entry.ok_or(GatewayError::Rejected { code: "no_such_charge" })?;
        if amount > entry.amount - entry.refunded {
            return Err(GatewayError::Rejected { code: "refund_exceeds_charge" });
        }
        let number = self.lines + 1;
        self.write(&Line::Refunded { key: key.to_owned(), charge: charge.to_owned(), amount, number })?;
        Ok(number)
    }

    /// Whether the refund with this key was made.
    pub(super) fn is_refunded(&self, key: &str) -> bool {
        self.refunds.contains_key(&hash(key))
    }

    /// All money by currency.
    pub(super) fn totals(&self) -> BTreeMap<String, Totals> {
        self.totals.iter().map(|(code, totals)| (String::from_utf8_lossy(code).into_owned(), *totals)).collect()
    }

    /// A line that cannot be written, on a full disk for instance, decides nothing: what there is of it is cut off. When
    /// that fails too the books are closed, because what comes after it could not be read back.
    fn write(&mut self, line: &Line) -> Result<(), GatewayError> {
        const AWAY: GatewayError = GatewayError::Unavailable { retry_after: None };
        let mut text = serde_json::to_vec(line).map_err(|_| AWAY)?;
        text.push(b'\n');
        if self.is_broken || text.len() > LINE_BYTES_MAX {
            return Err(AWAY);
        }
        if let Err(error) = self.file.write_all(&text) {
            self.is_broken = self.file.set_len(self.end).is_err();
            let closed = self.is_broken;
            tracing::error!(path = %self.path.display(), %error, closed, "provider ledger cannot be written");
            return Err(AWAY);
        }
        self.end += text.len() as u64;
        self.enter(line).map_err(|code| GatewayError::Rejected { code })
    }

    fn enter(&mut self, line: &Line) -> Result<(), &'static str> {
        let number = match line {
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
        self.lines = self.lines.max(number);
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
