//! The bare server: finds where requests end and answers every one with the same finished bytes.
//!
//! It does the least a correct HTTP/1.1 server can do with an epoll loop, so what it costs is the limit to compare a
//! real server with: one read, one write for all requests of that read, one thread. It checks nothing and means nothing.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::failure::Failure;
use crate::http::response::header;

/// Bytes read at a time.
const READ_SIZE: usize = 64 * 1024;
/// Events taken from the system at a time.
const EVENTS_MAX: usize = 1_024;
/// Bytes of answers that may wait for a client that does not read them; then it is dropped.
const WAITING_MAX: usize = 64 << 20;
/// The listener's token; connections count from zero.
const LISTENER: Token = Token(usize::MAX);

/// A bound floor, not yet serving.
#[derive(Debug)]
pub struct Floor {
    listener: TcpListener,
    answer: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    inbox: Vec<u8>,
    out: Vec<u8>,
}

/// A body that does for every read of an event `floor`, so that `loadgen onsale --event floor` works against it.
/// `size` is the least number of bytes; the rest is filled with blanks.
pub fn standard_body(size: usize) -> Vec<u8> {
    let body = r#"{"id":"floor","event":"floor","status":"on_sale","version":1,"free":10000,"blocks":[{"block":"A","free":10000,"held":0,"sold":0,"blocked":0,"price":{"amount":8500,"currency":"EUR"}}]}"#;
    let mut body = body.as_bytes().to_vec();
    body.resize(body.len().max(size), b' ');
    body
}

/// A whole answer around a body.
pub fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

impl Floor {
    /// Binds; every request will get `answer`, head and body.
    pub fn bind(listen: SocketAddr, answer: Vec<u8>) -> Result<Self, Failure> {
        Ok(Self { listener: TcpListener::bind(listen).map_err(Failure::system("listen"))?, answer })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, Failure> {
        self.listener.local_addr().map_err(Failure::system("listen"))
    }

    /// Serves until the process ends.
    pub fn serve(mut self) -> Result<(), Failure> {
        let mut poll = Poll::new().map_err(Failure::system("epoll"))?;
        poll.registry().register(&mut self.listener, LISTENER, Interest::READABLE).map_err(Failure::system("epoll"))?;
        let (mut events, mut clients, mut scratch) =
            (Events::with_capacity(EVENTS_MAX), Vec::new(), vec![0; READ_SIZE]);
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Failure::system("epoll")(error));
                }
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept(&poll, &mut clients).map_err(Failure::system("accept"))?;
                } else if let Some(Some(client)) = clients.get_mut(event.token().0)
                    && client.answer_all(&self.answer, &mut scratch).is_err()
                {
                    clients[event.token().0] = None;
                }
            }
        }
    }

    fn accept(&self, poll: &Poll, clients: &mut Vec<Option<Client>>) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let place = clients.iter().position(Option::is_none).unwrap_or_else(|| {
                clients.push(None);
                clients.len() - 1
            });
            poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
            clients[place] = Some(Client { stream, inbox: Vec::new(), out: Vec::new() });
        }
    }
}

impl Client {
    /// Reads until there is no more, writing one answer a request. An error ends the connection.
    fn answer_all(&mut self, answer: &[u8], scratch: &mut [u8]) -> io::Result<()> {
        self.write()?;
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.inbox.extend_from_slice(&scratch[..count]);
            let mut taken = 0;
            while let Some(length) = request_length(&self.inbox[taken..]) {
                self.out.extend_from_slice(answer);
                taken += length;
            }
            self.inbox.drain(..taken);
            if self.out.len() > WAITING_MAX || self.inbox.len() > WAITING_MAX {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.write()?;
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }
}

/// Bytes of the first request, when all of them are there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    if bytes.starts_with(b"GET") {
        return Some(head);
    }
    let length = header(&bytes[..head], "content-length").and_then(|digits| std::str::from_utf8(digits).ok());
    let whole = head + length.and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0);
    (whole <= bytes.len()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_where_its_body_ends() {
        let get = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(request_length(get), Some(get.len()));
        assert_eq!(request_length(&get[..get.len() - 1]), None);
        let post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET";
        assert_eq!(request_length(post), Some(post.len() - 3));
        assert_eq!(request_length(&post[..post.len() - 4]), None);
    }

    #[test]
    fn a_body_has_at_least_the_size_asked_for() {
        assert_eq!(standard_body(2_000).len(), 2_000);
        assert!(serde_json::from_slice::<serde_json::Value>(&standard_body(2_000)).is_ok());
    }
}
