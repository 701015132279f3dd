//! Leaving: how a shard ends its life on this node, and the pictures it gives while it lives.
//!
//! Owns what those who wait may conclude: what may be in the journal is not known here, everything else was surely not
//! done and can be asked of the next owner.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::cells::AnyCell;
use super::super::commit::Abandoned;
use super::super::failure::Failure;
use super::super::release::Release;
use super::{Gate, ShardHost};

static ELSEWHERE: Failure = Failure::Elsewhere;

/// How often it is looked whether cells that are being brought back have given their pictures.
const PICTURES_LOOK: Duration = Duration::from_millis(50);

/// How long pictures wait for cells that are being brought back. A machine that panics again and again must not keep away
/// whoever needs the others' pictures, such as a node that joins.
const PICTURES_WAIT_MAX: Duration = Duration::from_secs(2);

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
                waiter.answer(Err(Failure::Elsewhere));
            }
        }
        self.broken.take();
        self.gauges().snapshot_at.store(0, Ordering::Relaxed);
        self.left.notify_waiters();
    }

    /// Publishes the picture of every cell, each behind the cell's last change, and says so. A cell that is being brought
    /// back is waited for a while; after that its picture goes out when it is back. Ends unheard when the shard leaves.
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
        let began = Instant::now();
        loop {
            for address in self.addresses() {
                let asked = self.cells.borrow().get(&self.place(&address)).map(|cell| cell.give_picture());
                if let Some(asked) = asked {
                    asked.heard().await;
                }
            }
            while began.elapsed() < PICTURES_WAIT_MAX && self.cells.borrow().values().any(AnyCell::owes_picture) {
                tokio::time::sleep(PICTURES_LOOK).await;
            }
            let last = self.log.borrow().end();
            if self.when_durable(last).await.is_ok() {
                return;
            }
            // A record was refused, and the pictures behind it with it.
            tokio::time::sleep(PICTURES_LOOK).await;
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
        Release::Picture(_) | Release::Mark(_) => {}
    }
}
