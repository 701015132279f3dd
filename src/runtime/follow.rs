//! Following: keeps the state of a shard that another node owns, so that taking it over costs only the last records.
//!
//! Owns no journal and no task: whoever follows reads the records and gives them here, in order. It answers nobody; a
//! machine of it runs only when [`Following::finish`] has made it a [`Restored`] that a runtime adopts.

use actors::ids::Shard;

use super::load;
use super::recovery::{Image, RecoveryError, Restored};
use super::shelf::Shelf;
use crate::journal::Seq;

/// A shard as its owner's records have left it. See the module's charter. After an error it is worth nothing: begin anew.
#[derive(Debug)]
pub struct Following {
    image: Image,
}

impl Following {
    /// Begins with the newest snapshots of the shard that can be verified. The first record to fold in is the one after
    /// `base`, the record before the first that the journal still has. Reads the shelf, so it blocks.
    ///
    /// # Errors
    /// Snapshots that cannot be read, or that the journal's first record does not reach back to.
    pub fn new(shard: Shard, base: Seq, shelf: &dyn Shelf) -> Result<Self, RecoveryError> {
        Ok(Self { image: load::image(shelf, shard, base)? })
    }

    /// The last record that was folded in; before the first, the base.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.image.last()
    }

    /// Folds the next record in.
    ///
    /// # Errors
    /// A record out of order, bytes that cannot be read, a change that contradicts the state.
    pub fn fold(&mut self, seq: Seq, record: &[u8]) -> Result<(), RecoveryError> {
        self.image.fold(seq, record)
    }

    /// Ends the following: the shard's last record is `last`, and nobody else can append one.
    ///
    /// # Errors
    /// Records that were not folded in, or a snapshot ahead of the journal.
    pub fn finish(self, last: Seq) -> Result<Restored, RecoveryError> {
        self.image.finish(last)
    }
}
