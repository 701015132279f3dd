//! One connection of the lane: reads, answers what is hot in the order of its requests, lends the rest to the slow way.
//!
//! Owns the order of answers, the buffers while something is in them, and the deadlines. Everything that one read brought
//! and that can be answered at once goes out in one write. Asks that come behind each other are under way together; any other
//! request waits until those before it are answered.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::ResponseError;
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::live::{Over, Socket, UNREAD_MAX};
use super::super::problem::{Code, Problem};
use super::super::request_id::{self, REQUEST_ID};
use super::asks::{self, Ask, Desks, Turn};
use super::head::{self, Head, Method};
use super::reads::Batch;
use super::slow::{Home, Lent, Returned};
use super::watch::Watch;
use super::{Hot, Worker, hot, write};

/// Asks of one connection under way at a time.
const TURNS_MAX: usize = 16;
/// Largest body that the lane waits for itself.
const BODY_MAX: usize = 16 * 1024;
/// Bytes of answers after which they are written before more is answered.
const OUT_MAX: usize = 256 * 1024;
/// How long what a client still sends is read after its last answer, so that it is not reset before it has read that.
const LINGER: Duration = Duration::from_secs(1);

/// See the module's charter. A future that ends with the connection.
pub(super) struct Connection {
    worker: Rc<Worker>,
    peer: SocketAddr,
    /// `None` while it is lent.
    stream: Option<TcpStream>,
    /// Received and not looked at yet.
    rest: Vec<u8>,
    /// Answered and not taken by the system yet.
    unsent: Vec<u8>,
    turns: VecDeque<Turn>,
    /// Whether answers that are there were not written when this task ran last.
    held_back: bool,
    phase: Phase,
    waiting: Waiting,
    watch: Rc<Watch>,
}

enum Phase {
    Lane,
    Lent(Pin<Box<dyn Future<Output = ()>>>, Home),
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

/// Why no further request was answered.
enum Stop {
    /// What is left is not a whole request: of its head, its body, or nothing at all.
    Unread(Waiting),
    /// An ask is under way, or the reader is behind.
    Blocked,
    /// The next request is for the slow way.
    Slow(Lent),
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
        Self {
            worker,
            peer,
            stream: Some(stream),
            rest: Vec::new(),
            unsent: Vec::new(),
            turns: VecDeque::new(),
            held_back: false,
            phase: Phase::Lane,
            waiting: Waiting::First,
            watch,
        }
    }

    fn serve(&mut self, cx: &mut Context<'_>) -> io::Result<Next> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(cx, &unsent)?;
            if !self.unsent.is_empty() {
                return Ok(self.wait(Waiting::Reader));
            }
        }
        let mut out = self.worker.out.take();
        self.advance_turns(cx, &mut out);
        let rest = std::mem::take(&mut self.rest);
        let (used, stop) = self.answer(cx, &rest, &mut out);
        self.keep(rest, used);
        let next = match stop {
            Stop::Unread(waiting) if out.is_empty() && self.turns.is_empty() => self.read(cx, &mut out, waiting),
            Stop::Slow(lent) if out.is_empty() && self.turns.is_empty() => {
                self.lend(lent);
                Ok(Next::Go)
            }
            Stop::Unread(_) | Stop::Slow(_) | Stop::Blocked => {
                Ok(if out.is_empty() { self.wait(Waiting::Nothing) } else { Next::Go })
            }
        };
        let sent = self.send(cx, &out);
        out.clear();
        self.worker.out.set(out);
        sent?;
        next
    }

    /// Takes what has come. What can be answered at once is answered from the worker's buffer, without a copy.
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
            Poll::Ready(Ok(())) if self.rest.is_empty() => {
                let (used, _) = self.answer(cx, &buffer[..count], out);
                self.rest.extend_from_slice(&buffer[used..count]);
                Ok(Next::Go)
            }
            Poll::Ready(Ok(())) => {
                self.rest.extend_from_slice(&buffer[..count]);
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
            Waiting::Head if is_over => self.too_late(out, "the request's head did not arrive in time"),
            Waiting::Body if is_over => self.too_late(out, Code::RequestTimeout.meaning()),
            Waiting::Idle | Waiting::First | Waiting::Head | Waiting::Body => self.wait(waiting),
            Waiting::Nothing | Waiting::Reader | Waiting::End => self.wait(waiting),
        }
    }

    fn too_late(&mut self, out: &mut Vec<u8>, detail: &str) -> Next {
        let id = request_id::made();
        let problem = Problem::new(Code::RequestTimeout, detail)
            .header(actix_web::http::header::CONNECTION, actix_web::http::header::HeaderValue::from_static("close"));
        let answer = REQUEST_ID.sync_scope(request_id::value(&id), || problem.error_response());
        write::response(out, answer, Method::Get, &self.worker.date, &id);
        self.linger()
    }

    fn linger(&mut self) -> Next {
        self.phase = Phase::Lingering;
        Next::Go
    }

    /// Answers the requests that these bytes begin with, as many as can be answered at once; how many bytes they were, and
    /// what stands in the way of more.
    fn answer(&mut self, cx: &mut Context<'_>, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
        let worker = self.worker.clone();
        let mut batch = Batch::new(&worker);
        let mut used = 0;
        loop {
            let left = &bytes[used..];
            if left.is_empty() {
                return (used, Stop::Unread(Waiting::Idle));
            }
            if out.len() > OUT_MAX {
                return (used, Stop::Blocked);
            }
            if self.may_read()
                && let Some(length) = batch.repeat(left, out)
            {
                used += length;
                self.waiting = Waiting::Nothing;
                continue;
            }
            let head = match head::read(left) {
                head::Read::Ordinary(head) => head,
                head::Read::Partial if left.len() <= self.worker.limits().head_max.as_usize() => {
                    return (used, Stop::Unread(Waiting::Head));
                }
                head::Read::Upgrade(length) => return (used, Stop::Slow(Lent::Upgrade(length))),
                head::Read::Partial | head::Read::Unusual => return (used, Stop::Slow(Lent::Connection)),
            };
            let whole = head.length + head.body;
            let Some(hot) = self.hot(&head) else { return (used, Stop::Slow(Lent::Request(whole))) };
            if left.len() < whole {
                return (used, Stop::Unread(Waiting::Body));
            }
            match hot {
                Hot::Read(what) if self.turns.is_empty() => batch.answer(what, &head, &left[..whole], out),
                Hot::Ask(ask) if self.turns.len() < TURNS_MAX => {
                    self.ask(cx, ask, &head, &left[head.length..whole], out)
                }
                Hot::Read(_) | Hot::Ask(_) => return (used, Stop::Blocked),
            }
            used += whole;
            self.waiting = Waiting::Nothing;
        }
    }

    /// What the lane answers itself.
    fn hot<'a>(&self, head: &Head<'a>) -> Option<Hot<'a>> {
        let limits = self.worker.limits();
        let fits = head.length <= limits.head_max.as_usize() && head.body <= BODY_MAX.min(limits.body_max.as_usize());
        if fits && head.is_plain && self.worker.state.readiness.is_open() { hot(head) } else { None }
    }

    /// Whether a read may be answered before it is known to be one.
    fn may_read(&self) -> bool {
        self.turns.is_empty() && self.worker.state.readiness.is_open()
    }

    fn ask(&mut self, cx: &mut Context<'_>, ask: Ask<'_>, head: &Head<'_>, body: &[u8], out: &mut Vec<u8>) {
        let mut turn = asks::begin(&self.worker, self.peer.ip(), ask, head, body);
        let is_closed = self.turns.iter().any(|turn| turn.desks(&self.worker) == Desks::Closed);
        let mut desks = if is_closed { Desks::Closed } else { Desks::Open };
        turn.advance(&self.worker, cx, &mut desks);
        if !self.turns.is_empty() || turn.write(&self.worker, out).is_pending() {
            self.turns.push_back(turn);
        }
    }

    /// Goes on with what is under way and writes what is answered, in the order of the requests.
    fn advance_turns(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) {
        let mut desks = Desks::Open;
        self.turns.iter_mut().for_each(|turn| turn.advance(&self.worker, cx, &mut desks));
        if self.holds_back(cx) {
            return;
        }
        while self.turns.front().is_some_and(|turn| turn.write(&self.worker, out).is_ready()) {
            self.turns.pop_front();
        }
        if self.turns.is_empty() {
            // A connection that waits for nothing keeps no room for it.
            self.turns = VecDeque::new();
        }
    }

    /// Whether to let the other connections go first, once, because only some of the answers are there: those of other shards
    /// come a moment later, and one write costs as much as making several answers.
    fn holds_back(&mut self, cx: &mut Context<'_>) -> bool {
        let some = self.turns.front().is_some_and(Turn::is_ended) && !self.turns.iter().all(Turn::is_ended);
        self.held_back = some && !self.held_back;
        if self.held_back {
            cx.waker().wake_by_ref();
        }
        self.held_back
    }

    /// Keeps what was received and not used; an idle connection keeps no buffer.
    fn keep(&mut self, mut rest: Vec<u8>, used: usize) {
        if used < rest.len() {
            rest.drain(..used);
            self.rest = rest;
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
            match Pin::new(stream).poll_write(cx, bytes) {
                Poll::Ready(count) => bytes = &bytes[count?..],
                Poll::Pending => break,
            }
            self.waiting = Waiting::Nothing;
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }

    fn lend(&mut self, lent: Lent) {
        let Some(stream) = self.stream.take() else { return };
        let home = Home::default();
        let received = std::mem::take(&mut self.rest);
        let answering = self.worker.slow.answer(stream, received, lent, home.clone(), self.peer);
        self.waiting = Waiting::Nothing;
        // Whoever has it keeps its time: a sweep that wakes it again and again would start actix-web's `keep_alive` anew.
        self.worker.watches.allow(&self.watch, Duration::MAX);
        self.phase = Phase::Lent(answering, home);
    }

    /// The slow way is done with the connection.
    fn took_back(&mut self, returned: Option<Returned>) -> Next {
        match returned {
            None => return Next::End,
            Some(Returned::Open { stream, rest }) => (self.stream, self.rest) = (Some(stream), rest),
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
        let unsent = std::mem::take(&mut self.unsent);
        self.send(cx, &unsent)?;
        let is_over = self.waiting == Waiting::End && self.worker.watches.is_over(&self.watch);
        let Some(stream) = self.stream.as_mut().filter(|_| !is_over) else { return Ok(Next::End) };
        if self.unsent.is_empty() && Pin::new(&mut *stream).poll_shutdown(cx)?.is_pending() {
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
            let is_over = self.worker.watches.is_over(&self.watch);
            return if is_over && waiting == Waiting::Reader { Next::End } else { Next::Wait };
        }
        self.waiting = waiting;
        let limits = self.worker.limits();
        let time = match waiting {
            // What is under way has its own deadline.
            Waiting::Nothing => Duration::MAX,
            Waiting::First | Waiting::Head => limits.head_timeout,
            Waiting::Idle => limits.keep_alive,
            Waiting::Body => limits.body_timeout,
            Waiting::Reader => UNREAD_MAX,
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
                Phase::Lent(answering, home) => {
                    let polled = answering.as_mut().poll(cx);
                    match home.take() {
                        None if polled.is_pending() => return Poll::Pending,
                        returned => Ok(this.took_back(returned)),
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
