//! A node of a cluster, for stories about shards that come and go.

use actors::address::BlockRef;
use actors::block::Layout;
use actors::event::BlockSpec;

use super::*;
use crate::runtime::load;
use crate::runtime::recovery::Restored;

pub(super) const HOME: Shard = Shard(0);
pub(super) const OTHER: Shard = Shard(1);
pub(super) const PAST: Millis = Millis(0);

/// A node of a cluster with two shards: it owns what a story has it adopt. The concert lives on the first.
pub(super) struct Member {
    pub(super) story: Story,
    shelf: Arc<ShelfDouble>,
}

impl std::ops::Deref for Member {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.story
    }
}

impl Member {
    /// It owns nothing.
    pub(super) fn bare(journal: &Arc<JournalDouble>, settings: Settings) -> Member {
        assert_eq!(concert().shard(2), HOME);
        let ((world, feed), shelf) = (World::new(), Arc::new(ShelfDouble::default()));
        let policy = Policy { shards: 2, ..Policy::default() };
        let parts = Parts { policy, beyond: world.clone(), ..parts(journal, &shelf, settings, &world) };
        let runtime = Runtime::start(parts, &[]).unwrap();
        Member { story: Story { journal: journal.clone(), world, feed, runtime }, shelf }
    }

    /// It owns the concert's shard, and the concert is there.
    pub(super) async fn with_concert(journal: &Arc<JournalDouble>) -> Member {
        Member::with_concert_and(journal, settings()).await
    }

    pub(super) async fn with_concert_and(journal: &Arc<JournalDouble>, settings: Settings) -> Member {
        let member = Member::bare(journal, settings);
        assert!(member.adopt(HOME).await);
        member.ask(create()).await.unwrap();
        member
    }

    /// A shard as journal and snapshots have it now.
    pub(super) fn restored(&self, shard: Shard) -> Restored {
        load(&*self.journal, &*self.shelf, &[shard], 1).unwrap().0.remove(0)
    }

    pub(super) async fn adopt(&self, shard: Shard) -> bool {
        self.runtime.hosting().adopt(self.restored(shard), PAST).await
    }

    pub(super) fn lives(&self, shard: Shard) -> u32 {
        self.router().gauges(shard).lives()
    }

    /// Nothing of a shard is left here: no cell, and nobody who could still hold it.
    pub(super) async fn is_clean(&self, shard: Shard) {
        let view = || self.router().view().shards[usize::from(shard.0)];
        until(|| self.lives(shard) == 0 && Kind::ALL.iter().all(|kind| view().cells.of(*kind) == 0)).await;
        let view = view();
        assert!(!view.hosted && !view.writable && view.snapshot_at.is_none());
        assert!(Kind::ALL.iter().all(|kind| view.queued.of(*kind) == 0), "{view:?}");
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.world.log.lock().unwrap().clone()
    }
}

/// A block of the concert that lives on this shard.
pub(super) fn block_of(shard: Shard) -> BlockSpec {
    let names = (0..100).map(|number| format!("B{number}"));
    let lives_there = |name: &String| {
        let block = BlockRef { event: "aurora".into(), block: name.as_str().into() };
        Address::Block(block).shard(2) == shard
    };
    let id = names.into_iter().find(lives_there).unwrap().as_str().into();
    BlockSpec { id, name: "Block".to_owned(), layout: Layout::Standing(10), price: 100 }
}
