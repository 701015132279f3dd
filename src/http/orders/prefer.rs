//! `Prefer: wait=20` (RFC 7240): how long a reader is willing to wait for a change.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header that says which wait was granted.
pub(super) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The wait that is asked for, in whole seconds, at most `most`. What cannot be read is ignored, as the RFC says.
pub(super) fn wait(headers: &HeaderMap, most: Duration) -> Option<Duration> {
    let given = headers.get_all(PREFER).filter_map(|value| value.to_str().ok());
    let mut preferences = given.flat_map(|value| value.split(','));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("wait").then(|| value.parse::<u32>().ok())?
    })?;
    Some(Duration::from_secs(seconds.into()).min(most)).filter(|wait| !wait.is_zero())
}

/// The wait that was granted, for [`APPLIED`].
pub(super) fn applied(wait: Duration) -> HeaderValue {
    HeaderValue::try_from(format!("wait={}", wait.as_secs())).expect("a word and a number are a header")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(PREFER, HeaderValue::from_str(value).unwrap());
        wait(&headers, Duration::from_secs(30)).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_read_and_capped() {
        assert_eq!(of("wait=20"), Some(20));
        assert_eq!(of("respond-async, Wait=5; x=y"), Some(5));
        assert_eq!(of("wait=\"7\""), Some(7));
        assert_eq!(of("wait=3600"), Some(30));
        for ignored in ["wait=0", "wait=-1", "wait=x", "wait", "waiting=5", "wait=99999999999"] {
            assert_eq!(of(ignored), None, "{ignored}");
        }
    }
}
