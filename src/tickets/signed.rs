//! Signatures that were made already: a ticket's token is in its letter and in every look at its order, and is signed once.
//!
//! Owns how many are remembered and which are forgotten. Signing is deterministic, so what was forgotten is only made again:
//! nothing depends on this memory but time. It knows neither keys nor tickets.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The bytes of an Ed25519 signature.
pub(super) type Bytes = [u8; 64];

/// More than the threads that meet here, so that they seldom meet at one lock.
const STRIPES: usize = 16;

/// Signatures in one generation of one stripe. Two generations of all stripes are 64 Ki signatures, about 10 MB when full:
/// with four tickets an order those of the last second at 10,000 orders a second, and a buyer looks sooner.
const GENERATION_MAX: usize = 2048;

/// See the module's charter.
pub(super) struct Signatures {
    /// Chosen at the start: nobody outside can make two messages that are taken for the same.
    seed: u64,
    stripes: [Stripe; STRIPES],
}

/// Aligned so that two stripes' locks do not share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(Mutex<Generations>);

/// When the young have filled their share, the old are forgotten and the young are the old.
#[derive(Default)]
struct Generations {
    young: HashMap<u128, Bytes, RandomState>,
    old: HashMap<u128, Bytes, RandomState>,
}

impl Default for Signatures {
    fn default() -> Self {
        Self { seed: rand::random(), stripes: std::array::from_fn(|_| Stripe::default()) }
    }
}

impl Signatures {
    /// The signature of a message: the remembered one, or else what `sign` makes. Nobody waits while it does, so two who ask
    /// at the same moment may both sign.
    pub(super) fn of(&self, message: &[u8], sign: impl FnOnce() -> Bytes) -> Bytes {
        let digest = xxh3_128_with_seed(message, self.seed);
        if let Some(known) = self.stripe(digest).find(digest) {
            return known;
        }
        let made = sign();
        self.stripe(digest).keep(digest, made);
        made
    }

    fn stripe(&self, digest: u128) -> MutexGuard<'_, Generations> {
        // The map inside hashes all the bits anew.
        self.stripes[(digest >> 64) as usize % STRIPES].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&self, digest: u128) -> Option<Bytes> {
        self.young.get(&digest).or_else(|| self.old.get(&digest)).copied()
    }

    fn keep(&mut self, digest: u128, made: Bytes) {
        if self.young.len() >= GENERATION_MAX {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(digest, made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> Vec<u8> {
        format!("ticket {number}").into_bytes()
    }

    /// What is given for a message, and whether it was signed for that.
    fn ask(signatures: &Signatures, number: usize) -> (Bytes, bool) {
        let mut signed = false;
        let given = signatures.of(&message(number), || {
            signed = true;
            [number as u8; 64]
        });
        (given, signed)
    }

    #[test]
    fn a_message_is_signed_once_and_never_given_the_signature_of_another() {
        let signatures = Signatures::default();
        for number in 0..200 {
            assert_eq!(ask(&signatures, number), ([number as u8; 64], true), "{number}");
        }
        for number in 0..200 {
            assert_eq!(ask(&signatures, number), ([number as u8; 64], false), "{number}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_youngest_stay() {
        let signatures = Signatures::default();
        let many = 4 * STRIPES * GENERATION_MAX;
        for number in 0..many {
            ask(&signatures, number);
        }
        let kept: usize = signatures
            .stripes
            .iter()
            .map(|stripe| {
                let known = stripe.0.lock().unwrap_or_else(PoisonError::into_inner);
                known.young.len() + known.old.len()
            })
            .sum();
        assert!(kept <= 2 * STRIPES * GENERATION_MAX, "{kept}");
        assert!(!ask(&signatures, many - 1).1, "the youngest is remembered");
        assert!(ask(&signatures, 0).1, "the oldest was forgotten");
    }
}
