//! From the configuration to what machines, runtime and journal are given.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use actors::policy::Policy;
use actors::time::Span;

use crate::config::Config;
use crate::{journal, runtime};

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
