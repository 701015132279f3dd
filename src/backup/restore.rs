//! Restoring: into an empty NATS, and only there. Every message is written on condition, and all of it is read back.

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::info;

use super::archive::{Manifest, Reading, ShardManifest};
use super::take::Chain;
use super::{BackupError, Connection};
use crate::clock;
use crate::config::Config;
use crate::journal::jetstream::{Envelope, Owner};
use crate::journal::{Seq, Shard};
use crate::nats::{Answer, Deployment, Nats};
use crate::snapshots::bucket::{self, Revision};
use crate::snapshots::bundle::Bundle;
use crate::snapshots::shared::{object_name, verified_bundles};

/// How far above every number in the backup the restored messages begin. The old deployment may have gone on after the
/// backup: it surely wrote fewer messages than this.
const POSITIONS_AHEAD: u64 = 1 << 40;

/// The same for epochs: it surely changed owners less often.
const EPOCHS_AHEAD: u64 = 1 << 20;

/// Shards that are written or read at once: in one shard a message waits for the one before.
const AT_ONCE: usize = 32;

/// Times a message is written whose fate is not known, with a pause between them.
const TRIES: u32 = 50;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The new deployment's id.
    pub id: String,
    /// Shards.
    pub shards: usize,
    /// Journal messages, without the claims that were added.
    pub messages: u64,
    /// When the backup was begun.
    pub taken_at: String,
}

/// Restores the backup in `from` under the name and into the servers that `config` says. Blocks.
///
/// # Errors
/// The backup is not whole; anything of a deployment of that name exists already; NATS does not answer. Unless the
/// deployment's record was written, which is the last step, no node starts on what was restored.
pub fn restore(config: &Config, from: &Path) -> Result<Restored, BackupError> {
    let backup = Reading::open(from)?;
    let manifest = &backup.manifest;
    let old: Deployment = serde_json::from_value(manifest.deployment.clone()).map_err(BackupError::new)?;
    fits(config, &old)?;
    let connection = Connection::open(config)?;
    let Connection { runtime, nats, .. } = &connection;
    refuse_if_anything_is_there(&connection)?;
    runtime.block_on(nats.make_streams(manifest.position_max + POSITIONS_AHEAD))?;
    info!(shards = manifest.shards.len(), taken_at = manifest.taken_at, "restoring");
    for shard in &manifest.shards {
        restore_bundles(&connection, &backup, shard)?;
    }
    runtime.block_on(all_shards(manifest, async |shard| restore_journal(nats, &backup, shard).await))?;
    for shard in &manifest.shards {
        check_bundles(&connection, &backup, shard)?;
    }
    runtime.block_on(all_shards(manifest, async |shard| check_journal(nats, &backup, shard).await))?;
    let new = old.restored();
    runtime.block_on(nats.found(&new))?;
    Ok(Restored {
        id: new.id,
        shards: manifest.shards.len(),
        messages: manifest.shards.iter().map(|shard| shard.messages).sum(),
        taken_at: manifest.taken_at.clone(),
    })
}

/// What decides where records lie must be as it was.
fn fits(config: &Config, old: &Deployment) -> Result<(), BackupError> {
    let mine = [("cluster.shards", config.cluster.shards), ("cluster.streams", config.cluster.streams)];
    for (name, mine) in mine {
        if let Some(agreed) = old.settings.get(name).filter(|agreed| **agreed != mine.to_string()) {
            return Err(BackupError::new(format!("`{name}` is {mine} here, but the backup was taken with {agreed}")));
        }
    }
    Ok(())
}

fn refuse_if_anything_is_there(connection: &Connection) -> Result<(), BackupError> {
    let Connection { runtime, nats, .. } = connection;
    if let Some(deployment) = runtime.block_on(nats.deployment())? {
        return Err(BackupError::new(format!(
            "deployment {} exists under the name {:?}: a backup is restored into an empty NATS or under another \
             `cluster.name`",
            deployment.id,
            nats.name()
        )));
    }
    match runtime.block_on(nats.streams_found())? {
        (found, _) if found.is_empty() => Ok(()),
        (found, _) => Err(BackupError::new(format!(
            "streams of that name exist, perhaps left by a restore that did not end: {}. Nothing is overwritten; remove \
             them (`nats stream rm`) if they may go",
            found.join(", ")
        ))),
    }
}

async fn all_shards(
    manifest: &Manifest,
    work: impl AsyncFn(&ShardManifest) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let shards = stream::iter(&manifest.shards).map(|shard| work(shard));
    shards.buffer_unordered(AT_ONCE).try_collect().await
}

fn bundle(backup: &Reading, shard: &ShardManifest, number: usize) -> Result<Bundle, BackupError> {
    let bytes = backup.bundle(Shard(shard.shard), number)?;
    Bundle::decode(Shard(shard.shard), &bytes).map_err(|fault| BackupError::of_shard(shard.shard, fault))
}

fn restore_bundles(connection: &Connection, backup: &Reading, shard: &ShardManifest) -> Result<(), BackupError> {
    for number in 0..shard.bundles.len() {
        let (name, bundle) = (object_name(Shard(shard.shard), number), bundle(backup, shard, number)?);
        bucket::put(&connection.bucket, &name, Revision::NONE, bundle.seq(), &bundle.encode())?;
    }
    Ok(())
}

fn check_bundles(connection: &Connection, backup: &Reading, shard: &ShardManifest) -> Result<(), BackupError> {
    let found = verified_bundles(&connection.bucket, Shard(shard.shard))?;
    if found.len() != shard.bundles.len() {
        return Err(BackupError::of_shard(shard.shard, "a bundle does not read as it was written"));
    }
    for (number, (_, found)) in found.iter().enumerate() {
        if *found != bundle(backup, shard, number)? {
            return Err(BackupError::of_shard(shard.shard, "a bundle is not the one that was written"));
        }
    }
    Ok(())
}

async fn restore_journal(nats: &Nats, backup: &Reading, shard: &ShardManifest) -> Result<(), BackupError> {
    let of = Shard(shard.shard);
    let mut chain = Chain::new(of);
    let mut position = 0;
    for message in backup.journal(of)? {
        let message = message?;
        chain.check(&message)?;
        position = append(nats, shard.shard, position, message).await?;
    }
    let found = chain.end().map(|found| ShardManifest { bundles: shard.bundles.clone(), ..found });
    if found.as_ref() != Some(shard) {
        return Err(BackupError::of_shard(shard.shard, format!("the manifest says {shard:?}, the messages {found:?}")));
    }
    append(nats, shard.shard, position, claim(shard)).await?;
    Ok(())
}

/// Whoever owned the shard before owns it no more, also if it still runs.
fn claim(shard: &ShardManifest) -> Bytes {
    let owner = Owner { name: "restore".to_owned(), incarnation: rand::random() };
    Envelope::claim(Shard(shard.shard), shard.epoch + EPOCHS_AHEAD, Seq(shard.last), &owner, clock::now())
}

/// Appends a message behind `expected`, for as long as it takes; says where it lies.
async fn append(nats: &Nats, shard: u16, expected: u64, message: Bytes) -> Result<u64, BackupError> {
    let (stream, subject) = (nats.journal_stream(shard), nats.journal_subject(shard));
    let mut said = String::new();
    for _ in 0..TRIES {
        match nats.append(subject.as_str().into(), Some(expected), message.clone()).await {
            Answer::Stored(position) => return Ok(position),
            other @ (Answer::Refused { .. } | Answer::Silent { .. } | Answer::TooLarge) => said = other.to_string(),
        }
        if let Ok(Some(last)) = nats.last(&stream, &subject).await
            && last.position != expected
        {
            if last.payload == message {
                return Ok(last.position);
            }
            return Err(BackupError::of_shard(shard, "somebody else writes to its journal: was a node started?"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(BackupError::of_shard(shard, format!("a message cannot be written: {said}")))
}

/// What lies in NATS is the backup and the claim behind it, byte for byte.
async fn check_journal(nats: &Nats, backup: &Reading, shard: &ShardManifest) -> Result<(), BackupError> {
    let mut walk = nats.walk(&nats.journal_stream(shard.shard), &nats.journal_subject(shard.shard)).await?;
    for message in backup.journal(Shard(shard.shard))? {
        if walk.next().await?.map(|found| found.payload) != Some(message?) {
            return Err(BackupError::of_shard(shard.shard, "a message does not read as it was written"));
        }
    }
    match (walk.next().await?, walk.next().await?) {
        (Some(_), None) => Ok(()),
        _ => Err(BackupError::of_shard(shard.shard, "more was written than was restored: was a node started?")),
    }
}
