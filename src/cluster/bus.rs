//! The bus: asks, answers and messages between machines of different nodes.
//!
//! Owns the packets on their way out, one line a node, and the asks that wait for an answer. Everything that is put on a
//! line while a packet is being sent travels in the next one, so that the number of NATS messages does not grow with the
//! number of requests. It knows nodes and bytes; who owns what is [`super::owners`]' to say. Nothing is sent twice, and
//! what is lost shows as silence: an ask that is not answered in time is unknown.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use actors::address::Address;
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use super::presence::NodeId;
use super::wire::{Item, Outcome, Packet};
use crate::runtime::Failure;

/// A packet takes no more items beyond this size. One large item may exceed it.
const PACKET_BYTES_MAX: usize = 256 * 1024;

/// Bytes that may wait on one line; beyond, asks are refused and messages dropped.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Items within [`GATHER`] from which on a line is busy: then packets wait that long for company.
const BUSY_MIN: usize = 8;

/// How long a packet of a busy line waits. A line that is not busy sends at once.
const GATHER: Duration = Duration::from_millis(1);

/// How asks fare.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Packets sent.
    pub(super) packets: AtomicU64,
    /// Items in them.
    pub(super) items: AtomicU64,
    /// Bytes of them.
    pub(super) bytes: AtomicU64,
}

/// See the module's charter.
pub(super) struct Bus {
    me: NodeId,
    prefix: String,
    client: async_nats::Client,
    tasks: Handle,
    /// How long an ask may take, and how long a packet is worth sending.
    deadline: Duration,
    lines: RwLock<HashMap<NodeId, Arc<Line>, RandomState>>,
    waiting: Mutex<HashMap<u64, Waiting, RandomState>>,
    next_id: AtomicU64,
    pub(super) counters: Counters,
}

/// An ask that waits for its answer.
struct Waiting {
    to: NodeId,
    waiter: oneshot::Sender<Outcome>,
}

/// The way to one node.
struct Line {
    subject: String,
    since: Instant,
    out: Mutex<Out>,
    filled: Notify,
    closed: AtomicBool,
}

/// What waits on a line.
struct Out {
    /// Full, oldest first, each with the time of its first item.
    full: std::collections::VecDeque<(Instant, Packet)>,
    open: Packet,
    opened: Instant,
    bytes: usize,
}

/// The subject on which one life of a node is reached.
pub(super) fn subject_of(prefix: &str, node: &NodeId) -> String {
    format!("{prefix}.bus.{:x}", node.incarnation)
}

impl Bus {
    pub(super) fn new(me: NodeId, prefix: &str, client: async_nats::Client, tasks: Handle, deadline: Duration) -> Self {
        Self {
            me,
            prefix: prefix.to_owned(),
            client,
            tasks,
            deadline,
            lines: RwLock::default(),
            waiting: Mutex::default(),
            next_id: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// Asks a machine of another node.
    pub(super) async fn ask(
        self: &Arc<Self>,
        node: &NodeId,
        to: Address,
        asked: Asked<Message>,
    ) -> Result<Answer<Reply>, Failure> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (waiter, answer) = oneshot::channel();
        let _gone = Gone { bus: self, id };
        self.waiting().insert(id, Waiting { to: node.clone(), waiter });
        let item = Item::Ask { id, to, key: asked.key, message: asked.command };
        if !self.put(node, &item) {
            return Err(Failure::BEHIND);
        }
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(outcome)) => outcome.into(),
            Ok(Err(_)) | Err(_) => Err(Failure::Unknown),
        }
    }

    /// Puts an item on the line to a node; `false`: too much waits there.
    pub(super) fn put(self: &Arc<Self>, node: &NodeId, item: &Item) -> bool {
        let line = self.line(node);
        let put = line.put(&self.me, item);
        line.filled.notify_one();
        put
    }

    /// An answer has come.
    pub(super) fn answered(&self, id: u64, outcome: Outcome) {
        // Whoever asked may have given up.
        if let Some(Waiting { waiter, .. }) = self.waiting().remove(&id) {
            let _ = waiter.send(outcome);
        }
    }

    /// A node is not alive: what was asked of it is unknown, and what is put on its line is not sent, once the line is older
    /// than any ask. A younger one may lead to a node that this one has not heard of yet.
    pub(super) fn lost(&self, node: &NodeId) {
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(node).filter(|line| line.since.elapsed() > self.deadline) {
            line.closed.store(true, Ordering::Release);
            line.filled.notify_one();
            lines.remove(node);
        }
        drop(lines);
        let mut waiting = self.waiting();
        let asked: Vec<u64> = waiting.iter().filter(|(_, ask)| ask.to == *node).map(|(id, _)| *id).collect();
        asked.iter().for_each(|id| drop(waiting.remove(id)));
    }

    /// The nodes that lines lead to.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting, RandomState>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(self: &Arc<Self>, node: &NodeId) -> Arc<Line> {
        if let Some(line) = self.lines.read().unwrap_or_else(PoisonError::into_inner).get(node) {
            return line.clone();
        }
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(node.clone()).or_insert_with(|| {
            let line = Arc::new(Line::new(subject_of(&self.prefix, node), &self.me));
            self.tasks.spawn(send(Arc::downgrade(self), line.clone()));
            line
        });
        line.clone()
    }
}

/// Forgets an ask when nobody waits for it any more.
struct Gone<'a> {
    bus: &'a Bus,
    id: u64,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.bus.waiting().remove(&self.id);
    }
}

impl Line {
    fn new(subject: String, me: &NodeId) -> Self {
        let out =
            Out { full: std::collections::VecDeque::new(), open: Packet::new(me), opened: Instant::now(), bytes: 0 };
        Self {
            subject,
            since: Instant::now(),
            out: Mutex::new(out),
            filled: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    fn put(&self, me: &NodeId, item: &Item) -> bool {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.bytes > LINE_BYTES_MAX {
            return false;
        }
        if out.open.bytes.len() >= PACKET_BYTES_MAX {
            let full = std::mem::replace(&mut out.open, Packet::new(me));
            let opened = out.opened;
            out.full.push_back((opened, full));
        }
        if out.open.items == 0 {
            out.opened = Instant::now();
        }
        out.bytes += out.open.put(item);
        true
    }

    /// The oldest packet, with the time of its first item.
    fn take(&self, me: &NodeId) -> Option<(Instant, Packet)> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let packet = match out.full.pop_front() {
            Some(full) => full,
            None if out.open.items == 0 => return None,
            None => (out.opened, std::mem::replace(&mut out.open, Packet::new(me))),
        };
        out.bytes = out.bytes.saturating_sub(packet.1.bytes.len());
        Some(packet)
    }
}

/// How much a line has carried lately.
struct Load {
    since: Instant,
    items: usize,
    busy: bool,
}

impl Load {
    fn add(&mut self, items: usize) {
        self.items += items;
        let elapsed = self.since.elapsed();
        if elapsed >= GATHER {
            let spans = (elapsed.as_micros() / GATHER.as_micros()) as usize;
            self.busy = self.items / spans >= BUSY_MIN;
            (self.since, self.items) = (Instant::now(), 0);
        }
    }
}

/// Sends what is put on a line, until it is closed.
async fn send(bus: Weak<Bus>, line: Arc<Line>) {
    let mut load = Load { since: Instant::now(), items: 0, busy: false };
    while !line.closed.load(Ordering::Acquire) {
        line.filled.notified().await;
        if load.busy {
            tokio::time::sleep(GATHER).await;
        }
        let Some(bus) = bus.upgrade() else { return };
        let mut sent = 0;
        while let Some((since, packet)) = line.take(&bus.me) {
            // Whoever asked has been told long ago that it is unknown.
            if since.elapsed() > bus.deadline {
                continue;
            }
            sent += packet.items;
            bus.counters.packets.fetch_add(1, Ordering::Relaxed);
            bus.counters.items.fetch_add(packet.items as u64, Ordering::Relaxed);
            bus.counters.bytes.fetch_add(packet.bytes.len() as u64, Ordering::Relaxed);
            if let Err(error) = bus.client.publish(line.subject.clone(), Bytes::from(packet.bytes)).await {
                tracing::warn!(subject = line.subject, %error, "packet to another node not sent");
            }
        }
        load.add(sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_busy_by_what_it_carries_in_a_time_and_not_by_one_packet() {
        let mut load = Load { since: Instant::now() - 2 * GATHER, items: 0, busy: false };
        load.add(3);
        assert!(!load.busy, "a few now and then are sent at once");
        load.add(4);
        load.since = Instant::now() - GATHER;
        load.add(4);
        assert!(load.busy, "many small packets are many items");
        load.since = Instant::now() - 100 * GATHER;
        load.add(50);
        assert!(!load.busy, "quiet again");
    }
}
