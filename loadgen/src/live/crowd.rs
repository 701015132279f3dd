//! All readers on one event loop.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::frames;
use super::reader::{Heard, Reader};
use super::sockets;
use super::writer::Board;
use crate::clock::{Clock, Nanos};
use crate::failure::Failure;
use crate::http::Target;
use crate::stage::Stage;

/// Bytes read at a time.
const READ_SIZE: usize = 64 * 1024;
/// Events taken from the system at a time.
const EVENTS_MAX: usize = 4_096;

/// The readers.
#[derive(Debug)]
pub(super) struct Crowd {
    poll: Poll,
    events: Events,
    readers: Vec<(TcpStream, Reader)>,
    scratch: Vec<u8>,
    heard: Heard,
    /// Changes received by all readers.
    pub(super) received: u64,
    /// Missing in a reader's sequence, or not there at the end.
    pub(super) lost: u64,
}

impl Crowd {
    /// Opens so many sessions on the first block of the stage's event; their hands are shaken in [`Crowd::turn`].
    pub(super) fn gather(target: &Target, stage: &Stage, count: u32) -> Result<Self, Failure> {
        let event = &stage.events[0];
        let path = format!("/v1/events/{}/live?blocks={}", event.id, event.blocks[0].id);
        let greeting = frames::handshake(target, &path);
        let poll = Poll::new().map_err(Failure::system("epoll"))?;
        let mut readers = Vec::with_capacity(count as usize);
        for number in 0..count {
            let mut stream = sockets::connect(target, number)?;
            stream.write_all(&greeting).map_err(Failure::system("send"))?;
            stream.set_nonblocking(true).map_err(Failure::system("socket"))?;
            let mut stream = TcpStream::from_std(stream);
            let token = Token(number as usize);
            poll.registry().register(&mut stream, token, Interest::READABLE).map_err(Failure::system("epoll"))?;
            readers.push((stream, Reader::new()));
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            readers,
            scratch: vec![0; READ_SIZE],
            heard: Heard::default(),
            received: 0,
            lost: 0,
        })
    }

    /// Reads what comes within a time. A session that ends ends the run: its reader is owed everything.
    pub(super) fn turn(&mut self, board: &Board, timeout: Duration) -> Result<(), Failure> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, Some(timeout));
        let served = match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(Failure::system("epoll")(error)),
            Ok(()) | Err(_) => events.iter().try_for_each(|event| self.serve(event, board)),
        };
        self.events = events;
        served
    }

    fn serve(&mut self, event: &Event, board: &Board) -> Result<(), Failure> {
        let (stream, reader) = &mut self.readers[event.token().0];
        let ended = |why: &str| Failure::Unreadable { request: "GET …/live".to_owned(), reason: why.to_owned() };
        let mut out = Vec::new();
        loop {
            let count = match stream.read(&mut self.scratch) {
                Ok(0) => return Err(ended("session_closed")),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(ended(&error.to_string())),
            };
            let now = board.clock.now();
            reader.take(&self.scratch[..count], now, &mut self.heard, &mut out).map_err(ended)?;
            // A read that leaves room has emptied the socket, and what comes later is told by another event: epoll(7).
            if count < self.scratch.len() && !event.is_read_closed() {
                break;
            }
        }
        if !out.is_empty() {
            // A pong is a few bytes and the only thing that we ever send: it fits the socket's buffer.
            stream.write_all(&out).map_err(|error| ended(&error.to_string()))?;
        }
        self.received += self.heard.changes.len() as u64;
        for (seat, at) in self.heard.changes.drain(..) {
            board.received(seat, at);
        }
        Ok(())
    }

    /// Turns until something is so, at most for a time.
    pub(super) fn wait(
        &mut self,
        board: &Board,
        within: Duration,
        is_so: impl Fn(&Self) -> bool,
    ) -> Result<(), Failure> {
        let clock = Clock::start();
        while !is_so(self) && clock.now() < Nanos(0) + within {
            self.turn(board, Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// Whether every reader has had its first board.
    pub(super) fn all_have_a_board(&self) -> bool {
        self.readers.iter().all(|(_, reader)| reader.follows())
    }

    /// Whether every reader knows of so many changes.
    pub(super) fn all_have(&self, changes: u64) -> bool {
        self.readers.iter().all(|(_, reader)| reader.known() >= changes)
    }

    /// Counts what never came: gaps, and what is missing at the end.
    pub(super) fn count_missing(&mut self, changes: u64) {
        let missing: u64 = self.readers.iter().map(|(_, reader)| changes.saturating_sub(reader.known())).sum();
        self.lost = self.heard.lost + missing;
    }

    /// Boards that slow readers got, and the changes that these stood for.
    pub(super) fn resyncs(&self) -> (u64, u64) {
        (self.heard.boards_again, self.heard.skipped)
    }
}
