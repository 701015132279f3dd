//! Tokens that were verified already, so that a signature is checked once and not at every request.
//!
//! Owns how many are remembered and which are forgotten. It remembers good tokens only, whole: a hit means that every byte
//! is the same as when the signature was checked, and the times are judged again at every use. What is kept is bounded in
//! bytes, and thereby in entries. It never judges a token: [`super::customers`] does.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::AuthError;
use super::customers::{Accepted, Verified};

/// More than the threads that meet here, so that they seldom meet at one lock.
const STRIPES: usize = 64;

/// What an entry costs beside its texts: a map of 7/16 to 7/8 full, and two allocations.
const ENTRY_BYTES: usize = 2 * size_of::<(u64, Known)>() + 32;

/// See the module's charter.
pub(super) struct TokenCache {
    /// Seeded: nobody outside can choose tokens that meet in one place.
    hasher: RandomState,
    /// Empty when the cache is off.
    stripes: Box<[Stripe]>,
    /// Bytes of one generation.
    generation_bytes: usize,
}

/// Aligned so that two stripes' locks do not share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(Mutex<Generations>);

/// When the young have filled their share, the old are forgotten and the young are the old. An old one that is used is young
/// again, so that what is asked for often stays.
#[derive(Default)]
struct Generations {
    young: HashMap<u64, Known, RandomState>,
    old: HashMap<u64, Known, RandomState>,
    /// Of the young.
    bytes: usize,
}

struct Known {
    token: Box<str>,
    accepted: Accepted,
}

impl Known {
    fn bytes(&self) -> usize {
        self.token.len() + self.accepted.verified.customer.len() + ENTRY_BYTES
    }
}

impl TokenCache {
    /// Remembers as many tokens as fit into so many bytes; none with 0.
    pub(super) fn new(bytes: usize) -> Self {
        let stripes = if bytes == 0 { 0 } else { STRIPES };
        Self {
            hasher: RandomState::default(),
            stripes: (0..stripes).map(|_| Stripe::default()).collect(),
            generation_bytes: bytes / STRIPES / 2,
        }
    }

    /// What a token that was verified before is worth at `now`; `None`: it must be verified.
    pub(super) fn find(&self, token: &str, now: u64) -> Option<Result<Verified, AuthError>> {
        let hash = self.hasher.hash_one(token);
        let mut stripe = self.stripe(hash)?;
        let Generations { young, old, .. } = &mut *stripe;
        if let Some(known) = young.get(&hash).filter(|known| *known.token == *token) {
            return Some(known.accepted.at(now).cloned());
        }
        let known = old.get(&hash).filter(|known| *known.token == *token)?;
        let found = known.accepted.at(now).cloned();
        if let Some(known) = old.remove(&hash) {
            self.insert(&mut stripe, hash, known);
        }
        Some(found)
    }

    /// Remembers a token that was found good.
    pub(super) fn keep(&self, token: &str, accepted: Accepted) {
        let hash = self.hasher.hash_one(token);
        if let Some(mut stripe) = self.stripe(hash) {
            self.insert(&mut stripe, hash, Known { token: token.into(), accepted });
        }
    }

    fn insert(&self, stripe: &mut Generations, hash: u64, known: Known) {
        let bytes = known.bytes();
        if stripe.bytes + bytes > self.generation_bytes {
            std::mem::swap(&mut stripe.young, &mut stripe.old);
            stripe.young.clear();
            stripe.bytes = 0;
        }
        stripe.bytes += bytes;
        // Another token of the same hash gives way: each is compared whole before it is believed.
        let replaced = stripe.young.insert(hash, known);
        stripe.bytes -= replaced.map_or(0, |known| known.bytes());
    }

    fn stripe(&self, hash: u64) -> Option<MutexGuard<'_, Generations>> {
        // The maps inside take the other bits of a hash of this hash.
        let stripe = self.stripes.get((hash >> 32) as usize % STRIPES)?;
        Some(stripe.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
impl TokenCache {
    /// Tokens and bytes that are remembered.
    fn size(&self) -> (usize, usize) {
        let stripes = self.stripes.iter().map(|stripe| stripe.0.lock().unwrap_or_else(PoisonError::into_inner));
        let known = stripes.map(|stripe| {
            let bytes = stripe.young.values().chain(stripe.old.values()).map(Known::bytes).sum::<usize>();
            (stripe.young.len() + stripe.old.len(), bytes)
        });
        known.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn accepted(customer: &str) -> Accepted {
        Accepted { verified: Verified { customer: customer.into(), expires_at: 200 }, begins_at: 100 }
    }

    fn token(number: usize) -> String {
        format!("{number:0200}")
    }

    #[test]
    fn the_times_are_judged_at_every_use() {
        let cache = TokenCache::new(MIB);
        cache.keep("token", accepted("ann"));
        for (now, expected) in
            [(99, Err(AuthError::NotYetValid)), (100, Ok("ann")), (199, Ok("ann")), (200, Err(AuthError::Expired))]
        {
            let found = cache.find("token", now).map(|found| found.map(|verified| verified.customer));
            assert_eq!(found, Some(expected.map(Into::into)), "{now}");
        }
    }

    #[test]
    fn another_token_of_the_same_hash_is_not_believed() {
        let cache = TokenCache::new(MIB);
        let (mine, yours) = ("mine", "your");
        let hash = cache.hasher.hash_one(yours);
        for old in [false, true] {
            if let Some(mut stripe) = cache.stripe(hash) {
                let known = Known { token: mine.into(), accepted: accepted("ann") };
                let generation = if old { &mut stripe.old } else { &mut stripe.young };
                generation.insert(hash, known);
            }
            assert_eq!(cache.find(yours, 150), None);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_stays() {
        let cache = TokenCache::new(MIB);
        cache.keep(&token(0), accepted("ann"));
        for number in 1..50_000 {
            cache.keep(&token(number), accepted("bob"));
            assert!(cache.find(&token(0), 150).is_some(), "forgotten after {number}");
        }
        let (tokens, bytes) = cache.size();
        assert!((1000..MIB / 400).contains(&tokens), "{tokens}");
        assert!(bytes <= MIB, "{bytes}");
        assert_eq!(cache.find(&token(1), 150), None, "the oldest that was not used is forgotten");
        assert!(cache.find(&token(49_999), 150).is_some());
    }

    #[test]
    fn without_memory_nothing_is_remembered() {
        let cache = TokenCache::new(0);
        cache.keep("token", accepted("ann"));
        assert_eq!(cache.find("token", 150), None);
    }
}
