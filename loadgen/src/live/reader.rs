//! One reader of a block: shakes hands, then follows the sequence of what it hears. Pure but for its clock's moments.

use serde::Deserialize;

use super::frames::{self, Frame};
use crate::clock::Nanos;
use crate::http::response::header;

/// What a message of the server has, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    seq: u64,
}

/// The seats of a change and their new states. A board has them in another shape.
#[derive(Debug, Deserialize)]
struct Change {
    seats: Vec<(usize, u8)>,
}

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    /// Hands are shaken; no board yet.
    Waiting,
    /// The sequence of the last message.
    Follows(u64),
}

/// One reader.
#[derive(Debug)]
pub(super) struct Reader {
    stage: Stage,
    /// The beginning of what is not whole yet.
    inbox: Vec<u8>,
    /// The sequence that its first board had.
    first: u64,
}

/// What readers heard, all together.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Changes: the seat and when.
    pub(super) changes: Vec<(usize, Nanos)>,
    /// Missing in a sequence.
    pub(super) lost: u64,
    /// Boards after the first, which a slow reader gets instead of changes.
    pub(super) boards_again: u64,
    /// Changes that such a board stood for.
    pub(super) skipped: u64,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Greeting, inbox: Vec::new(), first: 0 }
    }

    /// Whether it has had its first board.
    pub(super) fn follows(&self) -> bool {
        matches!(self.stage, Stage::Follows(_))
    }

    /// Changes since its first board that it knows of.
    pub(super) fn known(&self) -> u64 {
        match self.stage {
            Stage::Follows(seq) => seq - self.first,
            Stage::Greeting | Stage::Waiting => 0,
        }
    }

    /// Takes what a socket brought; what has to be answered is appended to `out`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        now: Nanos,
        heard: &mut Heard,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        if self.inbox.is_empty() {
            let taken = self.read(bytes, now, heard, out)?;
            self.inbox.extend_from_slice(&bytes[taken..]);
        } else {
            let mut inbox = std::mem::take(&mut self.inbox);
            inbox.extend_from_slice(bytes);
            let taken = self.read(&inbox, now, heard, out)?;
            inbox.drain(..taken);
            // a buffer that is not needed is given back: there are many readers
            self.inbox = if inbox.is_empty() { Vec::new() } else { inbox };
        }
        Ok(())
    }

    fn read(&mut self, bytes: &[u8], now: Nanos, heard: &mut Heard, out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut at = 0;
        if self.stage == Stage::Greeting {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err("session_refused");
            }
            if header(&bytes[..end + 2], "sec-websocket-accept") != Some(frames::ACCEPT) {
                return Err("wrong_accept");
            }
            (self.stage, at) = (Stage::Waiting, end + 4);
        }
        while let Some((frame, taken)) = frames::parse(&bytes[at..])? {
            match frame {
                Frame::Text(text) => self.hear(text, now, heard)?,
                Frame::Ping(payload) => out.extend_from_slice(&frames::pong(payload)),
                Frame::Pong => {}
                Frame::Close => return Err("session_closed"),
            }
            at += taken;
        }
        Ok(at)
    }

    fn hear(&mut self, text: &[u8], now: Nanos, heard: &mut Heard) -> Result<(), &'static str> {
        let message: Message<'_> = serde_json::from_slice(text).map_err(|_| "unreadable_message")?;
        match (message.kind, self.stage) {
            ("board", Stage::Waiting) => self.first = message.seq,
            ("board", Stage::Follows(last)) => {
                heard.boards_again += 1;
                heard.skipped += message.seq.saturating_sub(last);
            }
            ("change", Stage::Follows(last)) => {
                if message.seq <= last {
                    return Err("sequence_went_back");
                }
                heard.lost += message.seq - last - 1;
                let change: Change = serde_json::from_slice(text).map_err(|_| "unreadable_message")?;
                heard.changes.extend(change.seats.into_iter().map(|(seat, _)| (seat, now)));
            }
            (_, Stage::Greeting | Stage::Waiting | Stage::Follows(_)) => return Err("unexpected_message"),
        }
        self.stage = Stage::Follows(message.seq);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(payload: &str) -> Vec<u8> {
        [&[0x81, payload.len() as u8], payload.as_bytes()].concat()
    }

    fn greeting() -> Vec<u8> {
        [&b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "[..], frames::ACCEPT, b"\r\n\r\n"].concat()
    }

    fn board(seq: u64) -> Vec<u8> {
        text(&format!("{{\"type\":\"board\",\"block\":\"A\",\"seq\":{seq},\"seats\":\"AAA=\"}}"))
    }

    fn change(seq: u64, seat: u64) -> Vec<u8> {
        text(&format!("{{\"type\":\"change\",\"block\":\"A\",\"seq\":{seq},\"seats\":[[{seat},1]]}}"))
    }

    /// However the bytes are cut, the same is heard.
    #[test]
    fn a_gapless_sequence_is_heard_whole() {
        let bytes = [greeting(), board(7), change(8, 0), vec![0x89, 1, b'p'], change(9, 1)].concat();
        for size in [1, 2, 7, bytes.len()] {
            let (mut reader, mut heard, mut out) = (Reader::new(), Heard::default(), Vec::new());
            for piece in bytes.chunks(size) {
                reader.take(piece, Nanos(5), &mut heard, &mut out).unwrap();
            }
            assert_eq!(heard.changes, [(0, Nanos(5)), (1, Nanos(5))]);
            assert_eq!((heard.lost, reader.known(), out.len()), (0, 2, 7));
        }
    }

    #[test]
    fn a_gap_is_lost_and_a_second_board_is_not() {
        let (mut reader, mut heard, mut out) = (Reader::new(), Heard::default(), Vec::new());
        let bytes = [greeting(), board(1), change(2, 0), change(5, 3), board(9), change(10, 8)].concat();
        reader.take(&bytes, Nanos(0), &mut heard, &mut out).unwrap();
        assert_eq!((heard.lost, heard.boards_again, heard.skipped, reader.known()), (2, 1, 4, 9));
    }

    #[test]
    fn what_a_server_must_not_say_is_named() {
        let said =
            |bytes: Vec<u8>| Reader::new().take(&bytes, Nanos(0), &mut Heard::default(), &mut Vec::new()).unwrap_err();
        assert_eq!(said(b"HTTP/1.1 503 x\r\n\r\n".to_vec()), "session_refused");
        assert_eq!(said(b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: no\r\n\r\n".to_vec()), "wrong_accept");
        assert_eq!(said([greeting(), change(3, 0)].concat()), "unexpected_message");
        assert_eq!(said([greeting(), board(3), change(3, 0)].concat()), "sequence_went_back");
        assert_eq!(said([greeting(), vec![0x88, 0]].concat()), "session_closed");
    }
}
