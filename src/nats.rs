//! NATS: the connection of a node, what it must be before it is trusted, and what a deployment agreed on.
//!
//! Owns the client, the checks of the servers, the streams and the deployment's record. Knows no shard's content and
//! decides about no append; the journal, the cluster's bus and the shared snapshots build on it.
//!
//! - [`connection`]: makes it, and knows whether it is there.
//! - [`messages`]: conditional appends and reads from a stream's leader, lean because they are the hot path.
//! - [`checks`]: version, JetStream, sizes, durability as far as servers tell it.
//! - [`streams`]: which streams there are and how they must be set; compared, never altered.
//! - [`walk`], [`restoring`]: what backups, restores and comparisons need besides.
//! - [`deployment`]: the settings all nodes share, and the rule that nothing is silently created twice.

mod checks;
mod connection;
mod deployment;
mod messages;
mod options;
mod restoring;
mod streams;
mod walk;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, context::ContextBuilder};
use bytes::Bytes;
use tokio::sync::watch;

pub use checks::Version;
pub use deployment::{Deployment, Settings, remembered};
pub use messages::{Answer, Stored};
pub use options::Options;
pub use walk::Walk;

/// NATS did not answer, or answered that it cannot. Says what and why; trying again may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// What does not answer.
    pub reason: String,
}

impl Away {
    pub(crate) fn new(what: impl fmt::Display, why: impl fmt::Display) -> Away {
        Away { reason: format!("{what}: {why}") }
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Away {}

/// Why a node does not join: each says what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// No server could be reached, or none let us in.
    Unreachable(String),
    /// A server, a stream or the deployment is not what this node needs. Trying again does not help.
    Unsuitable(String),
}

impl ConnectError {
    fn unsuitable(text: impl Into<String>) -> ConnectError {
        ConnectError::Unsuitable(text.into())
    }
}

impl From<Away> for ConnectError {
    fn from(away: Away) -> Self {
        ConnectError::Unreachable(away.reason)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Unreachable(text) | ConnectError::Unsuitable(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ConnectError {}

/// A node's connection to NATS; cheap to clone.
#[derive(Clone)]
pub struct Nats(Arc<Inner>);

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    options: Options,
    connected: watch::Sender<bool>,
    /// Why the servers must not be trusted any more, found out after a reconnection.
    distrust: watch::Sender<Option<String>>,
    /// What the servers were found to hold when this node joined.
    deployment: std::sync::OnceLock<String>,
}

impl Nats {
    /// Connects to any of the seeds and looks at every server that can be seen.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(options: &Options) -> Result<Nats, ConnectError> {
        let (client, hints) = connection::open(options).await?;
        let jetstream = ContextBuilder::new().timeout(options.timeout).build(client.clone());
        let nats = Nats(Arc::new(Inner {
            client,
            jetstream,
            options: options.clone(),
            connected: watch::Sender::new(true),
            distrust: watch::Sender::new(None),
            deployment: std::sync::OnceLock::new(),
        }));
        checks::of_servers(&nats).await?;
        connection::look_after(&nats, hints);
        Ok(nats)
    }

    /// Joins the deployment: finds its streams and its record, or makes them if there never were any, and compares
    /// everything with `settings`. `data_dir` remembers which deployment this node belongs to.
    ///
    /// # Errors
    /// See [`ConnectError`]: the first difference by name with both values, or data that should be there and is not.
    pub async fn join(&self, settings: Settings, data_dir: &Path) -> Result<Deployment, ConnectError> {
        let deployment = deployment::join(self, settings, data_dir).await?;
        // Joined once a process; a second call with the same servers finds the same.
        let _ = self.0.deployment.set(deployment.id.clone());
        Ok(deployment)
    }

    /// Whether NATS still holds the deployment that this node joined, as the leader has it.
    ///
    /// # Errors
    /// [`ConnectError::Unsuitable`] when it does not: the servers came back without their data, or are others.
    pub async fn still_there(&self) -> Result<(), ConnectError> {
        match self.0.deployment.get() {
            Some(joined) => deployment::still_there(self, joined).await,
            None => Ok(()),
        }
    }

    /// The client, for subjects of the cluster's bus.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// JetStream, for what is not the hot path. Each request has [`Options::timeout`].
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.0.jetstream
    }

    /// First part of every stream and subject.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.options.name
    }

    /// How this connection was asked for.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Whether there is a connection, right within a tenth of a second. A reconnection is told as a change too, even if the
    /// time without it was not noticed.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.0.connected.subscribe()
    }

    /// Why the servers must not be written to although they answer: too old, or without the deployment's data.
    #[must_use]
    pub fn distrust(&self) -> watch::Receiver<Option<String>> {
        self.0.distrust.subscribe()
    }

    /// Most bytes of a message, headers included.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.0.client.max_payload()
    }

    /// Name of the bucket for snapshots.
    #[must_use]
    pub fn snapshots_bucket(&self) -> String {
        format!("{}-snapshots", self.name())
    }

    /// Appends a message that nobody reads, with all the copies of the others: whether NATS takes writes, and how fast.
    ///
    /// # Errors
    /// [`Away`] when it is not stored within `deadline`.
    pub async fn canary(&self, node: &str, deadline: Duration) -> Result<Duration, Away> {
        // A dot in a node's name would be a level of the subject.
        let subject = format!("{}.meta.canary.{}", self.name(), node.replace('.', "_"));
        let started = Instant::now();
        let append = self.append(subject.into(), None, Bytes::new());
        match tokio::time::timeout(deadline, append).await {
            Ok(Answer::Stored(_)) => Ok(started.elapsed()),
            Ok(answer) => Err(Away::new("test append", answer)),
            Err(_) => Err(Away::new("test append", format!("not stored within {deadline:?}"))),
        }
    }
}
