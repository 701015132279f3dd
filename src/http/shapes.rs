//! The shapes of answers: how times, money, holds and orders look in JSON.

use std::time::{Duration, UNIX_EPOCH};

use actors::time::Millis;

/// The last moment that RFC 3339 can write, 9999-12-31T23:59:59Z, in milliseconds since 1970.
pub(super) const TIME_MAX: Millis = Millis(253_402_300_799_000);

/// A moment as RFC 3339 in UTC, with milliseconds where there are any.
pub(crate) fn time(at: Millis) -> String {
    let at = at.min(TIME_MAX);
    let moment = UNIX_EPOCH + Duration::from_millis(at.0);
    if at.0.is_multiple_of(1000) {
        humantime::format_rfc3339_seconds(moment).to_string()
    } else {
        humantime::format_rfc3339_millis(moment).to_string()
    }
}
