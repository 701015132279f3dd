//! Bugs on purpose: each must be found, or the simulation is blind to its kind.
//!
//! Some sit in what the simulation stands in for (the disk, the host of the cells); the others in the product's machines,
//! behind the feature `planted-bugs`, and are asleep unless switched on here.

use std::sync::Arc;

use stampede::journal::sim_disk::SimDisk;
use stampede::journal::{Disk, SegmentNo};

/// A bug that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// The journal says that it synced and did not.
    SkipsFsync,
    /// Answers go out before the record is appended.
    AnswersBeforeAppend,
    /// A snapshot says that it contains a record that was still open.
    SnapshotClaimsTooMuch,
    /// A bug in a machine.
    #[cfg(feature = "planted-bugs")]
    Machine(actors::planted::Bug),
}

/// All of them: with the feature, those of the machines too.
pub(crate) fn of_a_node() -> Vec<Planted> {
    let of_the_host = [Planted::SkipsFsync, Planted::AnswersBeforeAppend, Planted::SnapshotClaimsTooMuch];
    #[cfg(feature = "planted-bugs")]
    let of_machines = actors::planted::Bug::ALL.map(Planted::Machine).to_vec();
    #[cfg(not(feature = "planted-bugs"))]
    let of_machines = Vec::new();
    of_the_host.into_iter().chain(of_machines).collect()
}

/// Wakes the bug if it is one of a machine; lets all others sleep.
pub(crate) fn wake(bug: Option<Planted>) {
    #[cfg(feature = "planted-bugs")]
    actors::planted::wake(match bug {
        Some(Planted::Machine(bug)) => Some(bug),
        _ => None,
    });
    #[cfg(not(feature = "planted-bugs"))]
    let _ = bug;
}

/// A disk that only says that it synced.
pub(crate) struct LyingDisk(pub(crate) Arc<SimDisk>);

impl Disk for LyingDisk {
    fn list(&self) -> std::io::Result<Vec<SegmentNo>> {
        self.0.list()
    }

    fn create(&self, segment: SegmentNo, bytes: u64) -> std::io::Result<()> {
        self.0.create(segment, bytes)
    }

    fn write_at(&self, segment: SegmentNo, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(segment, offset, bytes)
    }

    fn sync(&self, _: SegmentNo) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self) -> std::io::Result<()> {
        self.0.sync_dir()
    }

    fn length(&self, segment: SegmentNo) -> std::io::Result<u64> {
        self.0.length(segment)
    }

    fn read_at(&self, segment: SegmentNo, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
        self.0.read_at(segment, offset, length)
    }

    fn remove(&self, segment: SegmentNo) -> std::io::Result<()> {
        self.0.remove(segment)
    }

    fn locate(&self, segment: SegmentNo) -> std::path::PathBuf {
        self.0.locate(segment)
    }
}
