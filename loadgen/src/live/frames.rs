//! The WebSocket protocol (RFC 6455) as a reader needs it: a handshake, frames of a server, pongs. Pure.
//!
//! What we send carries a mask of zeros: the mask protects proxies from chosen bytes, and these go to a server we test.

use crate::http::Target;

/// The example key of RFC 6455 and what a server makes of it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`KEY`].
pub(super) const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Longest frame that is read.
const FRAME_MAX: u64 = 64 << 20;

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close,
}

/// The request that opens a session.
pub(super) fn handshake(target: &Target, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n",
        target.host
    )
    .into_bytes()
}

/// The first frame of a buffer and its bytes; none when it is not whole. Fragments, masks and binary frames are not
/// what this server sends: an error says which.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if second & 0x80 != 0 {
        return Err("masked_frame");
    }
    let (length, head) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10),
        (126 | 127, _) => return Ok(None),
        (short, _) => (u64::from(short), 2),
    };
    if length > FRAME_MAX {
        return Err("frame_too_long");
    }
    let end = head + length as usize;
    let Some(payload) = bytes.get(head..end) else { return Ok(None) };
    let frame = match first {
        0x81 => Frame::Text(payload),
        0x89 => Frame::Ping(payload),
        0x8a => Frame::Pong,
        0x88 => Frame::Close,
        _ => return Err("unexpected_frame"),
    };
    Ok(Some((frame, end)))
}

/// The answer to a ping, whose payload has at most 125 bytes.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x8a, 0x80 | payload.len().min(125) as u8, 0, 0, 0, 0];
    frame.extend_from_slice(&payload[..payload.len().min(125)]);
    frame
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_and_a_cut_one_is_waited_for() {
        for length in [0usize, 1, 125, 126, 65_535, 65_536] {
            let mut bytes = match length {
                0..126 => vec![0x81, length as u8],
                126..65_536 => [&[0x81, 126], &(length as u16).to_be_bytes()[..]].concat(),
                _ => [&[0x81, 127], &(length as u64).to_be_bytes()[..]].concat(),
            };
            bytes.resize(bytes.len() + length, b'x');
            let payload = vec![b'x'; length];
            assert_eq!(parse(&bytes), Ok(Some((Frame::Text(&payload), bytes.len()))));
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn a_ping_is_answered_with_its_payload_and_what_is_not_ours_is_named() {
        assert_eq!(parse(&[0x89, 1, b'p', 0x88, 0]).unwrap().unwrap().0, Frame::Ping(b"p"));
        assert_eq!(pong(b"p"), [0x8a, 0x81, 0, 0, 0, 0, b'p']);
        assert_eq!(parse(&[0x81, 0x80]), Err("masked_frame"));
        assert_eq!(parse(&[0x01, 0]), Err("unexpected_frame"));
    }
}
