//! A plain blocking client for everything that is not load: creating events, watching a sale, auditing.
//!
//! It outlives a server that is killed and started again: a request whose repetition is harmless is repeated, at the next
//! node if there are several, until an answer comes or the time given is over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::http::{Target, request, response};

/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest `Retry-After` that is obeyed to the letter.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Bytes asked of the system at a time.
const READ_SIZE: usize = 256 * 1024;

/// An answer with its body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, joined.
    pub body: Vec<u8>,
    retry_after: Option<Duration>,
}

/// One keep-alive connection, opened when it is needed.
#[derive(Debug)]
pub struct Client {
    targets: Vec<Target>,
    /// Place of the node that is asked.
    asked: usize,
    patience: Duration,
    stream: Option<TcpStream>,
    inbox: Vec<u8>,
}

impl Client {
    /// A client of these nodes, at least one, that keeps trying for `patience` when no answer comes.
    pub fn new(targets: Vec<Target>, patience: Duration) -> Self {
        Self { targets, asked: 0, patience, stream: None, inbox: Vec::new() }
    }

    fn target(&self) -> &Target {
        &self.targets[self.asked]
    }

    /// From now on asks the next node.
    fn move_on(&mut self) {
        if self.targets.len() > 1 {
            self.asked = (self.asked + 1) % self.targets.len();
            self.stream = None;
        }
    }

    /// Asks once and again until an answer comes that is neither `429` nor `503`; such an answer is given back when the
    /// patience ends with it. Only for requests whose repetition is harmless.
    pub fn ask(&mut self, method: &str, path: &str, bearer: Option<&str>, body: &[u8]) -> Result<Answer, Failure> {
        let started = Instant::now();
        loop {
            let attempt = self.attempt(method, path, bearer, body);
            let over = started.elapsed() >= self.patience;
            match attempt {
                Ok(answer) if over || !matches!(answer.status, 429 | 503) => return Ok(answer),
                Ok(answer) => {
                    self.move_on();
                    std::thread::sleep(answer.retry_after.unwrap_or(PAUSE).min(PAUSE_MAX));
                }
                Err(Lost::Malformed(error)) => {
                    return Err(Failure::Unreadable { request: format!("{method} {path}"), reason: error.to_string() });
                }
                Err(Lost::Io(error)) if over => {
                    let (url, waited_s) = (self.target().url.clone(), started.elapsed().as_secs());
                    self.move_on();
                    return Err(Failure::Unreachable { url, waited_s, last: error.to_string() });
                }
                Err(Lost::Io(_)) => {
                    self.move_on();
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Reads JSON from a path; any status but `200` is a failure.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str, bearer: Option<&str>) -> Result<T, Failure> {
        let answer = self.ask("GET", path, bearer, b"")?;
        if answer.status != 200 {
            return Err(unexpected("GET", path, &answer));
        }
        read_json(path, &answer.body)
    }

    /// The bytes of the answer to a `GET`, head and body as they came.
    pub fn copy(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        let answer = self.ask("GET", path, None, b"")?;
        if answer.status != 200 {
            return Err(unexpected("GET", path, &answer));
        }
        Ok(self.inbox.clone())
    }

    fn attempt(&mut self, method: &str, path: &str, bearer: Option<&str>, body: &[u8]) -> Result<Answer, Lost> {
        let outcome = self.exchange(method, path, bearer, body);
        if outcome.is_err() {
            self.stream = None;
        }
        outcome
    }

    fn exchange(&mut self, method: &str, path: &str, bearer: Option<&str>, body: &[u8]) -> Result<Answer, Lost> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut out = Vec::new();
        let head = request::Head { method, path: &[path], authorization: bearer, key: None };
        request::write(&mut out, self.target(), head, body);
        stream.write_all(&out)?;
        self.inbox.clear();
        loop {
            if let Some(response) = response::parse(&self.inbox)? {
                let body = response.body_of(&self.inbox).into_owned();
                if !response.close {
                    self.stream = Some(stream);
                }
                let retry_after = response.retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
                return Ok(Answer { status: response.status, body, retry_after });
            }
            let kept = self.inbox.len();
            self.inbox.resize(kept + READ_SIZE, 0);
            let count = stream.read(&mut self.inbox[kept..]);
            self.inbox.truncate(kept + *count.as_ref().unwrap_or(&0));
            if count? == 0 {
                return Err(Lost::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn connect(&self) -> Result<TcpStream, Lost> {
        let stream = TcpStream::connect_timeout(&self.target().address, ANSWER_TIMEOUT)?;
        if stream.local_addr()? == self.target().address {
            // Nobody listens and the system gave our end the very port that was asked for: we talk to ourselves.
            return Err(Lost::Io(std::io::ErrorKind::ConnectionRefused.into()));
        }
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(stream)
    }
}

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Malformed(#[from] response::Malformed),
}

/// The failure for an answer that the contract does not allow here.
pub fn unexpected(method: &str, path: &str, answer: &Answer) -> Failure {
    let shown = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
    Failure::Answer { request: format!("{method} {path}"), status: answer.status, body: shown }
}

/// Reads JSON, naming the path in the failure.
pub fn read_json<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::Unreadable { request: format!("GET {path}"), reason: error.to_string() })
}
