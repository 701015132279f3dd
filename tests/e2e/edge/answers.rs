//! Answers taken off a connection one after the other, by RFC 9112 and strictly: what cannot be framed fails the test.

use std::io::{ErrorKind, Read};

use super::stream::Stream;
use crate::client::Answer;

/// The answers that come on one connection.
pub(super) struct Answers {
    stream: Stream,
    bytes: Vec<u8>,
    ended: bool,
}

/// An answer, and its head as it came.
pub(super) struct Whole {
    pub(super) head: String,
    pub(super) answer: Answer,
}

/// Whether the request that is answered was a `HEAD`, whose answer has the length of a body and no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Head,
    Other,
}

impl Answers {
    pub(super) fn of(stream: Stream) -> Self {
        Self { stream, bytes: Vec::new(), ended: false }
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&self) {
        self.stream.finish();
    }

    /// The connection, to send more.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The next answer; `None` when the server has closed instead. `100 Continue` is passed over.
    ///
    /// # Errors
    /// What came is not an answer, or nothing came and the connection stays open.
    pub(super) fn next(&mut self, to: To) -> Result<Option<Answer>, String> {
        Ok(self.whole(to)?.map(|whole| whole.answer))
    }

    /// The same, with what [`Answer`] does not keep.
    ///
    /// # Errors
    /// As above.
    pub(super) fn whole(&mut self, to: To) -> Result<Option<Whole>, String> {
        loop {
            let Some(head) = self.head()? else { return Ok(None) };
            let mut answer = parsed(&head).ok_or_else(|| format!("not a head: {head:?}"))?;
            match answer.status {
                100..200 => continue,
                204 | 304 => {}
                _ if to == To::Head => {}
                _ => answer.body = self.body(&answer)?,
            }
            return Ok(Some(Whole { head, answer }));
        }
    }

    fn head(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.bytes.drain(..end + 4).collect();
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            if !self.more()? {
                let left = String::from_utf8_lossy(&self.bytes);
                return if left.is_empty() { Ok(None) } else { Err(format!("ends in a head: {left:?}")) };
            }
        }
    }

    fn body(&mut self, answer: &Answer) -> Result<Vec<u8>, String> {
        match (answer.header("transfer-encoding"), answer.header("content-length")) {
            (Some("chunked"), None) => self.chunks(),
            (None, Some(length)) => self.exactly(length.parse().map_err(|_| format!("length {length:?}"))?),
            (None, None) => {
                while self.more()? {}
                Ok(std::mem::take(&mut self.bytes))
            }
            (coding, length) => Err(format!("framed by {coding:?} and {length:?}")),
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| format!("chunk of {line:?}"))?;
            body.extend(self.exactly(size)?);
            match self.line()?.as_str() {
                "" if size == 0 => return Ok(body),
                "" => {}
                other => return Err(format!("behind a chunk: {other:?}")),
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.bytes.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more()? {
                return Err("ends in a chunk".to_owned());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.bytes.len() < length {
            if !self.more()? {
                return Err(format!("ends after {} of {length} bytes of a body", self.bytes.len()));
            }
        }
        Ok(self.bytes.drain(..length).collect())
    }

    /// Reads once; false when the server has closed.
    fn more(&mut self) -> Result<bool, String> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            _ if self.ended => Ok(false),
            Ok(0) => {
                self.ended = true;
                Ok(false)
            }
            Ok(read) => {
                self.bytes.extend_from_slice(&chunk[..read]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                self.ended = true;
                Ok(false)
            }
            Err(error) => Err(format!("no answer and no end: {error}")),
        }
    }
}

fn parsed(head: &str) -> Option<Answer> {
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next()?;
    let status = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some(Answer { status, headers: lines.map(header).collect::<Option<_>>()?, body: Vec::new() })
}

/// Whether this answer says that it is the connection's last.
pub(super) fn is_last(answer: &Answer) -> bool {
    answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}
