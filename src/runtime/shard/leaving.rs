//! Leaving: how a shard ends its life on this node, and the pictures it gives while it lives.
//!
//! Owns what those who wait may conclude: what may be in the journal is not known here, everything else was surely not
//! done and can be asked of the next owner.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::commit::Abandoned;
use super::super::failure::Failure;
use super::super::release::Release;
use super::{Gate, ShardHost};

static ELSEWHERE: Failure = Failure::Elsewhere;

/// Wait before the pictures of cells that are being brought back are asked for again.
const PICTURE_AGAIN: Duration = Duration::from_millis(50);

impl ShardHost {
    pub(in super::super) fn is_leaving(&self) -> bool {
        !self.here.load(Ordering::Relaxed)
    }

    pub(in super::super) fn has_left(&self) -> bool {
        self.gate() == Gate::Closed(&ELSEWHERE)
    }

    /// Resolves when the shard's life on this node has ended.
    pub(super) async fn when_left(&self) {
        let leaving = self.left.notified();
        if !self.has_left() {
            leaving.await;
        }
    }

    /// Lets nobody in any more; what was let in goes on.
    pub(in super::super) fn begin_leaving(&self) {
        self.here.store(false, Ordering::Release);
        self.gauges().set_hosted(false);
    }

    /// Ends this life: everybody who waits is told, every cell ends with its timer, every task of the shard ends.
    pub(in super::super) fn leave(&self) {
        self.begin_leaving();
        self.set_gate(Gate::Closed(&ELSEWHERE));
        let Abandoned { in_flight, behind } = self.log.borrow_mut().abandon();
        in_flight.into_iter().for_each(|release| abandon(release, &Failure::Unknown));
        behind.into_iter().for_each(|release| abandon(release, &Failure::Elsewhere));
        for cell in self.cells.take().into_values() {
            let (queued, waiters) = cell.leave();
            self.gauges().taken(cell.kind(), queued);
            for waiter in waiters {
                let _ = waiter.send(Err(Failure::Elsewhere));
            }
        }
        self.broken.take();
        self.gauges().snapshot_at.store(0, Ordering::Relaxed);
        self.left.notify_waiters();
    }

    /// Publishes the picture of every cell, each behind the cell's last change, and says so; tries again where a cell is
    /// being brought back or a record is refused. Ends unheard when the shard leaves.
    pub(in super::super) async fn picture_all(self: Rc<Self>, done: oneshot::Sender<()>) {
        tokio::select! {
            biased;
            () = self.when_left() => {}
            () = self.until_pictured() => {
                self.node.feed.pictured(self.id);
                let _ = done.send(());
            }
        }
    }

    async fn until_pictured(&self) {
        loop {
            let mut all = true;
            for address in self.addresses() {
                let asked = self.cells.borrow().get(&address).map(|cell| cell.give_picture());
                if let Some(asked) = asked {
                    all &= asked.given().await;
                }
            }
            let last = self.log.borrow().end();
            if all && self.when_durable(last).await.is_ok() {
                return;
            }
            tokio::time::sleep(PICTURE_AGAIN).await;
        }
    }
}

impl Drop for ShardHost {
    fn drop(&mut self) {
        self.gauges().life_ended();
    }
}

/// A turn that changed nothing was surely not done, whatever becomes of the record it waited for.
fn abandon(release: Release, failure: &Failure) {
    match release {
        Release::Turn(mut told) if told.changed => told.fail(failure),
        Release::Turn(mut told) => told.fail(&Failure::Elsewhere),
        Release::Mark(_) => {}
    }
}
