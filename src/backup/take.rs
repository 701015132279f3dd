//! Taking a backup: reads, and writes nothing to NATS.

use std::path::Path;
use std::time::SystemTime;

use tracing::info;

use super::archive::{FORMAT, JournalFile, Manifest, ShardManifest, Writing};
use super::{BackupError, Connection};
use crate::config::Config;
use crate::journal::jetstream::Envelope;
use crate::journal::{Seq, Shard};
use crate::nats::Nats;
use crate::snapshots::shared::verified_bundles;

/// Times a shard is read while its journal is cut under the reader's hands. Cuts are a minute apart.
const TRIES: usize = 5;

/// What was backed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Shards that were ever written.
    pub shards: usize,
    /// Journal messages of all of them.
    pub messages: u64,
    /// Bundles of all of them.
    pub bundles: usize,
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
    let mut shards = Vec::new();
    for shard in (0..config.cluster.shards).map(Shard) {
        shards.extend(take_shard(&connection, shard, &mut writing)?);
    }
    // After all that was read: no message in the backup has a greater number.
    let (_, position_max) = runtime.block_on(nats.streams_found())?;
    let deployment = serde_json::to_value(&deployment).map_err(BackupError::new)?;
    let manifest =
        Manifest { format: FORMAT, taken_at, name: nats.name().to_owned(), deployment, position_max, shards };
    let taken = Taken {
        shards: manifest.shards.len(),
        messages: manifest.shards.iter().map(|shard| shard.messages).sum(),
        bundles: manifest.shards.iter().map(|shard| shard.bundles.len()).sum(),
    };
    writing.finish(&manifest)?;
    Ok(taken)
}

/// Reads a shard until bundles and journal fit; nothing if it was never written.
fn take_shard(
    connection: &Connection,
    shard: Shard,
    writing: &mut Writing,
) -> Result<Option<ShardManifest>, BackupError> {
    let mut newest = None;
    for _ in 0..TRIES {
        let bundles = verified_bundles(&connection.bucket, shard)?;
        newest = bundles.last().map(|(_, bundle)| bundle.seq());
        let mut file = writing.journal(shard)?;
        let journal = connection.runtime.block_on(take_journal(&connection.nats, shard, &mut file))?;
        let Some(journal) = journal else {
            file.discard()?;
            return match newest {
                None => Ok(None),
                Some(_) => Err(BackupError::of_shard(shard.0, "has bundles but no journal: its messages were lost")),
            };
        };
        if newest.unwrap_or_default() < Seq(journal.before) {
            info!(%shard, "the journal was cut while it was read, reading it again");
            continue;
        }
        if newest.unwrap_or_default() > Seq(journal.last) {
            return Err(BackupError::of_shard(shard.0, "its journal ends before its newest bundle: records were lost"));
        }
        writing.finish_journal(file)?;
        for (number, (_, bundle)) in bundles.iter().enumerate() {
            writing.bundle(shard, number, &bundle.encode())?;
        }
        let bundles = bundles.iter().map(|(_, bundle)| bundle.seq().0).collect();
        return Ok(Some(ShardManifest { bundles, ..journal }));
    }
    let newest = newest.unwrap_or_default();
    Err(BackupError::of_shard(shard.0, format!("its journal begins behind its newest bundle, which ends at {newest}")))
}

/// Copies the messages that are there now and checks that none is missing between them.
async fn take_journal(nats: &Nats, shard: Shard, file: &mut JournalFile) -> Result<Option<ShardManifest>, BackupError> {
    let mut walk = nats.walk(&nats.journal_stream(shard.0), &nats.journal_subject(shard.0)).await?;
    let mut chain = Chain::new(shard);
    while let Some(message) = walk.next().await? {
        chain.check(&message.payload)?;
        file.add(&message.payload)?;
    }
    Ok(chain.end())
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

    /// Takes the next message.
    pub(super) fn check(&mut self, message: &bytes::Bytes) -> Result<(), BackupError> {
        let shard = self.shard.0;
        let envelope = Envelope::open_at(self.shard, message).map_err(|error| BackupError::of_shard(shard, error))?;
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
