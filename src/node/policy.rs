//! From the configuration to what machines, runtime and journal are given.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use actors::policy::Policy;
use actors::time::Span;

use crate::config::Config;
use crate::tickets::TicketKey;
use crate::{cluster, journal, nats, runtime};

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// What decisions depend on.
pub(super) fn of(config: &Config) -> Policy {
    Policy {
        shards: config.cluster.shards,
        idempotency_ttl: span(config.idempotency.ttl),
        ended_hold_ttl: span(config.holds.ended_ttl),
        payment_extension: span(config.holds.payment_extension),
        resend_min: span(config.runtime.resend_min),
        resend_max: span(config.runtime.resend_max),
        // The gateway's own deadline comes first; this one is for calls that were lost with a process.
        gateway_timeout: span(config.payments.timeout * 2),
        gateway_backoff_min: span(config.payments.backoff_min),
        gateway_backoff_max: span(config.payments.backoff_max),
        charge_attempts_max: config.payments.attempts_max,
        letter_timeout: span(config.notices.timeout),
        letter_backoff_min: span(config.notices.backoff_min),
        letter_backoff_max: span(config.notices.backoff_max),
        letter_attempts_max: config.notices.attempts_max,
    }
}

/// Limits and paces of the runtime.
pub(super) fn settings(config: &Config) -> runtime::Settings {
    let arbiters = match config.runtime.arbiters {
        0 => available_parallelism().map_or(1, NonZero::get),
        arbiters => arbiters,
    };
    runtime::Settings {
        arbiters,
        mailbox_max: config.runtime.mailbox_max,
        batch_max: config.runtime.batch_max,
        deadline: config.runtime.deadline,
        snapshot_interval: config.snapshots.interval,
        snapshot_changes_max: config.snapshots.changes_max,
        drain: config.shutdown.drain,
        fault_injection: config.runtime.fault_injection,
        ..runtime::Settings::default()
    }
}

/// Limits of the journal.
pub(super) fn journal(config: &Config) -> journal::Options {
    journal::Options {
        segment_bytes: config.journal.segment_bytes.0,
        group_bytes_max: config.journal.group_bytes_max.as_usize(),
        gather: config.journal.gather,
        max_bytes: config.journal.max_bytes.map(|bytes| bytes.0),
        ..journal::Options::default()
    }
}

/// How the node takes part in a cluster.
pub(super) fn cluster(config: &Config) -> cluster::Settings {
    cluster::Settings {
        shards: config.cluster.shards,
        lease: config.cluster.lease,
        owner_wait: config.cluster.owner_wait,
        deadline: config.runtime.deadline,
    }
}

/// What must be the same on all nodes of a deployment for its whole life. Everything else may change in a rolling restart.
pub(super) fn shared_by_all(config: &Config, tickets: &TicketKey) -> nats::Settings {
    let settings = [
        ("cluster.shards", config.cluster.shards.to_string()),
        ("cluster.streams", config.cluster.streams.to_string()),
        ("tickets.key_file", format!("key {}", tickets.kid())),
    ];
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
