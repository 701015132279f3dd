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
    /// The journal's servers store a message whatever its condition says.
    Unconditional,
    /// The journal's servers acknowledge what no quorum has.
    AcksBeforeQuorum,
    /// A new owner claims the epoch of the one before.
    EpochReused,
    /// A node without a lease answers.
    LeaseIgnored,
    /// A node trusts its own heartbeats although no quorum of the journal's servers has them.
    HearsItselfAlone,
    /// A bug in the product.
    #[cfg(feature = "planted-bugs")]
    Product(actors::planted::Bug),
}

/// Those of one node with its own disk: with the feature, those of the machines too.
pub(crate) fn of_a_node() -> Vec<Planted> {
    let of_the_host = [Planted::SkipsFsync, Planted::AnswersBeforeAppend, Planted::SnapshotClaimsTooMuch];
    #[cfg(feature = "planted-bugs")]
    let of_machines = actors::planted::Bug::MACHINES.map(Planted::Product).to_vec();
    #[cfg(not(feature = "planted-bugs"))]
    let of_machines = Vec::new();
    of_the_host.into_iter().chain(of_machines).collect()
}

/// Those of a cluster.
pub(crate) fn of_a_cluster() -> Vec<Planted> {
    let of_the_host = [
        Planted::HearsItselfAlone,
        Planted::Unconditional,
        Planted::AnswersBeforeAppend,
        Planted::AcksBeforeQuorum,
        Planted::EpochReused,
        Planted::LeaseIgnored,
    ];
    #[cfg(feature = "planted-bugs")]
    let of_the_product = actors::planted::Bug::CLUSTER.map(Planted::Product).to_vec();
    #[cfg(not(feature = "planted-bugs"))]
    let of_the_product = Vec::new();
    of_the_host.into_iter().chain(of_the_product).collect()
}

/// Wakes the bug if it is one of the product; lets all others sleep.
pub(crate) fn wake(bug: Option<Planted>) {
    #[cfg(feature = "planted-bugs")]
    actors::planted::wake(match bug {
        Some(Planted::Product(bug)) => Some(bug),
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
