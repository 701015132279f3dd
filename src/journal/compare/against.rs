//! The comparison's I/O: reads every shard's journal, and writes lost records again when nobody else does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::{Copies, Difference};
use crate::journal::jetstream::{ClaimError, Envelope, EnvelopeError, JetStream, Position};
use crate::journal::{AppendError, Journal, Seq, Shard};
use crate::nats::{Away, Nats};

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Report {
    /// Records that the journal and a copy have.
    pub compared: u64,
    /// Records that differ.
    pub differences: Vec<Difference>,
    /// Messages of the journal that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A message of the journal that cannot be read; its record shows up as missing if a copy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Of which shard.
    pub shard: Shard,
    /// Where it lies.
    pub position: Position,
    /// What is wrong.
    pub fault: EnvelopeError,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard={} position={}: {}", self.shard, self.position, self.fault)
    }
}

impl Report {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.unreadable.is_empty()
    }
}

/// Compares the journals of all shards with the copies. Nodes may be running: what they write meanwhile is not looked at.
///
/// # Errors
/// [`Away`]: NATS does not answer.
pub async fn against(nats: &Nats, shards: u16, copies: &Copies) -> Result<Report, Away> {
    let mut report = Report::default();
    for shard in (0..shards).map(Shard) {
        let mut audit = copies.audit(shard);
        let mut walk = nats.walk(&nats.journal_stream(shard.0), &nats.journal_subject(shard.0)).await?;
        while let Some(message) = walk.next().await? {
            match Envelope::open_at(shard, &message.payload) {
                Ok(envelope) => audit.see(&envelope),
                Err(fault) => {
                    report.unreadable.push(Unreadable { shard, position: Position(message.position), fault });
                }
            }
        }
        let (compared, differences) = audit.finish();
        report.compared += compared;
        report.differences.extend(differences);
    }
    Ok(report)
}

/// Why lost records were not written again. What was written before stays.
#[derive(Debug)]
pub enum RestoreError {
    /// A node speaks: it may own the shard, and has to be stopped first.
    NodesRun,
    /// The journal of the shard is empty: a backup is needed.
    Empty(Shard),
    /// A copy cannot be read again.
    Copy(PathBuf, String),
    /// A record that a copy had is not found any more.
    Vanished(Shard, Seq),
    /// NATS does not answer.
    Away(Away),
    /// Somebody else took the shard.
    Claim(ClaimError),
    /// A record was not taken.
    Append(AppendError),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::NodesRun => {
                write!(f, "nodes are running: stop all of them, records are restored when nobody writes")
            }
            RestoreError::Empty(shard) => write!(f, "the journal of shard {shard} is empty: restore a backup first"),
            RestoreError::Copy(dir, what) => write!(f, "{}: {what}", dir.display()),
            RestoreError::Vanished(shard, seq) => write!(f, "record {seq} of shard {shard} is in no copy any more"),
            RestoreError::Away(away) => away.fmt(f),
            RestoreError::Claim(error) => error.fmt(f),
            RestoreError::Append(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}

/// Listens for so long whether any node speaks on the deployment's subjects.
///
/// # Errors
/// [`Away`]: NATS does not answer.
pub async fn nodes_run(nats: &Nats, listen: Duration) -> Result<bool, Away> {
    let away = |error: &dyn fmt::Display| Away { reason: format!("listening for nodes: {error}") };
    let subject = format!("{}.>", nats.name());
    let mut heard = nats.client().subscribe(subject).await.map_err(|error| away(&error))?;
    nats.client().flush().await.map_err(|error| away(&error))?;
    Ok(tokio::time::timeout(listen, heard.next()).await.is_ok_and(|message| message.is_some()))
}

/// Writes the records again that the copies have right behind the end of a shard's journal, under an epoch of their own;
/// says up to which record. Whoever owned the shard owns it no more.
///
/// # Errors
/// See [`RestoreError`].
pub async fn restore_lost(journal: &JetStream, copies: &Copies, shard: Shard) -> Result<Seq, RestoreError> {
    let tail = journal.tail(shard).await.map_err(RestoreError::Away)?;
    let Some(last) = tail.as_ref().map(|tail| tail.seq) else { return Err(RestoreError::Empty(shard)) };
    let lost = copies.lost_behind(shard, last);
    if lost.is_empty() {
        return Ok(last);
    }
    let mut found: BTreeMap<Seq, Bytes> = BTreeMap::new();
    for dir in &copies.dirs {
        let failed = |error: crate::journal::inspect::DumpError| RestoreError::Copy(dir.clone(), error.to_string());
        lost.find(dir, &mut found).map_err(failed)?;
    }
    if let Some(missing) = (last.0 + 1..=lost.last().0).map(Seq).find(|seq| !found.contains_key(seq)) {
        return Err(RestoreError::Vanished(shard, missing));
    }
    let mut after = journal.claim(shard, &tail).await.map_err(RestoreError::Claim)?.seq;
    for record in found.into_values() {
        after = journal.append(shard, after, record.to_vec()).await.map_err(RestoreError::Append)?;
    }
    journal.disown(shard);
    Ok(after)
}
