//! The configuration: every key, its type, its default and where its value came from.
//!
//! `config/default.toml` is compiled in and is both the defaults and the list of keys: a key that is not there is
//! refused. `--config FILE` overrides it, `--set key=value` overrides both. Every problem is collected and names
//! the key, the value, the rule and the place. Nothing here opens what the values point at, and no other module
//! reads files or variables to learn how to behave.
//!
//! Next: `values` for the types, `layers` for how layers become one, `rules` for what must fit together.

mod layers;
mod problem;
mod rules;
mod sections;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};

pub use problem::{ConfigError, Origin, Problem};
pub use sections::{
    Auth, Breaker, Cluster, Config, Data, Holds, Http, Idempotency, Journal, Limits, Live, Node, Notices, Payments,
    Runtime, Shutdown, Simulated, Smtp, Snapshots, Telemetry, Tickets,
};
pub use values::{ByteSize, ClockOffset, GatewayKind, KeyDigest, LogFilter, LogFormat, Rate, Secret, Share, SmtpTls};

use layers::Layers;
use sections::Read;

/// The text of `config/default.toml`.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Largest configuration file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration together with where each value came from, as `check-config` prints it.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// Every key in alphabetical order with its value (secrets hidden) and origin.
    pub effective: Vec<Effective>,
}

/// One key of the configuration in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The full key, such as `http.listen`.
    pub key: String,
    /// The value as written, or `[redacted]` for secrets that are set.
    pub value: String,
    /// Where the value was given.
    pub origin: Origin,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}   # {}", self.key, self.value, self.origin)
    }
}

impl Config {
    /// Reads the defaults, then `file`, then `sets` (each `key=value`), and checks all of it.
    ///
    /// # Errors
    /// Every problem found: unreadable file, syntax, unknown keys, bad values, values that do not fit together.
    pub fn load(file: Option<&Path>, sets: &[String]) -> Result<Config, ConfigError> {
        Self::load_with_origins(file, sets).map(|loaded| loaded.config)
    }

    /// As [`Config::load`], and also says where each value came from.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_origins(file: Option<&Path>, sets: &[String]) -> Result<Loaded, ConfigError> {
        let mut layers = Layers::defaults();
        if let Some(path) = file {
            layers.add_file(path);
        }
        for set in sets {
            layers.add_set(set);
        }
        layers.build()
    }

    /// The defaults alone.
    #[must_use]
    pub fn defaults() -> Config {
        Config::load(None, &[]).expect("config/default.toml is valid: a unit test reads it")
    }

    /// Refuses a configuration with which nobody could do anything: no organizer key, or no way to check customers.
    /// `demo` brings its own keys before it asks.
    ///
    /// # Errors
    /// One problem for each missing key.
    pub fn check_keys_present(&self) -> Result<(), ConfigError> {
        rules::keys_present(self)
    }

    /// File of the ticket key: the configured one, or `ticket-key.pem` in the data directory.
    #[must_use]
    pub fn ticket_key_path(&self) -> TicketKeyPath {
        match &self.tickets.key_file {
            Some(path) => TicketKeyPath::Given(path.clone()),
            None => TicketKeyPath::Own(self.data.dir.join("ticket-key.pem")),
        }
    }

    /// File that notices are appended to, if any.
    #[must_use]
    pub fn notices_path(&self) -> Option<PathBuf> {
        self.notices.file.as_ref().map(|path| self.data.dir.join(path))
    }

    /// File of the simulated provider's books.
    #[must_use]
    pub fn provider_ledger_path(&self) -> PathBuf {
        self.data.dir.join(&self.payments.simulated.ledger_file)
    }
}

/// Where the ticket key lies, and whether it may be made there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketKeyPath {
    /// Configured by the operator: must exist.
    Given(PathBuf),
    /// In the data directory: made when it does not exist.
    Own(PathBuf),
}

impl Layers {
    fn build(mut self) -> Result<Loaded, ConfigError> {
        let config = Config::read(&mut self, "");
        self.refuse_unread_keys();
        rules::check(&config, &mut self);
        let effective = self.effective();
        self.into_result(Loaded { config, effective })
    }
}

#[cfg(test)]
mod tests;
