//! The backup as files: a directory that says of itself whether it is whole.
//!
//! ```text
//! manifest.json        what was backed up: see [`Manifest`]
//! journal-<shard>      "STPJ" | version u8 = 1 | shard u16 LE | messages: ( length u32 LE | message as it lay in JetStream )*
//! bundle-<shard>-<n>   a bundle of snapshots as it lay in the object store, the older first
//! SHA256SUMS           of all of them, for `sha256sum -c`; written last, so without it a backup is not finished
//! ```
//!
//! Owns the directory, its checksums and its durability. Knows no NATS and not what messages mean.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::journal::Shard;

const SUMS: &str = "SHA256SUMS";
const MANIFEST: &str = "manifest.json";
const MAGIC: &[u8; 4] = b"STPJ";
const VERSION: u8 = 1;
/// Most bytes that one message may claim: NATS itself takes at most 64 MiB.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the directory's form.
    pub format: u32,
    /// When it was begun, RFC 3339.
    pub taken_at: String,
    /// The deployment's name, the first part of its subjects.
    pub name: String,
    /// The deployment's record as it lay in NATS.
    pub deployment: serde_json::Value,
    /// The greatest number that a message of any of its streams had.
    pub position_max: u64,
    /// All journals are as they were at one moment, which was found to within so many microseconds.
    pub moment_us: u64,
    /// Its shards that were ever written, in order.
    pub shards: Vec<ShardManifest>,
}

/// What a backup holds of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardManifest {
    /// Which.
    pub shard: u16,
    /// Number of messages in its journal.
    pub messages: u64,
    /// The last record before the first message: what was cut.
    pub before: u64,
    /// The last record.
    pub last: u64,
    /// The epoch of the last message.
    pub epoch: u64,
    /// Up to which record each bundle is complete, the older first.
    pub bundles: Vec<u64>,
}

/// Version of the form that is written, and the only one read.
pub const FORMAT: u32 = 1;

/// Why a backup's directory cannot be written or read: the file and what is wrong.
#[derive(Debug)]
pub struct ArchiveError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for ArchiveError {}

fn at(path: &Path) -> impl Fn(io::Error) -> ArchiveError {
    move |error| wrong(path, error)
}

fn wrong(path: &Path, what: impl fmt::Display) -> ArchiveError {
    ArchiveError { path: path.to_owned(), what: what.to_string() }
}

/// The name of a bundle's file.
fn bundle_name(shard: Shard, number: usize) -> String {
    format!("bundle-{shard}-{number}")
}

fn journal_name(shard: Shard) -> String {
    format!("journal-{shard}")
}

/// A backup that is being written.
pub struct Writing {
    dir: PathBuf,
    /// By file.
    sums: BTreeMap<String, String>,
}

impl Writing {
    /// Begins in a directory that is empty or does not exist.
    ///
    /// # Errors
    /// Anything is in it, or it cannot be written to.
    pub fn create(dir: &Path) -> Result<Writing, ArchiveError> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        if fs::read_dir(dir).map_err(at(dir))?.next().is_some() {
            return Err(wrong(dir, "is not empty: a backup needs a directory of its own"));
        }
        Ok(Writing { dir: dir.to_owned(), sums: BTreeMap::new() })
    }

    /// Begins a shard's journal, or begins it anew.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn journal(&self, shard: Shard) -> Result<JournalFile, ArchiveError> {
        let name = journal_name(shard);
        let path = self.dir.join(&name);
        let out = Some(BufWriter::new(File::create(&path).map_err(at(&path))?));
        let mut file = JournalFile { name, path, out, hash: Sha256::new() };
        file.put(MAGIC)?;
        file.put(&[VERSION])?;
        file.put(&shard.0.to_le_bytes())?;
        Ok(file)
    }

    /// Ends a shard's journal: it is durable.
    ///
    /// # Errors
    /// It is not.
    pub fn finish_journal(&mut self, mut file: JournalFile) -> Result<(), ArchiveError> {
        file.pause()?;
        let JournalFile { name, path, hash, .. } = file;
        File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
        self.sums.insert(name, hex(hash));
        Ok(())
    }

    /// Writes one of a shard's bundles, or writes it anew.
    ///
    /// # Errors
    /// It is not durable.
    pub fn bundle(&mut self, shard: Shard, number: usize, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.whole(bundle_name(shard, number), bytes)
    }

    /// Ends the backup: it is whole and durable when this returns.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(mut self, manifest: &Manifest) -> Result<(), ArchiveError> {
        let text = serde_json::to_vec_pretty(manifest).map_err(|error| wrong(&self.dir, error))?;
        self.whole(MANIFEST.to_owned(), &text)?;
        let lines: Vec<String> = self.sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        let (unfinished, path) = (self.dir.join("SHA256SUMS.unfinished"), self.dir.join(SUMS));
        write_synced(&unfinished, lines.concat().as_bytes())?;
        fs::rename(&unfinished, &path).map_err(at(&path))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(at(&self.dir))
    }

    fn whole(&mut self, name: String, bytes: &[u8]) -> Result<(), ArchiveError> {
        write_synced(&self.dir.join(&name), bytes)?;
        self.sums.insert(name, hex(Sha256::new().chain_update(bytes)));
        Ok(())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    let mut file = File::create(path).map_err(at(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(path))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A shard's journal that is being written.
pub struct JournalFile {
    name: String,
    path: PathBuf,
    /// While messages are added.
    out: Option<BufWriter<File>>,
    hash: Sha256,
}

impl JournalFile {
    /// Gives the open file back until the next message: there may be more shards than a process may have files.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn pause(&mut self) -> Result<(), ArchiveError> {
        match self.out.take() {
            Some(mut out) => out.flush().map_err(at(&self.path)),
            None => Ok(()),
        }
    }

    /// Adds the next message.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, message: &[u8]) -> Result<(), ArchiveError> {
        let length = u32::try_from(message.len()).map_err(|error| wrong(&self.path, error))?;
        self.put(&length.to_le_bytes())?;
        self.put(message)
    }

    /// There is nothing to be kept: the file is removed.
    ///
    /// # Errors
    /// It cannot be.
    pub fn discard(self) -> Result<(), ArchiveError> {
        fs::remove_file(&self.path).map_err(at(&self.path))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.hash.update(bytes);
        let out = match &mut self.out {
            Some(out) => out,
            paused => {
                paused.insert(BufWriter::new(File::options().append(true).open(&self.path).map_err(at(&self.path))?))
            }
        };
        out.write_all(bytes).map_err(at(&self.path))
    }
}

/// A backup whose every byte was checked.
pub struct Reading {
    dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

impl Reading {
    /// Opens a backup and checks every file that belongs to it.
    ///
    /// # Errors
    /// It was never finished, or a file is missing or not what was written.
    pub fn open(dir: &Path) -> Result<Reading, ArchiveError> {
        let path = dir.join(SUMS);
        let sums = match fs::read_to_string(&path) {
            Ok(sums) => sums,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(wrong(&path, "is missing: this is no backup, or one that was never finished"));
            }
            Err(error) => return Err(wrong(&path, error)),
        };
        let mut names = Vec::new();
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").ok_or_else(|| wrong(&path, "a line is not `sum  name`"))?;
            check(&dir.join(name), sum)?;
            names.push(name);
        }
        let path = dir.join(MANIFEST);
        let text = fs::read(&path).map_err(at(&path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| wrong(&path, error))?;
        if manifest.format != FORMAT {
            return Err(wrong(&path, format!("unknown format: found={} known={FORMAT}", manifest.format)));
        }
        let reading = Reading { dir: dir.to_owned(), manifest };
        match reading.files().into_iter().find(|file| !names.contains(&file.as_str())) {
            Some(missing) => Err(wrong(&dir.join(SUMS), format!("does not list `{missing}`"))),
            None => Ok(reading),
        }
    }

    fn files(&self) -> Vec<String> {
        let mut files = vec![MANIFEST.to_owned()];
        for shard in &self.manifest.shards {
            files.push(journal_name(Shard(shard.shard)));
            files.extend((0..shard.bundles.len()).map(|number| bundle_name(Shard(shard.shard), number)));
        }
        files
    }

    /// One of a shard's bundles.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bundle(&self, shard: Shard, number: usize) -> Result<Vec<u8>, ArchiveError> {
        let path = self.dir.join(bundle_name(shard, number));
        fs::read(&path).map_err(at(&path))
    }

    /// The messages of a shard's journal, in order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn journal(&self, shard: Shard) -> Result<Messages, ArchiveError> {
        let path = self.dir.join(journal_name(shard));
        let mut file = BufReader::new(File::open(&path).map_err(at(&path))?);
        let mut head = [0; 7];
        file.read_exact(&mut head).map_err(at(&path))?;
        if head[..4] != *MAGIC || head[4] != VERSION || head[5..] != shard.0.to_le_bytes() {
            return Err(wrong(&path, "is not this shard's journal in a form that is known"));
        }
        Ok(Messages { path, file })
    }
}

fn check(path: &Path, sum: &str) -> Result<(), ArchiveError> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).map_err(at(path))?, &mut HashWriter(&mut hash)).map_err(at(path))?;
    if hex(hash) == sum { Ok(()) } else { Err(wrong(path, "is not what was written: its checksum differs")) }
}

struct HashWriter<'h>(&'h mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The messages of a shard's journal, read one by one.
pub struct Messages {
    path: PathBuf,
    file: BufReader<File>,
}

impl Iterator for Messages {
    type Item = Result<Bytes, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut length = [0; 4];
        match self.file.read(&mut length[..1]) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(wrong(&self.path, error))),
        }
        Some(self.rest(length))
    }
}

impl Messages {
    fn rest(&mut self, mut length: [u8; 4]) -> Result<Bytes, ArchiveError> {
        self.file.read_exact(&mut length[1..]).map_err(at(&self.path))?;
        let length = u32::from_le_bytes(length);
        if length > MESSAGE_BYTES_MAX {
            return Err(wrong(&self.path, format!("a message claims {length} bytes")));
        }
        let mut message = vec![0; length as usize];
        self.file.read_exact(&mut message).map_err(at(&self.path))?;
        Ok(message.into())
    }
}

#[cfg(test)]
mod tests;
