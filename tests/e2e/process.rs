//! A child process of a test: killed, stopped, paused and waited for by its id. Nothing that a test did not start is
//! ever touched, and everything it started ends with it.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take. Generous: machines of continuous integration are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running child. Dropping it kills it.
pub(crate) struct Process(Child);

impl Process {
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// What it says on standard output, if that was piped and not taken yet.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("it is ours").is_none()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// SIGTERM; waits for the end and returns the exit code.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it did not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it this signal, such as `STOP` or `CONT`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(told.expect("kill runs").success(), "SIG{name} to {}", self.pid());
    }

    /// Waits for its end, however long that takes; whether it ended well.
    pub(crate) fn finish(mut self) -> bool {
        self.0.wait().expect("it is ours").success()
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where a pinned program is, by the script in `tests/` that fetches it once. A test that wants it fails without it.
#[track_caller]
pub(crate) fn pinned(script: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let told = Command::new(&path).stderr(Stdio::inherit()).output().expect("the script runs");
    assert!(told.status.success(), "tests/{script} says above what is missing");
    PathBuf::from(String::from_utf8(told.stdout).expect("a path").trim())
}

/// Looks again and again until this is so. Panics when it takes longer than anything here should.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || is_so().then_some(()));
}

/// Looks again and again until there is something to see. Panics when it takes longer than anything here should.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
