//! A map in stripes: readers on many threads share no lock that a writer of another stripe holds.
//!
//! Values are handed out as clones, so no lock outlives a call.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;

/// Stripes of one map: more than the threads that meet in it.
const STRIPES: usize = 16;

pub(super) struct Striped<K, V> {
    hasher: RandomState,
    stripes: [RwLock<HashMap<K, V, RandomState>>; STRIPES],
}

impl<K: Eq + Hash, V: Clone> Striped<K, V> {
    pub(super) fn new() -> Self {
        let hasher = RandomState::default();
        Self { stripes: std::array::from_fn(|_| RwLock::new(HashMap::with_hasher(hasher.clone()))), hasher }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.stripe(key).read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The value of a key, made first if it is not there. `make` runs at most once a key.
    pub(super) fn get_or_insert(&self, key: &K, make: impl FnOnce() -> V) -> V
    where
        K: Clone,
    {
        if let Some(known) = self.get(key) {
            return known;
        }
        let mut stripe = self.stripe(key).write().unwrap_or_else(PoisonError::into_inner);
        stripe.entry(key.clone()).or_insert_with(make).clone()
    }

    /// Changes the value of a key, starting from the default one.
    pub(super) fn update(&self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        change(self.stripe(&key).write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
    }

    fn stripe<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V, RandomState>> {
        // The map inside takes the low bits of the hash.
        let hash = self.hasher.hash_one(key);
        &self.stripes[(hash >> 32) as usize % STRIPES]
    }
}
