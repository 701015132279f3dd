//! What can stop a run. A server's refusals and errors are not failures of the run: they are counted.

use std::io;
use std::path::PathBuf;

/// Why a run or an audit could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A flag, or a pair of flags, that means nothing.
    #[error("{flag}: {rule}")]
    Usage {
        /// The flag as typed.
        flag: &'static str,
        /// What it has to be.
        rule: String,
    },
    /// No answer from the server within the time given.
    #[error("server does not answer: url={url} waited_s={waited_s} last={last}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// Seconds of trying.
        waited_s: u64,
        /// The last error of the attempt.
        last: String,
    },
    /// The server answered something that the contract does not allow here.
    #[error("unexpected answer: request={request} status={status} body={body}")]
    Answer {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// Bytes that are not HTTP/1.1 as this program reads it.
    #[error("answer is not readable: request={request} reason={reason}")]
    Unreadable {
        /// Method and path.
        request: String,
        /// What was wrong.
        reason: String,
    },
    /// A journal or report that cannot be read or written.
    #[error("file failed: path={path} error={source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A journal whose middle is damaged; a torn last line is not damage.
    #[error("journal is damaged: path={path} line={line} error={reason}", path = path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What was wrong.
        reason: String,
    },
    /// The system refused something that the engine cannot do without.
    #[error("system refused: what={what} error={source}")]
    System {
        /// What was asked.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Failure {
    /// Gives an I/O error the name of what was asked of the system.
    pub fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// Gives an I/O error the file it happened on.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
