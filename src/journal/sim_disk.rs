//! A disk in memory that breaks on purpose, the same way for the same seed. For tests and the simulation alone.
//!
//! It keeps apart what the kernel shows ([`Disk::read_at`]) and what the platter has. A write changes only the first;
//! a sync copies it over. [`SimDisk::crash`] is the power cut: every sector that was not synced keeps its old bytes, gets
//! the new ones, or a mix of both, independently, and so does every creation and removal. [`SimDisk::kill`] ends the
//! process alone, whose writes stay with the kernel. After a failed sync the kernel takes the lost pages for written,
//! as Linux does: they show until the next crash and no later sync saves them.
//!
//! What it does not do: garbage in a sector that was written at the time of the cut (drives promise old or new bytes).
//! Bit rot is [`SimDisk::flip`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Disk, SegmentNo};

const SECTOR: usize = 512;

/// How often things go wrong, each in 1/65,536 of the calls. All zero: a disk without faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A write fails with an I/O error and leaves any part of its bytes.
    pub write_fails: u16,
    /// A sync fails with an I/O error and loses what was to be synced.
    pub sync_fails: u16,
    /// A write or creation finds no space, after a part of its bytes.
    pub full: u16,
}

/// How often each thing happened, so that a test can tell what it has reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Writes that succeeded.
    pub writes: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Writes that failed with an I/O error.
    pub failed_writes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes and creations refused for lack of space.
    pub no_space: u64,
    /// Unsynced sectors that a crash lost.
    pub lost_sectors: u64,
    /// Unsynced sectors that a crash kept.
    pub kept_sectors: u64,
    /// Unsynced sectors of which a crash kept a part.
    pub torn_sectors: u64,
}

/// See the module.
pub struct SimDisk {
    state: Mutex<State>,
}

struct State {
    random: u64,
    faults: Faults,
    /// Bytes that all files together may have.
    capacity: u64,
    happened: Happened,
    /// What the kernel shows.
    files: BTreeMap<SegmentNo, SimFile>,
    /// Files that a crash may bring back, with what the platter has of them.
    removed: BTreeMap<SegmentNo, Vec<u8>>,
    /// Files whose creation a crash may undo.
    created: BTreeSet<SegmentNo>,
    /// The next call of this kind fails.
    next_fault: Option<NextFault>,
}

/// A single fault, for a test that knows when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextFault {
    /// The next write fails with an I/O error after this many bytes.
    Write(usize),
    /// The next write finds no space after this many bytes.
    Full(usize),
    /// The next sync of a file fails.
    Sync,
    /// The next sync of the directory fails.
    SyncDir,
}

#[derive(Default)]
struct SimFile {
    shown: Vec<u8>,
    platter: Vec<u8>,
    /// Sectors in which the two differ and a crash may keep either.
    dirty: BTreeSet<usize>,
}

impl SimDisk {
    /// An empty disk without faults and without limit.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        SimDisk {
            state: Mutex::new(State {
                random: seed,
                faults: Faults::default(),
                capacity: u64::MAX,
                happened: Happened::default(),
                files: BTreeMap::new(),
                removed: BTreeMap::new(),
                created: BTreeSet::new(),
                next_fault: None,
            }),
        }
    }

    /// Sets how often things go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Lets the next call of its kind fail.
    pub fn fail_next(&self, fault: NextFault) {
        self.state().next_fault = Some(fault);
    }

    /// Sets how many bytes all files together may have from now on; files that are there stay.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// What has happened so far.
    #[must_use]
    pub fn happened(&self) -> Happened {
        self.state().happened
    }

    /// The power cut: what was not synced is kept, lost or torn, sector by sector.
    pub fn crash(&self) {
        let mut state = self.state();
        state.next_fault = None;
        for (segment, platter) in std::mem::take(&mut state.removed) {
            // A file made anew under the same number has the name on the platter.
            if state.chance(1 << 15) && !state.files.contains_key(&segment) {
                state.files.insert(segment, SimFile { shown: platter.clone(), platter, dirty: BTreeSet::new() });
            }
        }
        for segment in std::mem::take(&mut state.created) {
            if state.chance(1 << 15) {
                state.files.remove(&segment);
            }
        }
        let segments: Vec<SegmentNo> = state.files.keys().copied().collect();
        for segment in segments {
            state.crash_file(segment);
        }
    }

    /// The end of the process alone: the kernel still has everything.
    pub fn kill(&self) {
        self.state().next_fault = None;
    }

    /// Changes one bit for good, as rot does.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, segment: SegmentNo, offset: u64, bit: u8) {
        let mut state = self.state();
        let file = state.files.get_mut(&segment).expect("the segment is there");
        let offset = usize::try_from(offset).expect("files in memory are small");
        file.shown[offset] ^= 1 << (bit % 8);
        if let Some(byte) = file.platter.get_mut(offset) {
            *byte = file.shown[offset];
        }
    }

    /// Puts bytes on the platter as they are, bypassing every fault.
    ///
    /// # Panics
    /// When the file ends before them.
    pub fn overwrite(&self, segment: SegmentNo, offset: usize, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.files.get_mut(&segment).expect("the segment is there");
        file.shown[offset..offset + bytes.len()].copy_from_slice(bytes);
        file.platter.clone_from(&file.shown);
        file.dirty.clear();
    }

    /// A disk without faults that has on its platter what this one shows.
    #[must_use]
    pub fn copy(&self) -> SimDisk {
        let copy = SimDisk::new(self.state().random);
        for (segment, file) in &self.state().files {
            let (shown, platter) = (file.shown.clone(), file.shown.clone());
            copy.state().files.insert(*segment, SimFile { shown, platter, dirty: BTreeSet::new() });
        }
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// splitmix64, by Sebastiano Vigna (public domain): good enough for faults, and the same everywhere.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self, of_65536: u16) -> bool {
        of_65536 > 0 && self.draw() & 0xffff < u64::from(of_65536)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.draw() % (most as u64 + 1)) as usize
    }

    fn take_next(&mut self, matches: impl Fn(NextFault) -> bool) -> Option<NextFault> {
        self.next_fault.take_if(|fault| matches(*fault))
    }

    fn crash_file(&mut self, segment: SegmentNo) {
        let Some(mut file) = self.files.remove(&segment) else { return };
        // The length goes with the last sector that was kept.
        for sector in std::mem::take(&mut file.dirty) {
            let start = sector * SECTOR;
            let end = file.shown.len().min(start + SECTOR);
            let kept = match self.draw() % 3 {
                0 => {
                    self.happened.lost_sectors += 1;
                    continue;
                }
                1 => {
                    self.happened.kept_sectors += 1;
                    end - start
                }
                _ => {
                    self.happened.torn_sectors += 1;
                    self.below(end - start)
                }
            };
            if file.platter.len() < end {
                file.platter.resize(end, 0);
            }
            file.platter[start..start + kept].copy_from_slice(&file.shown[start..start + kept]);
        }
        file.shown.clone_from(&file.platter);
        self.files.insert(segment, file);
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.shown.len() as u64).sum()
    }

    /// How much of a write happens, and how it ends.
    fn outcome(&mut self, bytes: usize, growth: u64) -> (usize, io::Result<()>) {
        let next = self.take_next(|fault| matches!(fault, NextFault::Write(_) | NextFault::Full(_)));
        if let Some(NextFault::Write(part)) = next {
            return self.failed_write(part.min(bytes));
        }
        if let Some(NextFault::Full(part)) = next {
            return self.full(part.min(bytes));
        }
        let often = self.faults.write_fails;
        if self.chance(often) {
            let part = self.below(bytes);
            return self.failed_write(part);
        }
        let often = self.faults.full;
        if self.chance(often) || self.used() + growth > self.capacity {
            let part = if growth > 0 { 0 } else { self.below(bytes) };
            return self.full(part);
        }
        self.happened.writes += 1;
        (bytes, Ok(()))
    }

    fn failed_write(&mut self, part: usize) -> (usize, io::Result<()>) {
        self.happened.failed_writes += 1;
        (part, Err(io::Error::other("simulated write error")))
    }

    fn full(&mut self, part: usize) -> (usize, io::Result<()>) {
        self.happened.no_space += 1;
        (part, Err(io::Error::new(io::ErrorKind::StorageFull, "simulated full disk")))
    }
}

fn absent() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such simulated segment")
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<SegmentNo>> {
        Ok(self.state().files.keys().copied().collect())
    }

    fn create(&self, segment: SegmentNo, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.files.contains_key(&segment) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(segment, SimFile::default());
        state.created.insert(segment);
        let often = state.faults.full;
        if state.used() + bytes > state.capacity || state.chance(often) {
            return state.full(0).1;
        }
        Ok(())
    }

    fn write_at(&self, segment: SegmentNo, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let length = state.files.get(&segment).ok_or_else(absent)?.shown.len();
        let growth = (start + bytes.len()).saturating_sub(length) as u64;
        let (part, outcome) = state.outcome(bytes.len(), growth);
        let file = state.files.get_mut(&segment).ok_or_else(absent)?;
        let end = start + part;
        if part > 0 {
            if file.shown.len() < end {
                file.shown.resize(end, 0);
            }
            file.shown[start..end].copy_from_slice(&bytes[..part]);
            file.dirty.extend(start / SECTOR..=(end - 1) / SECTOR);
        }
        outcome
    }

    fn sync(&self, segment: SegmentNo) -> io::Result<()> {
        let mut state = self.state();
        let fails = state.take_next(|fault| fault == NextFault::Sync).is_some() || {
            let often = state.faults.sync_fails;
            state.chance(often)
        };
        if fails {
            state.happened.failed_syncs += 1;
            let file = state.files.get_mut(&segment).ok_or_else(absent)?;
            file.dirty.clear();
            return Err(io::Error::other("simulated sync error"));
        }
        state.happened.syncs += 1;
        let file = state.files.get_mut(&segment).ok_or_else(absent)?;
        for sector in std::mem::take(&mut file.dirty) {
            let (start, end) = (sector * SECTOR, file.shown.len().min((sector + 1) * SECTOR));
            if file.platter.len() < end {
                file.platter.resize(end, 0);
            }
            file.platter[start..end].copy_from_slice(&file.shown[start..end]);
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.take_next(|fault| fault == NextFault::SyncDir).is_some() {
            state.happened.failed_syncs += 1;
            return Err(io::Error::other("simulated directory sync error"));
        }
        state.removed.clear();
        state.created.clear();
        Ok(())
    }

    fn length(&self, segment: SegmentNo) -> io::Result<u64> {
        Ok(self.state().files.get(&segment).ok_or_else(absent)?.shown.len() as u64)
    }

    fn read_at(&self, segment: SegmentNo, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = state.files.get(&segment).ok_or_else(absent)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = file.shown.get(start..start.saturating_add(length));
        Ok(bytes.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
    }

    fn remove(&self, segment: SegmentNo) -> io::Result<()> {
        let mut state = self.state();
        let file = state.files.remove(&segment).ok_or_else(absent)?;
        if !state.created.remove(&segment) {
            state.removed.insert(segment, file.platter);
        }
        Ok(())
    }

    fn locate(&self, segment: SegmentNo) -> PathBuf {
        PathBuf::from(format!("sim/{:020}.segment", segment.0))
    }
}
