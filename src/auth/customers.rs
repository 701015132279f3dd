//! Customers' tokens: JWTs signed with the shared secret (HS256) or by an identity provider (EdDSA, RS256).
//!
//! The algorithm belongs to the key, never to the token: a token only says which key it wants, and is refused when the
//! algorithm it names is not that key's. Symmetric keys in a JWKS file are never used, so a public key can never be
//! taken for a secret. Verification is a function of the token and the time handed in, so what was found good is kept in
//! [`TokenCache`]; only the times have to be looked at again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actors::bytes::is_visible;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde::{Deserialize, Serialize};

use super::AuthError;
use super::cache::TokenCache;
use crate::config;

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Longest `sub`, in characters.
const CUSTOMER_LENGTH_MAX: usize = 128;

/// Largest JWKS file, in bytes, and most keys in it.
const JWKS_BYTES_MAX: u64 = 256 * 1024;
const JWKS_KEYS_MAX: usize = 64;

/// Least size of an RSA modulus in bytes: 2048 bits (RFC 7518, 3.3).
const RSA_MODULUS_MIN: usize = 256;

/// A customer whose token was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The token's `sub`: 1 to 128 visible ASCII characters. Up to 24 of them are cloned without an allocation.
    pub customer: CompactString,
    /// Seconds since 1970 from which the token is no longer accepted, leeway included.
    pub expires_at: u64,
}

/// A customer whose token's signature and claims are good, and the times between which it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) verified: Verified,
    /// Seconds since 1970 from which on it is accepted, leeway included.
    pub(super) begins_at: u64,
}

impl Accepted {
    /// The customer, if `now` lies between the token's times.
    pub(super) fn at(&self, now: u64) -> Result<&Verified, AuthError> {
        if now >= self.verified.expires_at {
            Err(AuthError::Expired)
        } else if now < self.begins_at {
            Err(AuthError::NotYetValid)
        } else {
            Ok(&self.verified)
        }
    }
}

/// The keys and demands that tokens are checked against.
pub struct CustomerTokens {
    secret: Option<DecodingKey>,
    public: Vec<PublicKey>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: u64,
    cache: TokenCache,
}

struct PublicKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl fmt::Debug for CustomerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.public.iter().map(|key| (key.algorithm, key.kid.as_deref())).collect();
        f.debug_struct("CustomerTokens")
            .field("has_secret", &self.secret.is_some())
            .field("public", &kids)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl CustomerTokens {
    /// Prepares the keys of a configuration; reads `auth.jwks_file` if there is one.
    ///
    /// # Errors
    /// The JWKS file cannot be read or holds no key that could be used.
    pub fn new(config: &config::Auth) -> Result<CustomerTokens, JwksError> {
        Ok(CustomerTokens {
            secret: config.hs256_secret.as_ref().map(|secret| DecodingKey::from_secret(secret.expose().as_bytes())),
            public: config.jwks_file.as_deref().map(read_jwks).transpose()?.unwrap_or_default(),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway: config.leeway.as_secs(),
            cache: TokenCache::new(config.token_cache.as_usize()),
        })
    }

    /// The customer of a token at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// Any [`AuthError`] but `Missing`. Claims are looked at only after the signature was found good.
    pub fn verify(&self, token: &str, now: u64) -> Result<Verified, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Malformed);
        }
        if let Some(known) = self.cache.find(token, now) {
            return known;
        }
        let accepted = self.examine(token, now)?;
        let verified = accepted.at(now)?.clone();
        self.cache.keep(token, accepted);
        Ok(verified)
    }

    /// Whom a token speaks for, judged anew.
    fn examine(&self, token: &str, now: u64) -> Result<Accepted, AuthError> {
        let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(AuthError::Malformed)?;
        let header: Header = decode(header)?;
        if header.crit.is_some() {
            return Err(AuthError::Malformed);
        }
        let (key, algorithm) = self.key_for(&header)?;
        let is_good = crypto::verify(signature, message.as_bytes(), key, algorithm);
        if !is_good.map_err(|_| AuthError::BadSignature)? {
            return Err(AuthError::BadSignature);
        }
        self.judge(&decode(claims)?, now)
    }

    fn key_for(&self, header: &Header) -> Result<(&DecodingKey, Algorithm), AuthError> {
        if let Some(kid) = header.kid.as_deref()
            && let Some(named) = self.public.iter().find(|key| key.kid.as_deref() == Some(kid))
        {
            let fits = header.alg == name(named.algorithm);
            return if fits { Ok((&named.key, named.algorithm)) } else { Err(AuthError::WrongAlgorithm) };
        }
        if header.alg == name(Algorithm::HS256) {
            let secret = self.secret.as_ref().ok_or(AuthError::WrongAlgorithm)?;
            return Ok((secret, Algorithm::HS256));
        }
        let of_algorithm: Vec<_> = self.public.iter().filter(|key| name(key.algorithm) == header.alg).collect();
        match (of_algorithm.as_slice(), &header.kid) {
            ([], _) if !is_supported(&header.alg) => Err(AuthError::WrongAlgorithm),
            ([only], None) => Ok((&only.key, only.algorithm)),
            ([only], Some(_)) if only.kid.is_none() => Ok((&only.key, only.algorithm)),
            (_, _) => Err(AuthError::UnknownKey),
        }
    }

    /// The times come first, so that a token that is only too old says so whatever else is wrong with it.
    fn judge(&self, claims: &Claims, now: u64) -> Result<Accepted, AuthError> {
        let expires_at = seconds(claims.exp.ok_or(AuthError::Malformed)?)?.saturating_add(self.leeway);
        if now >= expires_at {
            return Err(AuthError::Expired);
        }
        let begins_at = claims.nbf.map(seconds).transpose()?.unwrap_or(0).saturating_sub(self.leeway);
        if now < begins_at {
            return Err(AuthError::NotYetValid);
        }
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err(AuthError::WrongIssuer);
        }
        if let Some(demanded) = &self.audience {
            let is_named = match &claims.aud {
                Some(Audience::One(one)) => one == demanded,
                Some(Audience::Many(many)) => many.contains(demanded),
                None => false,
            };
            if !is_named {
                return Err(AuthError::WrongAudience);
            }
        }
        let customer = claims.sub.as_deref().filter(|sub| is_customer(sub)).ok_or(AuthError::Malformed)?;
        Ok(Accepted { verified: Verified { customer: customer.into(), expires_at }, begins_at })
    }
}

fn is_customer(name: &str) -> bool {
    (1..=CUSTOMER_LENGTH_MAX).contains(&name.len()) && is_visible(name.as_bytes())
}

fn is_supported(algorithm: &str) -> bool {
    [Algorithm::HS256, Algorithm::EdDSA, Algorithm::RS256].into_iter().any(|known| name(known) == algorithm)
}

#[allow(clippy::wildcard_enum_match_arm)] // the library's list is open; only these three ever become keys
fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::EdDSA => "EdDSA",
        Algorithm::RS256 => "RS256",
        _ => "unsupported",
    }
}

/// A NumericDate (RFC 7519, 2) in whole seconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked first
fn seconds(date: f64) -> Result<u64, AuthError> {
    const LATEST: f64 = 253_402_300_800.0; // the year 10000
    if (0.0..LATEST).contains(&date) { Ok(date as u64) } else { Err(AuthError::Malformed) }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| AuthError::Malformed)
}

/// Makes a customer's HS256 token that this configuration accepts until `ttl` after `now` (seconds since 1970).
///
/// # Errors
/// [`AuthError::UnknownKey`] without a secret, [`AuthError::Malformed`] when `customer` cannot be a `sub`.
pub fn mint(config: &config::Auth, customer: &str, ttl: Duration, now: u64) -> Result<String, AuthError> {
    #[derive(Serialize)]
    struct Minted<'m> {
        sub: &'m str,
        iat: u64,
        exp: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        iss: Option<&'m str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        aud: Option<&'m str>,
    }
    let secret = config.hs256_secret.as_ref().ok_or(AuthError::UnknownKey)?;
    if !is_customer(customer) {
        return Err(AuthError::Malformed);
    }
    let claims = Minted {
        sub: customer,
        iat: now,
        exp: now.saturating_add(ttl.as_secs()),
        iss: config.issuer.as_deref(),
        aud: config.audience.as_deref(),
    };
    let claims = serde_json::to_vec(&claims).map_err(|_| AuthError::Malformed)?;
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).map_err(|_| AuthError::UnknownKey)?;
    Ok(format!("{message}.{signature}"))
}

/// A JWKS file that cannot be used.
#[derive(Debug)]
pub struct JwksError {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`auth.jwks_file` {}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for JwksError {}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// The members of a JWK (RFC 7517, 8037) that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde_json::Value>,
}

fn read_jwks(path: &Path) -> Result<Vec<PublicKey>, JwksError> {
    let fail = |reason: String| JwksError { path: path.to_owned(), reason };
    let length = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if length > JWKS_BYTES_MAX {
        return Err(fail(format!("is larger than {JWKS_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let jwks: Jwks = serde_json::from_slice(&bytes).map_err(|error| fail(format!("is not a JWKS: {error}")))?;
    if jwks.keys.len() > JWKS_KEYS_MAX {
        return Err(fail(format!("holds more than {JWKS_KEYS_MAX} keys")));
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for jwk in jwks.keys {
        let Some(key) = public_key(jwk).map_err(|reason| fail(reason.to_owned()))? else {
            continue;
        };
        if keys.iter().any(|other| other.kid == key.kid && (key.kid.is_some() || other.algorithm == key.algorithm)) {
            return Err(fail("holds two keys that cannot be told apart by kid".to_owned()));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(fail("holds no EdDSA or RS256 signing key".to_owned())) } else { Ok(keys) }
}

/// A key that can verify signatures; `None` for keys of other kinds, which identity providers publish alongside.
fn public_key(jwk: Jwk) -> Result<Option<PublicKey>, &'static str> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.x, jwk.n, jwk.e) {
        ("OKP", Some("Ed25519"), Some(x), _, _) => {
            let bytes = URL_SAFE_NO_PAD.decode(&x).map_err(|_| "holds an Ed25519 key that is not base64url")?;
            if bytes.len() != 32 {
                return Err("holds an Ed25519 key that is not 32 bytes long");
            }
            (Algorithm::EdDSA, DecodingKey::from_ed_der(&bytes))
        }
        ("RSA", _, _, Some(n), Some(e)) => {
            let n = URL_SAFE_NO_PAD.decode(&n).map_err(|_| "holds an RSA key that is not base64url")?;
            let e = URL_SAFE_NO_PAD.decode(&e).map_err(|_| "holds an RSA key that is not base64url")?;
            if n.iter().skip_while(|byte| **byte == 0).count() < RSA_MODULUS_MIN {
                return Err("holds an RSA key of less than 2048 bits");
            }
            (Algorithm::RS256, DecodingKey::from_rsa_raw_components(&n, &e))
        }
        (_, _, _, _, _) => return Ok(None),
    };
    if jwk.d.is_some() {
        return Err("holds a private key; only public keys belong there");
    }
    let is_pinned = |alg: &str| alg == name(algorithm) || (alg == "Ed25519" && algorithm == Algorithm::EdDSA);
    if jwk.alg.as_deref().is_some_and(|alg| !is_pinned(alg)) {
        return Ok(None);
    }
    Ok(Some(PublicKey { kid: jwk.kid, algorithm, key }))
}
