//! Reads one answer from the front of a buffer, wherever the reads happened to cut it.
//!
//! [`parse`] either finds a whole answer or asks for more bytes; it keeps nothing between calls. Only the headers that
//! decide where an answer ends, or when to come again, are looked at.

use std::borrow::Cow;
use std::ops::Range;

/// Longest head that is read; an answer with a longer one is not HTTP for us.
pub const HEAD_MAX: usize = 64 * 1024;
/// Longest body that is read. A ledger of a million seats is below it.
pub const BODY_MAX: usize = 1 << 30;

/// One answer, as places in the buffer it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Where the header lines lie, for [`header`].
    pub head: Range<usize>,
    /// Where the body lies, still in chunks when `chunked`.
    pub body: Range<usize>,
    /// Whether the body has to be joined by [`Response::body_of`].
    pub chunked: bool,
    /// `Retry-After` in whole seconds.
    pub retry_after_s: Option<u32>,
    /// The server closes after this answer.
    pub close: bool,
    /// Bytes of the buffer that this answer took.
    pub taken: usize,
}

impl Response {
    /// The body; joined when it came in chunks.
    pub fn body_of<'a>(&self, buffer: &'a [u8]) -> Cow<'a, [u8]> {
        let raw = &buffer[self.body.clone()];
        if !self.chunked {
            return Cow::Borrowed(raw);
        }
        let mut joined = Vec::with_capacity(raw.len());
        let mut at = 0;
        while let Ok(Some(chunk)) = chunk(raw, at) {
            if chunk.data.is_empty() {
                break;
            }
            joined.extend_from_slice(&raw[chunk.data.clone()]);
            at = chunk.next;
        }
        Cow::Owned(joined)
    }
}

/// Why bytes are not an answer that this program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not `HTTP/1.x NNN`.
    #[error("status line is not http/1.x")]
    StatusLine,
    /// A line of the head that a bare line feed ends.
    #[error("line of the head does not end with crlf")]
    Line,
    /// Longer than [`HEAD_MAX`].
    #[error("head is too long")]
    Head,
    /// A length that is not a number, differs from another, or exceeds [`BODY_MAX`].
    #[error("content-length is not usable")]
    Length,
    /// Neither a length nor chunks: the end of such a body is the end of the connection, which pipelining cannot use.
    #[error("body has neither content-length nor chunks")]
    Endless,
    /// A chunk that does not follow the rules.
    #[error("chunk is damaged")]
    Chunk,
}

/// Finds the first answer of the buffer, or `None` when it is not whole yet.
/// Informational answers (`1xx`) are passed over.
pub fn parse(buffer: &[u8]) -> Result<Option<Response>, Malformed> {
    let mut start = 0;
    loop {
        let Some(head) = read_head(&buffer[start..])? else { return Ok(None) };
        if !(100..200).contains(&head.status) {
            return finish(buffer, start, head);
        }
        start += head.length;
    }
}

struct Head {
    status: u16,
    length: usize,
    body: Body,
    retry_after_s: Option<u32>,
    close: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Body {
    Unsaid,
    Length(usize),
    Chunked,
}

/// One pass over the lines: each is looked at as it is found, the empty one ends the head.
fn read_head(buffer: &[u8]) -> Result<Option<Head>, Malformed> {
    let begins_well = buffer.len() < 5 || buffer.starts_with(b"HTTP/");
    if !begins_well {
        return Err(Malformed::StatusLine);
    }
    let mut newlines = memchr::memchr_iter(b'\n', buffer);
    let Some(first) = newlines.next() else { return unfinished(buffer) };
    let mut head = read_status_line(&buffer[..first])?;
    let mut at = first + 1;
    for newline in newlines {
        match &buffer[at..newline] {
            b"\r" => {
                head.length = newline + 1;
                return Ok(Some(head));
            }
            [line @ .., b'\r'] => read_header(line, &mut head)?,
            [..] => return Err(Malformed::Line),
        }
        at = newline + 1;
    }
    unfinished(buffer)
}

fn unfinished(buffer: &[u8]) -> Result<Option<Head>, Malformed> {
    if buffer.len() > HEAD_MAX { Err(Malformed::Head) } else { Ok(None) }
}

fn read_status_line(line: &[u8]) -> Result<Head, Malformed> {
    let is_line = line.len() >= 13 && line.starts_with(b"HTTP/1.") && line[8] == b' ' && line.ends_with(b"\r");
    if !is_line {
        return Err(Malformed::StatusLine);
    }
    let status = number(&line[9..12]).filter(|status| (100..1000).contains(status)).ok_or(Malformed::StatusLine)?;
    let close = line[7] == b'0';
    Ok(Head { status: status as u16, length: 0, body: Body::Unsaid, retry_after_s: None, close })
}

/// Looks at the first letter before anything else: most headers are of no concern.
fn read_header(line: &[u8], head: &mut Head) -> Result<(), Malformed> {
    match line.first().map(|first| first | 0x20) {
        Some(b'c') => {
            if let Some(value) = value_of(line, b"content-length:") {
                let length = number(value).filter(|length| *length <= BODY_MAX as u64).ok_or(Malformed::Length)?;
                let said = Body::Length(length as usize);
                if head.body != Body::Unsaid && head.body != said {
                    return Err(Malformed::Length);
                }
                head.body = said;
            } else if let Some(value) = value_of(line, b"connection:") {
                head.close |= value.eq_ignore_ascii_case(b"close");
            }
        }
        Some(b't') => {
            if value_of(line, b"transfer-encoding:").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
                head.body = Body::Chunked;
            }
        }
        Some(b'r') => {
            if let Some(value) = value_of(line, b"retry-after:") {
                head.retry_after_s = number(value).map(|seconds| seconds.min(3600) as u32);
            }
        }
        Some(_) | None => {}
    }
    Ok(())
}

fn finish(buffer: &[u8], start: usize, head: Head) -> Result<Option<Response>, Malformed> {
    let from = start + head.length;
    let without_body = head.status == 204 || head.status == 304;
    let (body, chunked, taken) = match head.body {
        Body::Unsaid | Body::Length(_) | Body::Chunked if without_body => (from..from, false, from),
        Body::Length(length) => (from..from + length, false, from + length),
        Body::Chunked => match chunks_end(buffer, from)? {
            Some(end) => (from..end, true, end),
            None => return Ok(None),
        },
        Body::Unsaid => return Err(Malformed::Endless),
    };
    if taken > buffer.len() {
        return Ok(None);
    }
    let (status, retry_after_s, close) = (head.status, head.retry_after_s, head.close);
    Ok(Some(Response { status, head: start..from, body, chunked, retry_after_s, close, taken }))
}

struct Chunk {
    data: Range<usize>,
    next: usize,
}

/// The chunk at a place; the last one has no data and ends behind its trailers.
fn chunk(buffer: &[u8], at: usize) -> Result<Option<Chunk>, Malformed> {
    let Some(line) = buffer.get(at..).and_then(|rest| memchr::memmem::find(rest, b"\r\n")) else {
        return if buffer.len().saturating_sub(at) > HEAD_MAX { Err(Malformed::Chunk) } else { Ok(None) };
    };
    let digits = buffer[at..at + line].split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| Malformed::Chunk)?;
    let length = usize::from_str_radix(text, 16).ok().filter(|length| *length <= BODY_MAX).ok_or(Malformed::Chunk)?;
    let data = at + line + 2;
    if length == 0 {
        return last_chunk(buffer, data);
    }
    let next = data + length + 2;
    match buffer.get(data + length..next) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(Chunk { data: data..data + length, next })),
        Some(_) => Err(Malformed::Chunk),
    }
}

/// Trailers, if any, and the empty line.
fn last_chunk(buffer: &[u8], mut at: usize) -> Result<Option<Chunk>, Malformed> {
    loop {
        let Some(line) = buffer.get(at..).and_then(|rest| memchr::memmem::find(rest, b"\r\n")) else {
            return Ok(None);
        };
        at += line + 2;
        if line == 0 {
            return Ok(Some(Chunk { data: at..at, next: at }));
        }
    }
}

fn chunks_end(buffer: &[u8], from: usize) -> Result<Option<usize>, Malformed> {
    let mut at = from;
    while let Some(chunk) = chunk(buffer, at)? {
        if chunk.data.is_empty() {
            return Ok(Some(chunk.next));
        }
        if chunk.next - from > BODY_MAX {
            return Err(Malformed::Length);
        }
        at = chunk.next;
    }
    Ok(None)
}

/// The value of a header in a head, by its name in small letters.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let name = format!("{name}:");
    head.split(|byte| *byte == b'\n').find_map(|line| value_of(line, name.as_bytes()))
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let front = line.get(..name.len())?;
    front.eq_ignore_ascii_case(name).then(|| line[name.len()..].trim_ascii())
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const THREE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-request-id: c\r\n\r\nhello\
        HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Slow\r\nRetry-After: 2\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nt: v\r\n\r\n\
        HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

    fn read_all(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut read = Vec::new();
        while let Some(response) = parse(bytes).unwrap() {
            read.push((response.status, response.body_of(bytes).into_owned()));
            bytes = &bytes[response.taken..];
        }
        assert!(bytes.is_empty());
        read
    }

    #[test]
    fn answers_in_one_buffer_come_out_in_order() {
        let read = read_all(THREE);
        assert_eq!(read, [(200, b"hello".to_vec()), (503, b"abcde".to_vec()), (204, vec![])]);
    }

    /// Every cut in two, and byte by byte: an answer is whole at exactly one length and not before.
    #[test]
    fn a_cut_at_any_byte_changes_nothing() {
        let mut ends = Vec::new();
        let mut start = 0;
        for end in 1..=THREE.len() {
            if let Some(response) = parse(&THREE[start..end]).unwrap() {
                assert_eq!(response.taken, end - start, "nothing is left over when bytes come one by one");
                ends.push((response.status, end));
                start = end;
            }
        }
        assert_eq!(ends.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 503, 204]);
        let (first_end, last_end) = (ends[0].1, ends[2].1);
        assert_eq!(last_end, THREE.len());
        for cut in 0..THREE.len() {
            let front = parse(&THREE[..cut]).unwrap();
            assert_eq!(front.is_some(), cut >= first_end, "cut at {cut}");
        }
    }

    #[test]
    fn what_decides_about_the_connection_is_read() {
        let retry = parse(b"HTTP/1.1 429 x\r\nretry-AFTER: 7\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap();
        assert_eq!((retry.retry_after_s, retry.close), (Some(7), false));
        let close = parse(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\nconnection: Close\r\n\r\n").unwrap().unwrap();
        assert!(close.close);
        let old = parse(b"HTTP/1.0 200 x\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap();
        assert!(old.close);
        let head = b"HTTP/1.1 200 x\r\nLocation: /v1/orders/o \r\n\r\n";
        assert_eq!(header(head, "location"), Some(&b"/v1/orders/o"[..]));
    }

    #[test]
    fn bytes_that_are_not_http_are_named() {
        assert_eq!(parse(b"SMTP ready\r\n"), Err(Malformed::StatusLine));
        assert_eq!(parse(b"HTTP/1.1 abc\r\n\r\n"), Err(Malformed::StatusLine));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(Malformed::Endless));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nx: y\ncontent-length: 0\r\n\r\n"), Err(Malformed::Line));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"), Err(Malformed::Length));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"), Err(Malformed::Length));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), Err(Malformed::Chunk));
        let long = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'x'; HEAD_MAX]].concat();
        assert_eq!(parse(&long), Err(Malformed::Head));
    }
}
