//! The texts of live messages, each rendered once and shared by every session of the node.
//!
//! Owns their JSON. `board`, `change`, `counts` and `event` are the contract's types.

use std::collections::VecDeque;
use std::fmt::Write as _;

use actors::block::Counts;
use actors::event::{Description, Status};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;

use super::ring::Kept;

/// Rendered changes kept of one block. Readers further behind get their changes rendered for them alone.
pub(super) const TEXTS_MAX: usize = 256;

/// The latest rendered changes of a block: a run without gaps.
#[derive(Debug, Default)]
pub(super) struct Texts {
    last: u64,
    run: VecDeque<ByteString>,
}

impl Texts {
    /// The number of the last change in the run.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether the run has every change after `seq` up to its last.
    pub(super) fn reaches(&self, seq: u64) -> bool {
        seq <= self.last && self.last - seq <= self.run.len() as u64
    }

    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &ByteString> {
        let missing = self.last.saturating_sub(seq) as usize;
        self.run.range(self.run.len().saturating_sub(missing)..)
    }

    /// Adds a change; one that does not follow starts another run.
    pub(super) fn push(&mut self, seq: u64, text: ByteString) {
        if seq != self.last + 1 {
            self.run.clear();
        }
        self.last = seq;
        self.run.push_back(text);
        if self.run.len() > TEXTS_MAX {
            self.run.pop_front();
        }
    }
}

/// A name as JSON.
pub(super) fn quoted(name: &str) -> String {
    serde_json::to_string(name).expect("a name is JSON")
}

/// `{"type":"change",…}`; with the places by state where no seats are named, as in a standing block.
pub(super) fn change(block: &str, kept: &Kept) -> ByteString {
    let mut text = String::with_capacity(48 + block.len() + 10 * kept.seats.len());
    put(&mut text, format_args!(r#"{{"type":"change","block":{block},"seq":{},"seats":["#, kept.seq));
    for (at, (seat, state)) in kept.seats.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        put(&mut text, format_args!("{comma}[{},{}]", seat.0, *state as u8));
    }
    text.push(']');
    if let Some(counts) = kept.counts {
        put_counts(&mut text, counts);
    }
    text.push('}');
    text.into()
}

/// `{"type":"board",…}`; with the places by state for a standing block.
pub(super) fn board(block: &str, seq: u64, seats: &[u8], counts: Counts) -> ByteString {
    let mut text = String::with_capacity(64 + block.len() + seats.len() * 4 / 3);
    put(&mut text, format_args!(r#"{{"type":"board","block":{block},"seq":{seq},"seats":""#));
    STANDARD.encode_string(seats, &mut text);
    text.push('"');
    if seats.is_empty() {
        put_counts(&mut text, counts);
    }
    text.push('}');
    text.into()
}

/// `{"type":"counts",…}`
pub(super) fn counts<'a>(blocks: impl Iterator<Item = (&'a str, Counts)>) -> ByteString {
    let mut text = String::from(r#"{"type":"counts","blocks":["#);
    for (at, (block, counts)) in blocks.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let Counts { free, held, sold, blocked: _ } = counts;
        put(&mut text, format_args!("{comma}[{block},{free},{held},{sold}]"));
    }
    text.push_str("]}");
    text.into()
}

/// `{"type":"event",…}`
pub(super) fn event(description: &Description, status: Status) -> ByteString {
    let mut text = String::new();
    let event = quoted(description.spec.id.as_str());
    let (status, revision) = (status.as_str(), description.revision);
    put(&mut text, format_args!(r#"{{"type":"event","event":{event},"status":"{status}","revision":{revision}}}"#));
    text.into()
}

fn put_counts(text: &mut String, counts: Counts) {
    let Counts { free, held, sold, blocked } = counts;
    put(text, format_args!(r#","free":{free},"held":{held},"sold":{sold},"blocked":{blocked}"#));
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}
