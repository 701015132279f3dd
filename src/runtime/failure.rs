//! Failures: the world broke, and what a client may conclude from it.

use std::borrow::Cow;
use std::time::Duration;

/// The world broke: the ask was not answered. The client gets 503 (or 500) and may try again with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Admission refused it: nothing was done.
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The owner cannot do it now, for instance because the disk is full: nothing was done.
    Unavailable {
        /// What is the matter, for people.
        reason: Cow<'static, str>,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The machine's shard does not live on this node, or has just left it: nothing was done here. Whoever owns it can be
    /// asked the same.
    Elsewhere,
    /// It may or may not have been done: the same key finds out.
    Unknown,
}

/// When a machine that is overloaded, being rebuilt, or moving to another node is worth another try.
const SOON: Duration = Duration::from_millis(500);

/// When a full disk or a node that goes down is worth another try.
const LATER: Duration = Duration::from_secs(5);

impl Failure {
    /// When an ask that ended [`Failure::Elsewhere`] is worth another try, for those who cannot ask the owner themselves.
    pub const ELSEWHERE_RETRY: Duration = SOON;

    /// Too much waits on the way to the owner's node.
    pub const BEHIND: Failure = Failure::Overloaded { retry_after: SOON };
    /// The shard is between two owners for longer than an ask waits.
    pub const NO_OWNER: Failure =
        Failure::Unavailable { reason: Cow::Borrowed("no node owns the shard at the moment"), retry_after: SOON };
    /// This node cannot be sure of anything that is not public: it does not hear the others.
    pub const OUT_OF_REACH: Failure =
        Failure::Unavailable { reason: Cow::Borrowed("cluster is out of reach"), retry_after: LATER };

    pub(super) const OVERLOADED: Failure = Failure::Overloaded { retry_after: SOON };
    pub(super) const RESTARTED: Failure =
        Failure::Unavailable { reason: Cow::Borrowed("machine is being rebuilt"), retry_after: SOON };
    pub(super) const TOO_LATE: Failure =
        Failure::Unavailable { reason: Cow::Borrowed("not begun in time"), retry_after: SOON };
    pub(super) const STOPPING: Failure =
        Failure::Unavailable { reason: Cow::Borrowed("node is stopping"), retry_after: LATER };
    pub(super) const MISSENT: Failure =
        Failure::Unavailable { reason: Cow::Borrowed("message does not fit its machine"), retry_after: LATER };

    pub(super) const fn not_writable(reason: &'static str) -> Failure {
        Failure::Unavailable { reason: Cow::Borrowed(reason), retry_after: LATER }
    }
}
