//! What is wrong with a configuration, said so that it can be mended without reading code.
//!
//! A problem always names the full key, shows the value (never a secret) and the rule it breaks.

use std::fmt;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `config/default.toml`, compiled in.
    Default,
    /// A configuration file, with the line (from 1) when it is known.
    File {
        /// Path as given on the command line.
        path: String,
        /// Line, counted from 1; 0 when the problem is the file itself.
        line: usize,
    },
    /// `--set` on the command line.
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line: 0 } => f.write_str(path),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Set => f.write_str("--set"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The full key, such as `http.listen`; empty when the whole file is unreadable.
    pub key: String,
    /// The value as written; `[redacted]` for a secret; empty when it is the key that is wrong.
    pub value: String,
    /// The rule that is broken, as a sentence that continues the key.
    pub rule: String,
    /// Where the value was given.
    pub origin: Origin,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "`{}`", self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
            f.write_str(" ")?;
        }
        write!(f, "({}): {}", self.origin, self.rule)
    }
}

/// Every problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, in the order found. Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is refused:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
