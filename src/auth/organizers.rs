//! Organizers' API keys: 256 random bits, of which the server knows only a digest.
//!
//! A plain SHA-256 is enough because a key is not a password: nobody can guess 256 random bits, so there is nothing
//! for a slow hash to slow down.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::AuthError;
use crate::config::KeyDigest;

/// What every organizer's key starts with.
pub const KEY_PREFIX: &str = "sk_";

/// Longest key that is hashed, in bytes; real ones have 46.
const KEY_BYTES_MAX: usize = 128;

/// An organizer, known by the key used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Organizer {
    /// Digest of the key; its first digits tell keys apart in logs.
    pub key: KeyDigest,
}

/// The digests of all keys that are accepted.
#[derive(Debug, Clone)]
pub struct OrganizerKeys {
    digests: Vec<KeyDigest>,
}

impl OrganizerKeys {
    /// Accepts the keys with these digests.
    #[must_use]
    pub fn new(digests: &[KeyDigest]) -> OrganizerKeys {
        OrganizerKeys { digests: digests.to_vec() }
    }

    /// Whose key this is. Compares with every digest in constant time, so that the time taken says nothing.
    ///
    /// # Errors
    /// [`AuthError::Malformed`] when it cannot be a key, [`AuthError::UnknownKey`] when it is not one of ours.
    pub fn verify(&self, key: &str) -> Result<Organizer, AuthError> {
        if !key.starts_with(KEY_PREFIX) || key.len() > KEY_BYTES_MAX {
            return Err(AuthError::Malformed);
        }
        let offered = digest(key);
        let mut found = None;
        for known in &self.digests {
            if bool::from(known.0.ct_eq(&offered.0)) {
                found = Some(Organizer { key: *known });
            }
        }
        found.ok_or(AuthError::UnknownKey)
    }
}

/// Makes a key and the digest that goes into the configuration.
///
/// # Panics
/// When the operating system has no randomness to give; a key made without it would be worthless.
#[must_use]
pub fn new_key() -> (String, KeyDigest) {
    let mut bytes = [0_u8; 32];
    SysRng.try_fill_bytes(&mut bytes).expect("the operating system provides randomness");
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let digest = digest(&key);
    (key, digest)
}

fn digest(key: &str) -> KeyDigest {
    KeyDigest(Sha256::digest(key.as_bytes()).into())
}
