//! The journals of all shards, read past the nodes: whatever happened, each is one history with one writer at a time.

use std::sync::LazyLock;

use stampede::config::Config;
use stampede::journal::Shard;
use stampede::journal::jetstream::{Envelope, Kind};
use stampede::nats::{Nats, Options};
use tokio::runtime::Runtime;

use crate::nats::Nats as Servers;
use crate::nodes::SHARDS;

static READER: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime for the reader")
});

/// What the journals of all shards hold.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) records: u64,
    pub(crate) claims: u64,
    /// Shards whose beginning was cut.
    pub(crate) cut: usize,
}

/// Reads all journals. Every claim has a higher epoch than what lies before it, every record is of the last claimer under
/// its epoch, and the records are numbered without a gap.
#[track_caller]
pub(crate) fn read(servers: &Servers) -> Read {
    READER.block_on(async {
        let seeds = format!("cluster.seeds={:?}", servers.urls());
        let config = Config::load(None, &[seeds]).expect("a configuration");
        let options = Options::new(&config.cluster, "reader").expect("options");
        let nats = Nats::connect(&options).await.expect("a connection");
        let mut read = Read::default();
        for shard in (0..SHARDS).map(Shard) {
            read_one(&nats, shard, &mut read).await;
        }
        read
    })
}

async fn read_one(nats: &Nats, shard: Shard, read: &mut Read) {
    let walk = nats.walk(&nats.journal_stream(shard.0), &nats.journal_subject(shard.0)).await;
    let mut walk = walk.expect("a journal");
    let mut before: Option<Envelope> = None;
    while let Some(stored) = walk.next().await.expect("a message") {
        let envelope = Envelope::open_at(shard, &stored.payload).expect("an envelope");
        let follows = before.as_ref().is_none_or(|before| match envelope.kind {
            Kind::Claim => envelope.epoch > before.epoch && envelope.seq == before.seq,
            Kind::Record(_) => {
                envelope.owner == before.owner && envelope.epoch == before.epoch && envelope.seq.0 == before.seq.0 + 1
            }
        });
        assert!(follows, "shard {shard}: {envelope:?} behind {before:?}");
        match envelope.kind {
            Kind::Claim => read.claims += 1,
            Kind::Record(_) => read.records += 1,
        }
        read.cut += usize::from(before.is_none() && envelope.before().0 > 0);
        before = Some(envelope);
    }
}
