//! What the board and the live sessions tell whoever measures them. Names no metrics system; the node connects it to one.

use actors::address::BlockRef;

/// How a public answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Served {
    /// The finished answer is up to date.
    Hit,
    /// The finished answer is older than the newest change, by less than the render interval or one rendering.
    Stale,
    /// It was rendered for this reader.
    Rendered,
}

impl Served {
    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Served::Hit => "hit",
            Served::Stale => "stale",
            Served::Rendered => "miss",
        }
    }
}

/// Called on arbiters and HTTP workers; must not block.
pub trait Observer: Send + Sync + 'static {
    /// Public answers were handed out, so many and all in this way.
    fn served(&self, how: Served, times: u64) {
        let _ = (how, times);
    }

    /// A numbered change did not follow the one before: the block's picture is asked for.
    fn gap(&self, block: &BlockRef) {
        let _ = block;
    }

    /// So many live sessions are open.
    fn sessions(&self, open: usize) {
        let _ = open;
    }

    /// A live reader fell behind and got a board instead of the changes it missed.
    fn resynced(&self) {}
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
