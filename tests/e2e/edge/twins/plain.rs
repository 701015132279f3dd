//! Answers without what two equal nodes may answer differently: the date, ids that they gave, times at which they did it,
//! signatures, and how often the busy event's answers were drawn.

use std::collections::HashMap;

use serde_json::Value;

use crate::client::Answer;
use crate::edge::answers::Whole;

/// An answer as it is compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// Version, status and reason, as they came.
    line: String,
    /// Name with colon and space as they came, and value. Sorted by name: actix-http keeps headers in a map that has another
    /// order in every answer, so there is none to agree on. Those of one name stay in their order.
    headers: Vec<(String, String)>,
    body: String,
}

impl Plain {
    /// The header by which an answer says that it is its connection's last.
    const LAST: (&str, &str) = ("connection: ", "close");

    pub(super) fn is_last(&self) -> bool {
        self.headers.iter().any(|(name, value)| (name.as_str(), value.as_str()) == Self::LAST)
    }

    /// As if the connection went on.
    pub(super) fn not_last(mut self) -> Self {
        self.headers.retain(|(name, value)| (name.as_str(), value.as_str()) != Self::LAST);
        self
    }
}

/// The ids that a node gave out, in the order in which they were seen.
#[derive(Default)]
pub(super) struct Ids {
    known: HashMap<String, usize>,
    by_kind: HashMap<String, Vec<String>>,
}

/// Characters of a date.
const DATE_LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
/// The status of an answer to one request too many.
const TOO_MANY: u16 = 429;

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
    pub(super) fn plain(&mut self, Whole { head, answer }: &Whole) -> Plain {
        let is_busy = is_busy(answer);
        // `HEAD` of something private, which has times in it.
        let is_unseen = answer.body.is_empty() && answer.header("cache-control") == Some("no-store");
        // What actix-http itself answers when it cannot read a head. It ends the connection, and says so unless it has read
        // another head on it before.
        let is_unread = answer.header("x-request-id").is_none();
        let mut lines = head.trim_end_matches("\r\n").split("\r\n").map(str::to_owned);
        let line = lines.next().unwrap_or_default();
        let mut headers: Vec<(String, String)> = Vec::new();
        for mut name in lines {
            let value = name.split_off(name.find(": ").map_or(name.len(), |colon| colon + ": ".len()));
            let value = match name.as_str() {
                "connection: " if is_unread => continue,
                "date: " if value.len() == DATE_LENGTH && value.ends_with(" GMT") => "DATE".to_owned(),
                // Counted from the moment when the limit was used up.
                "retry-after: " if answer.status == TOO_MANY => "IN A WHILE".to_owned(),
                "etag: " | "x-block-seq: " | "content-length: " if is_busy => "BUSY".to_owned(),
                // A time without milliseconds is shorter.
                "content-length: " if value == answer.body.len().to_string() => "OF THE BODY".to_owned(),
                "content-length: " if is_unseen => "OF A BODY WITH TIMES".to_owned(),
                _ => self.masked(&value),
            };
            headers.push((name, value));
        }
        headers.sort_by(|(one, _), (other, _)| one.cmp(other));
        Plain { line, headers, body: self.body(answer) }
    }

    /// What is compared of an answer's body.
    pub(super) fn body(&mut self, answer: &Answer) -> String {
        let mut body = match str::from_utf8(&answer.body) {
            Ok(text) => timeless(&self.masked(text)),
            Err(_) => format!("{:02x?}", answer.body),
        };
        body = in_one_order(body);
        if is_busy(answer) {
            body = without_numbers(&without_numbers(&body, "\"version\":"), "\"seq\":");
        }
        if answer.status == TOO_MANY {
            body = without_numbers(&body, "\"retry_after_ms\":");
        }
        without_text(&body, "\"token\":\"")
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

/// Whether this shows the busy event as it was drawn for this node.
fn is_busy(answer: &Answer) -> bool {
    let text = answer.text();
    text.contains("\"event\":\"busy\"") && (text.contains("\"seq\":") || text.contains("\"version\":"))
        || text.contains("\"id\":\"busy\"")
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
