//! A live session that has its socket for itself: the lane takes the connection over behind the answer to its upgrade.
//!
//! Owns what is written and read from then on: the frames its reader finds, answers to pings, beats, and the end. It has
//! no buffers: a frame goes from the bytes that all sessions of its thread share to the socket, by whoever rings, and what
//! the socket does not take waits as a share of them. Its task is only woken when a client speaks, when a socket that was
//! full has room again, and for a beat. `session` is the same conversation where there is no lane.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use actix_web::web::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use super::bell::Sleeper;
use super::frames::{self, End, Heard, Inbound};
use super::hub::Reader;
use super::{Agreed, PINGS, Slot};

/// Bytes of small frames that are gathered into one write.
const GATHER_MAX: usize = 4 * 1024;
/// Bytes that one session writes before others have their turn.
const TURN_MAX: usize = 64 * 1024;
/// Answers that one client gets before others have their turn.
const ANSWERS_MAX: usize = 32;

/// Where a handler leaves a session for whoever owns its connection: that one takes the connection over as soon as the
/// answer to the upgrade is written.
#[derive(Clone, Default)]
pub(in crate::http) struct Handover(Rc<RefCell<Offer>>);

#[derive(Default)]
enum Offer {
    #[default]
    Open,
    Agreed(Agreed),
    /// Another request of the connection was answered: nobody waits for a session any more.
    Shut,
}

/// See the module's charter. Owned by the connection's task.
pub(in crate::http) struct Socket(Rc<Line>);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Over {
    /// The last word is written.
    Closed,
    /// The client is gone.
    Gone,
}

/// The socket and its session, for the task and for whoever rings.
pub(super) struct Line {
    stream: TcpStream,
    talk: RefCell<Talk>,
    sleeper: Sleeper,
    /// Whether the task waits for room: until then there is no use in speaking.
    is_full: Cell<bool>,
}

struct Talk {
    reader: Reader,
    inbound: Inbound,
    /// Of what the socket did not take.
    rest: Bytes,
    /// Owed to the client, who is not heard until it has it.
    answer: Option<Bytes>,
    is_ping_due: bool,
    last: Last,
    heard: Instant,
    idle_timeout: Duration,
    _slot: Slot,
}

/// The last word of a session.
enum Last {
    Unspoken,
    Due(Bytes),
    /// It is in what is written last.
    Spoken,
}

/// How far speaking went.
enum Spoken {
    All,
    /// The socket takes no more at the moment.
    Full,
    /// Others have their turn.
    Turn,
    Over(Over),
}

/// How far listening went.
enum Listened {
    /// The client has said no more so far.
    All,
    /// Something is owed to it first.
    Owing,
    Gone,
}

impl Handover {
    /// Leaves a session for the connection's owner; gives it back if nobody waits for one.
    pub(in crate::http) fn leave(&self, agreed: Agreed) -> Option<Agreed> {
        let mut offer = self.0.borrow_mut();
        if matches!(*offer, Offer::Shut) {
            return Some(agreed);
        }
        *offer = Offer::Agreed(agreed);
        None
    }

    /// Takes the session that was left, if there is one, and leaves no room for another.
    pub(in crate::http) fn take(&self) -> Option<Agreed> {
        match self.0.replace(Offer::Shut) {
            Offer::Agreed(agreed) => Some(agreed),
            Offer::Open | Offer::Shut => None,
        }
    }
}

impl Agreed {
    /// Begins the session on its connection, on which the client has sent these bytes already.
    pub(in crate::http) fn begin(self, stream: TcpStream, received: &[u8]) -> Socket {
        let Self { reader, settings, slot } = self;
        let mut inbound = Inbound::new();
        inbound.take(received);
        let talk = Talk {
            reader,
            inbound,
            rest: Bytes::new(),
            answer: None,
            is_ping_due: false,
            last: Last::Unspoken,
            heard: Instant::now(),
            idle_timeout: settings.idle_timeout,
            _slot: slot,
        };
        let line = Line { stream, talk: RefCell::new(talk), sleeper: Sleeper::default(), is_full: Cell::new(false) };
        let line = Rc::new(line);
        line.talk.borrow().reader.bell().connect(Rc::downgrade(&line));
        Socket(line)
    }
}

impl Socket {
    /// Time between two calls of [`Socket::beat`].
    pub(in crate::http) fn beat_interval(&self) -> Duration {
        self.0.talk.borrow().idle_timeout / PINGS
    }

    /// Pings the client, or gives it up; poll afterwards.
    pub(in crate::http) fn beat(&self) {
        let mut talk = self.0.talk.borrow_mut();
        if talk.heard.elapsed() >= talk.idle_timeout {
            talk.end(frames::silence());
        } else {
            talk.is_ping_due = true;
        }
    }

    /// Goes on with the conversation; ready when it is over.
    pub(in crate::http) fn poll(&self, cx: &mut Context<'_>) -> Poll<Over> {
        let line = &self.0;
        line.sleeper.note(cx);
        line.is_full.set(false);
        for _ in 0..ANSWERS_MAX {
            let listened = line.listen(cx);
            match (line.speak(), listened) {
                (Spoken::Over(over), _) => return Poll::Ready(over),
                (_, Listened::Gone) => return Poll::Ready(Over::Gone),
                (Spoken::All, Listened::All) => return Poll::Pending,
                (Spoken::All, Listened::Owing) => {}
                (Spoken::Full, _) => match line.stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Over::Gone),
                    Poll::Pending => {
                        line.is_full.set(true);
                        return Poll::Pending;
                    }
                },
                (Spoken::Turn, _) => break,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The connection, for its end.
    pub(in crate::http) fn into_stream(self) -> Option<TcpStream> {
        Rc::into_inner(self.0).map(|line| line.stream)
    }
}

impl Line {
    /// There may be news: says them at once, and wakes the task for what has to wait.
    pub(super) fn ring(&self) {
        if self.is_full.get() {
            return;
        }
        match self.speak() {
            Spoken::All => {}
            Spoken::Full | Spoken::Turn | Spoken::Over(_) => self.sleeper.wake(),
        }
    }

    fn speak(&self) -> Spoken {
        let mut talk = self.talk.borrow_mut();
        let mut written = 0;
        loop {
            if talk.rest.is_empty() {
                talk.rest = talk.next();
            }
            if talk.rest.is_empty() {
                return if matches!(talk.last, Last::Spoken) { Spoken::Over(Over::Closed) } else { Spoken::All };
            }
            if written >= TURN_MAX {
                return Spoken::Turn;
            }
            match self.stream.try_write(&talk.rest) {
                Ok(count) => {
                    talk.rest.advance(count);
                    written += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Spoken::Full,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Spoken::Over(Over::Gone),
            }
        }
    }

    fn listen(&self, cx: &mut Context<'_>) -> Listened {
        let mut talk = self.talk.borrow_mut();
        loop {
            while talk.may_listen() {
                match talk.inbound.next() {
                    Ok(Heard::Nothing) => break,
                    Ok(Heard::Word) => talk.heard = Instant::now(),
                    Ok(Heard::Question(answer)) => (talk.heard, talk.answer) = (Instant::now(), Some(answer)),
                    Err(End::Gone) => return Listened::Gone,
                    Err(end @ End::Close(_)) => talk.end(end),
                }
            }
            if !talk.may_listen() {
                return Listened::Owing;
            }
            match self.receive(cx, &mut talk) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Listened::Gone,
                Poll::Pending => return Listened::All,
            }
        }
    }

    /// Reads what has come; false: no more will.
    fn receive(&self, cx: &mut Context<'_>, talk: &mut Talk) -> Poll<bool> {
        let mut buffer = talk.reader.take_buffer();
        let received = loop {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Err(_)) => break Poll::Ready(0),
                Poll::Ready(Ok(())) => {}
            }
            match self.stream.try_read(&mut buffer) {
                Ok(count) => break Poll::Ready(count),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => break Poll::Ready(0),
            }
        };
        if let Poll::Ready(count) = received {
            talk.inbound.take(&buffer[..count]);
        }
        talk.reader.give_buffer(buffer);
        Poll::Ready(ready!(received) > 0)
    }
}

impl Talk {
    /// Whether the client may be heard: nothing is owed to it, and it has not heard the last word.
    fn may_listen(&self) -> bool {
        self.answer.is_none() && matches!(self.last, Last::Unspoken)
    }

    fn end(&mut self, end: End) {
        match end {
            End::Gone => {}
            End::Close(reason) if matches!(self.last, Last::Unspoken) => self.last = Last::Due(frames::last(reason)),
            End::Close(_) => {}
        }
    }

    /// The next bytes to write: a frame, or several small ones; empty: there is nothing to say.
    fn next(&mut self) -> Bytes {
        let Some(first) = self.frame() else { return Bytes::new() };
        if first.len() >= GATHER_MAX {
            return first;
        }
        let Some(second) = self.frame() else { return first };
        let mut gathered = BytesMut::with_capacity(GATHER_MAX);
        gathered.extend_from_slice(&first);
        gathered.extend_from_slice(&second);
        while gathered.len() < GATHER_MAX
            && let Some(frame) = self.frame()
        {
            gathered.extend_from_slice(&frame);
        }
        gathered.freeze()
    }

    fn frame(&mut self) -> Option<Bytes> {
        if let Some(answer) = self.answer.take() {
            return Some(answer);
        }
        if self.reader.is_closing() {
            self.end(frames::stopping());
        }
        match &mut self.last {
            Last::Unspoken => {}
            Last::Due(word) => {
                let word = std::mem::take(word);
                self.last = Last::Spoken;
                return Some(word);
            }
            Last::Spoken => return None,
        }
        if std::mem::take(&mut self.is_ping_due) {
            return Some(frames::ping());
        }
        self.reader.next()
    }
}
