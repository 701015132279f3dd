//! An owner of shards without the rest of a node: a connection, the journal with its second copy, the shared snapshots.
//! What is stored means nothing here, so a record is a text.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use stampede::clock;
use stampede::config::Config;
use stampede::journal::copy::{self, Copy};
use stampede::journal::jetstream::{JetStream, Owner as Name, Settings};
use stampede::journal::{Journal, Seq, Shard, Silent};
use stampede::nats::{self, Nats, Options};
use stampede::snapshots::Snapshots;
use stampede::snapshots::bucket::JetStreamBucket;
use stampede::snapshots::shared::Shared;

use crate::nats::Nats as Servers;

pub(crate) const SHARDS: u16 = 4;

/// See the module. Dropping it is the death of its process, except that its copy is closed in good order.
pub(crate) struct Owner {
    pub(crate) journal: Arc<JetStream>,
    pub(crate) shared: Shared,
    pub(crate) nats: Nats,
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// What `--set` gets for these servers and this data directory.
pub(crate) fn settings(servers: &Servers, data: &Path) -> Vec<String> {
    vec![
        format!("cluster.seeds={:?}", servers.urls()),
        format!("cluster.shards={SHARDS}"),
        "cluster.streams=2".to_owned(),
        format!("cluster.replicas={}", servers.places().len()),
        "cluster.lease=300ms".to_owned(),
        format!("data.dir={}", data.display()),
    ]
}

pub(crate) fn config(servers: &Servers, data: &Path) -> Config {
    Config::load(None, &settings(servers, data)).unwrap()
}

/// Runs the program with a subcommand on these servers; what is set among the arguments comes last and counts.
pub(crate) fn stampede(servers: &Servers, data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    let words = arguments.iter().take_while(|argument| !argument.starts_with('-')).count();
    command.args(&arguments[..words]);
    for setting in settings(servers, data) {
        command.args(["--set", &setting]);
    }
    command.args(&arguments[words..]);
    command.output().unwrap()
}

/// What it said, and its exit code.
pub(crate) fn said(output: &Output) -> (String, Option<i32>) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

impl Owner {
    /// Joins the deployment and owns nothing yet.
    pub(crate) fn join(servers: &Servers, data: &Path) -> Owner {
        let config = config(servers, data);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let agreed = [("cluster.shards", SHARDS), ("cluster.streams", 2)];
        let agreed: nats::Settings = agreed.map(|(name, value)| (name.to_owned(), value.to_string())).into();
        let nats = runtime.block_on(async {
            let nats = Nats::connect(&Options::new(&config.cluster, "node-a").unwrap()).await.unwrap();
            nats.join(agreed, data).await.unwrap();
            nats
        });
        let copy = Copy::open(&copy::folder(data), None).unwrap();
        let settings = Settings { shards: SHARDS, clock: Arc::new(clock::now), copy: Some(Arc::new(copy)) };
        let name = Name { name: "node-a".to_owned(), incarnation: u64::from(std::process::id()) };
        let handle = runtime.handle().clone();
        let journal = JetStream::new(nats.clone(), handle.clone(), name, settings, Arc::new(Silent));
        let (local, _) = Snapshots::open(&data.join("snapshots"), 1 << 20).unwrap();
        let bucket = Arc::new(JetStreamBucket::new(nats.clone(), handle));
        let shared = Shared::new(local, bucket, Duration::ZERO);
        Owner { journal, shared, nats, runtime }
    }

    pub(crate) fn claim(&self, shard: u16) -> Seq {
        let shard = Shard(shard);
        self.runtime.block_on(async {
            let tail = self.journal.tail(shard).await.unwrap();
            self.journal.claim(shard, &tail).await.unwrap().seq
        })
    }

    pub(crate) fn claim_all(&self, shards: &[u16]) {
        for shard in shards {
            self.claim(*shard);
        }
    }

    /// Appends so many records, which say who they are.
    pub(crate) fn append(&self, shard: u16, count: u64, writer: &str) -> Seq {
        let mut last = self.journal.last(Shard(shard));
        for _ in 0..count {
            let record = text(shard, last.next(), writer).into_bytes();
            last = self.runtime.block_on(self.journal.append(Shard(shard), last, record)).unwrap();
        }
        last
    }

    /// All records behind `after`, as texts.
    pub(crate) fn read(&self, shard: u16, after: Seq) -> Vec<String> {
        let mut found = Vec::new();
        let replayed = self.journal.replay(&[(Shard(shard), after)], &mut |_, _, record| {
            found.push(String::from_utf8(record.to_vec())?);
            Ok(())
        });
        replayed.unwrap();
        found
    }
}

pub(crate) fn text(shard: u16, seq: Seq, writer: &str) -> String {
    format!("record {seq} of shard {shard} by {writer}")
}

pub(crate) fn texts(shard: u16, seqs: std::ops::RangeInclusive<u64>, writer: &str) -> Vec<String> {
    seqs.map(|seq| text(shard, Seq(seq), writer)).collect()
}

/// A data directory below a temporary one.
pub(crate) fn data(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}
