//! One keep-alive connection: bytes out, bytes in, and which requests wait for their answers, in order.
//!
//! It knows nothing of what the requests mean.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::clock::Nanos;
use crate::engine::Sent;

/// First pause before connecting again; doubled each time.
const RECONNECT_FIRST: Duration = Duration::from_millis(25);
/// Longest pause before connecting again.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// Where a connection stands.
#[derive(Debug)]
pub(crate) enum Link {
    /// No socket; connect at this time.
    Down(Nanos),
    /// Asked for, not yet there, since this time.
    Connecting(TcpStream, Nanos),
    /// Carries requests.
    Open(TcpStream),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: Link,
    /// Place of the node that it goes to.
    pub(crate) target: usize,
    /// Requests whose answers have not come, oldest first.
    pub(crate) in_flight: VecDeque<Sent>,
    /// Bytes of requests; [`Connection::flush`] sends them.
    pub(crate) out: Vec<u8>,
    /// The beginning of an answer whose end has not come.
    pub(crate) inbox: Vec<u8>,
    /// Whether the list of connections with room has it.
    pub(crate) listed: bool,
    sent: usize,
    failures: u32,
}

impl Connection {
    /// A connection to a node that is to be made at once.
    pub(crate) fn new(target: usize, depth: usize) -> Self {
        Self {
            link: Link::Down(Nanos(0)),
            target,
            in_flight: VecDeque::with_capacity(depth),
            out: Vec::new(),
            inbox: Vec::new(),
            listed: false,
            sent: 0,
            failures: 0,
        }
    }

    /// Forgets times of an earlier clock: connect at once, or have just begun to.
    pub(crate) fn hurry(&mut self) {
        match &mut self.link {
            Link::Down(at) | Link::Connecting(_, at) => *at = Nanos(0),
            Link::Open(_) => {}
        }
    }

    /// Begins to connect.
    pub(crate) fn connect(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        now: Nanos,
    ) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.link = Link::Connecting(stream, now);
        Ok(())
    }

    /// Looks whether connecting has come to an end; true when the connection just opened.
    pub(crate) fn finish_connecting(&mut self) -> io::Result<bool> {
        let Link::Connecting(stream, _) = &self.link else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            // Nobody listens and the system gave our end the very port that was asked for: we talk to ourselves.
            Ok(peer) if stream.local_addr()? == peer => return Err(io::ErrorKind::ConnectionRefused.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        stream.set_nodelay(true)?;
        if let Link::Connecting(stream, _) = std::mem::replace(&mut self.link, Link::Down(Nanos(0))) {
            self.link = Link::Open(stream);
        }
        self.failures = 0;
        Ok(true)
    }

    /// Room for further requests.
    pub(crate) fn room(&self, depth: usize) -> usize {
        match self.link {
            Link::Open(_) => depth.saturating_sub(self.in_flight.len()),
            Link::Down(_) | Link::Connecting(..) => 0,
        }
    }

    /// Sends what is waiting, as much as the socket takes; the rest goes when the socket says that it is writable.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Link::Open(stream) = &mut self.link else { return Ok(()) };
        while self.sent < self.out.len() {
            match stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once into `scratch` behind `kept` bytes. `None`: nothing there now. `Some(0)`: the server closed.
    pub(crate) fn read(&mut self, scratch: &mut [u8], kept: usize) -> io::Result<Option<usize>> {
        let Link::Open(stream) = &mut self.link else { return Ok(None) };
        loop {
            match stream.read(&mut scratch[kept..]) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Drops the socket and everything half sent or half read; the requests in flight are left for the caller.
    /// `chance` from 0 to 1 spreads the reconnects.
    pub(crate) fn close(&mut self, now: Nanos, chance: f64) -> Nanos {
        let pause = RECONNECT_FIRST.saturating_mul(1 << self.failures.min(8)).min(RECONNECT_MAX);
        let at = now + pause.mul_f64(0.5 + 0.5 * chance);
        self.failures += 1;
        self.link = Link::Down(at);
        self.out.clear();
        self.sent = 0;
        self.inbox.clear();
        at
    }
}
