//! The bare server: finds where requests end and answers every one with the same finished bytes.
//!
//! It does the least a correct HTTP/1.1 server can do with an epoll loop, so what it costs is the limit to compare a
//! real server with: one read, one write for all requests of that read, one thread. It checks nothing and means nothing.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use memchr::memmem::Finder;

use crate::failure::Failure;
use crate::http::response;

/// Bytes read at a time.
const READ_SIZE: usize = 64 * 1024;
/// Events taken from the system at a time.
const EVENTS_MAX: usize = 1_024;
/// Bytes of answers that may wait for a client that does not read them; then it is dropped.
const WAITING_MAX: usize = 64 << 20;
/// What ends the head of a request.
const HEAD_END: &[u8] = b"\r\n\r\n";
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
    /// The beginning of a request whose end has not come.
    inbox: Vec<u8>,
    /// Answers that the socket did not take yet.
    out: Vec<u8>,
}

/// What the loop needs besides its clients, made once.
#[derive(Debug)]
struct Bench {
    answer: Vec<u8>,
    scratch: Vec<u8>,
    head_end: Finder<'static>,
}

/// A body that does for every read of an event `floor`, for a hold, an order and a look at it, so that
/// `loadgen onsale --event floor` works against it with every mix. `size` is the least number of bytes; the rest is
/// filled with blanks before its last brace.
pub fn standard_body(size: usize) -> Vec<u8> {
    let body = concat!(
        r#"{"id":"floor","event":"floor","status":"on_sale","version":1,"free":10000,"state":"paid","block":"A","#,
        r#""quantity":1,"rows":[],"total":{"amount":8500,"currency":"EUR"},"expires_at":"2099-01-01T00:00:00Z","#,
        r#""blocks":[{"block":"A","free":10000,"held":0,"sold":0,"blocked":0,"price":{"amount":8500,"currency":"EUR"}}]}"#
    );
    let mut body = body.as_bytes().to_vec();
    let missing = size.saturating_sub(body.len());
    body.pop();
    body.resize(body.len() + missing, b' ');
    body.push(b'}');
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

/// An answer with the head of another one and a standard body of the same length.
pub fn standard_answer_like(copy: &[u8]) -> Result<Vec<u8>, Failure> {
    let unlike = |reason: &str| Failure::Unreadable { request: "answer to copy".to_owned(), reason: reason.to_owned() };
    let copied = response::parse(copy).ok().flatten().ok_or_else(|| unlike("not a whole answer"))?;
    let body = standard_body(copied.body.len());
    if copied.chunked || body.len() > copied.body.len() {
        return Err(unlike("in chunks, or shorter than a standard body"));
    }
    Ok([&copy[..copied.body.start], &body].concat())
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
        let (mut events, mut clients) = (Events::with_capacity(EVENTS_MAX), Vec::new());
        let mut bench = Bench {
            answer: std::mem::take(&mut self.answer),
            scratch: vec![0; READ_SIZE],
            head_end: Finder::new(HEAD_END),
        };
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Failure::system("epoll")(error));
                }
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                let place = event.token().0;
                if event.token() == LISTENER {
                    self.accept(&poll, &mut clients).map_err(Failure::system("accept"))?;
                } else if let Some(Some(client)) = clients.get_mut(place) {
                    let closing = event.is_read_closed() || event.is_error();
                    if client.answer_all(&mut bench, closing).is_err() {
                        clients[place] = None;
                    }
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
    /// Reads what is there, writing one answer a request. A read that does not fill the buffer took everything, unless
    /// the client is `closing`: then only the end itself ends it. An error ends the connection.
    fn answer_all(&mut self, bench: &mut Bench, closing: bool) -> io::Result<()> {
        if !self.out.is_empty() {
            self.write()?;
        }
        loop {
            let count = match self.stream.read(&mut bench.scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if self.inbox.is_empty() {
                let taken = self.answer(&bench.scratch[..count], bench);
                self.inbox.extend_from_slice(&bench.scratch[taken..count]);
            } else {
                let mut inbox = std::mem::take(&mut self.inbox);
                inbox.extend_from_slice(&bench.scratch[..count]);
                let taken = self.answer(&inbox, bench);
                inbox.drain(..taken);
                self.inbox = inbox;
            }
            if self.out.len() > WAITING_MAX || self.inbox.len() > WAITING_MAX {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.write()?;
            if count < bench.scratch.len() && !closing {
                return Ok(());
            }
        }
    }

    /// Answers every whole request; gives how many bytes they were.
    fn answer(&mut self, bytes: &[u8], bench: &Bench) -> usize {
        let mut taken = 0;
        while let Some(length) = request_length(&bytes[taken..], &bench.head_end) {
            self.out.extend_from_slice(&bench.answer);
            taken += length;
        }
        taken
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
fn request_length(bytes: &[u8], head_end: &Finder<'_>) -> Option<usize> {
    let head = head_end.find(bytes)? + HEAD_END.len();
    if bytes.starts_with(b"GET") {
        return Some(head);
    }
    let whole = head + content_length(&bytes[..head]);
    (whole <= bytes.len()).then_some(whole)
}

/// The length that a head says its body has; zero when it says none.
fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let name = line.get(..NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then(|| line[NAME.len()..].trim_ascii())
    });
    value.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn length(bytes: &[u8]) -> Option<usize> {
        request_length(bytes, &Finder::new(HEAD_END))
    }

    #[test]
    fn a_request_ends_where_its_body_ends() {
        let get = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(length(get), Some(get.len()));
        assert_eq!(length(&get[..get.len() - 1]), None);
        let post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET";
        assert_eq!(length(post), Some(post.len() - 3));
        assert_eq!(length(&post[..post.len() - 4]), None);
    }

    #[test]
    fn a_body_has_at_least_the_size_asked_for() {
        assert_eq!(standard_body(2_000).len(), 2_000);
        assert!(serde_json::from_slice::<serde_json::Value>(&standard_body(2_000)).is_ok());
    }

    #[test]
    fn an_answer_like_another_has_its_head_and_its_length() {
        let head = "HTTP/1.1 200 OK\r\netag: \"7\"\r\ncontent-length: 700\r\n\r\n";
        let copy = format!("{head}{:<700}", "{}").into_bytes();
        let like = standard_answer_like(&copy).unwrap();
        assert!(like.starts_with(head.as_bytes()) && like.len() == copy.len(), "{}", String::from_utf8_lossy(&like));
        assert!(like.ends_with(&standard_body(700)));
        assert!(standard_answer_like(&answer(b"{}")).is_err(), "too short for what must be said");
    }
}
