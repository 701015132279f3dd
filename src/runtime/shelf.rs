//! The shelf: what the runtime needs of a snapshot store, so that a test or the simulation can bring its own.

use actors::ids::Shard;

use crate::journal::{self, Seq};
use crate::snapshots::shared::Shared;
use crate::snapshots::{Error, Put, Snapshots};

/// A snapshot to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Whose: see [`super::format::encode_address`].
    pub cell: Vec<u8>,
    /// Complete up to this record of its shard.
    pub seq: Seq,
    /// See [`super::format::encode_snapshot`].
    pub bytes: Vec<u8>,
}

/// Keeps the two newest snapshots of each cell. All calls block.
pub trait Shelf: Send + Sync + 'static {
    /// The cells of a shard of which anything is kept, whether it can be read or not.
    ///
    /// # Errors
    /// There may be more than can be seen now.
    fn cells(&self, shard: Shard) -> Result<Vec<Vec<u8>>, Error>;

    /// The newest snapshot of a cell that can be verified: the record up to which it is complete, and its bytes.
    fn newest(&self, shard: Shard, cell: &[u8]) -> Option<(Seq, Vec<u8>)>;

    /// Keeps snapshots of several cells, durable together, and reads them back; older ones beyond two may go after that.
    ///
    /// # Errors
    /// Some are not kept, or cannot be verified.
    fn put(&self, shard: Shard, snapshots: &[Stored]) -> Result<(), Error>;

    /// The newest snapshots of these cells are complete up to a later record as well.
    ///
    /// # Errors
    /// Some are not noted.
    fn touch(&self, shard: Shard, cells: &[(Vec<u8>, Seq)]) -> Result<(), Error>;

    /// A round of the shard is complete, and nothing of the next one was put yet. The record up to which that is worth
    /// something, for [`Shelf::safe_to_cut`]; `None`: nothing may be cut. Quick.
    fn completed(&self, shard: Shard) -> Option<Seq>;

    /// The record up to which the shard's journal may be cut after a round that was worth `completed`: two verified
    /// snapshots of every cell contain it. May take long, and more of the shard may be put meanwhile.
    fn safe_to_cut(&self, shard: Shard, completed: Seq) -> Option<Seq> {
        let _ = shard;
        Some(completed)
    }
}

impl Shelf for Snapshots {
    fn cells(&self, shard: Shard) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.actors(journal::Shard(shard.0)))
    }

    fn newest(&self, shard: Shard, cell: &[u8]) -> Option<(Seq, Vec<u8>)> {
        Snapshots::newest(self, journal::Shard(shard.0), cell).snapshot
    }

    fn put(&self, shard: Shard, snapshots: &[Stored]) -> Result<(), Error> {
        self.put_all(journal::Shard(shard.0), &puts(snapshots))
    }

    fn touch(&self, shard: Shard, cells: &[(Vec<u8>, Seq)]) -> Result<(), Error> {
        self.touch_all(journal::Shard(shard.0), &touches(cells))
    }

    fn completed(&self, shard: Shard) -> Option<Seq> {
        Snapshots::safe_to_cut(self, journal::Shard(shard.0))
    }
}

impl Shelf for Shared {
    fn cells(&self, shard: Shard) -> Result<Vec<Vec<u8>>, Error> {
        self.actors(journal::Shard(shard.0))
    }

    fn newest(&self, shard: Shard, cell: &[u8]) -> Option<(Seq, Vec<u8>)> {
        Shared::newest(self, journal::Shard(shard.0), cell)
    }

    fn put(&self, shard: Shard, snapshots: &[Stored]) -> Result<(), Error> {
        self.put_all(journal::Shard(shard.0), &puts(snapshots))
    }

    fn touch(&self, shard: Shard, cells: &[(Vec<u8>, Seq)]) -> Result<(), Error> {
        self.touch_all(journal::Shard(shard.0), &touches(cells))
    }

    fn completed(&self, shard: Shard) -> Option<Seq> {
        Shared::completed(self, journal::Shard(shard.0))
    }

    fn safe_to_cut(&self, shard: Shard, completed: Seq) -> Option<Seq> {
        Shared::safe_to_cut(self, journal::Shard(shard.0), completed)
    }
}

fn puts(snapshots: &[Stored]) -> Vec<Put<'_>> {
    snapshots.iter().map(|Stored { cell, seq, bytes }| Put { actor: cell, seq: *seq, bytes }).collect()
}

fn touches(cells: &[(Vec<u8>, Seq)]) -> Vec<(&[u8], Seq)> {
    cells.iter().map(|(cell, seq)| (cell.as_slice(), *seq)).collect()
}
