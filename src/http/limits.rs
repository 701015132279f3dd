//! Rate limits: how often one customer or one network address may change something.
//!
//! Owns the counters (GCRA, `governor`) and the `RateLimit` headers; who is counted when is [`super::caller`]'s and
//! [`super::around`]'s. Counters are per node and are forgotten when they say nothing any more.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::problem::{Code, Problem};
use crate::config::{self, Rate};

/// What is left of a limit, in the structured fields of the `RateLimit` draft.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What the limit is.
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counters are swept after so many new requests, so that their number follows that of recent callers.
const SWEEP_EVERY: u32 = 1 << 16;

/// The limits of this node.
#[derive(Debug)]
pub struct Limits {
    customers: Option<Limit<u64>>,
    addresses: Option<Limit<IpAddr>>,
}

impl Limits {
    /// The limits of a configuration.
    #[must_use]
    pub fn new(config: &config::Limits) -> Self {
        Self {
            customers: config.customer.map(|rate| Limit::new("customer", rate, config.customer_burst)),
            addresses: config.address.map(|rate| Limit::new("address", rate, config.address_burst)),
        }
    }

    /// Counts a request of a customer. `None`: there is no limit.
    ///
    /// # Errors
    /// The limit is used up.
    pub fn customer(&self, customer: &str) -> Result<Option<Left>, Problem> {
        let key = xxhash_rust::xxh3::xxh3_64(customer.as_bytes());
        self.customers.as_ref().map(|limit| limit.take(key)).transpose()
    }

    /// Counts a request of an address. `None`: there is no limit.
    ///
    /// # Errors
    /// The limit is used up.
    pub fn address(&self, address: IpAddr) -> Result<Option<Left>, Problem> {
        self.addresses.as_ref().map(|limit| limit.take(network(address))).transpose()
    }
}

/// What is left of a limit after a request.
#[derive(Clone, Debug)]
pub struct Left {
    /// The `RateLimit` header.
    pub limit: HeaderValue,
    /// The `RateLimit-Policy` header.
    pub policy: HeaderValue,
}

#[derive(Debug)]
struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    counters: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>,
    clock: DefaultClock,
    interval: Duration,
    burst: u32,
    policy: HeaderValue,
    taken: AtomicU32,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(name: &'static str, rate: Rate, burst: u32) -> Self {
        let burst_of = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(rate.interval()).expect("an interval is not zero").allow_burst(burst_of);
        let window = (rate.interval() * burst).as_secs().max(1);
        Self {
            name,
            counters: RateLimiter::dashmap(quota).with_middleware(),
            clock: DefaultClock::default(),
            interval: rate.interval(),
            burst,
            policy: header(format!("\"{name}\";q={burst};w={window}")),
            taken: AtomicU32::new(0),
        }
    }

    fn take(&self, key: K) -> Result<Left, Problem> {
        if self.taken.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.counters.retain_recent();
        }
        match self.counters.check_key(&key) {
            Ok(state) => Ok(self.left(state.remaining_burst_capacity().min(self.burst))),
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                let left = self.left(0);
                let detail = format!("too many requests of one {}", self.name);
                Err(Problem::new(Code::RateLimited, detail)
                    .retry_after(wait)
                    .header(RATE_LIMIT, left.limit)
                    .header(RATE_LIMIT_POLICY, left.policy))
            }
        }
    }

    fn left(&self, remaining: u32) -> Left {
        let full_in = (self.interval * (self.burst - remaining)).as_secs();
        Left { limit: header(format!("\"{}\";r={remaining};t={full_in}", self.name)), policy: self.policy.clone() }
    }
}

/// Whoever has one IPv6 address has the whole /64 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names and numbers are a header")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limits() -> Limits {
        let rate = |count| Some(Rate { count, period: Duration::from_secs(3600) });
        Limits::new(&config::Limits { customer: rate(1), customer_burst: 2, address: rate(1), address_burst: 1 })
    }

    #[test]
    fn a_customer_has_a_burst_and_then_waits() {
        let limits = limits();
        assert_eq!(limits.customer("ann").unwrap().unwrap().limit, "\"customer\";r=1;t=3600");
        assert_eq!(limits.customer("ann").unwrap().unwrap().limit, "\"customer\";r=0;t=7200");
        assert_eq!(limits.customer("ann").unwrap_err().code(), Code::RateLimited);
        assert!(limits.customer("bob").is_ok(), "another customer is not affected");
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let limits = limits();
        assert!(limits.address("2001:db8::1".parse().unwrap()).is_ok());
        assert!(limits.address("2001:db8::2".parse().unwrap()).is_err());
        assert!(limits.address("192.0.2.1".parse().unwrap()).is_ok());
        assert!(limits.address("::ffff:192.0.2.1".parse().unwrap()).is_err());
    }
}
