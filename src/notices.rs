//! Notices: what a buyer is told by mail, and how it leaves the house.
//!
//! A sink delivers one notice and says honestly whether it did. Delivery is at least once: a notice may arrive twice and
//! carries an id by which readers tell. When to try again and when to give up is decided by the notifier, not here.
//!
//! Next: `render` for the words, `file` for the JSON-lines file, `smtp` for mail.

mod file;
mod render;
mod smtp;

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use file::FileSink;
pub use render::{Concert, Money, OrderPaid, OrderRefunded, TicketLine, order_confirmation, refund};
pub use smtp::{SmtpSetupError, SmtpSink};

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// An order was paid: here are the tickets.
    OrderConfirmation,
    /// Money was given back.
    Refund,
}

/// One thing to tell one person. Its JSON form is a line of the notices file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same for every attempt to deliver it; readers drop an id they have seen.
    pub id: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// Mail address.
    pub to: String,
    /// The event's id.
    pub event: String,
    /// The order's id.
    pub order: String,
    /// One line without control characters.
    pub subject: String,
    /// Plain text, lines separated by `\n`.
    pub text: String,
    /// The same facts for programs.
    pub data: Facts,
}

/// What a notice says, for programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Facts {
    /// Of an order that was paid.
    Paid {
        /// The tickets.
        tickets: Vec<TicketLine>,
        /// What was paid.
        total: Money,
    },
    /// Of an order whose money was given back.
    Refunded {
        /// What was given back.
        amount: Money,
    },
}

/// Why a notice was not delivered. It may have been all the same: a mail server's answer can be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkError {
    /// Whether another attempt could succeed.
    pub is_retryable: bool,
    /// For the log.
    pub reason: String,
}

impl SinkError {
    fn retryable(reason: impl Into<String>) -> SinkError {
        SinkError { is_retryable: true, reason: reason.into() }
    }

    fn permanent(reason: impl Into<String>) -> SinkError {
        SinkError { is_retryable: false, reason: reason.into() }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SinkError {}

/// A way out of the house.
pub trait Sink: Send + Sync + 'static {
    /// Delivers the notice; `Ok` only when it cannot be lost any more.
    ///
    /// # Errors
    /// It was not delivered, or nobody knows.
    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// Several sinks as one: delivered when all have delivered. After a failure all are asked again, so a reader of the
/// first may see the notice twice.
#[derive(Default)]
pub struct Sinks(Vec<Box<dyn Sink>>);

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sinks").field(&self.0.len()).finish()
    }
}

/// Sinks that cannot be set up as configured.
#[derive(Debug)]
pub enum SinksError {
    /// The notices file cannot be opened.
    File(std::io::Error),
    /// The mail settings cannot be used.
    Smtp(SmtpSetupError),
}

impl fmt::Display for SinksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinksError::File(error) => write!(f, "`notices.file`: {error}"),
            SinksError::Smtp(error) => write!(f, "`notices.smtp`: {error}"),
        }
    }
}

impl std::error::Error for SinksError {}

impl Sinks {
    /// The sinks of a configuration; none at all is possible and delivers everything into nothing.
    ///
    /// # Errors
    /// The file cannot be opened or the mail settings cannot be used.
    pub fn open(config: &crate::config::Config) -> Result<Sinks, SinksError> {
        let mut sinks = Sinks::default();
        if let Some(path) = config.notices_path() {
            sinks.add(FileSink::open(&path).map_err(SinksError::File)?);
        }
        if config.notices.smtp.enabled {
            sinks.add(SmtpSink::new(&config.notices.smtp).map_err(SinksError::Smtp)?);
        }
        Ok(sinks)
    }

    /// Adds one more.
    pub fn add(&mut self, sink: impl Sink) {
        self.0.push(Box::new(sink));
    }
}

impl Sink for Sinks {
    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), SinkError>> {
        async move {
            for sink in &self.0 {
                sink.deliver(notice).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
