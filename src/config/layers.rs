//! Layers of `key = value` become one: defaults, then a file, then the command line.
//!
//! Tables are flattened to full keys (`payments.breaker.window`), each with the place it was given. What a value
//! means is the business of [`super::values`]; which values fit together, of [`super::rules`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::{ConfigError, Origin, Problem};
use super::values::{Given, Leaf};
use super::{DEFAULTS, Effective, FILE_BYTES_MAX};

/// All values given so far and everything found wrong with them.
#[derive(Debug)]
pub(super) struct Layers {
    defaults: BTreeMap<String, Given>,
    values: BTreeMap<String, (Given, Origin)>,
    read: BTreeSet<String>,
    secret: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Layers {
    /// The compiled-in defaults.
    pub(super) fn defaults() -> Layers {
        let table = DeTable::parse(DEFAULTS).expect("config/default.toml is valid: a unit test reads it");
        let mut flat = Vec::new();
        flatten("", table.get_ref(), &mut flat);
        let defaults: BTreeMap<_, _> = flat.into_iter().map(|(key, given, _)| (key, given)).collect();
        let values = defaults.iter().map(|(key, given)| (key.clone(), (given.clone(), Origin::Default))).collect();
        Layers { defaults, values, read: BTreeSet::new(), secret: BTreeSet::new(), problems: Vec::new() }
    }

    /// Lays a file over what is there. Problems are kept for [`Layers::into_result`].
    pub(super) fn add_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match read_bounded(path) {
            Ok(text) => self.add_text(&name, &text),
            Err(rule) => self.problems.push(Problem {
                key: String::new(),
                value: String::new(),
                rule,
                origin: Origin::File { path: name, line: 0 },
            }),
        }
    }

    /// Lays the text of a file over what is there.
    pub(super) fn add_text(&mut self, name: &str, text: &str) {
        let place = |at: usize| Origin::File { path: name.to_owned(), line: line_of(text, at) };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let origin = place(error.span().map_or(0, |span| span.start));
                let rule = format!("not valid TOML: {}", error.message());
                self.problems.push(Problem { key: String::new(), value: String::new(), rule, origin });
                return;
            }
        };
        let mut flat = Vec::new();
        flatten("", table.get_ref(), &mut flat);
        for (key, given, at) in flat {
            self.put(key, given, place(at));
        }
    }

    /// Lays one `key=value` of the command line over what is there.
    pub(super) fn add_set(&mut self, set: &str) {
        match set.split_once('=') {
            Some((key, value)) => self.put(key.trim().to_owned(), Given::Bare(value.trim().to_owned()), Origin::Set),
            None => self.problems.push(Problem {
                key: set.to_owned(),
                value: String::new(),
                rule: "must have the form key=value".to_owned(),
                origin: Origin::Set,
            }),
        }
    }

    fn put(&mut self, key: String, given: Given, origin: Origin) {
        if self.defaults.contains_key(&key) {
            self.values.insert(key, (given, origin));
            return;
        }
        let rule = match nearest(&key, self.defaults.keys()) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None => "unknown key".to_owned(),
        };
        self.problems.push(Problem { key, value: String::new(), rule, origin });
    }

    /// The value of `key` as a `T`. A bad value is recorded and the default used, so that one pass finds everything.
    ///
    /// # Panics
    /// When `config/default.toml` lacks the key or its own value is bad: a unit test reads all of it.
    pub(super) fn leaf<T: Leaf>(&mut self, key: &str) -> T {
        self.read.insert(key.to_owned());
        if T::SECRET {
            self.secret.insert(key.to_owned());
        }
        let (given, _) = self.values.get(key).unwrap_or_else(|| panic!("config/default.toml lacks the key {key}"));
        match T::from_given(given) {
            Ok(value) => value,
            Err(rule) => {
                if T::SECRET_WHEN_BAD {
                    self.secret.insert(key.to_owned());
                }
                self.refuse(key, rule.to_owned());
                let default = T::from_given(&self.defaults[key]);
                default.unwrap_or_else(|rule| panic!("default of {key}: {rule}"))
            }
        }
    }

    /// Records that the value of `key` breaks `rule`.
    pub(super) fn refuse(&mut self, key: &str, rule: String) {
        let (given, origin) = self.values.get(key).expect("rules speak only of keys that exist");
        let value = self.shown(key, given);
        self.problems.push(Problem { key: key.to_owned(), value, rule, origin: origin.clone() });
    }

    /// A default without a reader is our own mistake.
    pub(super) fn refuse_unread_keys(&self) {
        for key in self.defaults.keys() {
            assert!(self.read.contains(key), "config/default.toml has the key {key}, which nothing reads");
        }
    }

    /// Every key with its value and origin.
    pub(super) fn effective(&self) -> Vec<Effective> {
        let show = |(key, (given, origin)): (&String, &(Given, Origin))| Effective {
            key: key.clone(),
            value: self.shown(key, given),
            origin: origin.clone(),
        };
        self.values.iter().map(show).collect()
    }

    fn shown(&self, key: &str, given: &Given) -> String {
        if self.secret.contains(key) && !given.is_empty() { "[redacted]".to_owned() } else { given.to_string() }
    }

    /// `value` if nothing was wrong.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(value) } else { Err(ConfigError { problems: self.problems }) }
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

fn flatten(prefix: &str, table: &DeTable<'_>, into: &mut Vec<(String, Given, usize)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&key, inner, into),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => into.push((key, Given::from_toml(value.get_ref()), value.span().start)),
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// The known key that differs least from `key`, if it is close enough to be a slip of the hand.
fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k String>) -> Option<&'k String> {
    const SLIPS_MAX: usize = 2;
    const KEY_LENGTH_MAX: usize = 64;
    if key.len() > KEY_LENGTH_MAX {
        return None;
    }
    let close = known.map(|candidate| (distance(key, candidate), candidate));
    close.filter(|(slips, _)| *slips <= SLIPS_MAX).min_by_key(|(slips, _)| *slips).map(|(_, candidate)| candidate)
}

/// Levenshtein distance in bytes.
fn distance(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
