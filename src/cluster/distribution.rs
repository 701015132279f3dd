//! Distribution: what this node's shards make public, told to every other node.
//!
//! Owns the numbers of the feeds of owned shards and the packet on its way out. The own board is told at once;
//! everything that arrives while a packet is being sent travels in the next one. It may be lost: whoever misses something
//! notices by the numbers and asks for the picture ([`super::feed`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::feed::Feed;
use actors::ids::Shard;
use bytes::Bytes;
use tokio::sync::Notify;

use super::feed::{Outlet, Part, Told, put};
use crate::runtime::FeedSink;

/// Least time between two packets: what changes meanwhile travels together.
const PACE: Duration = Duration::from_millis(1);

/// A packet takes no more messages beyond this size.
const PACKET_BYTES_MAX: usize = 256 * 1024;

/// Bytes that may wait; beyond, packets are dropped and the boards of others ask for pictures.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// See the module's charter.
pub(super) struct Distribution {
    local: Arc<dyn FeedSink>,
    /// Of the shards that this node owns.
    outlets: Vec<Mutex<Option<Outlet>>>,
    /// Packets on their way out; the last takes more.
    out: Mutex<Vec<Vec<u8>>>,
    filled: Notify,
    /// Whether anybody else is there to be told.
    heard: AtomicBool,
}

impl Distribution {
    pub(super) fn new(local: Arc<dyn FeedSink>, shards: u16) -> Self {
        Self {
            local,
            outlets: (0..shards).map(|_| Mutex::new(None)).collect(),
            out: Mutex::default(),
            filled: Notify::new(),
            heard: AtomicBool::new(false),
        }
    }

    /// This node is about to serve a shard under an epoch.
    pub(super) fn begin(&self, shard: Shard, epoch: u64) {
        *self.outlet(shard) = Some(Outlet::new(epoch));
    }

    /// This node does not own the shard any more.
    pub(super) fn end(&self, shard: Shard) {
        *self.outlet(shard) = None;
    }

    /// The number of the last message of a shard's feed; 0 if it is not this node's.
    pub(super) fn number(&self, shard: Shard) -> u64 {
        self.outlet(shard).as_ref().map_or(0, Outlet::number)
    }

    /// Somebody needs the pictures of a shard: says whether they must be drawn.
    pub(super) fn picture(&self, shard: Shard) -> bool {
        self.outlet(shard).as_mut().is_some_and(Outlet::picture)
    }

    /// Whether there is anybody else to be told.
    pub(super) fn set_heard(&self, heard: bool) {
        self.heard.store(heard, Ordering::Relaxed);
    }

    /// Another node's feed, for the own board.
    pub(super) fn fold(&self, shard: Shard, feed: Vec<Feed>) {
        self.local.publish(shard, feed);
    }

    /// Sends packets for as long as the node runs.
    pub(super) async fn send(self: Arc<Self>, client: async_nats::Client, subject: String) {
        loop {
            self.filled.notified().await;
            let packets = std::mem::take(&mut *self.out.lock().unwrap_or_else(PoisonError::into_inner));
            for packet in packets {
                if let Err(error) = client.publish(subject.clone(), Bytes::from(packet)).await {
                    tracing::warn!(subject, %error, "feed not sent");
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    fn outlet(&self, shard: Shard) -> MutexGuard<'_, Option<Outlet>> {
        self.outlets[usize::from(shard.0)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: &Told) {
        if !self.heard.load(Ordering::Relaxed) {
            return;
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.len() * PACKET_BYTES_MAX > WAITING_BYTES_MAX {
            out.clear();
        }
        if out.last().is_none_or(|open| open.len() >= PACKET_BYTES_MAX) {
            out.push(Vec::new());
        }
        if let Some(open) = out.last_mut() {
            put(open, told);
        }
        self.filled.notify_one();
    }
}

impl FeedSink for Distribution {
    fn publish(&self, shard: Shard, feed: Vec<Feed>) {
        let mut outlet = self.outlet(shard);
        let Some(open) = outlet.as_mut() else {
            drop(outlet);
            // The shard has just been given up: its next owner begins with a picture.
            return self.local.publish(shard, feed);
        };
        let told = open.tell(shard, feed);
        drop(outlet);
        self.tell(&told);
        match told.part {
            Part::Feed(feed) => self.local.publish(shard, feed),
            Part::Pictured { .. } => {}
        }
    }

    fn pictured(&self, shard: Shard) {
        let told = self.outlet(shard).as_mut().map(|outlet| outlet.pictured(shard));
        if let Some(told) = told {
            self.tell(&told);
        }
        self.local.pictured(shard);
    }
}
