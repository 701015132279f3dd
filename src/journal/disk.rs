//! The files beneath the journal: the least that it needs of a disk, and the real one.
//!
//! Knows segment files by number, not what is in them. It must never sync on its own or hide an error.
//! The disk that breaks on purpose is [`super::sim_disk`].

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::SegmentNo;

/// A directory of segment files. What was written is durable after `sync` of the file, what was created or removed
/// after `sync_dir`, and nothing is before.
pub trait Disk: Send + Sync + 'static {
    /// The segments there are, in ascending order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<SegmentNo>>;

    /// Creates a segment and reserves `bytes` for it where the file system can.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no space; the file may exist nevertheless.
    fn create(&self, segment: SegmentNo, bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Then any part of them may have been written.
    fn write_at(&self, segment: SegmentNo, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the segment's bytes and length durable.
    ///
    /// # Errors
    /// Then it is unknown what is durable, and a second call would not tell either.
    fn sync(&self, segment: SegmentNo) -> io::Result<()>;

    /// Makes creations and removals durable.
    ///
    /// # Errors
    /// As for [`Disk::sync`].
    fn sync_dir(&self) -> io::Result<()>;

    /// The segment's length in bytes.
    ///
    /// # Errors
    /// When there is no such segment.
    fn length(&self, segment: SegmentNo) -> io::Result<u64>;

    /// The `length` bytes from `offset` on.
    ///
    /// # Errors
    /// When there are fewer.
    fn read_at(&self, segment: SegmentNo, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Removes a segment.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&self, segment: SegmentNo) -> io::Result<()>;

    /// What a person would call the segment's file.
    fn locate(&self, segment: SegmentNo) -> PathBuf;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct FileDisk {
    dir: PathBuf,
    open: Mutex<HashMap<SegmentNo, Arc<File>>>,
}

const EXTENSION: &str = "segment";

impl FileDisk {
    /// Opens `dir`, which is created if need be.
    ///
    /// # Errors
    /// When it cannot be created or synced.
    pub fn create_dir(dir: &Path) -> io::Result<FileDisk> {
        if !dir.is_dir() {
            std::fs::create_dir_all(dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(FileDisk::read_only(dir))
    }

    /// Looks at `dir` as it is; an absent directory is an error of the first read.
    #[must_use]
    pub fn read_only(dir: &Path) -> FileDisk {
        FileDisk { dir: dir.to_owned(), open: Mutex::new(HashMap::new()) }
    }

    fn writable(&self, segment: SegmentNo) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(self.locate(segment))?);
        open.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    fn forget(&self, segment: SegmentNo) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<SegmentNo>> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            match path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()) {
                Some(number) => segments.push(SegmentNo(number)),
                None => tracing::warn!(path = %path.display(), "not a segment's name, ignored"),
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn create(&self, segment: SegmentNo, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.locate(segment))?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // Not every file system reserves space; the zeros written next do then.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_at(&self, segment: SegmentNo, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable(segment)?.write_all_at(bytes, offset)
    }

    fn sync(&self, segment: SegmentNo) -> io::Result<()> {
        self.writable(segment)?.sync_data()
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn length(&self, segment: SegmentNo) -> io::Result<u64> {
        Ok(std::fs::metadata(self.locate(segment))?.len())
    }

    fn read_at(&self, segment: SegmentNo, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(self.locate(segment))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn remove(&self, segment: SegmentNo) -> io::Result<()> {
        self.forget(segment);
        std::fs::remove_file(self.locate(segment))
    }

    fn locate(&self, segment: SegmentNo) -> PathBuf {
        self.dir.join(format!("{:020}.{EXTENSION}", segment.0))
    }
}
