//! Frames of a live session: what is said to a client, and what a client says.
//!
//! Knows the protocol and nothing else: it reads no socket, follows no block and keeps no time.

use actix_http::ws::{CloseCode, CloseReason, Codec, Frame, Message, ProtocolError};
use actix_web::web::{Bytes, BytesMut};
use bytestring::ByteString;
use tokio_util::codec::{Decoder, Encoder};

use super::INBOUND_MAX;

/// Why a session ends.
pub(super) enum End {
    /// The client is gone: nobody to say it to.
    Gone,
    /// With a last word.
    Close(CloseReason),
}

/// What the client says.
pub(super) struct Inbound {
    codec: Codec,
    /// The beginning of a frame whose end has not come.
    received: BytesMut,
}

/// What was heard.
pub(super) enum Heard {
    /// Nothing whole yet.
    Nothing,
    /// A sign of life.
    Word,
    /// A sign of life that wants this answer.
    Question(Bytes),
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self { codec: Codec::new().max_size(INBOUND_MAX), received: BytesMut::new() }
    }

    /// Takes what has come. Copied, so that the buffer it came in is free again.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next frame of what was taken.
    ///
    /// # Errors
    /// The client ends the session, or has broken its rules.
    pub(super) fn next(&mut self) -> Result<Heard, End> {
        match self.codec.decode(&mut self.received) {
            Ok(Some(frame)) => heard(frame),
            Ok(None) => {
                if self.received.is_empty() {
                    self.received = BytesMut::new();
                }
                Ok(Heard::Nothing)
            }
            Err(ProtocolError::Overflow) => Err(close(CloseCode::Size, "nothing that long is expected")),
            Err(_) => Err(close(CloseCode::Protocol, "broken frame")),
        }
    }
}

/// What a frame of the client means. A client has nothing to tell us.
fn heard(frame: Frame) -> Result<Heard, End> {
    match frame {
        Frame::Ping(payload) => Ok(Heard::Question(encoded(Message::Pong(payload)))),
        Frame::Text(text) if std::str::from_utf8(&text).is_err() => Err(close(CloseCode::Invalid, "not UTF-8")),
        Frame::Text(_) | Frame::Binary(_) | Frame::Continuation(_) | Frame::Pong(_) => Ok(Heard::Word),
        Frame::Close(reason) => {
            let code = reason.map_or(CloseCode::Normal, |reason| reason.code);
            Err(End::Close(CloseReason { code, description: None }))
        }
    }
}

/// A message as its frame, to be made once for all sessions of a thread.
pub(super) fn framed(text: &ByteString) -> Bytes {
    encoded(Message::Text(text.clone()))
}

/// A ping.
pub(super) fn ping() -> Bytes {
    encoded(Message::Ping(Bytes::new()))
}

/// The frame of a last word.
pub(super) fn last(reason: CloseReason) -> Bytes {
    encoded(Message::Close(Some(reason)))
}

fn encoded(message: Message) -> Bytes {
    let mut frame = BytesMut::new();
    Codec::new().encode(message, &mut frame).expect("a whole message can always be encoded");
    frame.freeze()
}

/// An end that is our decision, and why.
pub(super) fn close(code: CloseCode, description: &str) -> End {
    End::Close(CloseReason { code, description: Some(description.to_owned()) })
}

/// The end of a session whose node stops.
pub(super) fn stopping() -> End {
    close(CloseCode::Away, "the node is stopping")
}

/// The end of a session whose client says nothing.
pub(super) fn silence() -> End {
    close(CloseCode::Away, "no sign of life")
}
