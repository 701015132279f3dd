//! Somebody who watches an event live while things break.

use serde_json::Value;

use crate::socket::Session;

/// How many places of a block are held, as soon as a live session tells a number that is wanted.
#[track_caller]
pub(crate) fn held_seen_by(session: &mut Session, block: &str, is_wanted: impl Fn(u64) -> bool) -> u64 {
    loop {
        let told = session.next_of("counts");
        let blocks = told["blocks"].as_array().expect("blocks");
        let of = |found: &&Value| found[0] == block;
        if let Some(held) = blocks.iter().find(of).and_then(|found| found[2].as_u64()).filter(|held| is_wanted(*held)) {
            return held;
        }
    }
}
