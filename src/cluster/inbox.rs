//! What comes in from other nodes: packets for this node's machines, and public changes for its board.

use std::sync::Arc;

use actors::address::Address;
use actors::ids::Shard;
use actors::keyed::Asked;
use futures_util::StreamExt as _;
use tracing::warn;

use super::Shared;
use super::feed::{Part, Verdict, unpack as unpack_feed};
use super::presence::NodeId;
use super::wire::{Item, Outcome, unpack};
use crate::runtime::Failure;

/// Takes packets of asks, answers and messages.
pub(super) async fn packets(shared: Arc<Shared>, mut packets: async_nats::Subscriber) {
    while let Some(packet) = packets.next().await {
        let Some((from, items)) = unpack(&packet.payload) else {
            warn!(bytes = packet.payload.len(), "packet of another version ignored");
            continue;
        };
        for item in items {
            take(&shared, &from, item);
        }
    }
}

fn take(shared: &Arc<Shared>, from: &NodeId, item: Item) {
    match item {
        Item::Answer { id, outcome } => shared.bus.answered(id, outcome),
        Item::Ask { id, to, key, message } => {
            let (shared, from) = (shared.clone(), from.clone());
            tokio::spawn(async move {
                let outcome = answer(&shared, to, Asked { key, command: message }).await;
                // Whoever asked hears silence where the line is full.
                shared.bus.put(&from, &Item::Answer { id, outcome });
            });
        }
        Item::Tell { to, message } => {
            if let Some(router) = shared.router().filter(|router| router.hosts(to.shard(shared.settings.shards))) {
                router.tell(to, message);
            }
        }
        Item::Picture { shard } if shard < shared.settings.shards => {
            let shard = Shard(shard);
            if shared.distribution.picture(shard)
                && let Some(hosting) = shared.hosting()
            {
                drop(hosting.pictures(shard));
            }
        }
        Item::Picture { .. } => {}
    }
}

/// An ask is answered by this node's own machines or not at all: it is never passed on.
async fn answer(shared: &Shared, to: Address, asked: Asked<actors::message::Message>) -> Outcome {
    let shard = to.shard(shared.settings.shards);
    match shared.router() {
        Some(router) if shard.0 < shared.settings.shards => router.ask(to, asked).await.into(),
        Some(_) | None => Err(Failure::Elsewhere).into(),
    }
}

/// Takes the public changes of other nodes' shards.
pub(super) async fn feeds(shared: Arc<Shared>, mut packets: async_nats::Subscriber, own: String) {
    while let Some(packet) = packets.next().await {
        if packet.subject.as_str() == own {
            continue;
        }
        let Some(messages) = unpack_feed(&packet.payload) else {
            warn!(bytes = packet.payload.len(), "feed of another version ignored");
            continue;
        };
        // This task is the only one that folds: messages of one shard stay in order.
        for told in messages {
            let verdict = shared.intake().hear(&told);
            if verdict == Verdict::Fold
                && let Part::Feed(feed) = told.part
            {
                if let Some(router) = shared.router() {
                    router.heard(&feed);
                }
                shared.distribution.fold(Shard(told.shard), feed);
            }
        }
    }
}
