//! What values must fit together, and the ranges in which the product works.
//!
//! One line a rule: the condition that must hold, the key it is reported at, the rule in words. No value is
//! changed here.

use std::time::Duration;

use super::layers::Layers;
use super::problem::{ConfigError, Origin, Problem};
use super::sections::Config;
use super::values::SmtpTls;

/// Least length of the HS256 secret in bytes: the size of the hash (RFC 7518, 3.2).
const HS256_SECRET_MIN: usize = 32;

/// Checks every rule and records what is broken.
pub(super) fn check(config: &Config, layers: &mut Layers) {
    let mut must = |holds: bool, key: &str, rule: &str| {
        if !holds {
            layers.refuse(key, rule.to_owned());
        }
    };
    ranges(config, &mut must);
    durations(config, &mut must);
    security(config, &mut must);
    order(config, &mut must);
}

type Must<'m> = dyn FnMut(bool, &str, &str) + 'm;

fn ranges(c: &Config, must: &mut Must<'_>) {
    let name_fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let name = &c.node.name;
    must(
        (1..=64).contains(&name.len()) && name.bytes().all(name_fits),
        "node.name",
        "must be 1 to 64 letters, digits, `-`, `_` or `.`",
    );
    must(
        c.cluster.seeds.iter().all(|seed| seed.starts_with("nats://") || seed.starts_with("tls://")),
        "cluster.seeds",
        "must be NATS servers, such as \"nats://127.0.0.1:4222\" or \"tls://nats.example:4222\"",
    );
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    must(
        (1..=32).contains(&c.cluster.name.len()) && c.cluster.name.bytes().all(plain),
        "cluster.name",
        "must be 1 to 32 letters, digits, `-` or `_`",
    );
    must(
        c.cluster.copy_max_bytes.is_none_or(|most| most.0 >= 64 << 20),
        "cluster.copy_max_bytes",
        "must be at least 64MiB",
    );
    must((1..=64).contains(&c.cluster.streams), "cluster.streams", "must be from 1 to 64");
    must(matches!(c.cluster.replicas, 1 | 3 | 5), "cluster.replicas", "must be 1, 3 or 5");
    let named = c.cluster.nats.cert_file.is_some() == c.cluster.nats.key_file.is_some();
    must(named, "cluster.nats.cert_file", "must be set together with `cluster.nats.key_file`");
    must((1..=1024).contains(&c.cluster.shards), "cluster.shards", "must be from 1 to 1024");
    let right = c.runtime.clock_offset.0 == 0 || c.runtime.fault_injection;
    must(right, "runtime.clock_offset", "must be \"0ms\" without `runtime.fault_injection`");
    must(c.http.workers <= 1024, "http.workers", "must be from 0 to 1024");
    must(c.runtime.arbiters <= 1024, "runtime.arbiters", "must be from 0 to 1024");
    must(c.http.connections_max > 0, "http.connections_max", "must be at least 1");
    must((1 << 10..=64 << 20).contains(&c.http.body_max.0), "http.body_max", "must be from 1KiB to 64MiB");
    must((1 << 10..=128 << 10).contains(&c.http.head_max.0), "http.head_max", "must be from 1KiB to 128KiB");
    must(c.live.queue_max > 0, "live.queue_max", "must be at least 1");
    must((1..=1 << 20).contains(&c.runtime.mailbox_max), "runtime.mailbox_max", "must be from 1 to 1048576");
    must((1..=1 << 16).contains(&c.runtime.batch_max), "runtime.batch_max", "must be from 1 to 65536");
    must(
        (1 << 20..=4 << 30).contains(&c.journal.segment_bytes.0),
        "journal.segment_bytes",
        "must be from 1MiB to 4GiB",
    );
    must(c.snapshots.changes_max > 0, "snapshots.changes_max", "must be at least 1");
    must(c.snapshots.cache_bytes.0 >= 1 << 20, "snapshots.cache_bytes", "must be at least 1MiB");
    must(
        c.auth.token_cache.0 == 0 || c.auth.token_cache.0 >= 1 << 20,
        "auth.token_cache",
        "must be \"0B\" (off) or at least 1MiB",
    );
    must(c.limits.customer_burst > 0, "limits.customer_burst", "must be at least 1");
    must(c.limits.address_burst > 0, "limits.address_burst", "must be at least 1");
    must(c.payments.attempts_max > 0, "payments.attempts_max", "must be at least 1");
    must(c.payments.breaker.failures > 0, "payments.breaker.failures", "must be at least 1");
    must(c.payments.breaker.half_open_probes > 0, "payments.breaker.half_open_probes", "must be at least 1");
    must(c.notices.attempts_max > 0, "notices.attempts_max", "must be at least 1");
}

fn durations(c: &Config, must: &mut Must<'_>) {
    must(c.http.gather <= Duration::from_secs(1), "http.gather", "must be at most 1s");
    let day = Duration::from_secs(24 * 3600);
    let bounded: [(Duration, &str); 31] = [
        (c.cluster.lease, "cluster.lease"),
        (c.cluster.owner_wait, "cluster.owner_wait"),
        (c.cluster.snapshot_interval, "cluster.snapshot_interval"),
        (c.cluster.nats.timeout, "cluster.nats.timeout"),
        (c.http.keep_alive, "http.keep_alive"),
        (c.http.head_timeout, "http.head_timeout"),
        (c.http.body_timeout, "http.body_timeout"),
        (c.http.answer_timeout, "http.answer_timeout"),
        (c.http.wait_max, "http.wait_max"),
        (c.live.counts_interval, "live.counts_interval"),
        (c.live.idle_timeout, "live.idle_timeout"),
        (c.snapshots.interval, "snapshots.interval"),
        (c.runtime.deadline, "runtime.deadline"),
        (c.runtime.resend_min, "runtime.resend_min"),
        (c.runtime.resend_max, "runtime.resend_max"),
        (c.payments.timeout, "payments.timeout"),
        (c.payments.backoff_min, "payments.backoff_min"),
        (c.payments.backoff_max, "payments.backoff_max"),
        (c.payments.breaker.window, "payments.breaker.window"),
        (c.payments.breaker.open_for, "payments.breaker.open_for"),
        (c.payments.simulated.latency_p50, "payments.simulated.latency_p50"),
        (c.payments.simulated.latency_p99, "payments.simulated.latency_p99"),
        (c.payments.simulated.slow_latency, "payments.simulated.slow_latency"),
        (c.payments.simulated.late_delay, "payments.simulated.late_delay"),
        (c.notices.timeout, "notices.timeout"),
        (c.notices.backoff_min, "notices.backoff_min"),
        (c.notices.backoff_max, "notices.backoff_max"),
        (c.notices.smtp.timeout, "notices.smtp.timeout"),
        (c.holds.ttl, "holds.ttl"),
        (c.holds.payment_extension, "holds.payment_extension"),
        (c.shutdown.drain, "shutdown.drain"),
    ];
    for (value, key) in bounded {
        must(value > Duration::ZERO && value <= day, key, "must be more than 0 and at most 24h");
    }
    must(
        c.idempotency.ttl > Duration::ZERO && c.idempotency.ttl <= 30 * day,
        "idempotency.ttl",
        "must be more than 0 and at most 30days",
    );
    must(c.holds.ended_ttl <= 30 * day, "holds.ended_ttl", "must be at most 30days");
    must(c.auth.leeway <= Duration::from_secs(300), "auth.leeway", "must be at most 5m");
}

fn security(c: &Config, must: &mut Must<'_>) {
    if let Some(secret) = &c.auth.hs256_secret {
        must(secret.expose().len() >= HS256_SECRET_MIN, "auth.hs256_secret", "must be at least 32 bytes");
    }
    let origin = |text: &String| {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
    };
    must(
        c.http.cors_origins.iter().all(origin),
        "http.cors_origins",
        "must be origins such as \"https://tickets.example\", without path or wildcard",
    );
    let smtp = &c.notices.smtp;
    must(
        !smtp.enabled || smtp.from.as_ref().is_some_and(|from| from.contains('@')),
        "notices.smtp.from",
        "must be a mail address when notices.smtp.enabled is true",
    );
    must(!smtp.enabled || !smtp.host.is_empty(), "notices.smtp.host", "must be set when notices.smtp.enabled is true");
    must(
        smtp.username.is_some() == smtp.password.is_some(),
        "notices.smtp.username",
        "needs notices.smtp.password, and the other way round",
    );
    must(
        smtp.password.is_none() || !matches!(smtp.tls, SmtpTls::None),
        "notices.smtp.tls",
        "must not be \"none\" when a password is sent",
    );
}

fn order(c: &Config, must: &mut Must<'_>) {
    must(
        c.payments.backoff_min <= c.payments.backoff_max,
        "payments.backoff_min",
        "must not be above payments.backoff_max",
    );
    must(
        c.notices.backoff_min <= c.notices.backoff_max,
        "notices.backoff_min",
        "must not be above notices.backoff_max",
    );
    must(c.cluster.owner_wait < c.runtime.deadline, "cluster.owner_wait", "must be below runtime.deadline");
    must(c.cluster.lease >= Duration::from_millis(300), "cluster.lease", "must be at least 300ms");
    must(c.runtime.resend_min <= c.runtime.resend_max, "runtime.resend_min", "must not be above runtime.resend_max");
    must(c.notices.timeout >= c.notices.smtp.timeout, "notices.timeout", "must not be below notices.smtp.timeout");
    let simulated = &c.payments.simulated;
    must(
        simulated.latency_p50 <= simulated.latency_p99,
        "payments.simulated.latency_p50",
        "must not be above payments.simulated.latency_p99",
    );
    let shares = simulated.decline_rate.0
        + simulated.timeout_before_capture_rate.0
        + simulated.timeout_after_capture_rate.0
        + simulated.late_rate.0;
    must(
        shares <= 1.0 + f64::EPSILON,
        "payments.simulated.decline_rate",
        "must not exceed 100% together with timeout_before_capture_rate, timeout_after_capture_rate and late_rate",
    );
    must(
        c.holds.payment_extension >= c.payments.timeout,
        "holds.payment_extension",
        "must not be below payments.timeout",
    );
    must(
        c.journal.group_bytes_max.0 >= c.http.body_max.0 && c.journal.group_bytes_max <= c.journal.segment_bytes,
        "journal.group_bytes_max",
        "must be from http.body_max to journal.segment_bytes",
    );
    if let Some(most) = c.journal.max_bytes {
        must(
            most.0 >= 2 * c.journal.segment_bytes.0,
            "journal.max_bytes",
            "must be at least twice journal.segment_bytes",
        );
    }
}

/// Refuses a configuration without keys.
pub(super) fn keys_present(config: &Config) -> Result<(), ConfigError> {
    let auth = &config.auth;
    let missing = [
        (auth.organizer_keys.is_empty(), "auth.organizer_keys", "no organizer could call: run `stampede key new`"),
        (
            auth.hs256_secret.is_none() && auth.jwks_file.is_none(),
            "auth.hs256_secret",
            "no customer could call: set it, or auth.jwks_file",
        ),
    ];
    let problems: Vec<Problem> = missing
        .into_iter()
        .filter(|(is_missing, _, _)| *is_missing)
        .map(|(_, key, rule)| Problem {
            key: key.to_owned(),
            value: String::new(),
            rule: rule.to_owned(),
            origin: Origin::Default,
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
}
