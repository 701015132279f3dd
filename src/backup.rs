//! Backup and restore of a whole deployment: from NATS into a directory, and back into an empty NATS.
//!
//! Owns what is consistent with what. Of each shard the bundles are read first and the journal after them: it reaches back
//! to the newest bundle, or it was cut meanwhile and the shard is read again. All journals end at one moment. A restore writes into streams that it made itself, behind every old number and under later epochs, reads all of it back,
//! and only then writes the deployment's record, without which no node starts. Files are [`archive`]'s.
//!
//! Both run beside or without nodes and know no machine: bundles and messages are bytes whose checksums hold.

pub mod archive;
mod restore;
mod take;

use std::fmt;

use tokio::runtime::Runtime;

use crate::config::Config;
use crate::nats::{Away, ConnectError, Nats, Options};
use crate::snapshots::bucket::{GetError, JetStreamBucket, PutError, Trouble};

use archive::ArchiveError;

pub use restore::{Restored, restore};
pub use take::{Taken, take};

/// Why there is no backup, or nothing was restored.
#[derive(Debug)]
pub struct BackupError(String);

impl BackupError {
    fn new(text: impl fmt::Display) -> BackupError {
        BackupError(text.to_string())
    }

    fn of_shard(shard: u16, text: impl fmt::Display) -> BackupError {
        BackupError(format!("shard {shard}: {text}"))
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BackupError {}

macro_rules! from {
    ($($error:ty),*) => {
        $(impl From<$error> for BackupError {
            fn from(error: $error) -> Self {
                BackupError::new(error)
            }
        })*
    };
}

from!(ArchiveError, Away, ConnectError, GetError, PutError, Trouble, std::io::Error);

/// A connection with threads of its own.
struct Connection {
    runtime: Runtime,
    nats: Nats,
    bucket: JetStreamBucket,
}

impl Connection {
    fn open(config: &Config) -> Result<Connection, BackupError> {
        if config.cluster.seeds.is_empty() {
            let text = "`cluster.seeds` is empty: an embedded node is backed up by copying its data directory while it is \
                        stopped";
            return Err(BackupError::new(text));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let options = Options::new(&config.cluster, &config.node.name)?;
        let nats = runtime.block_on(Nats::connect(&options))?;
        let bucket = JetStreamBucket::new(nats.clone(), runtime.handle().clone());
        Ok(Connection { runtime, nats, bucket })
    }
}
