//! A client of one request a connection, small enough to send anything, also what no client should.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request to be sent.
pub(super) struct Ask {
    to: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The body as JSON; null if it is not.
    pub(super) json: Value,
}

impl Ask {
    pub(super) fn new(to: SocketAddr, method: &str, path: &str) -> Self {
        Self { to, method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(super) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(super) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").bytes(body.to_string())
    }

    /// The request as it goes over the wire, with this many bytes announced.
    fn head(&self, announced: usize) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + &format!("content-length: {announced}\r\n\r\n")
    }

    pub(super) async fn send(self) -> Answer {
        self.send_announcing(self.body.len()).await
    }

    /// Announces another length than is sent, and leaves the connection open.
    pub(super) async fn send_announcing(&self, length: usize) -> Answer {
        let mut stream = TcpStream::connect(self.to).await.unwrap();
        // The server may answer and close before it has read all: that is an answer, too.
        let _ = stream.write_all(self.head(length).as_bytes()).await;
        let _ = stream.write_all(&self.body).await;
        receive(&mut stream, &self.method).await
    }
}

/// Reads one answer to its end. The connection stays open behind it unless the server ends it.
async fn receive(stream: &mut TcpStream, method: &str) -> Answer {
    let mut bytes = Vec::new();
    let cut = loop {
        match bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(cut) => break cut,
            None => assert!(reads_more(stream, &mut bytes).await, "a head"),
        }
    };
    let mut body = bytes.split_off(cut + 4);
    let head = std::str::from_utf8(&bytes[..cut]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let value = |of: &str| headers.iter().find(|(name, _)| name == of).map(|(_, value)| value.as_str());
    let is_chunked = value("transfer-encoding") == Some("chunked");
    let length = value("content-length").map(|length| length.parse::<usize>().unwrap());
    let is_whole = |body: &[u8]| match length {
        _ if method == "HEAD" || [204, 304].contains(&status) => true,
        Some(length) => body.len() >= length,
        None => is_chunked && body.ends_with(b"0\r\n\r\n"),
    };
    while !is_whole(&body) && reads_more(stream, &mut body).await {}
    if is_chunked {
        body = unchunked(&body);
    }
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status, headers, body, json }
}

/// Reads once; false when the server has closed.
async fn reads_more(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    matches!(stream.read_buf(into).await, Ok(1..))
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let cut = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..cut]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[cut + 2..cut + 2 + size]);
        rest = &rest[cut + 4 + size..];
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    pub(super) fn id(&self) -> &str {
        self.json["id"].as_str().unwrap_or_default()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// It must be a whole problem of this status and code.
    pub(super) fn is_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], format!("/docs/errors#{code}"));
        assert_eq!(self.json["request_id"].as_str(), self.header("x-request-id"));
        assert!(self.json["title"].is_string() && self.json["detail"].is_string());
        self
    }
}
