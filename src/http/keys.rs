//! Idempotency keys: from the header to what the owner of the answer remembers.
//!
//! The digest names who used which key, so that nobody can meet somebody else's; the fingerprint names what was asked.
//! The answers themselves are kept by the machines, see [`actors::keyed`].

use actix_web::HttpRequest;
use actors::bytes::is_visible;
use actors::keyed::{Key, KeyDigest};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::problem::{Code, Problem};

/// The request header.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest key, in characters.
const LENGTH_MAX: usize = 255;

/// The request's key, if it has one.
///
/// # Errors
/// [`Code::InvalidIdempotencyKey`]: there are several, or it is not one.
pub(super) fn header(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut given = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(key) = given.next() else { return Ok(None) };
    match given.next() {
        None => checked(key.as_bytes()).map(Some),
        Some(_) => Err(Code::InvalidIdempotencyKey.into()),
    }
}

/// A key as it was sent.
///
/// # Errors
/// [`Code::InvalidIdempotencyKey`]: it is not 1 to 255 visible characters.
pub(super) fn checked(key: &[u8]) -> Result<String, Problem> {
    let fits = (1..=LENGTH_MAX).contains(&key.len()) && is_visible(key);
    if fits { Ok(String::from_utf8_lossy(key).into_owned()) } else { Err(Code::InvalidIdempotencyKey.into()) }
}

/// What was asked: method, path with query, and body.
pub(super) fn fingerprint(request: &HttpRequest, body: &[u8]) -> u64 {
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
    fingerprint_of(request.method().as_str(), target, body)
}

/// The same, of a request in its parts.
pub(super) fn fingerprint_of(method: &str, target: &str, body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(method.as_bytes());
    hash.update(b"\0");
    hash.update(target.as_bytes());
    hash.update(b"\0");
    hash.update(body);
    hash.digest()
}

/// A key of this principal for the request with this fingerprint.
pub(super) fn key((kind, name): (&str, &str), text: &str, fingerprint: u64) -> Key {
    let who = Sha256::new().chain_update(kind).chain_update(":").chain_update(name);
    let hash = who.chain_update([0]).chain_update(text).finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    Key { digest: KeyDigest(u128::from_be_bytes(first)), fingerprint }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_digest_names_who_and_which_key() {
        let ann = key(("customer", "ann"), "k1", 1);
        assert_eq!(ann, key(("customer", "ann"), "k1", 1));
        assert_ne!(ann.digest, key(("customer", "bob"), "k1", 1).digest);
        assert_ne!(ann.digest, key(("customer", "ann"), "k2", 1).digest);
        assert_ne!(key(("customer", "a"), "bk", 1).digest, key(("customer", "ab"), "k", 1).digest, "the border counts");
        assert_eq!(ann.digest, key(("customer", "ann"), "k1", 2).digest, "another request is found under the same key");
    }

    #[test]
    fn the_digest_is_the_same_on_every_build() {
        // From `printf 'customer:ann\0k1' | sha256sum`.
        assert_eq!(format!("{:032x}", key(("customer", "ann"), "k1", 0).digest.0), PINNED);
    }

    const PINNED: &str = "f46371028245d5494955569126e04b4b";

    #[test]
    fn a_fingerprint_names_method_path_and_body() {
        let of = |method: actix_web::http::Method, uri: &str, body: &str| {
            fingerprint(&TestRequest::with_uri(uri).method(method).to_http_request(), body.as_bytes())
        };
        let post = actix_web::http::Method::POST;
        let first = of(post.clone(), "/v1/orders", "{}");
        assert_eq!(first, of(post.clone(), "/v1/orders", "{}"));
        assert_ne!(first, of(actix_web::http::Method::PUT, "/v1/orders", "{}"));
        assert_ne!(first, of(post.clone(), "/v1/orders?x", "{}"));
        assert_ne!(first, of(post, "/v1/orders", "{ }"));
    }

    #[test]
    fn keys_are_1_to_255_visible_characters() {
        let of = |text: &str| header(&TestRequest::default().insert_header((IDEMPOTENCY_KEY, text)).to_http_request());
        assert_eq!(of("k1").unwrap().as_deref(), Some("k1"));
        assert_eq!(of(&"k".repeat(255)).unwrap().map(|key| key.len()), Some(255));
        for bad in ["", "a b", "ü", &"k".repeat(256)] {
            assert_eq!(of(bad).unwrap_err().code(), Code::InvalidIdempotencyKey, "{bad}");
        }
        assert_eq!(header(&TestRequest::default().to_http_request()).unwrap(), None);
        let twice = TestRequest::default().append_header((IDEMPOTENCY_KEY, "a")).append_header((IDEMPOTENCY_KEY, "b"));
        assert_eq!(header(&twice.to_http_request()).unwrap_err().code(), Code::InvalidIdempotencyKey);
    }
}
