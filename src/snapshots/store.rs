//! sled, with what it does not promise added around it.
//!
//! Facts about sled 0.34.7 on which this rests, read in its source: `flush` is `sync_file_range` on Linux, which is no
//! barrier, so [`Store::barrier`] adds an `fdatasync` of its one data file; a node larger than a quarter segment (128 KiB)
//! goes to a file that is never synced, so chunks are 4 KiB; opening or reading a damaged store may panic, so
//! every call is caught, and a store that cannot be read is moved aside as a whole. Values read back may come from
//! its cache: that proves what it would answer, not what the disk holds, which is why two snapshots are kept.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::{Db, Tree};

use super::Error;
use super::format::{self, CHUNK_BYTES, Content, Fault, Meta, Place};
use crate::journal::Seq;

/// A store that was just dropped stays locked until sled's own threads have ended.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Store {
    /// Kept open: the trees live as long as it does.
    _db: Db,
    metas: Tree,
    chunks: Tree,
    /// sled's data file, to sync it.
    file: File,
}

/// Every snapshot that is stored, in the order of places, and its description or what is wrong with it.
type Found = Vec<(Place, Result<Meta, Fault>)>;

impl Store {
    /// Opens the store, or moves it aside and opens an empty one. Snapshots that were never finished are removed.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<(Store, Found, Option<PathBuf>), Error> {
        let unreadable = match Store::try_open(path, cache_bytes) {
            Ok((store, found)) => return Ok((store, found, None)),
            Err(Unopened::Refused(reason)) => return Err(Error::Store { reason }),
            Err(Unopened::Unreadable(reason)) => reason,
        };
        let moved = move_aside(path)?;
        tracing::warn!(
            path = %path.display(), moved_to = %moved.display(), reason = unreadable,
            "snapshot store cannot be read, starting an empty one"
        );
        match Store::try_open(path, cache_bytes) {
            Ok((store, found)) => Ok((store, found, Some(moved))),
            Err(Unopened::Refused(reason) | Unopened::Unreadable(reason)) => Err(Error::Store { reason }),
        }
    }

    fn try_open(path: &Path, cache_bytes: u64) -> Result<(Store, Found), Unopened> {
        let mut tries = 0;
        let (db, metas, chunks) = loop {
            let opened = caught(|| {
                let db = sled::Config::new().path(path).cache_capacity(cache_bytes).open()?;
                let (metas, chunks) = (db.open_tree("metas")?, db.open_tree("chunks")?);
                Ok((db, metas, chunks))
            });
            match opened {
                Ok(opened) => break opened,
                Err(failure) if failure.is_locked() && tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(failure) => return Err(Unopened::of(failure)),
            }
        };
        let file = File::open(path.join("db")).map_err(|error| Unopened::Refused(error.to_string()))?;
        let store = Store { _db: db, metas, chunks, file };
        let found = store.list().map_err(Unopened::of)?;
        Ok((store, found))
    }

    fn list(&self) -> Result<Found, Failure> {
        caught(|| {
            let mut found = Vec::new();
            for entry in self.metas.iter() {
                let (key, bytes) = entry?;
                let Some(place) = Place::of_key(&key) else {
                    tracing::warn!(?key, "not a snapshot's key, removed");
                    self.metas.remove(key)?;
                    continue;
                };
                match format::decode_meta(&place, &bytes) {
                    Err(Fault::Unfinished) => self.remove_all(&place)?,
                    meta => found.push((place, meta)),
                }
            }
            Ok(found)
        })
    }

    /// Writes a snapshot: a mark that it is begun, its chunks, and its description last. Not durable yet.
    pub(super) fn write(&self, place: &Place, seq: Seq, content: Content, bytes: &[u8]) -> Result<(), Error> {
        caught(|| {
            self.metas.insert(place.key(), format::encode_begun(place))?;
            for (number, chunk) in (0u32..).zip(bytes.chunks(CHUNK_BYTES)) {
                self.chunks.insert(place.chunk_key(number), chunk)?;
            }
            self.metas.insert(place.key(), format::encode_meta(place, Meta { seq, content }))?;
            Ok(())
        })
        .map_err(Error::from)
    }

    /// Writes a snapshot's description anew, with another number. Not durable yet.
    pub(super) fn stamp(&self, place: &Place, seq: Seq, content: Content) -> Result<(), Error> {
        caught(|| Ok(self.metas.insert(place.key(), format::encode_meta(place, Meta { seq, content }))?))
            .map(drop)
            .map_err(Error::from)
    }

    /// Makes durable what was written.
    pub(super) fn barrier(&self) -> Result<(), Error> {
        caught(|| Ok(self.metas.flush()?)).map_err(Error::from)?;
        self.file.sync_data().map_err(|error| Error::Store { reason: format!("sync failed: {error}") })
    }

    /// Reads a snapshot and checks every sum.
    pub(super) fn read(&self, place: &Place) -> Result<(Seq, Vec<u8>), Fault> {
        let stored = |failure: Failure| Fault::Store { reason: failure.to_string() };
        let meta = caught(|| Ok(self.metas.get(place.key())?)).map_err(stored)?.ok_or(Fault::NoMeta)?;
        let Meta { seq, content } = format::decode_meta(place, &meta)?;
        let mut bytes = Vec::new();
        let mut number = 0;
        while (bytes.len() as u64) < content.length {
            let chunk = caught(|| Ok(self.chunks.get(place.chunk_key(number))?)).map_err(stored)?;
            let chunk = chunk.filter(|chunk| !chunk.is_empty()).ok_or(Fault::ChunkMissing { number })?;
            bytes.extend_from_slice(&chunk);
            number += 1;
        }
        if bytes.len() as u64 != content.length {
            return Err(Fault::Length { found: bytes.len() as u64, expected: content.length });
        }
        if Content::of(&bytes) != content {
            return Err(Fault::Checksum);
        }
        Ok((seq, bytes))
    }

    /// Removes a snapshot, its description first.
    pub(super) fn remove(&self, place: &Place) -> Result<(), Error> {
        caught(|| self.remove_all(place)).map_err(Error::from)
    }

    fn remove_all(&self, place: &Place) -> Result<(), Failure> {
        // Marked as unfinished until its chunks are gone, so that a crash in between leaves nothing behind for good.
        self.metas.insert(place.key(), format::encode_begun(place))?;
        for key in self.chunks.scan_prefix(place.key()).keys() {
            self.chunks.remove(key?)?;
        }
        self.metas.remove(place.key())?;
        Ok(())
    }
}

enum Unopened {
    /// Not the store's fault.
    Refused(String),
    Unreadable(String),
}

impl Unopened {
    fn of(failure: Failure) -> Unopened {
        use std::io::ErrorKind;
        if failure.is_locked() {
            return Unopened::Refused(failure.to_string());
        }
        let refusals = [ErrorKind::PermissionDenied, ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem];
        match failure {
            Failure::Sled(sled::Error::Io(error)) if refusals.contains(&error.kind()) => {
                Unopened::Refused(error.to_string())
            }
            Failure::Sled(error) => Unopened::Unreadable(error.to_string()),
            Failure::Panicked(text) => Unopened::Unreadable(text),
        }
    }
}

/// What sled did instead of answering.
enum Failure {
    Sled(sled::Error),
    Panicked(String),
}

impl Failure {
    /// sled says so in words alone.
    fn is_locked(&self) -> bool {
        matches!(self, Failure::Sled(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock"))
    }
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        Failure::Sled(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Sled(error) => error.fmt(f),
            Failure::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Store { reason: failure.to_string() }
    }
}

fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure::Panicked(text.unwrap_or_default()))
    })
}

/// Renames the store's directory; one that was moved aside earlier is given up.
fn move_aside(path: &Path) -> Result<PathBuf, Error> {
    let failed = |error: std::io::Error| Error::Store { reason: format!("cannot be moved aside: {error}") };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = path.with_file_name(name);
    if aside.exists() {
        if aside.is_dir() { std::fs::remove_dir_all(&aside) } else { std::fs::remove_file(&aside) }.map_err(failed)?;
    }
    std::fs::rename(path, &aside).map_err(failed)?;
    Ok(aside)
}

#[cfg(test)]
impl Store {
    /// Changes what is stored behind the store's back.
    pub(super) fn spoil(&self, place: &Place, spoil: &dyn Fn(&Tree, &Tree, &Place)) {
        spoil(&self.metas, &self.chunks, place);
    }
}
