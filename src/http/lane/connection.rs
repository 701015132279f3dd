//! One connection of the lane: reads, has its pipeline answer, sends, and lends what is for the slow way.
//!
//! Owns the socket, the phases of a connection and its deadlines. Which request is answered when is the
//! [pipeline](super::pipeline)'s.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::ResponseError;
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::live::{Over, Socket};
use super::super::problem::{Code, Problem};
use super::super::request_id::{self, REQUEST_ID};
use super::head::Method;
use super::pipeline::{Left, Pipeline, Stop};
use super::slow::{Home, Lent, Loan, Returned, Term};
use super::watch::{Pace, Watch, forget_unsent};
use super::{Answering, BrokenOff, Worker, write};

/// How long what a client still sends is read after its last answer, so that it is not reset before it has read that.
const LINGER: Duration = Duration::from_secs(1);

/// See the module's charter. A future that ends with the connection.
pub(super) struct Connection {
    worker: Rc<Worker>,
    peer: SocketAddr,
    /// `None` while it is lent.
    stream: Option<TcpStream>,
    /// Answered and not taken by the system yet.
    unsent: Vec<u8>,
    pace: Pace,
    pipeline: Pipeline,
    phase: Phase,
    waiting: Waiting,
    watch: Rc<Watch>,
}

enum Phase {
    Lane,
    Lent(Answering, Home),
    /// It has become a WebSocket.
    Live(Socket),
    Lingering,
}

/// What the connection's deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    First,
    Idle,
    Head,
    Body,
    Reader,
    End,
}

impl From<Left> for Waiting {
    fn from(left: Left) -> Self {
        match left {
            Left::Nothing => Self::Idle,
            Left::Head => Self::Head,
            Left::Body => Self::Body,
        }
    }
}

/// What the connection's task does next.
enum Next {
    Go,
    Wait,
    End,
}

impl Connection {
    pub(super) fn new(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) -> Self {
        let watch = worker.watches.add();
        worker.watches.allow(&watch, worker.limits().head_timeout);
        let pipeline = Pipeline::new(worker.clone(), peer.ip());
        Self {
            worker,
            peer,
            stream: Some(stream),
            unsent: Vec::new(),
            pace: Pace::default(),
            pipeline,
            phase: Phase::Lane,
            waiting: Waiting::First,
            watch,
        }
    }

    fn serve(&mut self, cx: &mut Context<'_>) -> io::Result<Next> {
        if self.is_behind(cx)? {
            return Ok(self.wait(Waiting::Reader));
        }
        if self.pipeline.advance(cx).is_pending() {
            return Ok(self.wait(Waiting::Nothing));
        }
        let mut out = self.pipeline.take_held().unwrap_or_else(|| self.worker.room());
        let stop = self.pipeline.answer(cx, &mut out);
        let may_go_on = out.is_empty() && self.pipeline.is_idle();
        let next = match stop {
            Stop::Unread(left) if may_go_on => self.read(cx, &mut out, left.into()),
            Stop::Slow(lent) if may_go_on => {
                self.lend(lent);
                Ok(Next::Go)
            }
            Stop::Unread(_) | Stop::Slow(_) | Stop::Blocked => {
                Ok(if out.is_empty() { self.wait(Waiting::Nothing) } else { Next::Go })
            }
        };
        let sent = if self.pipeline.keeps_for_later(&mut out) { Ok(()) } else { self.send(cx, &out) };
        self.worker.take_back(out);
        sent?;
        next
    }

    /// Takes what has come.
    fn read(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>, waiting: Waiting) -> io::Result<Next> {
        let Some(stream) = &mut self.stream else { return Ok(Next::End) };
        let mut buffer = self.worker.received.take();
        let mut into = ReadBuf::new(&mut buffer);
        let polled = Pin::new(stream).poll_read(cx, &mut into);
        let count = into.filled().len();
        let next = match polled {
            Poll::Pending => Ok(self.none_yet(waiting, out)),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if count == 0 => Ok(Next::End),
            Poll::Ready(Ok(())) => {
                self.pipeline.receive(cx, &buffer[..count], out);
                Ok(Next::Go)
            }
        };
        self.worker.received.set(buffer);
        next
    }

    /// Nothing has come: wait, unless the time for it is over.
    fn none_yet(&mut self, waiting: Waiting, out: &mut Vec<u8>) -> Next {
        let waiting = if waiting == Waiting::Idle && self.waiting == Waiting::First { Waiting::First } else { waiting };
        let is_over = self.waiting == waiting && self.worker.watches.is_over(&self.watch);
        match waiting {
            Waiting::Idle | Waiting::First if self.worker.watches.is_stopping() => Next::End,
            Waiting::Idle | Waiting::First if is_over => Next::End,
            Waiting::Head if is_over => {
                self.too_late(out, "the request's head did not arrive in time", self.worker.limits().head_timeout)
            }
            Waiting::Body if is_over => {
                self.too_late(out, Code::RequestTimeout.meaning(), self.worker.limits().body_timeout)
            }
            Waiting::Idle | Waiting::First | Waiting::Head | Waiting::Body => self.wait(waiting),
            Waiting::Nothing | Waiting::Reader | Waiting::End => self.wait(waiting),
        }
    }

    /// Answers a request that did not come to its end within this time.
    fn too_late(&mut self, out: &mut Vec<u8>, detail: &str, waited: Duration) -> Next {
        let id = request_id::made();
        let problem = Problem::new(Code::RequestTimeout, detail)
            .header(actix_web::http::header::CONNECTION, actix_web::http::header::HeaderValue::from_static("close"));
        let answer = REQUEST_ID.sync_scope(request_id::value(&id), || problem.error_response());
        self.pipeline.counters_of_next().observe(answer.status().as_u16(), waited);
        write::response(out, answer, Method::Get, &self.worker.date, &id);
        self.linger()
    }

    fn linger(&mut self) -> Next {
        self.phase = Phase::Lingering;
        Next::Go
    }

    /// Sends what is left of earlier answers; whether some still is.
    fn is_behind(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let unsent = std::mem::take(&mut self.unsent);
        self.send(cx, &unsent)?;
        Ok(!self.unsent.is_empty())
    }

    fn send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
            let Poll::Ready(count) = Pin::new(stream).poll_write(cx, bytes) else { break };
            let count = count?;
            bytes = &bytes[count..];
            if self.pace.took(count, bytes.is_empty()) {
                self.waiting = Waiting::Nothing;
            }
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }

    fn lend(&mut self, lent: Lent) {
        let Some(stream) = self.stream.take() else { return };
        let home = Home::default();
        let received = std::mem::take(self.pipeline.rest());
        let term = Term::begin(self.worker.watches.clone(), self.watch.clone(), lent, &self.worker.state.config);
        let answering = (self.worker.slow)(Loan::new(stream, received, lent, home.clone(), term), self.peer);
        self.waiting = Waiting::Nothing;
        self.phase = Phase::Lent(answering, home);
    }

    /// The slow way is done with the connection.
    fn took_back(&mut self, returned: Option<Returned>) -> Next {
        match returned {
            None => return Next::End,
            Some(Returned::Open { stream, rest }) => {
                self.stream = Some(stream);
                *self.pipeline.rest() = rest;
            }
            Some(Returned::Last(stream)) => {
                self.stream = Some(stream);
                return self.linger();
            }
            Some(Returned::Live(socket)) => {
                self.worker.watches.allow(&self.watch, socket.beat_interval());
                // Ends the slow way, and frees what it has.
                self.phase = Phase::Live(socket);
                return Next::Go;
            }
        }
        if self.worker.watches.is_stopping() {
            return self.linger();
        }
        self.phase = Phase::Lane;
        Next::Go
    }

    /// Has the WebSocket go on.
    fn attend(&mut self, cx: &mut Context<'_>) -> Next {
        let Phase::Live(socket) = &self.phase else { return Next::End };
        if self.worker.watches.is_over(&self.watch) {
            self.worker.watches.allow(&self.watch, socket.beat_interval());
            socket.beat();
        }
        match socket.poll(cx) {
            Poll::Pending => Next::Wait,
            Poll::Ready(Over::Gone) => Next::End,
            Poll::Ready(Over::Closed) => {
                if let Phase::Live(socket) = std::mem::replace(&mut self.phase, Phase::Lingering) {
                    self.stream = socket.into_stream();
                }
                Next::Go
            }
        }
    }

    /// Reads what the client still sends and forgets it, until it ends or the time is over.
    fn see_off(&mut self, cx: &mut Context<'_>) -> io::Result<Next> {
        if self.is_behind(cx)? {
            return Ok(self.wait(Waiting::Reader));
        }
        let is_over = self.waiting == Waiting::End && self.worker.watches.is_over(&self.watch);
        let Some(stream) = self.stream.as_mut().filter(|_| !is_over) else { return Ok(Next::End) };
        if Pin::new(&mut *stream).poll_shutdown(cx)?.is_pending() {
            return Ok(self.wait(Waiting::End));
        }
        let mut buffer = self.worker.received.take();
        let mut into = ReadBuf::new(&mut buffer);
        let polled = Pin::new(stream).poll_read(cx, &mut into);
        let count = into.filled().len();
        self.worker.received.set(buffer);
        match polled {
            Poll::Pending => Ok(self.wait(Waiting::End)),
            Poll::Ready(read) => read.map(|()| if count == 0 { Next::End } else { Next::Go }),
        }
    }

    /// Waits for something; its deadline counts from the moment when that began.
    fn wait(&mut self, waiting: Waiting) -> Next {
        if self.waiting == waiting && waiting != Waiting::Nothing {
            if waiting != Waiting::Reader || !self.worker.watches.is_over(&self.watch) {
                return Next::Wait;
            }
            self.stream.iter().for_each(forget_unsent);
            return Next::End;
        }
        self.waiting = waiting;
        let limits = self.worker.limits();
        let time = match waiting {
            // What is under way has its own deadline.
            Waiting::Nothing => Duration::MAX,
            Waiting::First | Waiting::Head => limits.head_timeout,
            Waiting::Idle => limits.keep_alive,
            Waiting::Body => limits.body_timeout,
            Waiting::Reader => limits.answer_timeout,
            Waiting::End => LINGER,
        };
        self.worker.watches.allow(&self.watch, time);
        Next::Wait
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.watch.register(cx.waker());
        loop {
            let next = match &mut this.phase {
                Phase::Lane => this.serve(cx),
                Phase::Lingering => this.see_off(cx),
                Phase::Live(_) => Ok(this.attend(cx)),
                Phase::Lent(..) if this.worker.watches.is_over(&this.watch) => Ok(Next::End),
                Phase::Lent(answering, home) => {
                    let polled = answering.as_mut().poll(cx);
                    match (home.take(), polled) {
                        (None, Poll::Pending) => return Poll::Pending,
                        (Some(Returned::Open { stream, .. }), Poll::Ready(Err(BrokenOff))) => {
                            Ok(this.took_back(Some(Returned::Last(stream))))
                        }
                        (returned, _) => Ok(this.took_back(returned)),
                    }
                }
            };
            match next {
                Ok(Next::Go) => {}
                Ok(Next::Wait) => return Poll::Pending,
                // A connection that breaks is the client's affair.
                Ok(Next::End) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}
