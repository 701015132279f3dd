//! Taking a backup: reads, and writes nothing to NATS.
//!
//! The journals of all shards end at one moment: shards tell each other what they did, and a backup in which one knows of
//! what another has not done yet would sell a seat twice. A stream has one order, so a position in it is a moment for all
//! of its shards; the few streams are asked for theirs at once. Because shards change while they are read, they are
//! read in passes: the first takes all there is, the next what has come since, the last only as far as the moment.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tracing::info;

use super::archive::{FORMAT, JournalFile, Manifest, ShardManifest, Writing};
use super::{BackupError, Connection};
use crate::config::Config;
use crate::journal::jetstream::Envelope;
use crate::journal::{Seq, Shard};
use crate::nats::{Nats, Stored};
use crate::snapshots::shared::verified_bundles;

/// Times a shard is begun anew while its journal is cut under the reader's hands, and times a moment is chosen. A
/// journal is cut once in an interval of snapshots.
const TRIES: usize = 10;

/// A pass that took no longer was short enough: little has come since.
const PASS_MAX: Duration = Duration::from_secs(5);

/// Times all streams are asked for their positions, of which the fastest counts; and how fast is fast enough. One shard can
/// know of another's record only after that was committed and sent, which is two ways over the network and a sync; asking
/// is one way there and back. So a question that was not held up is faster than any consequence.
const MOMENTS: usize = 300;
const MOMENT_ENOUGH: Duration = Duration::from_micros(300);

/// What was backed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Shards that were ever written.
    pub shards: usize,
    /// Journal messages of all of them.
    pub messages: u64,
    /// Bundles of all of them.
    pub bundles: usize,
    /// To within how long the moment is known at which all journals end.
    pub moment: Duration,
}

/// Backs the deployment of `config` up into the directory `to`, which must be empty or new. Blocks.
///
/// # Errors
/// There is no deployment, NATS does not answer, or what it holds does not fit together; the directory is then no backup.
pub fn take(config: &Config, to: &Path) -> Result<Taken, BackupError> {
    let connection = Connection::open(config)?;
    let Connection { runtime, nats, .. } = &connection;
    let taken_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let deployment = runtime.block_on(nats.deployment())?;
    let deployment = deployment.ok_or_else(|| {
        BackupError::new(format!("NATS has no deployment under the name {:?} (`cluster.name`)", nats.name()))
    })?;
    let mut writing = Writing::create(to)?;
    let all = (0..config.cluster.shards).map(|shard| Taking::begin(&connection, Shard(shard), &mut writing));
    let mut all = all.collect::<Result<Vec<_>, _>>()?;
    let moment = take_until_one_moment(&connection, &mut all, &mut writing)?;
    let mut shards = Vec::new();
    for taking in all {
        shards.extend(taking.finish(&mut writing)?);
    }
    // After all that was read: no message in the backup has a greater number.
    let (_, position_max) = runtime.block_on(nats.streams_found())?;
    let deployment = serde_json::to_value(&deployment).map_err(BackupError::new)?;
    let (name, moment_us) = (nats.name().to_owned(), u64::try_from(moment.as_micros()).unwrap_or(u64::MAX));
    let manifest = Manifest { format: FORMAT, taken_at, name, deployment, position_max, moment_us, shards };
    let taken = Taken {
        shards: manifest.shards.len(),
        messages: manifest.shards.iter().map(|shard| shard.messages).sum(),
        bundles: manifest.shards.iter().map(|shard| shard.bundles.len()).sum(),
        moment,
    };
    writing.finish(&manifest)?;
    Ok(taken)
}

/// Reads on until all journals end at one moment; says to within how long that moment is known.
fn take_until_one_moment(
    connection: &Connection,
    all: &mut [Taking],
    writing: &mut Writing,
) -> Result<Duration, BackupError> {
    let mut before = Duration::MAX;
    for _ in 0..TRIES {
        let began = Instant::now();
        for taking in all.iter_mut() {
            if taking.read_on(connection, u64::MAX)? == Read::Cut {
                info!(shard = %taking.shard, "the journal was cut while it was read, reading it again");
                *taking = Taking::begin(connection, taking.shard, writing)?;
            }
        }
        // As long as passes get much shorter there is less and less to be read behind the moment.
        let took = began.elapsed();
        if took > PASS_MAX && took < std::mem::replace(&mut before, took) / 2 {
            continue;
        }
        let (positions, took) = moment(connection)?;
        let mut was_cut = false;
        for taking in all.iter_mut() {
            let until = positions[usize::from(connection.nats.journal_of(taking.shard.0))];
            was_cut |= taking.position > until || taking.read_on(connection, until)? == Read::Cut;
        }
        if !was_cut {
            return Ok(took);
        }
    }
    Err(BackupError::new("journals are cut faster than they can be read: is `cluster.snapshot_interval` very short?"))
}

/// The fastest answer of several.
fn moment(connection: &Connection) -> Result<(Vec<u64>, Duration), BackupError> {
    let ask = || connection.runtime.block_on(connection.nats.moment());
    let mut fastest = ask()?;
    for _ in 1..MOMENTS {
        if fastest.1 <= MOMENT_ENOUGH {
            break;
        }
        let asked = ask()?;
        if asked.1 < fastest.1 {
            fastest = asked;
        }
    }
    Ok(fastest)
}

/// A shard of which something was read.
struct Taking {
    shard: Shard,
    file: JournalFile,
    chain: Chain,
    /// The last message that was read.
    position: u64,
    /// Up to which record each bundle is complete, the older first.
    bundles: Vec<Seq>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    All,
    /// Messages between what was read and what is left were cut.
    Cut,
}

impl Taking {
    /// Takes the bundles, and then the journal as it is now.
    fn begin(connection: &Connection, shard: Shard, writing: &mut Writing) -> Result<Taking, BackupError> {
        for _ in 0..TRIES {
            let bundles = verified_bundles(&connection.bucket, shard)?;
            for (number, (_, bundle)) in bundles.iter().enumerate() {
                writing.bundle(shard, number, &bundle.encode())?;
            }
            let bundles = bundles.iter().map(|(_, bundle)| bundle.seq()).collect();
            let (file, chain) = (writing.journal(shard)?, Chain::new(shard));
            let mut taking = Taking { shard, file, chain, position: 0, bundles };
            if taking.read_on(connection, u64::MAX)? == Read::All {
                taking.check_bundles()?;
                return Ok(taking);
            }
        }
        let newest = "its journal begins behind its newest bundle: records between them were lost";
        Err(BackupError::of_shard(shard.0, newest))
    }

    /// Reads what has come since, and nothing behind `until`.
    fn read_on(&mut self, connection: &Connection, until: u64) -> Result<Read, BackupError> {
        let read = connection.runtime.block_on(self.try_read_on(&connection.nats, until));
        self.file.pause()?;
        read
    }

    async fn try_read_on(&mut self, nats: &Nats, until: u64) -> Result<Read, BackupError> {
        let (stream, subject) = (nats.journal_stream(self.shard.0), nats.journal_subject(self.shard.0));
        let mut walk = nats.walk_between(&stream, &subject, (self.position, until)).await?;
        let mut is_first = true;
        while let Some(Stored { position, payload }) = walk.next().await? {
            if std::mem::take(&mut is_first) && self.reaches() < self.chain.open(&payload)?.before() {
                return Ok(Read::Cut);
            }
            self.chain.check(&payload)?;
            self.file.add(&payload)?;
            self.position = position;
        }
        Ok(Read::All)
    }

    /// Up to here the shard is complete with what was read so far.
    fn reaches(&self) -> Seq {
        self.chain.last().or(self.bundles.last().copied()).unwrap_or_default()
    }

    fn check_bundles(&self) -> Result<(), BackupError> {
        let newest = self.bundles.last().copied();
        match self.chain.last() {
            None if newest.is_some() => {
                Err(BackupError::of_shard(self.shard.0, "has bundles but no journal: its messages were lost"))
            }
            Some(last) if newest > Some(last) => {
                Err(BackupError::of_shard(self.shard.0, "its journal ends before its newest bundle: records were lost"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the shard's files; nothing if it was never written.
    fn finish(self, writing: &mut Writing) -> Result<Option<ShardManifest>, BackupError> {
        let Some(journal) = self.chain.end() else {
            self.file.discard()?;
            return Ok(None);
        };
        writing.finish_journal(self.file)?;
        let bundles = self.bundles.iter().map(|seq| seq.0).collect();
        Ok(Some(ShardManifest { bundles, ..journal }))
    }
}

/// The rule that the messages of a shard follow each other: on both ways.
pub(super) struct Chain {
    shard: Shard,
    found: Option<ShardManifest>,
}

impl Chain {
    pub(super) fn new(shard: Shard) -> Chain {
        Chain { shard, found: None }
    }

    fn open(&self, message: &Bytes) -> Result<Envelope, BackupError> {
        Envelope::open_at(self.shard, message).map_err(|error| BackupError::of_shard(self.shard.0, error))
    }

    /// The last record so far, once there was a message.
    fn last(&self) -> Option<Seq> {
        self.found.as_ref().map(|found| Seq(found.last))
    }

    /// Takes the next message.
    pub(super) fn check(&mut self, message: &Bytes) -> Result<(), BackupError> {
        let shard = self.shard.0;
        let envelope = self.open(message)?;
        let before = envelope.before().0;
        let start = || ShardManifest { shard, messages: 0, before, last: before, epoch: 0, bundles: Vec::new() };
        let found = self.found.get_or_insert_with(start);
        if before != found.last || envelope.epoch < found.epoch {
            let text = format!(
                "record {} of epoch {} follows record {} of epoch {}: the journal has a hole",
                envelope.seq, envelope.epoch, found.last, found.epoch
            );
            return Err(BackupError::of_shard(shard, text));
        }
        found.messages += 1;
        found.last = envelope.seq.0;
        found.epoch = envelope.epoch;
        Ok(())
    }

    /// What the messages were, without the bundles; nothing if there was none.
    pub(super) fn end(self) -> Option<ShardManifest> {
        self.found
    }
}
