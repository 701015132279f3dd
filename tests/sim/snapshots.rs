//! Where snapshots are kept: the rules of the real store in memory, and bits that rot.
//!
//! Two snapshots a cell, each with its checksum; one that cannot be verified is passed over for the one before it; the
//! journal may be cut only behind two that can be. What was put here survives a crash: the real store is written in the
//! background and verified by reading it back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actors::ids::Shard;
use stampede::journal::Seq;
use stampede::runtime::{Shelf, Stored};
use stampede::snapshots::Error;

use crate::chance::Chance;

#[derive(Clone, Debug)]
struct Kept {
    seq: Seq,
    crc: u32,
    bytes: Vec<u8>,
}

impl Kept {
    fn is_sound(&self) -> bool {
        crc32c::crc32c(&self.bytes) == self.crc
    }
}

type Cells = BTreeMap<(u16, Vec<u8>), Vec<Kept>>;

/// See the module's charter. The newest of a cell is the last.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    cells: Mutex<Cells>,
}

impl Snapshots {
    /// The same with a bit turned in every snapshot of one cell; `None` when there is nothing.
    pub(crate) fn ruined(&self, chance: &mut Chance) -> Option<Snapshots> {
        let mut cells = self.kept().clone();
        let names: Vec<(u16, Vec<u8>)> = cells.keys().cloned().collect();
        for kept in cells.get_mut(chance.pick(&names)?)? {
            let byte = chance.index(kept.bytes.len());
            kept.bytes[byte] ^= 1 << chance.between(0, 7);
        }
        Some(Self { cells: Mutex::new(cells) })
    }

    fn kept(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns a bit of the newest snapshot of a cell that has a sound one to fall back on. Says whether it did.
    pub(crate) fn rot(&self, chance: &mut Chance) -> bool {
        let mut cells = self.kept();
        let mut targets: Vec<&mut Vec<Kept>> =
            cells.values_mut().filter(|kept| kept.len() == 2 && kept.iter().all(Kept::is_sound)).collect();
        if targets.is_empty() {
            return false;
        }
        let at = chance.index(targets.len());
        let newest = &mut targets[at][1];
        let byte = chance.index(newest.bytes.len());
        newest.bytes[byte] ^= 1 << chance.between(0, 7);
        true
    }
}

impl Shelf for Snapshots {
    fn cells(&self, shard: Shard) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.kept().keys().filter(|(of, _)| *of == shard.0).map(|(_, cell)| cell.clone()).collect())
    }

    fn newest(&self, shard: Shard, cell: &[u8]) -> Option<(Seq, Vec<u8>)> {
        let cells = self.kept();
        let kept = cells.get(&(shard.0, cell.to_vec()))?.iter().rev().find(|kept| kept.is_sound())?;
        Some((kept.seq, kept.bytes.clone()))
    }

    fn put(&self, shard: Shard, snapshots: &[Stored]) -> Result<(), Error> {
        let mut cells = self.kept();
        for Stored { cell, seq, bytes } in snapshots.iter().cloned() {
            let kept = cells.entry((shard.0, cell)).or_default();
            // What cannot be verified is the first to go.
            kept.retain(|kept| kept.is_sound() && kept.seq < seq);
            kept.push(Kept { seq, crc: crc32c::crc32c(&bytes), bytes });
            let surplus = kept.len().saturating_sub(2);
            kept.drain(..surplus);
        }
        Ok(())
    }

    fn touch(&self, shard: Shard, touched: &[(Vec<u8>, Seq)]) -> Result<(), Error> {
        for (cell, seq) in touched {
            let newest = self.kept().get(&(shard.0, cell.clone())).and_then(|kept| kept.last().cloned());
            // The one before it is older than the cell: only the newest itself can be confirmed.
            let newest = newest.filter(Kept::is_sound).ok_or(Error::NothingToTouch)?;
            // An unchanged state is as good under the later number: it is stored again, so that two contain it.
            self.put(shard, &[Stored { cell: cell.clone(), seq: *seq, bytes: newest.bytes }])?;
        }
        Ok(())
    }

    fn completed(&self, shard: Shard) -> Option<Seq> {
        let cells = self.kept();
        let mine = cells.iter().filter(|((of, _), _)| *of == shard.0).map(|(_, kept)| {
            let sound: Vec<Seq> = kept.iter().filter(|kept| kept.is_sound()).map(|kept| kept.seq).collect();
            if sound.len() < 2 { Seq::NONE } else { sound[sound.len() - 2] }
        });
        mine.min()
    }
}
