//! The same with the real journal and the real snapshots, on real files.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::journal::{Embedded, Journal, Options, Shard, Silent};
use crate::snapshots::Snapshots;

const SHARDS: u16 = 4;

struct Node {
    runtime: Runtime,
    journal: Arc<Embedded>,
}

fn start(dir: &Path, settings: Settings) -> Node {
    let options = Options { segment_bytes: 1 << 20, group_bytes_max: 1 << 18, ..Options::default() };
    let journal = Arc::new(Embedded::open(&dir.join("journal"), options, Arc::new(Silent)).unwrap().0);
    let (world, _) = World::new();
    let parts = Parts {
        journal: journal.clone(),
        snapshots: Arc::new(Snapshots::open(&dir.join("snapshots"), 1 << 20).unwrap().0),
        policy: Policy { shards: SHARDS, ..Policy::default() },
        settings,
        feed: world.clone(),
        outward: world.clone(),
        hooks: world,
        beyond: Arc::new(Alone),
    };
    let shards: Vec<_> = (0..SHARDS).map(actors::ids::Shard).collect();
    Node { runtime: Runtime::start(parts, &shards).unwrap(), journal }
}

impl Node {
    async fn ask(&self, event: usize, command: event::Command) -> Answer<Reply> {
        let address = Address::Event(format!("event-{event}").as_str().into());
        self.runtime.router().ask(address, plain(command)).await.unwrap()
    }

    /// A crash: nothing is finished, only the files stay.
    fn kill(self) {
        self.runtime.kill();
        self.journal.close();
    }

    async fn stop(self) {
        self.runtime.stop().await;
        self.journal.close();
    }
}

#[test]
fn what_was_answered_is_there_after_crashes_and_stops_in_any_order() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let often = Settings { snapshot_interval: Duration::from_millis(5), ..Settings::default() };
        for round in 0..6 {
            let node = start(dir.path(), if round % 2 == 0 { often.clone() } else { Settings::default() });
            for event in 0..8 {
                if round == 0 {
                    node.ask(event, create()).await.result.unwrap();
                } else {
                    let shown = node.ask(event, event::Command::Show).await;
                    assert_eq!(name(Ok(shown)), format!("{}-9", round - 1), "event {event}");
                }
                for number in 0..10 {
                    node.ask(event, rename(&format!("{round}-{number}"))).await.result.unwrap();
                }
            }
            if round % 3 == 2 { node.stop().await } else { node.kill() }
        }
        let node = start(dir.path(), Settings::default());
        assert_eq!((0..SHARDS).map(|shard| node.journal.last(Shard(shard)).0).sum::<u64>(), 8 * (1 + 6 * 10));
        assert!(node.runtime.recovery().snapshots >= 8, "{:?}", node.runtime.recovery());
        node.stop().await;
    });
}
