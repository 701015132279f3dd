//! The reading half of the loop: what sockets bring is cut into answers, and each goes to the request it answers.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::super::buyers::Answer;
use super::super::connection::Link;
use super::super::{Moments, Sent, What};
use super::{READ_SIZE, Worker};
use crate::clock::Nanos;
use crate::http::response::{self, Response};
use crate::mix::Operation;

/// One of so many bodies of reads is looked at closely.
const SAMPLE: u64 = 256;
/// What is sent so soon after the end was meant to start before it.
const IN_TIME: Duration = Duration::from_millis(10);

impl Worker<'_> {
    /// Something happened on a connection.
    pub(super) fn serve(&mut self, place: usize, closing: bool) {
        let now = self.scene.clock.now();
        let connection = &mut self.connections[place];
        match &connection.link {
            Link::Down(_) => return,
            Link::Connecting(..) => match connection.finish_connecting() {
                Ok(opened) => self.open[connection.target] += u32::from(opened),
                Err(_) => return self.lose(place, "connect_failed", now),
            },
            Link::Open(_) => {
                if connection.flush().is_err() {
                    return self.lose(place, "connection_lost", now);
                }
            }
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let drained = self.drain(place, closing, &mut scratch);
        self.scratch = scratch;
        if let Err(code) = drained {
            self.lose(place, code, now);
        }
        self.list(place);
    }

    fn list(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if !connection.listed && connection.room(self.scene.plan.pipeline as usize) >= self.refill {
            connection.listed = true;
            self.roomy.push_back(place);
        }
    }

    /// Reads until the socket has no more. A read that does not fill the buffer took everything, unless the server is
    /// closing: then only the end itself ends it.
    fn drain(&mut self, place: usize, closing: bool, scratch: &mut Vec<u8>) -> Result<(), &'static str> {
        loop {
            let connection = &mut self.connections[place];
            let kept = connection.inbox.len();
            if scratch.len() < kept + READ_SIZE {
                scratch.resize(kept + READ_SIZE, 0);
            }
            scratch[..kept].copy_from_slice(&connection.inbox);
            let count = match connection.read(scratch, kept) {
                Ok(None) => return Ok(()),
                Ok(Some(0)) | Err(_) => return Err("connection_lost"),
                Ok(Some(count)) => count,
            };
            connection.inbox.clear();
            let filled = kept + count == scratch.len();
            let taken = self.read_answers(place, &scratch[..kept + count])?;
            self.connections[place].inbox.extend_from_slice(&scratch[taken..kept + count]);
            if !filled && !closing {
                return Ok(());
            }
        }
    }

    /// Hands every whole answer on; gives how many bytes they took.
    fn read_answers(&mut self, place: usize, bytes: &[u8]) -> Result<usize, &'static str> {
        let now = self.scene.clock.now();
        let mut at = 0;
        while at < bytes.len()
            && let Some(response) = response::parse(&bytes[at..]).map_err(|_| "not_http")?
        {
            let sent = self.connections[place].in_flight.pop_front().ok_or("unasked_answer")?;
            self.answer(sent, &response, &bytes[at..at + response.taken], now);
            at += response.taken;
            if response.close {
                return Err("connection_closed");
            }
        }
        Ok(at)
    }

    fn answer(&mut self, sent: Sent, response: &Response, bytes: &[u8], now: Nanos) {
        let in_window = u64::from(now <= self.end);
        self.books.tally.answered += 1;
        self.books.tally.answered_in_window += in_window;
        let ended = match sent.what {
            What::Read { operation, event, .. } => {
                self.read_answered(operation, event, sent.moments, response, bytes, now);
                true
            }
            What::Flow(flow) => {
                let body = response.body_of(bytes);
                let answer = Answer { status: response.status, retry_after_s: response.retry_after_s, body: &body };
                self.buyers.answered(flow, sent.moments, answer, now, &mut self.books)
            }
        };
        self.books.tally.achieved += u64::from(ended && sent.moments.sent <= self.end + IN_TIME);
    }

    fn read_answered(
        &mut self,
        operation: Operation,
        event: u16,
        moments: Moments,
        response: &Response,
        bytes: &[u8],
        now: Nanos,
    ) {
        if response.status != 200 {
            let code = problem_code(response.status, &response.body_of(bytes));
            return self.books.tally.error(operation, &code);
        }
        self.reads_answered += 1;
        let body = response.body_of(bytes);
        let is_sample = self.reads_answered.is_multiple_of(SAMPLE);
        let id = &self.scene.stage.events[usize::from(event)].id;
        if !is_object(&body) || is_sample && !is_about(&body, id) {
            return self.books.tally.error(operation, "wrong_body");
        }
        self.books.tally.measure(operation, moments, now);
    }
}

fn problem_code(status: u16, body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    problem["code"].as_str().map_or_else(|| format!("http_{status}"), str::to_owned)
}

/// Whether a body begins and ends as every answer to a read does.
fn is_object(body: &[u8]) -> bool {
    body.first() == Some(&b'{') && body.trim_ascii_end().last() == Some(&b'}')
}

/// Whether a body is JSON about this event.
fn is_about(body: &[u8], event: &str) -> bool {
    #[derive(Default, Deserialize)]
    struct About<'a> {
        #[serde(borrow)]
        event: Option<Cow<'a, str>>,
        #[serde(borrow)]
        id: Option<Cow<'a, str>>,
    }
    let about: About<'_> = serde_json::from_slice(body).unwrap_or_default();
    about.event.as_deref() == Some(event) || about.id.as_deref() == Some(event)
}
