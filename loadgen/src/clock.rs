//! Time of a run: monotonic nanoseconds since its start for measuring, wall clock for what people read.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since the run's start, monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The far end of time: later than anything that happens.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Nanos {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_nanos() as u64))
    }
}

impl Sub<Duration> for Nanos {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_nanos() as u64))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.0 as f64 / 1e9)
    }
}

/// The one clock of a run, shared by its threads.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    /// Starts at zero now.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: SystemTime::now() }
    }

    /// Monotonic time since the start.
    pub fn now(&self) -> Nanos {
        Nanos(self.start.elapsed().as_nanos() as u64)
    }

    /// The wall clock at a moment of the run.
    pub fn wall(&self, at: Nanos) -> SystemTime {
        self.wall + Duration::from_nanos(at.0)
    }
}
