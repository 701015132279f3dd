//! The slow way: actix-web answers on a connection that the lane lends to it.
//!
//! For one ordinary request the lane lends exactly the bytes of that request, and gets the connection back behind the
//! answer, to go on or, behind a request that was the last, to end it. For anything unusual it gives the connection away for
//! good. One that asks for a WebSocket it gives away until the answer: behind a 101 the connection comes back with the session
//! that was agreed on, and actix-web's dispatcher and its buffers end. Owns who reads and writes meanwhile, and how long that
//! may last: actix-web gives a time to the first head of a connection only. It understands nothing of the requests themselves.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::live::{Handover, Socket};
use super::head;
use super::watch::{Pace, Watch, Watches, forget_unsent};
use crate::config::{self, Config};

/// Longest head of an answer that is looked at for `connection: close`.
const ANSWER_HEAD_MAX: usize = 16 * 1024;

/// How much of a connection is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lent {
    /// The next so many bytes: one request.
    Request(usize),
    /// The same of one behind whose answer the connection ends, whatever the answer says.
    Last(usize),
    /// Everything, for good.
    Connection,
    /// The next so many bytes, one request for a WebSocket; then it comes back as one, or is given away for good.
    Upgrade(usize),
}

/// Where a lent connection comes back to.
pub(super) type Home = Rc<Cell<Option<Returned>>>;

/// A connection that came back.
pub(super) enum Returned {
    /// With what was received and not read.
    Open { stream: TcpStream, rest: Vec<u8> },
    /// The request or the answer ends it, or the request was not read to its end.
    Last(TcpStream),
    /// It has become a WebSocket.
    Live(Socket),
}

/// A lent connection, as actix-web reads and writes it.
pub(super) struct Loan {
    /// `None` while it is dropped, and when it has become a WebSocket.
    stream: Option<TcpStream>,
    received: Vec<u8>,
    /// How much of `received` was read.
    read: usize,
    lent: Lent,
    home: Home,
    answer: AnswerHead,
    reader: Option<Waker>,
    term: Term,
    /// Of a request for a WebSocket.
    handover: Option<Handover>,
}

/// The deadlines of a connection that is lent. On one that is given away the begin of an answer must follow on what was heard,
/// and something on that. The loan of one request has no such time: its head is there, and whoever reads its body gives that
/// one. What is answered must be taken at a [`Pace`].
pub(super) struct Term {
    watches: Rc<Watches>,
    watch: Rc<Watch>,
    /// More than an ordinary request takes until its answer begins, and than a WebSocket is silent.
    longest: Duration,
    keep_alive: Duration,
    answer_timeout: Duration,
    pace: Pace,
    /// Whether something was heard since something was said.
    is_asked: bool,
    /// Whether the client must take something before more can be said.
    is_behind: bool,
}

impl Term {
    /// Of a connection that is lent because something was heard.
    pub(super) fn begin(watches: Rc<Watches>, watch: Rc<Watch>, lent: Lent, config: &Config) -> Self {
        let http = &config.http;
        let longest = match lent {
            Lent::Request(_) | Lent::Last(_) => Duration::MAX,
            Lent::Connection | Lent::Upgrade(_) => {
                // A request that waits asks its machine once more at the end.
                let waiting = http.wait_max + 2 * config.runtime.deadline;
                (http.head_timeout + http.body_timeout + waiting).max(config.live.idle_timeout)
            }
        };
        let config::Http { keep_alive, answer_timeout, .. } = *http;
        let (pace, is_asked, is_behind) = (Pace::default(), false, false);
        let mut term = Self { watches, watch, longest, keep_alive, answer_timeout, pace, is_asked, is_behind };
        term.heard();
        term
    }

    fn heard(&mut self) {
        if !std::mem::replace(&mut self.is_asked, true) && !self.is_behind {
            self.watches.allow(&self.watch, self.longest);
        }
    }

    /// What was heard with the question before may be all that comes of the next.
    fn said(&mut self, count: usize, is_all: bool) {
        self.is_asked = false;
        self.is_behind &= !self.pace.took(count, is_all);
        if !self.is_behind {
            self.watches.allow(&self.watch, self.longest.saturating_add(self.keep_alive));
        }
    }

    /// Nothing more can be said until the client takes something.
    fn fell_behind(&mut self) {
        if !std::mem::replace(&mut self.is_behind, true) {
            self.watches.allow(&self.watch, self.answer_timeout);
        }
    }
}

/// What is known of the answer's head.
enum AnswerHead {
    Growing(Vec<u8>),
    Whole { closes: bool, switches: bool },
}

impl Loan {
    /// Lends a connection on which these bytes were received already.
    pub(super) fn new(stream: TcpStream, received: Vec<u8>, lent: Lent, home: Home, term: Term) -> Self {
        let answer = AnswerHead::Growing(Vec::new());
        let handover = matches!(lent, Lent::Upgrade(_)).then(Handover::default);
        Self { stream: Some(stream), received, read: 0, lent, home, answer, reader: None, term, handover }
    }

    /// Where to leave the session if the request asks for one.
    pub(super) fn handover(&self) -> Option<&Handover> {
        self.handover.as_ref()
    }

    /// Whether actix-web may find more requests on it than the first.
    pub(super) fn may_bring_more(&self) -> bool {
        matches!(self.lent, Lent::Connection | Lent::Upgrade(_))
    }

    /// Whether the connection has come back before the loan's end, which actix-web does not know yet.
    fn is_back(&self) -> bool {
        self.stream.is_none()
    }

    fn open(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn has_answered(&self) -> bool {
        !matches!(&self.answer, AnswerHead::Growing(head) if head.is_empty())
    }

    /// How many bytes may be read now; none: the request is read.
    fn allowed(&self) -> usize {
        match self.lent {
            Lent::Request(left) | Lent::Last(left) | Lent::Upgrade(left) => left,
            Lent::Connection => usize::MAX,
        }
    }

    fn took(&mut self, count: usize) {
        match &mut self.lent {
            Lent::Request(left) | Lent::Last(left) | Lent::Upgrade(left) => *left -= count,
            Lent::Connection => {}
        }
    }

    fn note(&mut self, written: &[u8]) {
        let AnswerHead::Growing(head) = &mut self.answer else { return };
        if head.is_empty()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        head.extend_from_slice(&written[..written.len().min(ANSWER_HEAD_MAX)]);
        if let Some(length) = head::length(head) {
            let head = head[..length].to_ascii_lowercase();
            self.answer = AnswerHead::Whole {
                closes: memmem::find(&head, b"\r\nconnection: close").is_some(),
                switches: head.starts_with(b"http/1.1 101 "),
            };
        } else if head.len() > ANSWER_HEAD_MAX {
            self.answer = AnswerHead::Whole { closes: true, switches: false };
        } else {
            return;
        }
        self.settle_upgrade();
    }

    /// A request for a WebSocket is answered: the connection goes back as one, or stays here for good.
    fn settle_upgrade(&mut self) {
        let Some(agreed) = self.handover.take().map(|handover| handover.take()) else { return };
        self.lent = Lent::Connection;
        match agreed.filter(|_| matches!(self.answer, AnswerHead::Whole { switches: true, .. })) {
            Some(agreed) => {
                let Some(stream) = self.stream.take() else { return };
                self.home.set(Some(Returned::Live(agreed.begin(stream, &self.received[self.read..]))));
            }
            None => {
                if let Some(reader) = self.reader.take() {
                    reader.wake();
                }
            }
        }
    }
}

impl AsyncRead for Loan {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_back() {
            return Poll::Pending;
        }
        let most = this.allowed().min(into.remaining());
        if this.allowed() == 0 {
            // To actix-web the client has nothing more to say; it hears so when it has begun to answer, because until then
            // it would take the end for a request that was cut off.
            if matches!(this.lent, Lent::Request(_) | Lent::Last(_)) && this.has_answered() {
                return Poll::Ready(Ok(()));
            }
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if this.read < this.received.len() {
            let count = most.min(this.received.len() - this.read);
            into.put_slice(&this.received[this.read..this.read + count]);
            this.read += count;
            this.took(count);
            return Poll::Ready(Ok(()));
        }
        if this.lent == Lent::Connection {
            // Nothing to count: the reader's room is not filled with zeros first, so memory that is never read into stays free.
            (this.received, this.read) = (Vec::new(), 0);
            let before = into.filled().len();
            std::task::ready!(this.open()?.poll_read(cx, into))?;
            if into.filled().len() > before {
                this.term.heard();
            }
            return Poll::Ready(Ok(()));
        }
        let count = {
            let mut part = ReadBuf::new(into.initialize_unfilled_to(most));
            std::task::ready!(this.open()?.poll_read(cx, &mut part))?;
            part.filled().len()
        };
        into.advance(count);
        this.took(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Loan {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Poll::Ready(count) = this.open()?.poll_write(cx, bytes) else {
            this.term.fell_behind();
            return Poll::Pending;
        };
        let count = count?;
        this.term.said(count, count == bytes.len());
        this.note(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_back() {
            return Poll::Ready(Ok(()));
        }
        self.open()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lent {
            Lent::Request(_) | Lent::Last(_) => Poll::Ready(Ok(())),
            Lent::Connection | Lent::Upgrade(_) => self.open()?.poll_shutdown(cx),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.term.is_behind {
            self.stream.iter().for_each(forget_unsent);
        }
        let (Lent::Request(_) | Lent::Last(_)) = self.lent else { return };
        let Some(stream) = self.stream.take() else { return };
        let rest = self.received.split_off(self.read);
        let goes_on = self.lent == Lent::Request(0) && matches!(self.answer, AnswerHead::Whole { closes: false, .. });
        self.home.set(Some(if goes_on { Returned::Open { stream, rest } } else { Returned::Last(stream) }));
    }
}
