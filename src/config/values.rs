//! The types of configuration values: how each is written and what is refused.
//!
//! A [`Leaf`] turns what was given into a typed value or names the rule it breaks. No value here knows its key.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

/// A value as it was written, before anything knows what type it should have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given {
    /// A TOML string.
    Text(String),
    /// A TOML number, as written.
    Number(String),
    /// A TOML boolean.
    Flag(bool),
    /// A TOML array.
    List(Vec<Given>),
    /// The right side of `--set key=…`, which has no type of its own.
    Bare(String),
    /// A TOML value that no key takes (a date, a table in a list).
    Other(&'static str),
}

impl Given {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Given {
        match value {
            DeValue::String(text) => Given::Text(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Given::Number(number.as_str().replace('_', "")),
            DeValue::Integer(_) => Given::Other("number that is not decimal"),
            DeValue::Float(number) => Given::Number(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Given::Flag(*flag),
            DeValue::Array(items) => Given::List(items.iter().map(|item| Given::from_toml(item.get_ref())).collect()),
            DeValue::Datetime(_) | DeValue::Table(_) => Given::Other(value.type_str()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Given::Text(text) | Given::Bare(text) => text.is_empty(),
            Given::List(items) => items.is_empty(),
            Given::Number(_) | Given::Flag(_) | Given::Other(_) => false,
        }
    }

    /// The text of a string, quoted or bare.
    fn text(&self) -> Option<&str> {
        match self {
            Given::Text(text) => Some(text),
            Given::Bare(text) => Some(text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)),
            Given::Number(_) | Given::Flag(_) | Given::List(_) | Given::Other(_) => None,
        }
    }

    fn number(&self) -> Option<&str> {
        match self {
            Given::Number(text) | Given::Bare(text) => Some(text),
            Given::Text(_) | Given::Flag(_) | Given::List(_) | Given::Other(_) => None,
        }
    }

    /// The items of a list: a TOML array, or on the command line an array or words between commas.
    fn items(&self) -> Option<Vec<Given>> {
        match self {
            Given::List(items) => Some(items.clone()),
            Given::Bare(text) if text.starts_with('[') => {
                match Given::from_toml(DeValue::parse(text).ok()?.get_ref()) {
                    Given::List(items) => Some(items),
                    Given::Text(_) | Given::Number(_) | Given::Flag(_) | Given::Bare(_) | Given::Other(_) => None,
                }
            }
            Given::Bare(text) if text.is_empty() => Some(Vec::new()),
            Given::Bare(text) => Some(text.split(',').map(|word| Given::Bare(word.trim().to_owned())).collect()),
            Given::Text(_) | Given::Number(_) | Given::Flag(_) | Given::Other(_) => None,
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Text(text) | Given::Bare(text) => write!(f, "{text:?}"),
            Given::Number(text) => f.write_str(text),
            Given::Flag(flag) => write!(f, "{flag}"),
            Given::List(items) => {
                let items: Vec<String> = items.iter().map(Given::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Given::Other(kind) => write!(f, "a {kind}"),
        }
    }
}

/// The rule a value breaks, as a sentence that continues "`key` = value …".
pub(super) type Rule = &'static str;

/// A type that one key can have.
pub(super) trait Leaf: Sized {
    /// Whether the value must never be shown.
    const SECRET: bool = false;
    /// Whether a value that breaks the rule must not be shown: it may be a secret that was put in the wrong place.
    const SECRET_WHEN_BAD: bool = Self::SECRET;

    /// The typed value, or the rule that is broken.
    fn from_given(given: &Given) -> Result<Self, Rule>;
}

/// Empty text means none.
impl<T: Leaf> Leaf for Option<T> {
    const SECRET: bool = T::SECRET;
    const SECRET_WHEN_BAD: bool = T::SECRET_WHEN_BAD;

    fn from_given(given: &Given) -> Result<Self, Rule> {
        if given.text() == Some("") { Ok(None) } else { T::from_given(given).map(Some) }
    }
}

impl<T: Leaf> Leaf for Vec<T> {
    const SECRET_WHEN_BAD: bool = T::SECRET_WHEN_BAD;

    const SECRET: bool = T::SECRET;

    fn from_given(given: &Given) -> Result<Self, Rule> {
        let items = given.items().ok_or("must be a list, such as [\"one\", \"two\"]")?;
        items.iter().map(T::from_given).collect()
    }
}

impl Leaf for String {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        given.text().map(str::to_owned).ok_or("must be a text in quotes")
    }
}

impl Leaf for PathBuf {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        match given.text() {
            Some(text) if !text.is_empty() => Ok(PathBuf::from(text)),
            Some(_) | None => Err("must be a path in quotes"),
        }
    }
}

impl Leaf for bool {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        match given {
            Given::Flag(flag) => Ok(*flag),
            Given::Bare(text) => text.parse().map_err(|_| "must be true or false"),
            Given::Text(_) | Given::Number(_) | Given::List(_) | Given::Other(_) => Err("must be true or false"),
        }
    }
}

macro_rules! whole_numbers {
    ($($number:ty: $rule:literal),*) => {$(
        impl Leaf for $number {
            fn from_given(given: &Given) -> Result<Self, Rule> {
                given.number().and_then(|text| text.parse().ok()).ok_or($rule)
            }
        }
    )*};
}
whole_numbers!(
    u16: "must be a whole number from 0 to 65535",
    u32: "must be a whole number from 0 to 4294967295",
    u64: "must be a whole number, not negative",
    usize: "must be a whole number, not negative"
);

impl Leaf for SocketAddr {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        const RULE: Rule = "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
        given.text().and_then(|text| text.parse().ok()).ok_or(RULE)
    }
}

impl Leaf for Duration {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        const RULE: Rule = "must be a time with a unit, such as \"250ms\", \"7m\" or \"24h\"";
        given.text().and_then(|text| humantime::parse_duration(text).ok()).ok_or(RULE)
    }
}

/// How far a clock is ahead, in milliseconds: a time with a unit, behind a `-` for one that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset(pub i64);

impl Leaf for ClockOffset {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        const RULE: Rule = "must be a time with a unit, such as \"5s\" or \"-250ms\"";
        let text = given.text().ok_or(RULE)?;
        let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
        let size = humantime::parse_duration(size).ok().and_then(|size| i64::try_from(size.as_millis()).ok());
        size.map(|size| ClockOffset(sign * size)).ok_or(RULE)
    }
}

/// A size in bytes, written with a binary unit: `"512B"`, `"64KiB"`, `"4MiB"`, `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The size as a length in memory; the largest possible one where the machine cannot address that much.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        const RULE: Rule = "must be a size with a unit, such as \"512B\", \"64KiB\", \"4MiB\" or \"2GiB\"";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(RULE),
        };
        let number: u64 = number.parse().map_err(|_| RULE)?;
        number.checked_mul(1 << shift).map(ByteSize).ok_or(RULE)
    }
}

impl Leaf for ByteSize {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        given.text().unwrap_or_default().parse()
    }
}

/// So many per period, written `"50/s"`, `"600/min"`, `"1000/h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; never 0.
    pub count: u32,
    /// In which time: one second, minute or hour.
    pub period: Duration,
}

impl Rate {
    /// Time that one of them takes. Never zero.
    #[must_use]
    pub fn interval(self) -> Duration {
        (self.period / self.count).max(Duration::from_nanos(1))
    }
}

impl Leaf for Rate {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        const RULE: Rule = "must be a rate above 0 with a period, such as \"50/s\", \"600/min\" or \"1000/h\"";
        let (count, period) = given.text().and_then(|text| text.split_once('/')).ok_or(RULE)?;
        let period = match period {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => return Err(RULE),
        };
        match count.parse() {
            Ok(0) | Err(_) => Err(RULE),
            Ok(count) => Ok(Rate { count, period: Duration::from_secs(period) }),
        }
    }
}

/// A share between 0 and 1, written in percent: `"2.5%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl Leaf for Share {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        const RULE: Rule = "must be a share from \"0%\" to \"100%\"";
        let percent: f64 =
            given.text().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse().ok()).ok_or(RULE)?;
        if (0.0..=100.0).contains(&percent) { Ok(Share(percent / 100.0)) } else { Err(RULE) }
    }
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret that did not come from the configuration, such as the demo's.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    /// The secret itself. Do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Leaf for Secret {
    const SECRET: bool = true;

    fn from_given(given: &Given) -> Result<Self, Rule> {
        given.text().map(Secret::new).ok_or("must be a text in quotes")
    }
}

/// SHA-256 of an organizer's API key, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl FromStr for KeyDigest {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        const RULE: Rule = "must be digests, each \"sha256:\" and 64 hexadecimal digits (see `stampede key new`)";
        let digits = text.strip_prefix("sha256:").ok_or(RULE)?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(RULE);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(RULE);
            *byte = digit(0)? << 4 | digit(1)?;
        }
        Ok(KeyDigest(bytes))
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Leaf for KeyDigest {
    const SECRET_WHEN_BAD: bool = true;

    fn from_given(given: &Given) -> Result<Self, Rule> {
        given.text().unwrap_or_default().parse()
    }
}

/// Directives that say what is logged, such as `info` or `info,stampede::journal=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The directives as written; they are known to parse.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Leaf for LogFilter {
    fn from_given(given: &Given) -> Result<Self, Rule> {
        const RULE: Rule = "must be error, warn, info, debug or trace, or directives such as \"info,stampede=debug\"";
        let text = given.text().filter(|text| !text.is_empty()).ok_or(RULE)?;
        let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
        let fits = |part: &str| {
            part.split_once('=').map_or(is_level(part), |(name, level)| !name.is_empty() && is_level(level))
        };
        if text.split(',').all(fits) { Ok(LogFilter(text.to_owned())) } else { Err(RULE) }
    }
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident, $rule:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),*
        }

        impl Leaf for $name {
            fn from_given(given: &Given) -> Result<Self, Rule> {
                match given.text() {
                    $(Some($word) => Ok($name::$variant),)*
                    Some(_) | None => Err($rule),
                }
            }
        }
    };
}

choices! {
    /// Shape of log lines.
    LogFormat, "must be \"human\" or \"json\"" {
        /// For people: one readable line each.
        Human = "human",
        /// For machines: one JSON object each.
        Json = "json"
    }
}

choices! {
    /// The payment provider.
    GatewayKind, "must be \"simulated\", the only provider of this version" {
        /// The one built in, which takes no money.
        Simulated = "simulated"
    }
}

choices! {
    /// How the connection to the mail server is protected.
    SmtpTls, "must be \"none\", \"starttls\" or \"tls\"" {
        /// In the clear.
        None = "none",
        /// Starts in the clear and must switch to TLS before anything is said.
        Starttls = "starttls",
        /// TLS from the first byte.
        Tls = "tls"
    }
}
