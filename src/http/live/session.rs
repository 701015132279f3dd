//! A live session where there is no lane: the body of the answer to an upgrade, written as long as there is something to say.
//!
//! Owns the conversation: the frames its reader finds, answers to pings, beats, and the end. It is a body and not a task,
//! so that a message costs one wake-up and no copy but the one into the connection's buffer. A client that does not read
//! keeps it from being asked for more; it never collects. The kernel ends such a connection ([`super::limit_unread`]).
//! `socket` is the same conversation where the lane gives it the connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::Payload;
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::frames::{self, End, Heard, Inbound};
use super::hub::Reader;
use super::{Agreed, PINGS, Settings, Slot};

/// Bytes that are given before the connection writes them. A connection keeps the buffer of its largest write for good:
/// with the head of the answer this stays within one page of memory, however large a board is.
pub(super) const BURST_MAX: usize = 3 * 1024;

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
    inbound: Inbound,
}

/// The body of an answer behind which the lane takes the connection over: nothing, until it is dropped.
pub(super) struct Silence;

impl MessageBody for Silence {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Pending
    }
}

impl Session {
    pub(super) fn new(payload: Payload, agreed: Agreed) -> Self {
        let Agreed { reader, settings, slot } = agreed;
        let beat = settings.idle_timeout / PINGS;
        let mut beats = interval_at(Instant::now() + beat, beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let client = Client { payload, inbound: Inbound::new() };
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
            End::Close(reason) => Some(frames::last(reason)),
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
                return Poll::Ready(Err(frames::silence()));
            }
            return Poll::Ready(Ok(frames::ping()));
        }
        loop {
            if self.reader.is_closing() {
                return Poll::Ready(Err(frames::stopping()));
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
            match self.inbound.next() {
                Ok(Heard::Nothing) => {}
                Ok(Heard::Word) => return Poll::Ready(Ok(None)),
                Ok(Heard::Question(answer)) => return Poll::Ready(Ok(Some(answer))),
                Err(end) => return Poll::Ready(Err(end)),
            }
            match Pin::new(&mut self.payload).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.inbound.take(&bytes),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
