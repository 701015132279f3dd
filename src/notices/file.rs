//! Notices as lines of JSON in a file that only ever grows, for other programs to pick up.
//!
//! One thread writes: it takes what is waiting, writes it at once and syncs it once, then answers all. A notice is
//! delivered when it is on the disk. The file is not rotated here; a program that moves it away gets a new one at the
//! next start.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Notice, Sink, SinkError};

/// Notices that may wait for the disk; one more is refused and tried again later.
const QUEUE_MAX: usize = 4096;

/// Notices written and synced at once.
const BATCH_MAX: usize = 512;

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
        let mut writer = Writer { path: path.to_owned(), file: None };
        writer.file = Some(writer.reopen()?);
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new().name("notices-file".to_owned()).spawn(move || writer.run(&waiting))?;
        Ok(FileSink { queue })
    }
}

impl Sink for FileSink {
    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), SinkError>> {
        async move {
            let mut line = serde_json::to_vec(notice).map_err(|error| SinkError::permanent(error.to_string()))?;
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

struct Writer {
    path: PathBuf,
    file: Option<File>,
}

impl Writer {
    /// Runs until the sink is dropped.
    fn run(mut self, waiting: &Receiver<Waiting>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = vec![first];
            batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
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
        let lines: Vec<u8> = batch.iter().flat_map(|waiting| waiting.line.iter().copied()).collect();
        file.write_all(&lines)?;
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
