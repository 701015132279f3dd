//! How NATS is reached: from the configuration to what the client is given.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectOptions;
use tracing::warn;

use super::ConnectError;
use super::checks::Version;
use crate::config;
use crate::config::Secret;

/// Older servers can accept two writes of which only one may be.
const OLDEST: Version = Version::new(2, 12, 0);
/// What the tests run against.
const TESTED: Version = Version::new(2, 15, 0);

/// Messages that may wait in one subscription; more are dropped, which readers find out by their numbers and make good. The
/// client's own 65,536 would be 16 GiB of feed packets, which have up to 256 KiB; these are 1 GiB at the very most. Fewer
/// would make readers of a shard start over often: NATS sends them up to 32 MiB ahead, of records that can be small.
const WAITING_MAX: usize = 4_096;

/// How NATS is reached and what is asked of it.
#[derive(Clone)]
pub struct Options {
    /// Servers, any of which is enough to start.
    pub seeds: Vec<String>,
    /// First part of every stream and subject.
    pub name: String,
    /// This node, as the servers list it.
    pub node: String,
    /// Streams that the journals are spread over.
    pub streams: u16,
    /// Copies of every stream.
    pub replicas: usize,
    /// Least version of the servers.
    pub version_min: Version,
    /// Time one request may take.
    pub timeout: Duration,
    login: Login,
    tls: Tls,
}

#[derive(Clone)]
struct Login {
    password: Option<(String, Secret)>,
    credentials: Option<PathBuf>,
}

#[derive(Clone)]
struct Tls {
    required: bool,
    authorities: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("seeds", &self.seeds).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Options {
    /// From the configuration of the node called `node`.
    ///
    /// # Errors
    /// A version that is none, or one that is known to be unsafe.
    pub fn new(cluster: &config::Cluster, node: &str) -> Result<Options, ConnectError> {
        let nats = &cluster.nats;
        let version_min: Version = nats.version_min.parse().map_err(|()| {
            ConnectError::unsuitable(format!("`cluster.nats.version_min` is no version: {:?}", nats.version_min))
        })?;
        if version_min < OLDEST {
            return Err(ConnectError::unsuitable(format!(
                "`cluster.nats.version_min` is {version_min}, but servers below {OLDEST} can accept two appends of which \
                 only one may be: set it to {OLDEST} or more"
            )));
        }
        if version_min < TESTED {
            warn!(%version_min, "NATS servers below {TESTED} are allowed, which is not tested");
        }
        let password = nats.password.clone().unwrap_or_else(|| Secret::new(""));
        Ok(Options {
            seeds: cluster.seeds.clone(),
            name: cluster.name.clone(),
            node: node.to_owned(),
            streams: cluster.streams,
            replicas: cluster.replicas,
            version_min,
            timeout: nats.timeout,
            login: Login {
                password: nats.username.clone().map(|user| (user, password)),
                credentials: nats.credentials_file.clone(),
            },
            tls: Tls {
                required: nats.tls,
                authorities: nats.ca_file.clone(),
                certificate: nats.cert_file.clone().zip(nats.key_file.clone()),
            },
        })
    }

    pub(super) async fn to_client(&self) -> Result<ConnectOptions, ConnectError> {
        let mut client = ConnectOptions::new()
            .name(format!("stampede {}", self.node))
            .connection_timeout(self.timeout.max(Duration::from_secs(1)))
            .request_timeout(Some(self.timeout))
            .subscription_capacity(WAITING_MAX)
            // A link that swallows everything is found dead after the second ping without an answer.
            .ping_interval(self.timeout)
            // Every subject is made here, from names that the configuration's rules have passed.
            .skip_subject_validation(true)
            .require_tls(self.tls.required);
        if let Some((user, password)) = &self.login.password {
            client = client.user_and_password(user.clone(), password.expose().to_owned());
        }
        if let Some(file) = &self.login.credentials {
            client = client.credentials_file(file).await.map_err(|error| {
                ConnectError::unsuitable(format!("`cluster.nats.credentials_file` {}: {error}", file.display()))
            })?;
        }
        if let Some(file) = &self.tls.authorities {
            client = client.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.tls.certificate {
            client = client.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(client)
    }
}
