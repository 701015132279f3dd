//! Customers' tokens, minted here: JWT, HS256, `sub` is the customer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a token is good for: longer than any run.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// How far back a token is issued, for servers whose clock is a little behind.
const SKEW: Duration = Duration::from_secs(30);

/// Mints the whole value of the `authorization` header for a customer.
pub fn bearer(secret: &str, customer: &str, now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = serde_json::json!({
        "sub": customer,
        "iat": seconds.saturating_sub(SKEW).as_secs(),
        "exp": (seconds + TTL).as_secs(),
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature(secret, &signed)))
}

fn signature(secret: &str, signed: &str) -> Vec<u8> {
    // HMAC takes keys of every length; the error of its constructor cannot happen.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return Vec::new() };
    mac.update(signed.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The signature of the token in RFC 7519's companion example at jwt.io: secret `your-256-bit-secret`.
    #[test]
    fn the_signature_is_the_one_others_compute() {
        let signed = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        let signature = URL_SAFE_NO_PAD.encode(signature("your-256-bit-secret", signed));
        assert_eq!(signature, "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
    }

    #[test]
    fn a_token_names_its_customer_and_its_end() {
        let bearer = bearer("s", "ada", UNIX_EPOCH + Duration::from_secs(1_000));
        let claims = URL_SAFE_NO_PAD.decode(bearer.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims, serde_json::json!({"sub": "ada", "iat": 970, "exp": 87_400}));
    }
}
