//! The load generator as a child process: started against a node, watched by what it was acknowledged, waited for.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::{Process, until};
use crate::server::{SECRET, Server, loadgen};

/// A running `loadgen onsale`. Dropping it kills the process that it started and nothing else.
pub(crate) struct Load {
    process: Process,
    folder: tempfile::TempDir,
}

/// What it came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) report: Value,
    said: String,
    passed: bool,
}

impl Load {
    /// Load with an audit at its end against this node; `flags` say the rest.
    pub(crate) fn start(server: &Server, flags: &str) -> Self {
        Self::spread(&[server.url()], server.organizer_key(), flags)
    }

    /// The same over all nodes of a cluster.
    pub(crate) fn spread(urls: &[String], key: &str, flags: &str) -> Self {
        let urls: String = urls.iter().map(|url| format!("--url {url} ")).collect();
        Self::typed(&format!(
            "onsale {urls} --organizer-key {key} --auth-secret {SECRET} --audit --journal acknowledged.ndjson {flags}"
        ))
    }

    /// The load generator with these words behind its name; it keeps its journal as `acknowledged.ndjson`.
    pub(crate) fn typed(words: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let said = File::create(folder.path().join("said")).expect("a file");
        let also_said = said.try_clone().expect("a file");
        let process = Process::spawn(
            Command::new(loadgen())
                .args(words.split_whitespace())
                .args(["--quiet", "--json", "report.json"])
                .current_dir(folder.path())
                .stdin(Stdio::piped())
                .stdout(said)
                .stderr(also_said),
        );
        Self { process, folder }
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Bytes of acknowledgements noted so far.
    pub(crate) fn noted(&self) -> u64 {
        std::fs::metadata(self.journal()).map_or(0, |file| file.len())
    }

    /// Waits until it has noted so many more bytes, or has ended. A hold is about 300 bytes, an order as well.
    pub(crate) fn note_more(&mut self, bytes: u64) {
        let wanted = self.noted() + bytes;
        until("further acknowledgements", || self.noted() >= wanted || !self.is_running());
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("acknowledged.ndjson")
    }

    /// Closes its input, which ends a run `--until-eof`, and waits for its end.
    pub(crate) fn finish(self) -> Outcome {
        let passed = self.process.finish();
        let said = std::fs::read_to_string(self.folder.path().join("said")).unwrap_or_default();
        let report = std::fs::read(self.folder.path().join("report.json")).ok();
        let report = report.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Outcome { report: report.unwrap_or_else(|| panic!("no report: {said}")), passed, said }
    }
}

impl Outcome {
    /// Asserts that it ended well: every step came to its end, nothing lost, nothing doubled, the books agree.
    #[track_caller]
    pub(crate) fn clean(self) -> Value {
        assert!(self.passed, "{}", self.said);
        let audit = &self.report["audit"];
        let counts = ["lost", "doubled", "violations"].map(|name| audit[name].as_u64());
        assert_eq!(counts, [Some(0); 3], "{audit:#}");
        assert!(audit["acknowledged"].as_u64() > Some(0), "{audit:#}");
        assert_eq!((&self.report["unresolved"], &self.report["unfinished"]), (&0.into(), &0.into()), "{}", self.said);
        self.report
    }
}
