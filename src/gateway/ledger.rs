//! The file of the simulated provider's books, apart from everything the server knows.
//!
//! One NDJSON line per decision, written before anybody hears of it, read back at start. It survives the server as a
//! real provider would: a line is handed to the operating system, which is enough for a process that is killed.
//!
//! A real provider is one for all nodes, so several processes of a machine may share the file. Whoever acts on it takes
//! the file's lock, reads what the others have appended, decides and appends: the answers are the same whoever asks. The
//! lock is the kernel's (`flock`) and ends with its process; a process that is stopped while it has the lock makes the
//! others answer "unavailable" until it goes on.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actors::bytes::End;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::GatewayError;
use super::books::{Books, Decline, Entry, Line, Totals, Undecided};

/// Longest line of the books, in bytes.
const LINE_BYTES_MAX: usize = 1024;

/// Room for an ordinary line of the books, in bytes.
const LINE_BYTES: usize = 128;

/// Charges that may be undecided at once; more are answered as unavailable.
const UNDECIDED_MAX: usize = 100_000;

/// How long another process may be at the books. What it does there takes microseconds.
const LOCK_WAIT: Duration = Duration::from_millis(250);

/// Wait between two tries to get the lock.
const LOCK_AGAIN: Duration = Duration::from_micros(50);

const AWAY: GatewayError = GatewayError::Unavailable { retry_after: None };

const MISMATCH: GatewayError = GatewayError::Rejected { code: "idempotency_mismatch" };

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

/// What the books say of a charge at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    Nothing,
    Undecided,
    Decided(Entry),
}

/// What is to become of a charge, if nothing is decided yet.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) key: String,
    pub(super) amount: u64,
    pub(super) currency: String,
    pub(super) decline: Option<Decline>,
}

impl Decision {
    fn line(&self, number: u32) -> Line {
        let (key, amount, currency) = (self.key.clone(), self.amount, self.currency.clone());
        match self.decline {
            None => Line::Captured { key, amount, currency, number },
            Some(code) => Line::Declined { key, amount, currency, number, code },
        }
    }
}

/// See the module's charter.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    path: PathBuf,
    books: Books,
    /// Whole lines that were read or written, by whomever.
    lines: usize,
    /// Their bytes.
    end: u64,
    /// The file contradicts what was read of it before.
    is_damaged: bool,
}

impl Ledger {
    /// Opens or makes the books at `path`. A last line cut off by a kill was heard of by nobody and is removed.
    pub(super) fn open(path: &Path) -> Result<Ledger, LedgerError> {
        let fail = |error: io::Error| LedgerError { path: path.to_owned(), line: 0, reason: error.to_string() };
        let open = OpenOptions::new().read(true).append(true).create(true).open(path);
        let (file, books) = (open.map_err(fail)?, Books::default());
        let mut ledger = Ledger { file, path: path.to_owned(), books, lines: 0, end: 0, is_damaged: false };
        ledger.lock().map_err(fail)?;
        let read = ledger.catch_up();
        ledger.unlock();
        read.map(|()| ledger)
    }

    /// What the books say of the charge with this key. One that is due is captured now, by whoever looks first.
    pub(super) fn recorded(&mut self, key: &str, now: u64) -> Result<Recorded, GatewayError> {
        self.alone(|ledger| {
            if let Some(entry) = ledger.books.charge(key) {
                return Ok(Recorded::Decided(entry));
            }
            match ledger.books.undecided(key).cloned() {
                None => Ok(Recorded::Nothing),
                Some(Undecided { due, .. }) if now < due => Ok(Recorded::Undecided),
                Some(Undecided { amount, currency, .. }) => {
                    let captured = Decision { key: key.to_owned(), amount, currency, decline: None };
                    ledger.write(&[captured.line(ledger.books.next_number())])?;
                    Ok(Recorded::Decided(ledger.books.charge(key).expect("it was just entered")))
                }
            }
        })
    }

    /// Notes a charge that will be decided when it is due. Does nothing for a key that is known.
    pub(super) fn take_in(&mut self, key: &str, money: (u64, &str), due: u64) -> Result<(), GatewayError> {
        self.alone(|ledger| {
            if ledger.books.charge(key).is_some() || ledger.books.undecided(key).is_some() {
                return Ok(());
            }
            if ledger.books.undecided_count() >= UNDECIDED_MAX {
                return Err(AWAY);
            }
            let (amount, currency) = (money.0, money.1.to_owned());
            ledger.write(&[Line::TakenIn { key: key.to_owned(), amount, currency, due }])
        })
    }

    /// Enters the decisions on charges, each once: a key that is known keeps its first entry and takes no other money. All of
    /// them cost one lock and one write; of a write that fails nothing is decided. One answer each, in their order.
    pub(super) fn decide(&mut self, asked: &[Decision]) -> Vec<Result<Entry, GatewayError>> {
        let answers = self.alone(|ledger| {
            let written = ledger.write(&ledger.new_lines(asked));
            Ok(asked.iter().map(|one| ledger.answer(one, &written)).collect())
        });
        answers.unwrap_or_else(|error| vec![Err(error); asked.len()])
    }

    fn answer(&self, one: &Decision, written: &Result<(), GatewayError>) -> Result<Entry, GatewayError> {
        match (self.books.charge(&one.key), written) {
            (Some(known), _) if Books::is_same(&known, one.amount, &one.currency) => Ok(known),
            (None, Err(error)) => Err(error.clone()),
            (Some(_), _) | (None, Ok(())) => Err(MISMATCH),
        }
    }

    /// The lines of those whose keys are not decided yet and were not taken in for other money.
    fn new_lines(&self, asked: &[Decision]) -> Vec<Line> {
        let mut lines = Vec::with_capacity(asked.len());
        let mut keys = HashSet::with_capacity(asked.len());
        for one in asked {
            let undecided = self.books.undecided(&one.key);
            let is_other =
                undecided.is_some_and(|known| (known.amount, &known.currency) != (one.amount, &one.currency));
            if !is_other && self.books.charge(&one.key).is_none() && keys.insert(one.key.as_str()) {
                lines.push(one.line(self.books.next_number() + lines.len() as u32));
            }
        }
        lines
    }

    /// Enters a refund, once. Returns its number, and whether it is new.
    pub(super) fn refund(&mut self, key: &str, charge: &str, amount: u64) -> Result<(u32, bool), GatewayError> {
        self.alone(|ledger| {
            match ledger.books.refund(key, charge, amount) {
                Some((number, true)) => return Ok((number, false)),
                Some((_, false)) => return Err(MISMATCH),
                None => {}
            }
            let entry = ledger.books.charge(charge).filter(|entry| entry.decline.is_none());
            let entry = entry.ok_or(GatewayError::Rejected { code: "no_such_charge" })?;
            if amount > entry.amount - entry.refunded {
                return Err(GatewayError::Rejected { code: "refund_exceeds_charge" });
            }
            let number = ledger.books.next_number();
            ledger.write(&[Line::Refunded { key: key.to_owned(), charge: charge.to_owned(), amount, number }])?;
            Ok((number, true))
        })
    }

    /// All money by currency; when the file cannot be read, as far as it was.
    pub(super) fn totals(&mut self) -> BTreeMap<String, Totals> {
        // Why it cannot be read is in the log.
        let _ = self.alone(|_| Ok(()));
        self.books.totals()
    }

    /// Acts on the books as all who share them have left them, with nobody else at them meanwhile.
    fn alone<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, GatewayError>) -> Result<T, GatewayError> {
        if self.is_damaged {
            return Err(AWAY);
        }
        if let Err(error) = self.lock() {
            tracing::error!(path = %self.path.display(), %error, "provider ledger cannot be locked");
            return Err(AWAY);
        }
        let result = match self.catch_up() {
            Ok(()) => act(self),
            Err(error) => {
                tracing::error!(%error, "provider ledger cannot be read");
                Err(AWAY)
            }
        };
        self.unlock();
        result
    }

    fn lock(&self) -> io::Result<()> {
        let began = Instant::now();
        loop {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_AGAIN),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// If this fails the file is as good as closed, and the next who locks it says so.
    fn unlock(&self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }

    /// Enters what was appended since. Whoever has the lock is the only one who writes, so a last line without an end was
    /// cut off by a kill or a full disk, and nobody has heard of it.
    fn catch_up(&mut self) -> Result<(), LedgerError> {
        let (path, line) = (self.path.clone(), self.lines + 1);
        let broken = |error: io::Error| LedgerError { path: path.clone(), line, reason: error.to_string() };
        let length = self.file.metadata().map_err(broken)?.len();
        if length < self.end {
            self.is_damaged = true;
            return Err(broken(io::Error::other("the file is shorter than it was")));
        }
        if length == self.end {
            return Ok(());
        }
        let mut reader = BufReader::new(self.file.try_clone().map_err(broken)?);
        reader.seek(SeekFrom::Start(self.end)).map_err(broken)?;
        let mut text = Vec::new();
        loop {
            text.clear();
            if reader.read_until(b'\n', &mut text).map_err(broken)? == 0 {
                return Ok(());
            }
            if text.last() != Some(&b'\n') {
                return self.file.set_len(self.end).map_err(broken);
            }
            if let Err(reason) = self.enter(&text) {
                self.is_damaged = true;
                return Err(LedgerError { path, line: self.lines + 1, reason });
            }
        }
    }

    fn enter(&mut self, text: &[u8]) -> Result<(), String> {
        let line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        self.books.enter(&line)?;
        self.lines += 1;
        self.end += text.len() as u64;
        Ok(())
    }

    /// Lines that cannot be written, on a full disk for instance, decide nothing: what there is of them is cut off, here or by
    /// the next who reads.
    fn write(&mut self, lines: &[Line]) -> Result<(), GatewayError> {
        let mut text = Vec::with_capacity(LINE_BYTES * lines.len());
        for line in lines {
            let before = text.len();
            serde_json::to_writer(End(&mut text), line).map_err(|_| AWAY)?;
            text.push(b'\n');
            if text.len() - before > LINE_BYTES_MAX {
                return Err(AWAY);
            }
        }
        if let Err(error) = self.file.write_all(&text) {
            let cut = self.file.set_len(self.end).is_ok();
            tracing::error!(path = %self.path.display(), %error, cut, "provider ledger cannot be written");
            return Err(AWAY);
        }
        for line in lines {
            self.books.enter(line).map_err(|code| GatewayError::Rejected { code })?;
        }
        self.lines += lines.len();
        self.end += text.len() as u64;
        Ok(())
    }
}
