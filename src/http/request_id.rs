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
    let mut id = *b"req_0123456789abcdef0123456789abcdef";
    let (high, low) = (clock::unique(), clock::unique());
    let parts = [high >> 32, high, low >> 32, low];
    for (digits, part) in id[4..].chunks_exact_mut(8).zip(parts) {
        digits.copy_from_slice(&hexadecimal(part as u32));
    }
    id
}

/// The digits of a number, all at once in one register: there is an id for every read.
fn hexadecimal(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    // Each digit into a byte of its own.
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

/// Bytes of an id that was made here.
pub(super) const MADE_LENGTH: usize = 36;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_is_written_in_hexadecimal_digits() {
        for number in (0..=u32::MAX).step_by(65_521).chain([u32::MAX, 0x0123_4567, 0x89ab_cdef]) {
            assert_eq!(str::from_utf8(&hexadecimal(number)).unwrap(), format!("{number:08x}"));
        }
    }

    #[test]
    fn a_new_id_is_128_bits() {
        let (one, other) = (made(), made());
        assert!(one.starts_with(b"req_") && u128::from_str_radix(str::from_utf8(&one[4..]).unwrap(), 16).is_ok());
        assert!(one[4..20] != other[4..20] && one[20..] != other[20..]);
    }

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
