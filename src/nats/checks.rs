//! What a server must be before a ticket is entrusted to it, as far as it tells.
//!
//! A server says its version and its largest message in the first line it sends, before any login; so every server whose
//! address is known can be looked at, not only the one that is connected to. Whether it syncs its disk before it answers,
//! it tells only to the system account: where it is not told, a log line says so.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{ConnectError, Nats};

/// Below this a busy shard's batch would not fit.
const MAX_PAYLOAD_MIN: usize = 4 * 1024 * 1024;

/// Longest first line that is read.
const INFO_BYTES_MAX: u64 = 64 * 1024;

/// How long answers of the system account are waited for; mostly it cannot be asked.
const SYSTEM_WAIT: Duration = Duration::from_millis(300);

/// The version of a server. What comes behind the third number, such as `-dev`, does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64, u64, u64);

impl Version {
    /// `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u64, minor: u64, patch: u64) -> Version {
        Version(major, minor, patch)
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Version, ()> {
        let numbers = text.trim_start_matches('v').split('-').next().unwrap_or_default();
        let mut numbers = numbers.split('.').map(|number| number.parse::<u64>().map_err(|_| ()));
        let mut next = || numbers.next().ok_or(());
        Ok(Version(next()??, next()??, next()??))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Looks at every server that can be seen, at JetStream, and at durability where it is told.
pub(super) async fn of_servers(nats: &Nats) -> Result<(), ConnectError> {
    of_this_server(nats)?;
    let known = nats.client().server_info().connect_urls;
    let addresses = nats.options().seeds.iter().chain(&known).filter_map(|address| host_and_port(address));
    for (address, seen) in join_all(addresses.map(|address| look_at(address, nats.options().timeout))).await {
        match seen {
            Some(server) => server.must_do(nats.options().version_min)?,
            None => info!(address, "a NATS server does not tell its version before TLS or cannot be reached from here"),
        }
    }
    has_jetstream(nats).await?;
    syncs_its_disk(nats).await
}

/// The connected server alone: all that is known at once after a reconnection.
pub(super) fn of_this_server(nats: &Nats) -> Result<(), ConnectError> {
    let info = nats.client().server_info();
    let seen = Seen { server_name: info.server_name, version: info.version, max_payload: info.max_payload };
    seen.must_do(nats.options().version_min)
}

/// What a server's first line says, the part of it that matters.
#[derive(Debug, Deserialize)]
struct Seen {
    #[serde(default)]
    server_name: String,
    version: String,
    max_payload: usize,
}

impl Seen {
    fn must_do(&self, version_min: Version) -> Result<(), ConnectError> {
        let name = &self.server_name;
        version_must_do(&format!("NATS server {name}"), &self.version, version_min)?;
        if self.max_payload < MAX_PAYLOAD_MIN {
            return Err(ConnectError::unsuitable(format!(
                "NATS server {name} takes messages of {} bytes at most: set its `max_payload` to {MAX_PAYLOAD_MIN} (4MB) \
                 or more",
                self.max_payload
            )));
        }
        Ok(())
    }
}

pub(super) fn version_must_do(who: &str, version: &str, version_min: Version) -> Result<(), ConnectError> {
    match version.parse::<Version>() {
        Ok(found) if found >= version_min => Ok(()),
        Ok(_) | Err(()) => Err(ConnectError::unsuitable(format!(
            "{who} has version {version}, at least {version_min} is needed (`cluster.nats.version_min`): upgrade it"
        ))),
    }
}

fn host_and_port(address: &str) -> Option<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/');
    let has_port = rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match (rest.is_empty(), has_port) {
        (true, _) => None,
        (false, true) => Some(rest.to_owned()),
        (false, false) => Some(format!("{rest}:4222")),
    }
}

async fn look_at(address: String, wait: Duration) -> (String, Option<Seen>) {
    let look = async {
        let stream = TcpStream::connect(&address).await.ok()?;
        let mut line = Vec::new();
        BufReader::new(stream).take(INFO_BYTES_MAX).read_until(b'\n', &mut line).await.ok()?;
        read_info(&line)
    };
    let seen = timeout(wait, look).await.ok().flatten();
    (address, seen)
}

fn read_info(line: &[u8]) -> Option<Seen> {
    serde_json::from_slice(line.strip_prefix(b"INFO ")?).ok()
}

async fn has_jetstream(nats: &Nats) -> Result<(), ConnectError> {
    use async_nats::jetstream::context::AccountErrorKind as Kind;
    match nats.jetstream().query_account().await {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            Kind::JetStream(_) | Kind::JetStreamUnavailable => Err(ConnectError::unsuitable(format!(
                "NATS has no JetStream for this account: enable `jetstream` on the servers ({error})"
            ))),
            Kind::TimedOut | Kind::Other => {
                Err(ConnectError::Unreachable(format!("JetStream does not answer: {error}")))
            }
        },
    }
}

#[derive(Debug, Deserialize)]
struct JetStreamOfServer {
    server: ServerName,
    data: JetStreamData,
}

#[derive(Debug, Deserialize)]
struct ServerName {
    name: String,
}

#[derive(Debug, Deserialize)]
struct JetStreamData {
    #[serde(default)]
    config: JetStreamConfig,
}

#[derive(Debug, Default, Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Asks for what only the system account is told; an account may import the question as a service. Every server answers.
async fn syncs_its_disk(nats: &Nats) -> Result<(), ConnectError> {
    let mut told = 0;
    for answer in ask_all(nats, "$SYS.REQ.SERVER.PING.JSZ").await {
        let Ok(JetStreamOfServer { server, data }) = serde_json::from_slice(&answer) else { continue };
        if !data.config.sync_always {
            return Err(ConnectError::unsuitable(format!(
                "NATS server {} acknowledges before its disk has it: set `jetstream {{ sync_interval: always }}`",
                server.name
            )));
        }
        told += 1;
    }
    match told {
        0 => warn!("NATS does not tell this account when its disks are synced: see that `sync_interval` is `always`"),
        servers => info!(servers, "NATS syncs its disks before it acknowledges"),
    }
    Ok(())
}

async fn ask_all(nats: &Nats, question: &'static str) -> Vec<Bytes> {
    let client = nats.client();
    let inbox = client.new_inbox();
    let mut answers = Vec::new();
    let collect = async {
        let mut replies = client.subscribe(inbox.clone()).await.ok()?;
        client.publish_with_reply(question, inbox, Bytes::new()).await.ok()?;
        while let Some(reply) = replies.next().await {
            if reply.status.is_some() {
                break;
            }
            answers.push(reply.payload);
        }
        Some(())
    };
    // All that answer in time; mostly nobody may.
    let _ = timeout(SYSTEM_WAIT, collect).await;
    answers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("2.9.10").unwrap() < version("2.15.0").unwrap());
        assert_eq!(version("v2.15.0-dev"), Ok(Version::new(2, 15, 0)));
        for none in ["", "2", "2.15", "2.x.1", "latest"] {
            assert_eq!(version(none), Err(()), "{none}");
        }
    }

    #[test]
    fn an_old_server_and_a_small_one_are_refused_by_name() {
        let seen = |version: &str, max_payload| Seen {
            server_name: "n1".to_owned(),
            version: version.to_owned(),
            max_payload,
        };
        let least = Version::new(2, 15, 0);
        assert_eq!(seen("2.15.1", MAX_PAYLOAD_MIN).must_do(least), Ok(()));
        let old = seen("2.9.10", MAX_PAYLOAD_MIN).must_do(least).unwrap_err().to_string();
        assert!(old.contains("n1") && old.contains("2.9.10") && old.contains("2.15.0"), "{old}");
        let small = seen("2.15.1", 1024 * 1024).must_do(least).unwrap_err().to_string();
        assert!(small.contains("max_payload"), "{small}");
    }

    #[test]
    fn addresses_are_found_in_seeds() {
        for (seed, address) in [
            ("nats://10.0.0.1:4222", Some("10.0.0.1:4222")),
            ("tls://user:pass@nats.example:7222/", Some("nats.example:7222")),
            ("nats://nats.example", Some("nats.example:4222")),
            ("[::1]:4222", Some("[::1]:4222")),
            ("nats://", None),
        ] {
            assert_eq!(host_and_port(seed).as_deref(), address, "{seed}");
        }
    }

    #[test]
    fn the_first_line_is_read() {
        let line = b"INFO {\"server_name\":\"n1\",\"version\":\"2.15.1\",\"max_payload\":8388608,\"proto\":1} \r\n";
        assert_eq!(read_info(line).unwrap().version, "2.15.1");
        assert!(read_info(b"SSH-2.0-OpenSSH\r\n").is_none() && read_info(b"").is_none());
    }
}
