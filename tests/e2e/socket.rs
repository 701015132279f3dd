//! A live session as a client has it: a WebSocket that is read one JSON message at a time.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// How long a message may take. Generous: it is only reached when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open session.
pub(crate) struct Session(WebSocket<TcpStream>);

impl Session {
    /// Opens one at this path.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(to).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (socket, _) = tungstenite::client(format!("ws://{to}{path}"), stream).expect("an upgrade");
        Self(socket)
    }

    /// The next message; an error when the session has ended.
    pub(crate) fn try_next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).expect("a message is JSON")),
                Ok(Message::Close(frame)) => return Err(frame),
                Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(_) => return Err(None),
            }
        }
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        self.try_next().expect("a message")
    }

    /// The next message of this type; others are skipped.
    #[track_caller]
    pub(crate) fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Says something to the server, which has no use for it.
    pub(crate) fn say(&mut self, message: Message) {
        self.0.send(message).expect("it is taken");
    }
}

/// Seats of one block, as a reader of boards and changes has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seats {
    pub(crate) seq: u64,
    pub(crate) states: Vec<u8>,
}

impl Seats {
    /// From a board, or from the answer of `…/seats`.
    #[track_caller]
    pub(crate) fn of(board: &Value, places: usize) -> Self {
        use base64::Engine as _;
        let text = board["seats"].as_str().expect("seats");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        assert_eq!(bytes.len(), places.div_ceil(4));
        Self { seq: board["seq"].as_u64().expect("a number"), states: unpacked(&bytes, places) }
    }

    /// Takes a change over, which must be the next one.
    #[track_caller]
    pub(crate) fn change(&mut self, change: &Value) {
        assert_eq!(change["type"], "change", "{change}");
        assert_eq!(change["seq"], self.seq + 1, "no gap: {change}");
        self.seq += 1;
        for pair in change["seats"].as_array().expect("seats") {
            let at = |nth: usize| pair[nth].as_u64().expect("a number") as usize;
            self.states[at(0)] = at(1) as u8;
        }
    }
}

/// Two bits a seat, the first lowest.
pub(crate) fn unpacked(bytes: &[u8], places: usize) -> Vec<u8> {
    (0..places).map(|seat| bytes[seat / 4] >> (2 * (seat % 4)) & 3).collect()
}
