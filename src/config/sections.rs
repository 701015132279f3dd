//! The sections of the configuration as types: one struct a table of `config/default.toml`, one field a key.
//!
//! What each key costs is documented there and not repeated here. Fields are read by name, so a field without a
//! key, or a key without a field, fails the first test that loads the defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::layers::Layers;
use super::values::{
    ByteSize, ClockOffset, GatewayKind, KeyDigest, Leaf, LogFilter, LogFormat, Rate, Secret, Share, SmtpTls,
};

/// Something that can be read from the layers at a key.
pub(super) trait Read {
    /// Reads it; what is wrong is recorded in `layers`.
    fn read(layers: &mut Layers, key: &str) -> Self;
}

impl<T: Leaf> Read for T {
    fn read(layers: &mut Layers, key: &str) -> T {
        layers.leaf(key)
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind),*
        }

        impl Read for $name {
            fn read(layers: &mut Layers, prefix: &str) -> $name {
                $name { $($field: Read::read(layers, &join(prefix, stringify!($field)))),* }
            }
        }
    };
}

section! {
    /// The whole configuration.
    Config {
        /// This node.
        node: Node,
        /// The HTTP edge.
        http: Http,
        /// Live WebSocket sessions.
        live: Live,
        /// The data directory.
        data: Data,
        /// The embedded journal.
        journal: Journal,
        /// Snapshots.
        snapshots: Snapshots,
        /// The cells and their threads.
        runtime: Runtime,
        /// Shards and the other nodes.
        cluster: Cluster,
        /// Holds.
        holds: Holds,
        /// Rate limits.
        limits: Limits,
        /// Idempotency keys.
        idempotency: Idempotency,
        /// Who may call.
        auth: Auth,
        /// Signed tickets.
        tickets: Tickets,
        /// The payment provider and how it is treated.
        payments: Payments,
        /// Mails and the notices file.
        notices: Notices,
        /// Logs.
        telemetry: Telemetry,
        /// The stop.
        shutdown: Shutdown,
    }
}

section! {
    /// `[node]`
    Node {
        /// Name in logs, metrics and the cluster view.
        name: String,
    }
}

section! {
    /// `[http]`
    Http {
        /// Address and port.
        listen: SocketAddr,
        /// Worker threads; 0 is one per core.
        workers: usize,
        /// Whether the hottest requests are answered straight from the connection.
        fast_lane: bool,
        /// How long answers wait for others of their connection.
        gather: Duration,
        /// Idle time of a connection.
        keep_alive: Duration,
        /// Time for a request's head.
        head_timeout: Duration,
        /// Time for a request's body.
        body_timeout: Duration,
        /// Time for a client to take what waits for it.
        answer_timeout: Duration,
        /// Largest body.
        body_max: ByteSize,
        /// Largest request line and headers together.
        head_max: ByteSize,
        /// Open connections over all workers.
        connections_max: usize,
        /// Longest `Prefer: wait`.
        wait_max: Duration,
        /// Origins that may call from browsers.
        cors_origins: Vec<String>,
    }
}

section! {
    /// `[live]`
    Live {
        /// Sessions of this node.
        sessions_max: usize,
        /// Changes waiting for one reader.
        queue_max: usize,
        /// Least time between two counts messages.
        counts_interval: Duration,
        /// Silence after which a session is closed.
        idle_timeout: Duration,
    }
}

section! {
    /// `[data]`
    Data {
        /// The directory.
        dir: PathBuf,
    }
}

section! {
    /// `[journal]`
    Journal {
        /// Size of a segment file.
        segment_bytes: ByteSize,
        /// How long a group waits for more records under load.
        gather: Duration,
        /// Most bytes of one group commit.
        group_bytes_max: ByteSize,
        /// Most bytes of all segments, if bounded.
        max_bytes: Option<ByteSize>,
    }
}

section! {
    /// `[snapshots]`
    Snapshots {
        /// Time between two of one actor.
        interval: Duration,
        /// Changes of one shard after which one is due.
        changes_max: u64,
        /// The store's page cache.
        cache_bytes: ByteSize,
    }
}

section! {
    /// `[runtime]`
    Runtime {
        /// Threads that run machines; 0 is one per core.
        arbiters: usize,
        /// Commands that may wait for one machine.
        mailbox_max: usize,
        /// Commands of one turn.
        batch_max: usize,
        /// Time a command may take.
        deadline: Duration,
        /// First wait before an unanswered message is sent again.
        resend_min: Duration,
        /// Longest such wait.
        resend_max: Duration,
        /// Whether organizers may make a machine panic, for tests.
        fault_injection: bool,
        /// How wrong this node's clock is, for tests.
        clock_offset: ClockOffset,
    }
}

section! {
    /// `[cluster]`
    Cluster {
        /// NATS servers; empty: one embedded node.
        seeds: Vec<String>,
        /// First part of every stream and subject.
        name: String,
        /// Number of shards.
        shards: u16,
        /// Streams that the shards' journals are spread over.
        streams: u16,
        /// Copies of every stream.
        replicas: usize,
        /// Silence after which a node counts as dead.
        lease: Duration,
        /// How long a request waits for a shard that is between two owners.
        owner_wait: Duration,
        /// Time between two snapshots of a shard in the object store.
        snapshot_interval: Duration,
        /// Most bytes of the second copy of the journal, if bounded.
        copy_max_bytes: Option<ByteSize>,
        /// How the NATS servers are reached.
        nats: Nats,
    }
}

section! {
    /// `[cluster.nats]`
    Nats {
        /// Least version of the servers.
        version_min: String,
        /// User.
        username: Option<String>,
        /// Password of the user.
        password: Option<Secret>,
        /// Credentials file (JWT and key).
        credentials_file: Option<PathBuf>,
        /// Whether the connection must be TLS.
        tls: bool,
        /// Certificates of the authorities that sign the servers' certificates.
        ca_file: Option<PathBuf>,
        /// This node's certificate.
        cert_file: Option<PathBuf>,
        /// The key to it.
        key_file: Option<PathBuf>,
        /// Time one request may take.
        timeout: Duration,
    }
}

section! {
    /// `[holds]`
    Holds {
        /// How long a hold lives.
        ttl: Duration,
        /// How much longer while its payment runs.
        payment_extension: Duration,
        /// How long an ended one can be asked for.
        ended_ttl: Duration,
    }
}

section! {
    /// `[limits]`
    Limits {
        /// Rate of one customer.
        customer: Option<Rate>,
        /// Requests of a customer at once.
        customer_burst: u32,
        /// Rate of one network address.
        address: Option<Rate>,
        /// Requests of an address at once.
        address_burst: u32,
    }
}

section! {
    /// `[idempotency]`
    Idempotency {
        /// How long a key is remembered.
        ttl: Duration,
    }
}

section! {
    /// `[auth]`
    Auth {
        /// Secret of HS256 tokens.
        hs256_secret: Option<Secret>,
        /// Digests of organizers' keys.
        organizer_keys: Vec<KeyDigest>,
        /// Public keys of the identity provider.
        jwks_file: Option<PathBuf>,
        /// Demanded `iss`.
        issuer: Option<String>,
        /// Demanded `aud`.
        audience: Option<String>,
        /// Tolerated clock difference.
        leeway: Duration,
        /// Memory for customers' tokens that were verified already; 0 is off.
        token_cache: ByteSize,
    }
}

section! {
    /// `[tickets]`
    Tickets {
        /// The operator's own key file.
        key_file: Option<PathBuf>,
    }
}

section! {
    /// `[payments]`
    Payments {
        /// Which provider.
        gateway: GatewayKind,
        /// Calls for one charge.
        attempts_max: u32,
        /// Time of one call.
        timeout: Duration,
        /// First wait between calls.
        backoff_min: Duration,
        /// Longest wait between calls.
        backoff_max: Duration,
        /// The circuit breaker.
        breaker: Breaker,
        /// The simulated provider.
        simulated: Simulated,
    }
}

section! {
    /// `[payments.breaker]`
    Breaker {
        /// Failures that open it.
        failures: u32,
        /// Time over which they count.
        window: Duration,
        /// Time it stays open.
        open_for: Duration,
        /// Test calls that must succeed.
        half_open_probes: u32,
    }
}

section! {
    /// `[payments.simulated]`
    Simulated {
        /// The provider's own books.
        ledger_file: PathBuf,
        /// Median answer time.
        latency_p50: Duration,
        /// 99th percentile of the answer time.
        latency_p99: Duration,
        /// Answer time of `tok_slow`.
        slow_latency: Duration,
        /// Share declined.
        decline_rate: Share,
        /// Share lost before the charge.
        timeout_before_capture_rate: Share,
        /// Share whose answer is lost after the charge.
        timeout_after_capture_rate: Share,
        /// Share delivered twice.
        duplicate_rate: Share,
        /// Share decided late.
        late_rate: Share,
        /// How late.
        late_delay: Duration,
        /// Share of calls answered by an error.
        error_rate: Share,
        /// Seed of all choices.
        seed: u64,
    }
}

section! {
    /// `[notices]`
    Notices {
        /// JSON-lines file.
        file: Option<PathBuf>,
        /// Tries before a dead letter.
        attempts_max: u32,
        /// Time of one try.
        timeout: Duration,
        /// First wait between tries.
        backoff_min: Duration,
        /// Longest wait between tries.
        backoff_max: Duration,
        /// Mail.
        smtp: Smtp,
    }
}

section! {
    /// `[notices.smtp]`
    Smtp {
        /// Whether mail is sent.
        enabled: bool,
        /// Mail server.
        host: String,
        /// Its port.
        port: u16,
        /// Protection of the connection.
        tls: SmtpTls,
        /// Account.
        username: Option<String>,
        /// Password.
        password: Option<Secret>,
        /// Sender.
        from: Option<String>,
        /// Time of one mail.
        timeout: Duration,
    }
}

section! {
    /// `[telemetry]`
    Telemetry {
        /// Shape of log lines.
        log: LogFormat,
        /// What is logged.
        level: LogFilter,
    }
}

section! {
    /// `[shutdown]`
    Shutdown {
        /// Time for what is in progress.
        drain: Duration,
    }
}
