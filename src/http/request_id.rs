//! The id of the request that is being answered: in `x-request-id`, in problems and in logs.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::clock;

/// The header that carries it, both ways.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client or proxy.
const LENGTH_MAX: usize = 64;

tokio::task_local! {
    /// The id of the request this task is answering.
    pub(super) static REQUEST_ID: HeaderValue;
}

/// The id of the request being answered; `None` outside of one.
pub(super) fn current() -> Option<String> {
    REQUEST_ID.try_with(|id| id.to_str().map(str::to_owned).ok()).ok().flatten()
}

/// The client's id if it is one that can be repeated safely, a new one otherwise.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    value(given_or_made(headers.get(HEADER).map(HeaderValue::as_bytes), &mut [0; MADE_LENGTH]))
}

/// The same of a request's parts, without an allocation: what the client gave, or the new one in `room`.
pub(super) fn given_or_made<'a>(given: Option<&'a [u8]>, room: &'a mut [u8; MADE_LENGTH]) -> &'a [u8] {
    let is_safe = |id: &&[u8]| {
        (1..=LENGTH_MAX).contains(&id.len())
            && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match given.filter(is_safe) {
        Some(id) => id,
        None => {
            *room = made();
            room
        }
    }
}

/// An id as the header's value.
pub(super) fn value(id: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(id).unwrap_or(HeaderValue::from_static("req_0"))
}

/// A new id: `req_` and 128 random bits in hexadecimal digits.
pub(super) fn made() -> [u8; MADE_LENGTH] {
    let mut id = [0; MADE_LENGTH];
    id[..4].copy_from_slice(b"req_");
    let bits = u128::from(clock::unique()) << 64 | u128::from(clock::unique());
    for (pair, byte) in id[4..].chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    id
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Bytes of an id that was made here.
pub(super) const MADE_LENGTH: usize = 36;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_plain_id_is_kept_and_anything_else_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static("abc-1.2_3"));
        assert_eq!(of(&headers), "abc-1.2_3");
        for rubbish in ["", "a b", "<script>", &"x".repeat(65)] {
            headers.insert(HEADER, HeaderValue::from_str(rubbish).unwrap());
            assert!(of(&headers).to_str().unwrap().starts_with("req_"), "{rubbish}");
        }
    }
}
