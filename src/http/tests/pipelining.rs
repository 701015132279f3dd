//! Requests that came together: in which order and in how many writes they are answered.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Office, concert_story, release};

/// How long an answer may take. Generous: only reached when a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection on which requests are pipelined.
struct Wire {
    stream: TcpStream,
    requests: String,
    got: Vec<u8>,
}

impl Wire {
    async fn to(office: &Office) -> Self {
        let stream = TcpStream::connect(office.address).await.unwrap();
        Self { stream, requests: String::new(), got: Vec::new() }
    }

    fn seats(mut self) -> Self {
        self.requests += "GET /v1/events/e/blocks/A/seats HTTP/1.1\r\nhost: test\r\n\r\n";
        self
    }

    /// A hold of one seat, by a customer of its own.
    fn hold(mut self, office: &Office, seat: &str) -> Self {
        let (token, body) = (office.token(seat), json!({"block": "A", "seats": [seat]}).to_string());
        self.requests += &format!(
            "POST /v1/events/e/holds HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self
    }

    async fn send(&mut self) {
        let requests = std::mem::take(&mut self.requests);
        self.stream.write_all(requests.as_bytes()).await.unwrap();
    }

    /// The statuses of all that one read of the socket brings.
    async fn read(&mut self) -> Vec<String> {
        self.got.resize(64 * 1024, 0);
        let count = timeout(PATIENCE, self.stream.read(&mut self.got)).await.unwrap().unwrap();
        let text = str::from_utf8(&self.got[..count]).unwrap();
        text.match_indices("HTTP/1.1 ").map(|(at, begin)| text[at + begin.len()..][..3].to_owned()).collect()
    }
}

#[test]
fn what_one_read_brought_is_answered_by_one_write() {
    concert_story(&["http.gather=1s"], async |office, journal| {
        let mut wire = Wire::to(&office).await.seats().hold(&office, "1-1").seats().hold(&office, "1-2").seats();
        journal.hold(true);
        wire.send().await;
        release(&journal).await;
        assert_eq!(wire.read().await, ["200", "201", "200", "201", "200"]);
    });
}

#[test]
fn what_is_answered_waits_no_longer_than_allowed() {
    for gather in ["0s", "20ms"] {
        concert_story(&[&format!("http.gather={gather}")], async |office, journal| {
            let mut wire = Wire::to(&office).await.seats().seats().hold(&office, "1-1").seats();
            journal.hold(true);
            wire.send().await;
            assert_eq!(wire.read().await, ["200", "200"], "{gather}");
            release(&journal).await;
            assert_eq!(wire.read().await, ["201", "200"], "{gather}");
        });
    }
}

/// A read behind a hold is answered when that is; asks behind reads do not wait for them.
#[test]
fn a_read_shows_what_was_asked_before_it() {
    concert_story(&["http.gather=0s"], async |office, journal| {
        journal.hold(true);
        let mut wire = Wire::to(&office).await.hold(&office, "1-1").seats().hold(&office, "1-1");
        wire.send().await;
        release(&journal).await;
        assert_eq!(wire.read().await, ["201", "200", "409"]);
        let text = str::from_utf8(&wire.got).unwrap();
        assert!(text.contains(r#""seq":1,"#), "{text}");
    });
}

/// More asks than a connection has under way at a time, with a read behind each.
#[test]
fn a_long_pipeline_is_answered_in_its_order() {
    concert_story(&["http.gather=1s"], async |office, _| {
        let mut wire = Wire::to(&office).await;
        for seat in (1..=8).chain(1..=2) {
            wire = wire.hold(&office, &format!("1-{seat}")).seats().hold(&office, &format!("2-{seat}")).seats();
        }
        wire.send().await;
        let mut statuses = Vec::new();
        while statuses.len() < 40 {
            statuses.extend(wire.read().await);
        }
        let (held, taken) = (std::iter::repeat_n(["201", "200"], 16), std::iter::repeat_n(["409", "200"], 4));
        assert_eq!(statuses, held.chain(taken).flatten().collect::<Vec<_>>());
    });
}
