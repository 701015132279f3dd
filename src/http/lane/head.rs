//! The head of a request, read strictly: what a lane may answer, and where the next request begins.
//!
//! Owns the judgement of what is ordinary. Whatever leaves room for two readings (two lengths, a coding of the body, a bare
//! line feed, a second host) is *unusual*: the lane takes no decision about it and hands the whole connection to actix-web.
//! It answers nothing and looks no further than the head.

use std::sync::LazyLock;

use actors::bytes::{all, is_visible};
use memchr::memmem::Finder;

use super::super::around::is_host;

/// Most headers of an ordinary request.
const HEADERS_MAX: usize = 32;
/// Most digits of a length: more is nobody's body.
const LENGTH_DIGITS_MAX: usize = 10;

/// What the bytes begin with.
#[derive(Debug)]
pub(super) enum Read<'a> {
    /// A head that has not ended yet.
    Partial,
    /// Not for a lane: actix-web reads it from its first byte.
    Unusual,
    /// The head, of so many bytes, of a `GET` that asks for a WebSocket: what is behind it is not HTTP if it gets one.
    Upgrade(usize),
    /// A head with one reading.
    Ordinary(Head<'a>),
}

/// The methods that a lane knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// Any other.
    Other,
}

/// An ordinary head: HTTP/1.1 with one host, or HTTP/1.0; origin form, at most one length.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// What is to be done.
    pub(super) method: Method,
    /// Path and query as sent.
    pub(super) target: &'a str,
    /// Bytes of the head, its end included.
    pub(super) length: usize,
    /// Bytes of the body behind it.
    pub(super) body: usize,
    /// The headers that answers depend on.
    pub(super) fields: Fields<'a>,
    /// Whether no header asks for something that only actix-web does.
    pub(super) is_plain: bool,
    /// Whether the connection ends behind the answer: what follows is no request any more (RFC 9112, 9.6).
    pub(super) is_last: bool,
}

/// Headers that answers depend on, as sent.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) accept: Option<&'a str>,
    pub(super) accept_encoding: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
    pub(super) content_encoding: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) if_none_match: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
}

/// The length of the head that these bytes begin with, its end included; `None`: it has not ended yet.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    // Made once: making it costs as much as reading a head.
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END));
    FINDER.find(bytes).map(|at| at + END.len())
}

/// Reads the head that these bytes begin with.
pub(super) fn read(bytes: &[u8]) -> Read<'_> {
    let Some(length) = length(bytes) else {
        return if has_bare_line_feed(bytes) { Read::Unusual } else { Read::Partial };
    };
    one_reading(&bytes[..length]).unwrap_or(Read::Unusual)
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r')
}

fn one_reading(bytes: &[u8]) -> Option<Read<'_>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let read = request.parse(bytes).ok()?;
    let is_whole = read == httparse::Status::Complete(bytes.len());
    let is_old = request.version? == 0;
    // The parser also takes lines that end with a bare line feed, and empty lines before the first. Counted one by one: an
    // empty line too many must not make up for a carriage return too few.
    let lines = request.headers.len() + 2;
    let count = |end: u8| memchr::memchr_iter(end, bytes).count();
    if !is_whole || count(b'\n') != lines || count(b'\r') != lines {
        return None;
    }
    let method = match request.method? {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        // To actix-web, what follows is a tunnel.
        "CONNECT" => return None,
        _ => Method::Other,
    };
    let target = request.path.filter(|target| target.starts_with('/') && is_visible(target.as_bytes()))?;
    let mut seen = Seen { is_plain: method != Method::Other, ..Seen::default() };
    for header in &*request.headers {
        seen.header(header.name, text(header.value)?)?;
    }
    let Seen { fields, is_plain, body, upgrade, host, is_kept, closes } = seen;
    // HTTP/1.0 has rules of its own for a connection that is to go on and for a `POST` without a length.
    let fits_version = match is_old {
        true => (closes || !is_kept) && (method != Method::Post || body.is_some()),
        false => host.is_some(),
    };
    let is_last = is_old || closes;
    let length = bytes.len();
    match upgrade {
        _ if !fits_version => None,
        Upgrade { is_wanted: false, is_websocket: false } => {
            let (is_plain, body) = (is_plain && !is_last, body.unwrap_or(0));
            Some(Read::Ordinary(Head { method, target, length, body, fields, is_plain, is_last }))
        }
        Upgrade { is_wanted: true, is_websocket: true } if method == Method::Get && body.is_none() && !is_last => {
            Some(Read::Upgrade(length))
        }
        Upgrade { .. } => None,
    }
}

/// A value of visible ASCII, spaces and tabs.
fn text(value: &[u8]) -> Option<&str> {
    if all(value, |byte| matches!(byte, b' '..=b'~' | b'\t')) { str::from_utf8(value).ok() } else { None }
}

#[derive(Default)]
struct Seen<'a> {
    fields: Fields<'a>,
    host: Option<()>,
    body: Option<usize>,
    is_plain: bool,
    upgrade: Upgrade,
    /// Whether the connection shall go on, by `Connection`.
    is_kept: bool,
    /// Whether it shall end, which outweighs the other.
    closes: bool,
}

/// What is said of another protocol: one without the other is unusual.
#[derive(Default)]
struct Upgrade {
    /// By `Connection`.
    is_wanted: bool,
    /// By `Upgrade`.
    is_websocket: bool,
}

impl<'a> Seen<'a> {
    /// Notes one header; `None`: it makes the request unusual.
    fn header(&mut self, name: &str, value: &'a str) -> Option<()> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => return self.host(value),
            10 if is("connection") => return self.connection(value),
            14 if is("content-length") => return self.length(value),
            17 if is("transfer-encoding") => return None,
            6 if is("expect") => return None,
            7 if is("upgrade") => return self.websocket(value),
            7 if is("trailer") => return None,
            14 if is("http2-settings") => return None,
            6 if is("accept") => self.once(value, |fields| &mut fields.accept),
            15 if is("accept-encoding") => self.once(value, |fields| &mut fields.accept_encoding),
            13 if is("authorization") => self.once(value, |fields| &mut fields.authorization),
            16 if is("content-encoding") => self.once(value, |fields| &mut fields.content_encoding),
            12 if is("content-type") => self.once(value, |fields| &mut fields.content_type),
            15 if is("idempotency-key") => self.once(value, |fields| &mut fields.idempotency_key),
            13 if is("if-none-match") => self.once(value, |fields| &mut fields.if_none_match),
            12 if is("x-request-id") => self.once(value, |fields| &mut fields.request_id),
            6 if is("origin") || is("prefer") => self.is_plain = false,
            _ => {}
        }
        Some(())
    }

    fn once(&mut self, value: &'a str, field: impl for<'f> Fn(&'f mut Fields<'a>) -> &'f mut Option<&'a str>) {
        if field(&mut self.fields).replace(value).is_some() {
            self.is_plain = false;
        }
    }

    fn host(&mut self, value: &str) -> Option<()> {
        let fits = !value.is_empty() && is_host(value.as_bytes());
        (fits && self.host.replace(()).is_none()).then_some(())
    }

    /// Options of the connection: to be kept, to end, and perhaps to become another.
    fn connection(&mut self, value: &str) -> Option<()> {
        if value.eq_ignore_ascii_case("keep-alive") {
            self.is_kept = true;
            return Some(());
        }
        value.split(',').map(str::trim).try_for_each(|option| {
            let is = |known: &str| option.eq_ignore_ascii_case(known);
            self.closes |= is("close");
            self.upgrade.is_wanted |= is("upgrade");
            (is("keep-alive") || is("close") || is("upgrade")).then_some(())
        })?;
        (self.closes || self.upgrade.is_wanted).then_some(())
    }

    fn websocket(&mut self, value: &str) -> Option<()> {
        let is_first = !std::mem::replace(&mut self.upgrade.is_websocket, true);
        (is_first && value.eq_ignore_ascii_case("websocket")).then_some(())
    }

    fn length(&mut self, value: &str) -> Option<()> {
        let fits = (1..=LENGTH_DIGITS_MAX).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        let length = value.parse().ok().filter(|_| fits)?;
        self.body.replace(length).is_none().then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ordinary(text: &str) -> bool {
        matches!(read(text.as_bytes()), Read::Ordinary(_))
    }

    #[test]
    fn a_head_is_read_whole() {
        let text = "POST /v1/orders HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\nAuthorization: Bearer x\r\n\r\n{}";
        let Read::Ordinary(head) = read(text.as_bytes()) else { panic!("ordinary") };
        assert_eq!((head.method, head.target, head.body), (Method::Post, "/v1/orders", 12));
        assert_eq!((head.length, head.is_plain), (text.len() - 2, true));
        assert_eq!(head.fields.authorization, Some("Bearer x"));
    }

    #[test]
    fn every_cut_of_a_head_is_partial() {
        let text = "GET / HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n";
        for cut in 0..text.len() {
            assert!(matches!(read(&text.as_bytes()[..cut]), Read::Partial), "{cut}");
        }
        assert!(ordinary(text));
    }

    #[test]
    fn two_readings_are_unusual() {
        for text in [
            "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            "GET / HTTP/1.0\r\nconnection: keep-alive, upgrade\r\nupgrade: websocket\r\n\r\n",
            "GET / HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "POST / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: \r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\n\n",
            "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "\nGET / HTTP/1.1\r\nhost: a\nx: b\r\n\r\n",
            "\r\nGET / HTTP/1.1\nhost: a\nx: b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: \u{e4}\r\n\r\n",
            "GET /\u{e4} HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close, content-length\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x1\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, keep-alive\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nupgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ] {
            assert!(matches!(read(text.as_bytes()), Read::Unusual), "{text:?}");
        }
    }

    #[test]
    fn behind_close_or_the_old_version_comes_nothing() {
        for (first, is_last) in [
            ("HTTP/1.1\r\nhost: a\r\nconnection: close", true),
            ("HTTP/1.1\r\nhost: a\r\nconnection: Keep-Alive, CLOSE", true),
            ("HTTP/1.1\r\nhost: a\r\nconnection: close\r\nconnection: keep-alive", true),
            ("HTTP/1.1\r\nhost: a\r\nconnection: keep-alive", false),
            ("HTTP/1.1\r\nhost: a", false),
            ("HTTP/1.0", true),
            ("HTTP/1.0\r\nhost: a", true),
            ("HTTP/1.0\r\nconnection: keep-alive, close", true),
        ] {
            let text = format!("POST / {first}\r\ncontent-length: 3\r\n\r\nabcGET /");
            let Read::Ordinary(head) = read(text.as_bytes()) else { panic!("{text:?} is ordinary") };
            assert_eq!((head.is_last, head.is_plain, head.body), (is_last, !is_last, 3), "{text:?}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for_by_two_headers_without_a_body() {
        for options in ["Upgrade", "keep-alive, Upgrade", "upgrade,keep-alive"] {
            let text = format!("GET / HTTP/1.1\r\nhost: a\r\nConnection: {options}\r\nUpgrade: WebSocket\r\n\r\n");
            let Read::Upgrade(length) = read(format!("{text}more").as_bytes()) else { panic!("{options}") };
            assert_eq!(length, text.len());
        }
    }

    #[test]
    fn what_is_sent_twice_or_needs_more_is_not_plain() {
        for header in ["accept: a\r\naccept: b", "origin: https://a", "prefer: wait=1"] {
            let text = format!("GET / HTTP/1.1\r\nhost: a\r\n{header}\r\n\r\n");
            let Read::Ordinary(head) = read(text.as_bytes()) else { panic!("ordinary") };
            assert!(!head.is_plain, "{header}");
        }
    }
}
