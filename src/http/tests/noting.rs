//! What is left behind by an answer that is our fault: a line in the log that names the request.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use actors::feed::Feed;

use super::{Office, SHARDS};
use crate::board::fixture::{EVENT, description, seated};
use crate::board::{self, Board};

/// What all threads of the process log from here on, where nothing else was set up.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_the_process() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    }

    fn lines_with(&self, text: &str) -> Vec<String> {
        let all = String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_read_that_fails_is_logged_once_with_its_path_and_its_id() {
    let log = Log::of_the_process();
    actix_rt::System::new().block_on(async {
        let board = Arc::new(Board::new(board::Settings::new(SHARDS)));
        // Its seats have not been heard of.
        board.publish(vec![Feed::Event(Box::new(description(EVENT, vec![seated("A", 1, 10)])))]);
        let office = Office::with_board(&[], board);
        let path = format!("/v1/events/{EVENT}/blocks/A/seats");
        let answer = office.ask("GET", &path).header("x-request-id", "to-be-logged").send().await;
        answer.is_problem(503, "unavailable");
        let lines = log.lines_with("to-be-logged");
        assert!(lines.len() == 1 && lines[0].contains(&path) && lines[0].contains("WARN"), "{lines:?}");
        office.close().await;
    });
}
