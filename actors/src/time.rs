//! Time as the machines see it: an argument, never a clock.

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970, UTC. The host hands in a reading that never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

/// A span in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub u64);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// The span doubled `times` times, at most `most`: the pace of resends and retries.
    #[must_use]
    pub fn backoff(self, times: u32, most: Span) -> Span {
        Span(self.0.saturating_mul(1u64 << times.min(32)).min(most.0))
    }
}

impl std::ops::Add<Span> for Millis {
    type Output = Millis;
    fn add(self, span: Span) -> Millis {
        Millis(self.0.saturating_add(span.0))
    }
}
