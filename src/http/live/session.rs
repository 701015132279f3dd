//! One live session: the body of the answer to an upgrade, written as long as there is something to say.
//!
//! Owns the conversation: the frames its reader finds, answers to pings, beats, and the end. It is a body and not a task,
//! so that a message costs one wake-up, no copy but the one into the connection's buffer, and an idle session nothing but
//! itself. A client that does not read keeps it from being asked for more; it never collects. The kernel ends such a
//! connection ([`super::limit_unread`]).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::Payload;
use actix_http::ws::{CloseCode, CloseReason, Codec, Frame, Message, ProtocolError};
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::Stream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::codec::{Decoder, Encoder};

use super::hub::Reader;
use super::{INBOUND_MAX, Settings, Slot};

/// Pings in the time after which a silent session is closed.
const PINGS: u32 = 3;

/// Bytes that are given before the connection writes them. A connection keeps the buffer of its largest write for good:
/// with the head of the answer this stays within one page of memory, however large a board is.
pub(super) const BURST_MAX: usize = 3 * 1024;

/// Why a session ends.
enum End {
    /// The client is gone: nobody to say it to.
    Gone,
    /// With a last word.
    Close(CloseReason),
}

/// See the module's charter.
pub(super) struct Session {
    reader: Reader,
    client: Client,
    beats: Interval,
    settings: Settings,
    heard: Instant,
    /// Of the frame that is being given.
    rest: Bytes,
    /// Bytes given since the connection could last write.
    given: usize,
    has_ended: bool,
    _slot: Slot,
}

/// What the client says.
struct Client {
    payload: Payload,
    codec: Codec,
    /// The beginning of a frame whose end has not come.
    received: BytesMut,
}

impl Session {
    pub(super) fn new(payload: Payload, reader: Reader, settings: Settings, slot: Slot) -> Self {
        let beat = settings.idle_timeout / PINGS;
        let mut beats = interval_at(Instant::now() + beat, beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let client = Client { payload, codec: Codec::new().max_size(INBOUND_MAX), received: BytesMut::new() };
        let (heard, rest) = (Instant::now(), Bytes::new());
        Self { reader, client, beats, settings, heard, rest, given: 0, has_ended: false, _slot: slot }
    }

    /// The next frame to send; none: the session has ended.
    fn frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let end = match self.say(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(frame)) => return Poll::Ready(Some(frame)),
            Poll::Ready(Err(end)) => end,
        };
        self.has_ended = true;
        Poll::Ready(match end {
            End::Gone => None,
            End::Close(reason) => Some(encoded(Message::Close(Some(reason)))),
        })
    }

    fn say(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        // What the client said comes first: a slow reader must not look silent.
        while let Poll::Ready(said) = self.client.poll(cx) {
            self.heard = Instant::now();
            if let Some(answer) = said? {
                return Poll::Ready(Ok(answer));
            }
        }
        if self.beats.poll_tick(cx).is_ready() {
            if self.heard.elapsed() >= self.settings.idle_timeout {
                return Poll::Ready(Err(close(CloseCode::Away, "no sign of life")));
            }
            return Poll::Ready(Ok(encoded(Message::Ping(Bytes::new()))));
        }
        loop {
            if self.reader.is_closing() {
                return Poll::Ready(Err(close(CloseCode::Away, "the node is stopping")));
            }
            if let Some(frame) = self.reader.next() {
                return Poll::Ready(Ok(frame));
            }
            if self.reader.poll_bell(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl MessageBody for Session {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        if this.given >= BURST_MAX {
            // The connection writes what it has when there is nothing more at the moment, and comes again.
            this.given = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.rest.is_empty() {
            match this.frame(cx) {
                Poll::Ready(Some(frame)) => this.rest = frame,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    this.given = 0;
                    return Poll::Pending;
                }
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(BURST_MAX - this.given));
        this.given += piece.len();
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Client {
    /// What the client said: a ping's answer, nothing to answer, or the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, End>> {
        loop {
            match self.codec.decode(&mut self.received) {
                Ok(Some(frame)) => return Poll::Ready(heard(frame)),
                Ok(None) => {}
                Err(ProtocolError::Overflow) => {
                    return Poll::Ready(Err(close(CloseCode::Size, "nothing that long is expected")));
                }
                Err(_) => return Poll::Ready(Err(close(CloseCode::Protocol, "broken frame"))),
            }
            if self.received.is_empty() {
                self.received = BytesMut::new();
            }
            match Pin::new(&mut self.payload).poll_next(cx) {
                // Copied, so that the connection's own buffer is free again.
                Poll::Ready(Some(Ok(bytes))) => self.received.extend_from_slice(&bytes),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// What a frame of the client means. A client has nothing to tell us.
fn heard(frame: Frame) -> Result<Option<Bytes>, End> {
    match frame {
        Frame::Ping(payload) => Ok(Some(encoded(Message::Pong(payload)))),
        Frame::Text(text) if std::str::from_utf8(&text).is_err() => Err(close(CloseCode::Invalid, "not UTF-8")),
        Frame::Text(_) | Frame::Binary(_) | Frame::Continuation(_) | Frame::Pong(_) => Ok(None),
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

fn encoded(message: Message) -> Bytes {
    let mut frame = BytesMut::new();
    Codec::new().encode(message, &mut frame).expect("a whole message can always be encoded");
    frame.freeze()
}

fn close(code: CloseCode, description: &str) -> End {
    End::Close(CloseReason { code, description: Some(description.to_owned()) })
}
