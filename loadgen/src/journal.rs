//! The generator's own journal: every acknowledgement, written to a file before it is counted.
//!
//! One JSON object a line, so that a run can be audited later, by another process, or read by eye. Nothing here judges:
//! see [`crate::audit`].

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::stage::Event;

/// One line. Times are Unix milliseconds of the generator's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line<'a> {
    /// The first line of a run.
    Run {
        /// When it began.
        at: u64,
        /// Its mark.
        run: Cow<'a, str>,
        /// The server.
        url: Cow<'a, str>,
        /// What its customers' names begin with.
        customers: Cow<'a, str>,
        /// What was on sale.
        events: Cow<'a, [Event]>,
    },
    /// A hold was acknowledged.
    Hold(HoldLine<'a>),
    /// An order was acknowledged.
    Order(OrderLine<'a>),
    /// An order was seen in a state that ends it, or its payment was seen to fail.
    State {
        /// When it was seen.
        at: u64,
        /// The order.
        order: Cow<'a, str>,
        /// The state, as the server names it.
        state: Cow<'a, str>,
    },
    /// We are about to ask for a hold's release: from here on it may be gone, whatever we hear.
    ReleaseAsked {
        /// When.
        at: u64,
        /// The hold.
        hold: Cow<'a, str>,
    },
    /// A release was acknowledged.
    Released {
        /// When.
        at: u64,
        /// The hold.
        hold: Cow<'a, str>,
    },
    /// An order with these holds was asked for and no final answer came.
    Unresolved {
        /// When it was given up.
        at: u64,
        /// `hold` or `order`.
        operation: Cow<'a, str>,
        /// The idempotency key it was asked with.
        key: Cow<'a, str>,
        /// The holds an order was to join.
        holds: Cow<'a, [String]>,
    },
    /// The last line of a run that came to its end.
    End {
        /// When.
        at: u64,
    },
}

/// An acknowledged hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldLine<'a> {
    /// When the answer was read.
    pub at: u64,
    /// The hold.
    pub id: Cow<'a, str>,
    /// Its event.
    pub event: Cow<'a, str>,
    /// Its block.
    pub block: Cow<'a, str>,
    /// Its seats; none in a standing block.
    pub seats: Cow<'a, [String]>,
    /// How many seats or places.
    pub quantity: u64,
    /// Whose it is.
    pub customer: Cow<'a, str>,
    /// The idempotency key it was asked with.
    pub key: Cow<'a, str>,
    /// Until when the server promised it, RFC 3339.
    pub expires_at: Cow<'a, str>,
    /// Answer to a repeated request whose first answer was received.
    pub replayed: bool,
}

/// An acknowledged order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderLine<'a> {
    /// When the answer was read.
    pub at: u64,
    /// The order.
    pub id: Cow<'a, str>,
    /// Its event.
    pub event: Cow<'a, str>,
    /// The holds it joined.
    pub holds: Cow<'a, [String]>,
    /// What it costs.
    pub total: Money,
    /// Whose it is.
    pub customer: Cow<'a, str>,
    /// The idempotency key it was asked with.
    pub key: Cow<'a, str>,
    /// Answer to a repeated request whose first answer was received.
    pub replayed: bool,
}

/// Money in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
}

/// Milliseconds since 1970.
pub fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Writes lines of one thread; several share a file, whole lines at a time.
#[derive(Debug, Clone)]
pub struct Scribe {
    file: Option<(Arc<File>, PathBuf)>,
    waiting: Vec<u8>,
}

impl Scribe {
    /// Starts a new journal; an old one of this name is replaced.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        File::create(path).map_err(Failure::file(path))?;
        let file = OpenOptions::new().append(true).open(path).map_err(Failure::file(path))?;
        Ok(Self { file: Some((Arc::new(file), path.to_owned())), waiting: Vec::new() })
    }

    /// Keeps nothing: for runs that nobody audits.
    pub fn silent() -> Self {
        Self { file: None, waiting: Vec::new() }
    }

    /// Notes a line; [`Scribe::flush`] writes it.
    pub fn note(&mut self, line: &Line<'_>) {
        if self.file.is_some() && serde_json::to_writer(&mut self.waiting, line).is_ok() {
            self.waiting.push(b'\n');
        }
    }

    /// Writes what was noted, in one piece. Nothing noted since the last flush may be counted before this returns.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if let Some((file, path)) = &self.file
            && !self.waiting.is_empty()
        {
            (&**file).write_all(&self.waiting).map_err(Failure::file(path))?;
            self.waiting.clear();
        }
        Ok(())
    }
}

/// Reads a journal. A last line without its end is a write that did not finish and was not counted: it is left out.
pub fn read(path: &Path) -> Result<Vec<Line<'static>>, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::file(path))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parsed = |(place, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| Failure::Journal {
            path: path.to_owned(),
            line: place + 1,
            reason: error.to_string(),
        })
    };
    whole.lines().enumerate().map(parsed).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn released(hold: &'static str) -> Line<'static> {
        Line::Released { at: 1, hold: hold.into() }
    }

    #[test]
    fn lines_of_several_threads_are_read_back_whole() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut one = Scribe::create(&path).unwrap();
        let mut other = one.clone();
        one.note(&released("h1"));
        other.note(&released("h2"));
        other.flush().unwrap();
        one.flush().unwrap();
        assert_eq!(read(&path).unwrap(), [released("h2"), released("h1")]);
    }

    #[test]
    fn a_torn_end_is_left_out_and_a_damaged_middle_is_named() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let line = serde_json::to_string(&released("h1")).unwrap();
        std::fs::write(&path, format!("{line}\n{}", &line[..9])).unwrap();
        assert_eq!(read(&path).unwrap(), [released("h1")]);
        std::fs::write(&path, format!("{line}\n{}\n{line}\n", &line[..9])).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line=2"));
    }
}
