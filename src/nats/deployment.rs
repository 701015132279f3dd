//! The deployment: what all nodes have to agree on, and where it is written down.
//!
//! The record lies in NATS and its id in every data directory. The streams are made before the record and the record
//! before the id, each only if the one after it never existed; so whatever is missing although something made later is
//! there was lost, and that is refused, never repaired by starting over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Info;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use super::{Answer, ConnectError, Nats, Stored, streams};

/// What is written; a later one may say more.
const VERSION: u16 = 1;

/// The file in the data directory.
const FILE: &str = "deployment";

/// How long a node waits for answers before it gives up joining.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a stream must stay away before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(100);

/// Settings that all nodes share: name, as the configuration calls it, and value. Secrets only as fingerprints.
pub type Settings = BTreeMap<String, String>;

/// What all nodes agreed on when the first of them started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Version of this record.
    pub version: u16,
    /// A random number, in hexadecimal.
    pub id: String,
    /// The settings. One that only one side has is not compared: another release knows more of them.
    pub settings: Settings,
}

impl Deployment {
    /// The first setting that differs from `mine`: name, what was agreed, mine.
    fn difference<'a>(&'a self, mine: &'a Settings) -> Option<(&'a str, &'a str, &'a str)> {
        let both = mine.iter().filter_map(|(name, mine)| Some((name, self.settings.get(name)?, mine)));
        both.map(|(name, agreed, mine)| (name.as_str(), agreed.as_str(), mine.as_str()))
            .find(|(_, agreed, mine)| agreed != mine)
    }
}

pub(super) async fn join(nats: &Nats, settings: Settings, data_dir: &Path) -> Result<Deployment, ConnectError> {
    let patience = Patience::new();
    loop {
        match try_join(nats, settings.clone(), data_dir).await {
            Ok(deployment) => return Ok(deployment),
            Err(error) => patience.bear(error).await?,
        }
    }
}

/// Streams that were just made, or whose servers were just started, have no leader yet: that is waited for.
struct Patience(Instant);

impl Patience {
    fn new() -> Patience {
        Patience(Instant::now())
    }

    /// Pauses if trying again can help; otherwise the error is definite.
    async fn bear(&self, error: ConnectError) -> Result<(), ConnectError> {
        match error {
            ConnectError::Unreachable(reason) if self.0.elapsed() < PATIENCE => {
                debug!(reason, "NATS is asked again");
                tokio::time::sleep(AGAIN).await;
                Ok(())
            }
            definite @ (ConnectError::Unreachable(_) | ConnectError::Unsuitable(_)) => Err(definite),
        }
    }
}

async fn try_join(nats: &Nats, settings: Settings, data_dir: &Path) -> Result<Deployment, ConnectError> {
    let remembered = remembered(data_dir)?;
    let wanted = streams::wanted(nats);
    let meta_is_there = streams::find(nats, &nats.meta_stream()).await?.is_some();
    let found = if meta_is_there { read(nats).await? } else { None };
    let deployment = match found {
        Some(deployment) => {
            check(nats, &deployment, &settings, remembered.as_deref(), data_dir)?;
            for config in &wanted {
                let info = there(nats, &config.name).await?;
                streams::compare(nats, config, &info)?;
            }
            deployment
        }
        None => {
            if let Some(id) = remembered {
                return Err(data_lost(nats, &id, data_dir));
            }
            make_streams(nats, &wanted).await?;
            let ours = Deployment { version: VERSION, id: format!("{:032x}", rand::random::<u128>()), settings };
            let agreed = write(nats, &ours).await?;
            check(nats, &agreed, &ours.settings, None, data_dir)?;
            agreed
        }
    };
    remember(data_dir, &deployment.id)
        .map_err(|error| ConnectError::unsuitable(format!("{} cannot be written: {error}", data_dir.display())))?;
    info!(deployment = deployment.id, "joined");
    Ok(deployment)
}

pub(super) async fn still_there(nats: &Nats, joined: &str) -> Result<(), ConnectError> {
    if streams::find(nats, &nats.meta_stream()).await?.is_none() {
        return Err(gone(nats, joined));
    }
    match read(nats).await? {
        Some(found) if found.id == joined => Ok(()),
        Some(found) => Err(ConnectError::unsuitable(format!(
            "NATS holds deployment {} under the name {:?}, this node joined {joined}",
            found.id,
            nats.name()
        ))),
        None => Err(gone(nats, joined)),
    }
}

fn gone(nats: &Nats, joined: &str) -> ConnectError {
    ConnectError::unsuitable(format!(
        "NATS no longer has deployment {joined} ({:?}): its servers came back without their data; nothing is written until \
         you bring it back or restore a backup",
        nats.name()
    ))
}

fn data_lost(nats: &Nats, id: &str, data_dir: &Path) -> ConnectError {
    ConnectError::unsuitable(format!(
        "NATS has no deployment under the name {:?}, but this data directory belongs to {id}: bring the servers' data back, \
         restore a backup, or, to start anew and lose what was sold, remove {}",
        nats.name(),
        data_dir.join(FILE).display()
    ))
}

fn stream_lost(name: &str) -> ConnectError {
    ConnectError::unsuitable(format!(
        "stream {name} is missing from a deployment that has it: it was deleted or lost, bring it back or restore a backup"
    ))
}

fn check(
    nats: &Nats,
    found: &Deployment,
    settings: &Settings,
    remembered: Option<&str>,
    data_dir: &Path,
) -> Result<(), ConnectError> {
    if let Some(id) = remembered.filter(|id| *id != found.id) {
        return Err(ConnectError::unsuitable(format!(
            "this data directory belongs to deployment {id}, NATS holds {} under the name {:?}: see `cluster.seeds`, \
             `cluster.name` and {}",
            found.id,
            nats.name(),
            data_dir.join(FILE).display()
        )));
    }
    match found.difference(settings) {
        None => Ok(()),
        Some((name, agreed, mine)) => Err(ConnectError::unsuitable(format!(
            "`{name}` is {mine} here, but the deployment agreed on {agreed}: all nodes must have the same"
        ))),
    }
}

/// A stream that must be there. Servers that have just chosen a leader may not know yet of a stream that was just made, so
/// it is lost only when it stays away.
async fn there(nats: &Nats, name: &str) -> Result<Info, ConnectError> {
    let first_look = Instant::now();
    loop {
        match streams::find(nats, name).await? {
            Some(info) => return Ok(info),
            None if first_look.elapsed() < LOST_AFTER => tokio::time::sleep(AGAIN).await,
            None => return Err(stream_lost(name)),
        }
    }
}

async fn make_streams(nats: &Nats, wanted: &[async_nats::jetstream::stream::Config]) -> Result<(), ConnectError> {
    for config in wanted {
        if streams::find(nats, &config.name).await?.is_none() {
            streams::create(nats, config).await?;
        }
        let info = there(nats, &config.name).await?;
        streams::compare(nats, config, &info)?;
        let in_journal = config.deny_delete && info.state.messages > 0;
        if in_journal && read(nats).await?.is_none() {
            return Err(ConnectError::unsuitable(format!(
                "stream {} holds messages, but the record of the deployment that wrote them is gone from {}",
                config.name,
                nats.meta_stream()
            )));
        }
    }
    Ok(())
}

fn subject(nats: &Nats) -> String {
    format!("{}.meta.deployment", nats.name())
}

pub(super) async fn read(nats: &Nats) -> Result<Option<Deployment>, ConnectError> {
    match nats.last(&nats.meta_stream(), &subject(nats)).await? {
        None => Ok(None),
        Some(Stored { payload, .. }) => serde_json::from_slice(&payload).map(Some).map_err(|error| {
            ConnectError::unsuitable(format!("the record of the deployment in NATS cannot be read: {error}"))
        }),
    }
}

/// Writes the record unless another node was first; returns the one that counts.
pub(super) async fn write(nats: &Nats, ours: &Deployment) -> Result<Deployment, ConnectError> {
    let patience = Patience::new();
    loop {
        match try_write(nats, ours).await {
            Ok(agreed) => return Ok(agreed),
            Err(error) => patience.bear(error).await?,
        }
    }
}

async fn try_write(nats: &Nats, ours: &Deployment) -> Result<Deployment, ConnectError> {
    let bytes = Bytes::from(serde_json::to_vec(ours).expect("texts and numbers are JSON"));
    let other = match nats.append(subject(nats).into(), Some(0), bytes).await {
        Answer::Stored(_) => return Ok(ours.clone()),
        other @ (Answer::Refused { .. } | Answer::Silent { .. } | Answer::TooLarge) => other,
    };
    // Ours after all, its answer lost, or another node's: what is there counts.
    let found = read(nats).await?;
    found.ok_or_else(|| ConnectError::Unreachable(format!("the record of the deployment cannot be written: {other}")))
}

/// The deployment that a data directory belongs to. An empty file is one that a power cut left before anything was written.
///
/// # Errors
/// The file cannot be read.
pub fn remembered(data_dir: &Path) -> Result<Option<String>, ConnectError> {
    let file = data_dir.join(FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|id| !id.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConnectError::unsuitable(format!("{} cannot be read: {error}", file.display()))),
    }
}

/// On disk before anything is written to NATS in the name of this deployment.
fn remember(data_dir: &Path, id: &str) -> io::Result<()> {
    let file = data_dir.join(FILE);
    let mut text = String::new();
    writeln!(text, "{id}").expect("a text takes all");
    if std::fs::read_to_string(&file).is_ok_and(|known| known == text) {
        return Ok(());
    }
    std::fs::create_dir_all(data_dir)?;
    let fresh = data_dir.join(format!("{FILE}.new"));
    let mut out = std::fs::File::create(&fresh)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&fresh, &file)?;
    std::fs::File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_record_reads_like_this() {
        let agreed = settings(&[("cluster.shards", "64"), ("holds.ttl", "7m")]);
        let record = Deployment { version: 1, id: "00ab".to_owned(), settings: agreed };
        let golden = r#"{"version":1,"id":"00ab","settings":{"cluster.shards":"64","holds.ttl":"7m"}}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), golden);
        let later = r#"{"version":2,"id":"00ab","settings":{},"more":true}"#;
        assert_eq!(serde_json::from_str::<Deployment>(later).unwrap().id, "00ab");
    }

    #[test]
    fn a_difference_is_named_and_a_setting_of_another_release_is_none() {
        let agreed = settings(&[("cluster.shards", "64"), ("old", "1")]);
        let record = Deployment { version: 1, id: String::new(), settings: agreed };
        assert_eq!(record.difference(&settings(&[("cluster.shards", "64"), ("new", "2")])), None);
        let other = settings(&[("cluster.shards", "32")]);
        assert_eq!(record.difference(&other), Some(("cluster.shards", "64", "32")));
    }

    #[test]
    fn a_data_directory_remembers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remembered(dir.path()).unwrap(), None);
        remember(dir.path(), "00ab").unwrap();
        remember(dir.path(), "00ab").unwrap();
        assert_eq!(remembered(dir.path()).unwrap().as_deref(), Some("00ab"));
        std::fs::write(dir.path().join(FILE), "").unwrap();
        assert_eq!(remembered(dir.path()).unwrap(), None);
    }
}
