//! Which streams a deployment has and how they are set. Made once, then compared field by field at every start; never
//! altered, because a stream that was changed by somebody is something that somebody has to explain.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::object_store;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType};

use super::checks::version_must_do;
use super::{ConnectError, Nats};

/// What servers since 2.11 add to a stream's description: the version of the server that leads it.
const VERSION_OF_LEADER: &str = "_nats.ver";

impl Nats {
    /// Which of the journal streams `shard` lies in.
    #[must_use]
    pub fn journal_of(&self, shard: u16) -> u16 {
        shard % self.options().streams
    }

    /// The stream that the journal of `shard` lies in.
    #[must_use]
    pub fn journal_stream(&self, shard: u16) -> String {
        format!("{}-journal-{}", self.name(), self.journal_of(shard))
    }

    /// The subject of the journal of `shard`.
    #[must_use]
    pub fn journal_subject(&self, shard: u16) -> String {
        format!("{}.journal.{}.{shard}", self.name(), self.journal_of(shard))
    }

    /// The stream of the deployment's record and whatever else has one last value.
    #[must_use]
    pub fn meta_stream(&self) -> String {
        format!("{}-meta", self.name())
    }
}

/// Every stream as it has to be; the one with the deployment's record first.
pub(super) fn wanted(nats: &Nats) -> Vec<Config> {
    let (name, replicas) = (nats.name(), nats.options().replicas);
    let mut all = vec![Config {
        max_messages_per_subject: 1,
        allow_direct: true,
        ..stream(nats.meta_stream(), format!("{name}.meta.>"), replicas)
    }];
    let journals = (0..nats.options().streams).map(|k| Config {
        // Single messages cannot be deleted: a hole in a journal would be a lost ticket. Purging its beginning can.
        deny_delete: true,
        ..stream(nats.journal_stream(k), format!("{name}.journal.{k}.*"), replicas)
    });
    all.extend(journals);
    let bucket = nats.snapshots_bucket();
    all.push(Config {
        subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        allow_rollup: true,
        allow_direct: true,
        ..stream(format!("OBJ_{bucket}"), String::new(), replicas)
    });
    all
}

fn stream(name: String, subjects: String, replicas: usize) -> Config {
    Config {
        name,
        subjects: vec![subjects],
        storage: StorageType::File,
        num_replicas: replicas,
        retention: RetentionPolicy::Limits,
        // A full stream refuses; it does not forget.
        discard: DiscardPolicy::New,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

/// A stream as it is, or `None` if there is none.
pub(super) async fn find(nats: &Nats, name: &str) -> Result<Option<Info>, ConnectError> {
    match nats.jetstream().get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(told) if told.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            GetStreamErrorKind::JetStream(_)
            | GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::Request
            | GetStreamErrorKind::InvalidStreamName => {
                Err(ConnectError::Unreachable(format!("stream {name} cannot be looked at: {error}")))
            }
        },
    }
}

/// Makes a stream. Several nodes may do so at once: the same settings are the same stream.
pub(super) async fn create(nats: &Nats, config: &Config) -> Result<(), ConnectError> {
    let name = &config.name;
    match name.strip_prefix("OBJ_") {
        // The client knows what a bucket's stream looks like better than we do; it is compared afterwards.
        Some(bucket) => {
            let bucket = object_store::Config {
                bucket: bucket.to_owned(),
                num_replicas: config.num_replicas,
                storage: StorageType::File,
                max_bytes: -1,
                ..object_store::Config::default()
            };
            nats.jetstream().create_object_store(bucket).await.map(|_| ()).map_err(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                ConnectError::Unreachable(format!("bucket of {name} cannot be made: {error} {source:?}"))
            })
        }
        None => nats.jetstream().create_stream(config.clone()).await.map(|_| ()).map_err(|error| {
            if let CreateStreamErrorKind::JetStream(told) = error.kind() {
                not_made(config, &told)
            } else {
                ConnectError::Unreachable(format!("stream {name} cannot be made: {error}"))
            }
        }),
    }
}

fn not_made(config: &Config, told: &async_nats::jetstream::Error) -> ConnectError {
    let (name, replicas) = (&config.name, config.num_replicas);
    let too_few = [ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED, ErrorCode::CLUSTER_NO_PEERS];
    if too_few.contains(&told.error_code()) {
        return ConnectError::unsuitable(format!(
            "`cluster.replicas` is {replicas}, but there are fewer NATS servers that can hold stream {name}: {told}"
        ));
    }
    ConnectError::unsuitable(format!("stream {name} cannot be made: {told}"))
}

/// Compares a stream with what it has to be: the first field that differs, by name, with both values.
pub(super) fn compare(nats: &Nats, wanted: &Config, info: &Info) -> Result<(), ConnectError> {
    if let Some(version) = info.config.metadata.get(VERSION_OF_LEADER) {
        let leader = info.cluster.as_ref().and_then(|cluster| cluster.leader.as_deref()).unwrap_or_default();
        let who = format!("NATS server {leader}, which leads stream {},", wanted.name);
        version_must_do(&who, version, nats.options().version_min)?;
    }
    match difference(wanted, &info.config) {
        None => Ok(()),
        Some((field, wanted_value, found)) => Err(ConnectError::unsuitable(format!(
            "stream {}: `{field}` is {found}, must be {wanted_value}: it is not altered by itself, set it back",
            wanted.name
        ))),
    }
}

/// Ways in which messages could get in, out, or lost that no stream of ours has.
fn foreign(config: &Config) -> [(&'static str, bool); 8] {
    [
        ("no_ack", config.no_ack),
        ("sealed", config.sealed),
        ("deny_purge", config.deny_purge),
        ("allow_msg_ttl", config.allow_message_ttl),
        ("mirror", config.mirror.is_some()),
        ("sources", config.sources.as_ref().is_some_and(|sources| !sources.is_empty())),
        ("subject_transform", config.subject_transform.is_some()),
        ("discard_new_per_subject", config.discard_new_per_subject),
    ]
}

fn difference(wanted: &Config, found: &Config) -> Option<(&'static str, String, String)> {
    fn pair<T: PartialEq + std::fmt::Debug>(
        field: &'static str,
        wanted: &T,
        found: &T,
    ) -> Option<(&'static str, String, String)> {
        (wanted != found).then(|| (field, format!("{wanted:?}"), format!("{found:?}")))
    }
    let mode = |config: &Config| config.persist_mode.unwrap_or(PersistenceMode::Default);
    let unlimited = |limit: i64| if limit <= 0 { -1 } else { limit };
    let size = |config: &Config| unlimited(i64::from(config.max_message_size));
    let mut subjects = (wanted.subjects.clone(), found.subjects.clone());
    subjects.0.sort();
    subjects.1.sort();
    let ours = [
        pair("storage", &wanted.storage, &found.storage),
        pair("num_replicas", &wanted.num_replicas, &found.num_replicas),
        pair("subjects", &subjects.0, &subjects.1),
        pair("retention", &wanted.retention, &found.retention),
        pair("discard", &wanted.discard, &found.discard),
        pair("max_msgs", &unlimited(wanted.max_messages), &unlimited(found.max_messages)),
        pair("max_bytes", &unlimited(wanted.max_bytes), &unlimited(found.max_bytes)),
        pair("max_age", &wanted.max_age, &found.max_age),
        pair(
            "max_msgs_per_subject",
            &unlimited(wanted.max_messages_per_subject),
            &unlimited(found.max_messages_per_subject),
        ),
        pair("max_msg_size", &size(wanted), &size(found)),
        pair("max_consumers", &unlimited(wanted.max_consumers.into()), &unlimited(found.max_consumers.into())),
        pair("deny_delete", &wanted.deny_delete, &found.deny_delete),
        pair("allow_rollup_hdrs", &wanted.allow_rollup, &found.allow_rollup),
        pair("persist_mode", &mode(wanted), &mode(found)),
    ];
    let odd = foreign(found).into_iter().map(|(field, there)| pair(field, &false, &there));
    ours.into_iter().chain(odd).flatten().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Config {
        Config { deny_delete: true, ..stream("s-journal-0".to_owned(), "s.journal.0.*".to_owned(), 3) }
    }

    #[test]
    fn what_the_server_fills_in_is_no_difference() {
        let filled = Config { max_message_size: -1, max_messages_per_subject: 0, allow_direct: true, ..journal() };
        assert_eq!(difference(&journal(), &filled), None);
    }

    #[test]
    fn every_field_that_could_lose_a_ticket_is_compared() {
        let age = std::time::Duration::from_secs(60);
        let changed = [
            ("num_replicas", Config { num_replicas: 1, ..journal() }),
            ("storage", Config { storage: StorageType::Memory, ..journal() }),
            ("discard", Config { discard: DiscardPolicy::Old, ..journal() }),
            ("retention", Config { retention: RetentionPolicy::WorkQueue, ..journal() }),
            ("max_age", Config { max_age: age, ..journal() }),
            ("max_bytes", Config { max_bytes: 1 << 30, ..journal() }),
            ("max_msgs", Config { max_messages: 10, ..journal() }),
            ("max_msgs_per_subject", Config { max_messages_per_subject: 1, ..journal() }),
            ("subjects", Config { subjects: vec!["s.journal.0.>".to_owned()], ..journal() }),
            ("deny_delete", Config { deny_delete: false, ..journal() }),
            ("allow_rollup_hdrs", Config { allow_rollup: true, ..journal() }),
            ("persist_mode", Config { persist_mode: Some(PersistenceMode::Async), ..journal() }),
            ("no_ack", Config { no_ack: true, ..journal() }),
            ("allow_msg_ttl", Config { allow_message_ttl: true, ..journal() }),
        ];
        for (field, found) in changed {
            assert_eq!(difference(&journal(), &found).map(|(field, ..)| field), Some(field));
        }
    }
}
