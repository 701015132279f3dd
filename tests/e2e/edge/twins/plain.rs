//! Answers without what two equal nodes may answer differently: the date, ids that they gave, times at which they did it,
//! signatures, and how often the busy event's answers were drawn.

use std::collections::HashMap;

use serde_json::Value;

use crate::client::Answer;

/// An answer as it is compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// The ids that a node gave out, in the order in which they were seen.
#[derive(Default)]
pub(super) struct Ids {
    known: HashMap<String, usize>,
    by_kind: HashMap<String, Vec<String>>,
}

/// Kinds of ids that are different on every node.
const KINDS: &[&str] = &["hld", "ord", "tkt", "req"];

impl Ids {
    /// How many of this kind are known.
    pub(super) fn count(&self, kind: &str) -> usize {
        self.by_kind.get(kind).map_or(0, Vec::len)
    }

    /// A text with this node's ids.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (name, kind) in [("hold", "hld"), ("order", "ord")] {
            while let Some(start) = filled.find(&format!("{{{name}:")) {
                let end = start + filled[start..].find('}').expect("a brace");
                let nth: usize = filled[start + name.len() + 2..end].parse().expect("a number");
                filled.replace_range(start..=end, &self.by_kind[kind][nth]);
            }
        }
        filled
    }

    /// What is compared of this answer.
    pub(super) fn plain(&mut self, answer: &Answer) -> Plain {
        let text = answer.text();
        let is_busy = text.contains("\"event\":\"busy\"") && text.contains("\"seq\":")
            || text.contains("\"event\":\"busy\"") && text.contains("\"version\":")
            || text.contains("\"id\":\"busy\"");
        // `HEAD` of something private, which has times in it.
        let is_unseen = answer.body.is_empty() && answer.header("cache-control") == Some("no-store");
        let mut headers: Vec<(String, String)> = Vec::new();
        // Whether a connection goes on is compared by the answers that come on it.
        for (name, value) in answer.headers.iter().filter(|(name, _)| name != "connection") {
            let value = match name.as_str() {
                "date" => "DATE".to_owned(),
                "ratelimit" => "LEFT".to_owned(),
                "etag" | "x-block-seq" | "content-length" if is_busy => "BUSY".to_owned(),
                // A time without milliseconds is shorter.
                "content-length" if *value == answer.body.len().to_string() => "OF THE BODY".to_owned(),
                "content-length" if is_unseen => "OF A BODY WITH TIMES".to_owned(),
                _ => self.masked(value),
            };
            headers.push((name.clone(), value));
        }
        headers.sort();
        let mut body = match str::from_utf8(&answer.body) {
            Ok(text) => timeless(&self.masked(text)),
            Err(_) => format!("{:02x?}", answer.body),
        };
        body = in_one_order(body);
        if is_busy {
            body = without_numbers(&without_numbers(&body, "\"version\":"), "\"seq\":");
        }
        Plain { status: answer.status, headers, body: without_text(&body, "\"token\":\"") }
    }

    /// Ids by their number of appearance; those of requests without.
    fn masked(&mut self, text: &str) -> String {
        let mut masked = String::new();
        let mut rest = text;
        while let Some((at, kind)) = first(rest) {
            let id: String = rest[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            masked += &rest[..at];
            masked += &match kind {
                "req" => "{request}".to_owned(),
                _ if id.len() < 20 || id[4..].bytes().all(|b| b == b'0') => id.clone(),
                kind => format!("{{{kind} {}}}", self.number(kind, &id)),
            };
            rest = &rest[at + id.len()..];
        }
        masked + rest
    }

    fn number(&mut self, kind: &str, id: &str) -> usize {
        if let Some(known) = self.known.get(id) {
            return *known;
        }
        let of_kind = self.by_kind.entry(kind.to_owned()).or_default();
        of_kind.push(id.to_owned());
        self.known.insert(id.to_owned(), of_kind.len() - 1);
        of_kind.len() - 1
    }
}

/// Lists are sorted by id, and ids of one millisecond by chance: lines of a ledger and items of a page in an order that
/// both nodes share.
fn in_one_order(body: String) -> String {
    if let Ok(mut page) = serde_json::from_str::<Value>(&body) {
        let Some(items) = page.get_mut("items").and_then(Value::as_array_mut) else { return body };
        items.sort_by_key(Value::to_string);
        return page.to_string();
    }
    let mut lines: Vec<&str> = body.split('\n').collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// The first id in a text.
fn first(text: &str) -> Option<(usize, &'static str)> {
    KINDS.iter().filter_map(|kind| Some((text.find(&format!("{kind}_"))?, *kind))).min()
}

/// Times of this year are the node's own.
fn timeless(text: &str) -> String {
    let is_time = |at: &[u8]| {
        at.len() > 20 && at[0] == b'"' && at[5] == b'-' && at[8] == b'-' && at[11] == b'T' && at[14] == b':'
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        out += &rest[..=quote];
        let inside = &rest[quote..];
        rest = &rest[quote + 1..];
        if is_time(inside.as_bytes())
            && !rest.starts_with("2027-06")
            && !rest.starts_with("2999")
            && !rest.starts_with("2020-01")
        {
            out += "TIME";
            rest = &rest[rest.find('"').unwrap_or(rest.len())..];
        }
    }
    out + rest
}

fn without_numbers(text: &str, before: &str) -> String {
    cut(text, before, |c| c.is_ascii_digit())
}

fn without_text(text: &str, before: &str) -> String {
    cut(text, before, |c| c != '"')
}

fn cut(text: &str, before: &str, belongs: impl Fn(char) -> bool) -> String {
    let mut parts = text.split(before);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + before + part.trim_start_matches(&belongs))
}
