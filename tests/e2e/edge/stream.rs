//! A connection below HTTP: to a port or to a socket file, written in pieces, closed in one direction.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long nothing may come before a test gives up. Generous: only reached when it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(super) enum Stream {
    Port(TcpStream),
    File(UnixStream),
}

impl Stream {
    #[track_caller]
    pub(super) fn to_port(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::Port(stream)
    }

    #[track_caller]
    pub(super) fn to_file(to: &Path) -> Self {
        let stream = UnixStream::connect(to).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::File(stream)
    }

    /// Writes in pieces of this size, each with a call of its own. The other side may have closed before it read everything.
    pub(super) fn send(&mut self, bytes: &[u8], piece: usize) {
        for part in bytes.chunks(piece) {
            if self.write_all(part).is_err() {
                return;
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&self) {
        // It may be closed already.
        let _ = match self {
            Self::Port(stream) => stream.shutdown(Shutdown::Write),
            Self::File(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.read(into),
            Self::File(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.write(bytes),
            Self::File(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
