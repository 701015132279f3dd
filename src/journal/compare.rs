//! Copies against JetStream: finds every record that was acknowledged to a node and is not in the journal as it was.
//!
//! Owns the comparison and nothing else: it is given what the copies hold ([`Copies::read`]) and, shard by shard, what
//! JetStream holds ([`ShardAudit::see`]). A copy that lacks records says nothing: it covers what its node owned, and
//! not always that. A record counts by its number and its bytes, not by its envelope: one that was restored lies under a
//! later epoch. Reading JetStream and writing to it is in [`against`].

pub mod against;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_128;

use super::copy;
use super::inspect::DumpError;
use super::jetstream::{Envelope, Kind};
use super::{Seq, Shard};

/// A record as one copy has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Which copy.
    copy: usize,
    epoch: u64,
    digest: u128,
}

/// What a shard's records look like in the copies; several, when they do not agree.
type Records = BTreeMap<Seq, SmallVec<[Seen; 1]>>;

/// What all copies hold, as digests.
#[derive(Debug, Default)]
pub struct Copies {
    dirs: Vec<PathBuf>,
    shards: BTreeMap<Shard, Records>,
}

/// A record that is not in the journal as it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of which shard.
    pub shard: Shard,
    /// Its number.
    pub seq: Seq,
    /// The epoch of its writer and the copy that has it; nothing if no copy has it.
    pub known: Option<(u64, PathBuf)>,
    /// What is wrong.
    pub what: What,
}

/// What can be wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The journal ends before it.
    MissingAtEnd {
        /// The journal's last record.
        last: Seq,
    },
    /// The journal goes on behind it.
    Hole,
    /// The journal has another record under its number.
    OtherBytes {
        /// Of a writer with this epoch.
        epoch: u64,
    },
    /// The journal has a record under its number a second time, or behind greater numbers.
    Repeated {
        /// By a writer with this epoch.
        epoch: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard={} seq={}", self.shard, self.seq)?;
        match &self.known {
            Some((epoch, copy)) => write!(f, " epoch={epoch} copy={}: ", copy.display())?,
            None => write!(f, " (in no copy): ")?,
        }
        match self.what {
            What::MissingAtEnd { last } => write!(f, "missing at the end, the journal ends at {last}"),
            What::Hole => write!(f, "missing, the journal goes on behind it"),
            What::OtherBytes { epoch } => write!(f, "other bytes in the journal, written under epoch {epoch}"),
            What::Repeated { epoch } => write!(f, "out of order in the journal, written under epoch {epoch}"),
        }
    }
}

impl Copies {
    /// Reads the copies of these data directories; the nodes may be running.
    ///
    /// # Errors
    /// The first copy that is damaged or cannot be read, by its directory.
    pub fn read(data_dirs: &[PathBuf]) -> Result<Copies, (PathBuf, DumpError)> {
        let mut copies = Copies { dirs: data_dirs.to_vec(), ..Copies::default() };
        for (index, dir) in data_dirs.iter().enumerate() {
            let mut take = |message: Bytes| {
                copies.add(index, &Envelope::open(&message)?);
                Ok(())
            };
            copy::visit(&copy::folder(dir), &mut take).map_err(|error| (dir.clone(), error))?;
        }
        Ok(copies)
    }

    fn add(&mut self, copy: usize, envelope: &Envelope) {
        if let Kind::Record(record) = &envelope.kind {
            let seen = Seen { copy, epoch: envelope.epoch, digest: xxh3_128(record) };
            let records = self.shards.entry(envelope.shard).or_default();
            records.entry(envelope.seq).or_default().push(seen);
        }
    }

    /// Number of records, those of several copies counted once.
    #[must_use]
    pub fn records(&self) -> usize {
        self.shards.values().map(BTreeMap::len).sum()
    }

    /// The last record of each shard that any copy has.
    pub fn ends(&self) -> impl Iterator<Item = (Shard, Seq)> {
        self.shards.iter().filter_map(|(shard, records)| Some((*shard, *records.last_key_value()?.0)))
    }

    /// Begins with a shard.
    #[must_use]
    pub fn audit(&self, shard: Shard) -> ShardAudit<'_> {
        ShardAudit { copies: self, shard, last: None, compared: 0, differences: Vec::new() }
    }

    /// The records of `shard` right behind `last` that the copies have without a gap and agree on.
    #[must_use]
    pub fn lost_behind(&self, shard: Shard, last: Seq) -> Lost {
        let mut lost = Lost { shard, after: last, digests: Vec::new() };
        while let Some(seen) = self.shards.get(&shard).and_then(|records| records.get(&lost.last().next())) {
            match seen.as_slice() {
                [first, rest @ ..] if rest.iter().all(|other| other.digest == first.digest) => {
                    lost.digests.push(first.digest);
                }
                _ => break,
            }
        }
        lost
    }
}

/// Records that are to be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Of which shard.
    pub shard: Shard,
    /// They come right behind this record.
    pub after: Seq,
    digests: Vec<u128>,
}

impl Lost {
    /// The last of them; `after` if there are none.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.after.0 + self.digests.len() as u64)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Takes the records out of a data directory's copy.
    ///
    /// # Errors
    /// The copy cannot be read.
    pub fn find(&self, data_dir: &Path, found: &mut BTreeMap<Seq, Bytes>) -> Result<(), DumpError> {
        copy::visit(&copy::folder(data_dir), &mut |message| {
            let envelope = Envelope::open(&message)?;
            let Kind::Record(record) = envelope.kind else { return Ok(()) };
            let index = envelope.seq.0.checked_sub(self.after.0 + 1).and_then(|index| usize::try_from(index).ok());
            let digest = index.and_then(|index| self.digests.get(index));
            if envelope.shard == self.shard && digest.is_some_and(|digest| *digest == xxh3_128(&record)) {
                found.insert(envelope.seq, record);
            }
            Ok(())
        })
    }
}

/// The comparison of one shard, message by message.
#[derive(Debug)]
pub struct ShardAudit<'c> {
    copies: &'c Copies,
    shard: Shard,
    /// The last record seen; before the first message nothing.
    last: Option<Seq>,
    compared: u64,
    differences: Vec<Difference>,
}

impl ShardAudit<'_> {
    /// Takes the next message of the journal.
    pub fn see(&mut self, envelope: &Envelope) {
        let before = envelope.before();
        // What came before the first message was cut.
        let last = self.last.unwrap_or(before);
        for seq in last.0 + 1..=before.0 {
            self.differ(Seq(seq), What::Hole);
        }
        if before < last {
            self.differ(envelope.seq, What::Repeated { epoch: envelope.epoch });
        } else if let Kind::Record(record) = &envelope.kind {
            self.compare(envelope, xxh3_128(record));
        }
        self.last = Some(last.max(envelope.seq));
    }

    fn compare(&mut self, envelope: &Envelope, digest: u128) {
        let seen = self.seen(envelope.seq);
        self.compared += u64::from(!seen.is_empty());
        for seen in seen.iter().filter(|seen| seen.digest != digest) {
            let what = What::OtherBytes { epoch: envelope.epoch };
            self.differences.push(self.difference(envelope.seq, Some(*seen), what));
        }
    }

    /// Says a difference for each copy that has the record.
    fn differ(&mut self, seq: Seq, what: What) {
        let seen = self.seen(seq);
        if seen.is_empty() {
            self.differences.push(self.difference(seq, None, what));
        }
        for seen in seen {
            self.differences.push(self.difference(seq, Some(seen), what));
        }
    }

    fn difference(&self, seq: Seq, seen: Option<Seen>, what: What) -> Difference {
        let known = seen.map(|seen| (seen.epoch, self.copies.dirs[seen.copy].clone()));
        Difference { shard: self.shard, seq, known, what }
    }

    fn seen(&self, seq: Seq) -> SmallVec<[Seen; 1]> {
        let records = self.copies.shards.get(&self.shard);
        records.and_then(|records| records.get(&seq)).cloned().unwrap_or_default()
    }

    /// There is no further message: says how many records were found in copies as well, and what differs.
    #[must_use]
    pub fn finish(mut self) -> (u64, Vec<Difference>) {
        let last = self.last.unwrap_or_default();
        let behind: Vec<Seq> = match self.copies.shards.get(&self.shard) {
            Some(records) => records.range(last.next()..).map(|(seq, _)| *seq).collect(),
            None => Vec::new(),
        };
        for seq in behind {
            self.differ(seq, What::MissingAtEnd { last });
        }
        (self.compared, self.differences)
    }
}

#[cfg(test)]
mod tests;
