//! Compares what was acknowledged with what the server has, over the public API.
//!
//! [`claims`] folds the journal, [`facts`] fetches the server's side, [`judge`] compares; the last is pure, so every
//! finding has a test without a server. What counts as what:
//!
//! - **lost**: an acknowledged hold or order that the server does not honour and had no right to end;
//! - **doubled**: a seat with two owners, places beyond the capacity, a key with two effects;
//! - **violation**: the server's own books disagree: ledger and orders, orders and money, its `violations`.

pub mod claims;
pub mod facts;
pub mod judge;

use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;
use crate::journal;
use crate::plan::Access;

/// Findings that are told one by one; all are counted.
const DETAILS_MAX: usize = 100;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Nothing lost, doubled or violated.
    pub passed: bool,
    /// Holds and orders that the server had acknowledged.
    pub acknowledged: u64,
    /// Of these, not honoured.
    pub lost: u64,
    /// Seats, places or keys with two owners or effects.
    pub doubled: u64,
    /// Disagreements within the server's books.
    pub violations: u64,
    /// What was compared.
    pub checked: Checked,
    /// The findings, at most 100.
    pub details: Vec<Finding>,
}

/// How much was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Acknowledged holds.
    pub holds: u64,
    /// Acknowledged orders.
    pub orders: u64,
    /// Seats and places in the ledgers that are sold.
    pub seats_sold: u64,
    /// Orders that the server has as paid.
    pub orders_paid: u64,
    /// Captured minus refunded, minor units, all events.
    pub money: i64,
    /// Keys without a final answer: what they did, if anything, is not known to the generator.
    pub unresolved: u64,
    /// Whether the journal reaches the end of its run; if not, effects without acknowledgement cannot be judged.
    pub journal_complete: bool,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Lost, doubled or violation.
    pub kind: Kind,
    /// What it is about: a hold, an order, a seat, a key, an event.
    pub subject: String,
    /// What is wrong.
    pub why: String,
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Acknowledged, not honoured.
    Lost,
    /// Two owners or effects.
    Doubled,
    /// Books that disagree.
    Violation,
}

impl Verdict {
    /// Adds a finding.
    pub(crate) fn find(&mut self, kind: Kind, subject: impl Into<String>, why: impl Into<String>) {
        match kind {
            Kind::Lost => self.lost += 1,
            Kind::Doubled => self.doubled += 1,
            Kind::Violation => self.violations += 1,
        }
        if self.details.len() < DETAILS_MAX {
            self.details.push(Finding { kind, subject: subject.into(), why: why.into() });
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let word = if self.passed { "passed" } else { "FAILED" };
        format!(
            "audit {word}: {} acknowledged, {} lost, {} doubled, {} violations; {} seats sold in {} paid orders",
            self.acknowledged,
            self.lost,
            self.doubled,
            self.violations,
            self.checked.seats_sold,
            self.checked.orders_paid
        )
    }
}

/// Audits a journal against the server.
pub fn run(access: &Access, path: &Path) -> Result<Verdict, Failure> {
    let claims = claims::Claims::fold(journal::read(path)?);
    let facts = facts::fetch(access, &claims)?;
    let now = journal::unix_ms(std::time::SystemTime::now());
    Ok(judge::judge(&claims, &facts, now))
}
