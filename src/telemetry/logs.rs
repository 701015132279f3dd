//! Log lines on standard error, for people or for machines.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, Telemetry};

/// Logs that cannot be set up.
#[derive(Debug)]
pub struct LogError(String);

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logs cannot be set up: {}", self.0)
    }
}

impl std::error::Error for LogError {}

/// Sends this process's log lines, and those of libraries that use `log`, to standard error. Once a process.
///
/// # Errors
/// Logs were set up before, or the filter cannot be read.
pub fn init(config: &Telemetry) -> Result<(), LogError> {
    let subscriber = subscriber(config, std::io::stderr, Colour::of_stderr())?;
    subscriber.try_init().map_err(|error| LogError(error.to_string()))
}

/// Whether human log lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// For terminals.
    On,
    /// For files and pipes.
    Off,
}

impl Colour {
    fn of_stderr() -> Colour {
        if std::io::stderr().is_terminal() { Colour::On } else { Colour::Off }
    }
}

/// What [`init`] installs, writing to `writer`.
///
/// # Errors
/// The filter cannot be read; the configuration has refused such a one before.
pub fn subscriber<W>(
    config: &Telemetry,
    writer: W,
    colour: Colour,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let targets: Targets =
        config.level.as_str().parse().map_err(|_| LogError("the filter cannot be read".to_owned()))?;
    let registry = tracing_subscriber::registry().with(targets);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match config.log {
        LogFormat::Human => Box::new(registry.with(lines.with_ansi(colour == Colour::On))),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true).with_current_span(true))),
    })
}
