//! Who is calling: organizers by API key, customers by signed token.
//!
//! Decides from the `Authorization` header and the time handed in; keeps no sessions, asks no other service and never
//! logs a key or a token. What a caller may do is decided by the routes.
//!
//! Next: `customers` for tokens, `cache` for those already verified, `organizers` for keys.

mod cache;
mod customers;
mod organizers;

use std::fmt;

use actors::bytes::is_visible;

pub use customers::{CustomerTokens, JwksError, TOKEN_BYTES_MAX, Verified, mint};
pub use organizers::{KEY_PREFIX, Organizer, OrganizerKeys, new_key};

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who sells.
    Organizer(Organizer),
    /// Somebody who buys.
    Customer(Verified),
}

/// Why a caller was not recognised. Every one is answered `401`; the name of the variant is for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthError {
    /// No `Authorization` header.
    Missing,
    /// Not `Bearer`, not a token, not the claims that are needed.
    Malformed,
    /// `exp` has passed.
    Expired,
    /// `nbf` has not come yet.
    NotYetValid,
    /// The signature does not fit.
    BadSignature,
    /// The token names an algorithm that is not the one of its key.
    WrongAlgorithm,
    /// No such API key, or no such token key.
    UnknownKey,
    /// `iss` is not the configured one.
    WrongIssuer,
    /// `aud` does not name the configured audience.
    WrongAudience,
}

impl AuthError {
    /// A stable word for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            AuthError::Missing => "missing",
            AuthError::Malformed => "malformed",
            AuthError::Expired => "expired",
            AuthError::NotYetValid => "not_yet_valid",
            AuthError::BadSignature => "bad_signature",
            AuthError::WrongAlgorithm => "wrong_algorithm",
            AuthError::UnknownKey => "unknown_key",
            AuthError::WrongIssuer => "wrong_issuer",
            AuthError::WrongAudience => "wrong_audience",
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthError::Missing => "an Authorization header with a bearer token is needed",
            AuthError::Malformed => "the bearer token cannot be read",
            AuthError::Expired => "the token has expired",
            AuthError::NotYetValid => "the token is not valid yet",
            AuthError::BadSignature => "the token's signature does not fit",
            AuthError::WrongAlgorithm => "the token's algorithm is not accepted",
            AuthError::UnknownKey => "the key is not known",
            AuthError::WrongIssuer => "the token's issuer is not accepted",
            AuthError::WrongAudience => "the token is for another audience",
        })
    }
}

impl std::error::Error for AuthError {}

/// The token of an `Authorization: Bearer …` header (RFC 6750; the scheme's case does not matter).
///
/// # Errors
/// [`AuthError::Missing`] without a header, [`AuthError::Malformed`] for another scheme or an empty token.
pub fn bearer(header: Option<&str>) -> Result<&str, AuthError> {
    let header = header.ok_or(AuthError::Missing)?;
    let (scheme, token) = header.trim().split_once(' ').ok_or(AuthError::Malformed)?;
    let token = token.trim_start();
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && is_visible(token.as_bytes());
    if fits { Ok(token) } else { Err(AuthError::Malformed) }
}

/// Both kinds of callers of one server.
#[derive(Debug)]
pub struct Auth {
    /// Organizers' keys.
    pub organizers: OrganizerKeys,
    /// Customers' tokens.
    pub customers: CustomerTokens,
}

impl Auth {
    /// Prepares the keys of a configuration; reads `auth.jwks_file` if there is one.
    ///
    /// # Errors
    /// The JWKS file cannot be read or holds no key that could be used.
    pub fn new(config: &crate::config::Auth) -> Result<Auth, JwksError> {
        Ok(Auth { organizers: OrganizerKeys::new(&config.organizer_keys), customers: CustomerTokens::new(config)? })
    }

    /// Who sent this header. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Any [`AuthError`].
    pub fn identify(&self, authorization: Option<&str>, now: u64) -> Result<Caller, AuthError> {
        let token = bearer(authorization)?;
        if token.starts_with(KEY_PREFIX) {
            self.organizers.verify(token).map(Caller::Organizer)
        } else {
            self.customers.verify(token, now).map(Caller::Customer)
        }
    }
}

#[cfg(test)]
mod tests;
