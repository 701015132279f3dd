//! Bugs on purpose: what the simulation must find, or it is blind to their kind.
//!
//! Without the feature `planted-bugs` every question is answered with a constant `false` and nothing of this is in the
//! program. With it, one bug at a time can be woken on a thread; a release build refuses the feature.

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("planted bugs are for tests: they may not be in a release build");

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An idempotency key is kept in memory and not journaled: lost when the state is brought back.
    KeyNotJournaled,
    /// A hold ends a little before its time.
    EarlyExpiry,
    /// A hold ends although its order's payment is running.
    ExpiresBound,
    /// Whether seats are free is not asked.
    FreeNotChecked,
    /// The rule about seats left alone is not applied.
    OrphansAllowed,
    /// The feed leaves expiries out.
    BoardMissesExpiry,
    /// An order whose money is there does not ask again for its seats.
    SellNotRepeated,
    /// A ticket's use is answered and not recorded.
    CheckInForgotten,
    /// After an unknown outcome the buyer is charged again under a new key.
    NewKeyAfterUnknown,
    /// An unknown outcome counts as a failed payment.
    UnknownIsFailed,
    /// A refund whose answer was lost is not asked for again.
    RefundDropped,
    /// A letter that was not acknowledged is written again.
    LetterTwice,
    /// Of the cluster: an append counts as done although the journal refused it.
    RefusalIgnored,
    /// Of the cluster: a missing message of the feed is not noticed.
    GapIgnored,
}

impl Bug {
    /// Those of the machines.
    pub const MACHINES: [Bug; 12] = [
        Bug::KeyNotJournaled,
        Bug::EarlyExpiry,
        Bug::ExpiresBound,
        Bug::FreeNotChecked,
        Bug::OrphansAllowed,
        Bug::BoardMissesExpiry,
        Bug::SellNotRepeated,
        Bug::CheckInForgotten,
        Bug::NewKeyAfterUnknown,
        Bug::UnknownIsFailed,
        Bug::RefundDropped,
        Bug::LetterTwice,
    ];

    /// Those of the cluster.
    pub const CLUSTER: [Bug; 2] = [Bug::RefusalIgnored, Bug::GapIgnored];
}

#[cfg(feature = "planted-bugs")]
mod awake {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static AWAKE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Wakes a bug on this thread, or lets all sleep.
    pub fn wake(bug: Option<Bug>) {
        AWAKE.set(bug);
    }

    pub(super) fn is(bug: Bug) -> bool {
        AWAKE.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub use awake::wake;

/// Whether the bug is awake.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    awake::is(bug)
}

/// Whether the bug is awake: never.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
