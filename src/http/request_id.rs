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
    let fits = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=LENGTH_MAX).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match headers.get(HEADER).filter(fits) {
        Some(id) => id.clone(),
        None => made(),
    }
}

fn made() -> HeaderValue {
    let text = format!("req_{:016x}{:016x}", clock::unique(), clock::unique());
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("req_0"))
}

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
