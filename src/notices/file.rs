//! Notices as lines of JSON in a file that only ever grows, for other programs to pick up.
//!
//! One thread writes: it lets a batch gather, writes it at once and syncs it once, then answers all. A notice is delivered
//! when it is on the disk. The file is not rotated here; a program that moves it away gets a new one at the next start.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use actors::bytes::End;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Notice, Sink, SinkError};

/// Notices that may wait for the disk; one more is refused and tried again later.
const QUEUE_MAX: usize = 4096;

/// Notices written and synced at once.
const BATCH_MAX: usize = 512;

/// How long the first notice of a batch waits for company. Nobody waits for a letter as one waits for an answer, and a sync
/// costs as much CPU as ten letters, and keeps the journal's own sync waiting.
const GATHER: Duration = Duration::from_millis(5);

/// Room for what a line has beside its text, and the same facts for programs, in bytes.
const LINE_BYTES: usize = 512;

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 256 * 1024;

struct Waiting {
    line: Vec<u8>,
    answer: oneshot::Sender<Result<(), SinkError>>,
}

/// Appends notices to a file.
#[derive(Debug)]
pub struct FileSink {
    queue: SyncSender<Waiting>,
}

impl FileSink {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the thread that writes it cannot be started.
    pub fn open(path: &Path) -> io::Result<FileSink> {
        let mut writer = Writer { path: path.to_owned(), file: None, lines: Vec::new() };
        writer.file = Some(writer.reopen()?);
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new().name("notices-file".to_owned()).spawn(move || writer.run(&waiting))?;
        Ok(FileSink { queue })
    }
}

impl Sink for FileSink {
    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), SinkError>> {
        async move {
            let mut line = Vec::with_capacity(LINE_BYTES + 2 * notice.text.len());
            serde_json::to_writer(End(&mut line), notice).map_err(|error| SinkError::permanent(error.to_string()))?;
            line.push(b'\n');
            if line.len() > LINE_BYTES_MAX {
                return Err(SinkError::permanent("the notice is too long for the notices file"));
            }
            let (answer, answered) = oneshot::channel();
            self.queue.try_send(Waiting { line, answer }).map_err(|error| match error {
                TrySendError::Full(_) => SinkError::retryable("too many notices wait for the notices file"),
                TrySendError::Disconnected(_) => SinkError::retryable("the writer of the notices file has stopped"),
            })?;
            answered.await.unwrap_or_else(|_| Err(SinkError::retryable("the writer of the notices file has stopped")))
        }
        .boxed()
    }
}

/// The first and what waits by the time that it has waited.
fn gathered(first: Waiting, waiting: &Receiver<Waiting>) -> Vec<Waiting> {
    std::thread::sleep(GATHER);
    let mut batch = vec![first];
    batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
    batch
}

struct Writer {
    path: PathBuf,
    file: Option<File>,
    /// Room for the lines of one batch, kept from batch to batch.
    lines: Vec<u8>,
}

impl Writer {
    /// Runs until the sink is dropped.
    fn run(mut self, waiting: &Receiver<Waiting>) {
        while let Ok(first) = waiting.recv() {
            let batch = gathered(first, waiting);
            let result = self.write(&batch);
            if let Err(error) = &result {
                tracing::error!(path = %self.path.display(), %error, "notices file cannot be written");
            }
            for one in batch {
                let answer = result.as_ref().copied().map_err(|error| SinkError::retryable(error.to_string()));
                // a caller that has gone away gets the notice a second time, which readers expect
                let _ = one.answer.send(answer);
            }
        }
    }

    /// After any failure the file is opened anew, which also ends a line that was cut off.
    fn write(&mut self, batch: &[Waiting]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.reopen()?,
        };
        self.lines.clear();
        batch.iter().for_each(|waiting| self.lines.extend_from_slice(&waiting.line));
        file.write_all(&self.lines)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }

    /// The file, with its last line ended: a kill or a full disk may have cut it off.
    fn reopen(&self) -> io::Result<File> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        if file.metadata()?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != [b'\n'] {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_waits_is_one_batch_up_to_its_limit() {
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        for number in 0..BATCH_MAX + 88 {
            let line = number.to_string().into_bytes();
            queue.send(Waiting { line, answer: oneshot::channel().0 }).unwrap();
        }
        let first = gathered(waiting.recv().unwrap(), &waiting);
        assert_eq!(first.len(), BATCH_MAX);
        assert_eq!(first.last().unwrap().line, (BATCH_MAX - 1).to_string().into_bytes(), "in their order");
        assert_eq!(gathered(waiting.recv().unwrap(), &waiting).len(), 88);
    }
}
