//! The clock and the source of ids: the only places where time and chance enter.
//!
//! The clock is the wall clock of the start plus monotonic time since: what people see is close to UTC, and nothing runs
//! early or backwards when somebody sets the machine's clock. A node of a cluster shifts it to the time of the others.

use std::cell::RefCell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actors::time::Millis;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How far the clock was shifted, milliseconds.
static SHIFT: AtomicI64 = AtomicI64::new(0);

fn start() -> &'static (u64, Instant) {
    static START: OnceLock<(u64, Instant)> = OnceLock::new();
    START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (wall.as_millis() as u64, Instant::now())
    })
}

/// Now.
#[must_use]
pub fn now() -> Millis {
    Millis(monotonic().0.saturating_add_signed(SHIFT.load(Ordering::Relaxed)))
}

/// Now, for measuring spans: it is never shifted. The process being stopped for a while counts.
#[must_use]
pub fn monotonic() -> Millis {
    let (wall, since) = start();
    Millis(wall + since.elapsed().as_millis() as u64)
}

/// Shifts the clock by so many milliseconds: forward, or back if negative.
pub fn shift(by: i64) {
    SHIFT.fetch_add(by, Ordering::Relaxed);
}

thread_local! {
    static CHANCE: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

/// The unique part of a new id: 48 bits are used.
#[must_use]
pub fn unique() -> u64 {
    CHANCE.with_borrow_mut(Rng::next_u64)
}

/// The last second of the year 9999: RFC 3339 has no later one.
pub const LAST: Millis = Millis(253_402_300_799_000);

/// A moment as RFC 3339 UTC, with milliseconds when it has any. Later moments than [`LAST`] print as that.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub Millis);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.min(LAST);
        let time = UNIX_EPOCH + Duration::from_millis(at.0);
        if at.0.is_multiple_of(1000) {
            humantime::format_rfc3339_seconds(time).fmt(f)
        } else {
            humantime::format_rfc3339_millis(time).fmt(f)
        }
    }
}

/// The same as a text of its own.
#[must_use]
pub fn rfc3339(at: Millis) -> String {
    Rfc3339(at).to_string()
}
