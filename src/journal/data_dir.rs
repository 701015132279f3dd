//! The lock on a data directory: one process at a time writes to it.
//!
//! The lock is the kernel's (`flock`), so it ends with the process however that ends; the number in the file is only
//! for people. Whoever holds a [`DataDir`] may write below it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// A data directory that this process has to itself until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, when its number can be read.
        pid: Option<u32>,
    },
    /// It cannot be created or opened.
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { path, pid: Some(pid) } => {
                write!(f, "data directory is in use by another process: path={} pid={pid}", path.display())
            }
            LockError::Held { path, pid: None } => {
                write!(f, "data directory is in use by another process: path={}", path.display())
            }
            LockError::Io { path, source } => {
                write!(f, "data directory cannot be opened: path={}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Io { source, .. } => Some(source),
            LockError::Held { .. } => None,
        }
    }
}

impl DataDir {
    /// Creates `path` if need be and locks it.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another process has it; it is never waited for.
    pub fn lock(path: &Path) -> Result<DataDir, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held { path: path.to_owned(), pid: holder(&mut lock) });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests;
