//! A journal and a shelf in memory: the journal acknowledges, refuses or waits as the test wants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use actors::ids;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use super::super::{Shelf, Stored};
use crate::journal::{AppendError, Health, Journal, ReplayError, Seq, Shard, Space, Status, Unavailable, Visit};
use crate::snapshots::Error;

/// An append that waits for the test's word.
pub(crate) struct Held {
    pub(super) shard: Shard,
    pub(super) after: Seq,
    pub(super) record: Vec<u8>,
    done: oneshot::Sender<Result<Seq, AppendError>>,
}

#[derive(Default)]
struct Records {
    /// The record before the first that is still there.
    base: u64,
    kept: Vec<Vec<u8>>,
}

pub(crate) struct JournalDouble {
    shards: Mutex<HashMap<u16, Records>>,
    /// Whether appends wait for the test.
    holding: Mutex<bool>,
    /// Whether replays wait.
    unread: Mutex<bool>,
    readable: Condvar,
    holds: mpsc::UnboundedSender<Held>,
    held: tokio::sync::Mutex<mpsc::UnboundedReceiver<Held>>,
    health: watch::Sender<Health>,
    /// Shards that are away while the others are not.
    away: Mutex<BTreeSet<Shard>>,
}

impl Default for JournalDouble {
    fn default() -> Self {
        let (holds, held) = mpsc::unbounded_channel();
        let health = watch::Sender::new(Health { status: Status::Serving, space: Space::default() });
        Self {
            shards: Mutex::default(),
            holding: Mutex::new(false),
            unread: Mutex::new(false),
            readable: Condvar::new(),
            holds,
            held: held.into(),
            health,
            away: Mutex::default(),
        }
    }
}

impl JournalDouble {
    pub(crate) fn hold(&self, holding: bool) {
        *self.holding.lock().unwrap() = holding;
    }

    pub(crate) async fn held(&self) -> Held {
        self.held.lock().await.recv().await.unwrap()
    }

    pub(crate) fn acknowledge(&self, held: Held) {
        let seq = self.keep(held.shard, held.after, held.record);
        held.done.send(Ok(seq)).unwrap();
    }

    /// The record becomes durable although nobody waits for it any more.
    pub(super) fn land(&self, held: Held) {
        assert!(held.done.is_closed(), "whoever appended has left");
        self.keep(held.shard, held.after, held.record);
    }

    /// Whether replays wait.
    pub(super) fn hold_replays(&self, holding: bool) {
        *self.unread.lock().unwrap() = holding;
        self.readable.notify_all();
    }

    pub(super) fn refuse(&self, held: Held, error: AppendError) {
        held.done.send(Err(error)).unwrap();
    }

    pub(super) fn disk_full() -> AppendError {
        AppendError::Unavailable { reason: Unavailable::DiskFull }
    }

    pub(super) fn set_status(&self, status: Status) {
        self.health.send_modify(|health| health.status = status);
    }

    /// From now on these shards are away, and only they.
    pub(super) fn set_away(&self, shards: &[Shard]) {
        *self.away.lock().unwrap() = shards.iter().copied().collect();
        self.health.send_modify(|_| ());
    }

    pub(super) fn records(&self) -> usize {
        self.shards.lock().unwrap().values().map(|shard| shard.kept.len()).sum()
    }

    pub(super) fn last_of_shard_0(&self) -> u64 {
        self.last(Shard(0)).0
    }

    /// As if a crash had lost everything after the first `count` records of shard 0.
    pub(super) fn keep_first(&self, count: usize) {
        self.shards.lock().unwrap().get_mut(&0).unwrap().kept.truncate(count);
    }

    fn keep(&self, shard: Shard, after: Seq, record: Vec<u8>) -> Seq {
        let mut shards = self.shards.lock().unwrap();
        let records = shards.entry(shard.0).or_default();
        assert_eq!(after.0, records.base + records.kept.len() as u64, "one append at a time, in order");
        records.kept.push(record);
        after.next()
    }
}

impl Journal for JournalDouble {
    fn append(&self, shard: Shard, after: Seq, record: Vec<u8>) -> BoxFuture<'static, Result<Seq, AppendError>> {
        if !*self.holding.lock().unwrap() {
            let kept = self.keep(shard, after, record);
            return Box::pin(async move { Ok(kept) });
        }
        let (done, result) = oneshot::channel();
        self.holds.send(Held { shard, after, record, done }).unwrap();
        Box::pin(async move { result.await.unwrap_or(Err(AppendError::Unknown { reason: "test over".to_owned() })) })
    }

    fn replay(&self, after: &[(Shard, Seq)], visit: &mut Visit<'_>) -> Result<Vec<(Shard, Seq)>, ReplayError> {
        drop(self.readable.wait_while(self.unread.lock().unwrap(), |unread| *unread).unwrap());
        let shards = self.shards.lock().unwrap();
        let none = Records::default();
        let found = |shard: Shard| shards.get(&shard.0).unwrap_or(&none);
        for &(shard, after) in after {
            let Records { base, kept } = found(shard);
            let last = Seq(base + kept.len() as u64);
            if after.0 < *base {
                return Err(ReplayError::Cut { shard, after, first: Seq(base + 1) });
            } else if after > last {
                return Err(ReplayError::Ahead { shard, after, last });
            }
        }
        for &(shard, after) in after {
            let Records { base, kept } = found(shard);
            for (at, record) in kept.iter().enumerate().skip((after.0 - base) as usize) {
                let seq = Seq(base + 1 + at as u64);
                visit(shard, seq, record).map_err(|source| ReplayError::Visit { shard, seq, source })?;
            }
        }
        Ok(after.iter().map(|(shard, _)| (*shard, Seq(found(*shard).base + found(*shard).kept.len() as u64))).collect())
    }

    fn truncate(&self, shard: Shard, to: Seq) {
        let mut shards = self.shards.lock().unwrap();
        let records = shards.get_mut(&shard.0).unwrap();
        let gone = to.0.saturating_sub(records.base) as usize;
        records.kept.drain(..gone);
        records.base += gone as u64;
    }

    fn last(&self, shard: Shard) -> Seq {
        let shards = self.shards.lock().unwrap();
        shards.get(&shard.0).map_or(Seq::NONE, |records| Seq(records.base + records.kept.len() as u64))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn status_of(&self, shard: Shard) -> Status {
        match self.away.lock().unwrap().contains(&shard) {
            true => Status::Away { reason: "no answer".to_owned() },
            false => self.health.borrow().status.clone(),
        }
    }
}

/// Whose: shard and name.
type CellName = (u16, Vec<u8>);

/// Snapshots by cell, oldest first.
#[derive(Default)]
pub(super) struct ShelfDouble {
    kept: Mutex<BTreeMap<CellName, Vec<Stored>>>,
    /// Whether cuts wait, as for a slow upload, and how many do.
    slow: Mutex<bool>,
    fast: Condvar,
    cuts: AtomicUsize,
}

impl ShelfDouble {
    /// Whether cuts wait.
    pub(super) fn hold_cuts(&self, holding: bool) {
        *self.slow.lock().unwrap() = holding;
        self.fast.notify_all();
    }

    /// How often it was asked what may be cut.
    pub(super) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }

    pub(super) fn clear(&self) {
        self.kept.lock().unwrap().clear();
    }

    /// The newest bytes of every cell.
    pub(super) fn bytes(&self) -> BTreeMap<CellName, Vec<u8>> {
        let kept = self.kept.lock().unwrap();
        kept.iter().filter_map(|(cell, all)| Some((cell.clone(), all.last()?.bytes.clone()))).collect()
    }
}

impl Shelf for ShelfDouble {
    fn cells(&self, shard: ids::Shard) -> Result<Vec<Vec<u8>>, Error> {
        let kept = self.kept.lock().unwrap();
        Ok(kept.keys().filter(|(of, _)| *of == shard.0).map(|(_, cell)| cell.clone()).collect())
    }

    fn newest(&self, shard: ids::Shard, cell: &[u8]) -> Option<(Seq, Vec<u8>)> {
        let kept = self.kept.lock().unwrap();
        kept.get(&(shard.0, cell.to_vec())).and_then(|all| all.last()).map(|stored| (stored.seq, stored.bytes.clone()))
    }

    fn put(&self, shard: ids::Shard, snapshots: &[Stored]) -> Result<(), Error> {
        let mut kept = self.kept.lock().unwrap();
        for snapshot in snapshots {
            let all = kept.entry((shard.0, snapshot.cell.clone())).or_default();
            all.push(snapshot.clone());
            let superfluous = all.len().saturating_sub(2);
            all.drain(..superfluous);
        }
        Ok(())
    }

    fn touch(&self, shard: ids::Shard, cells: &[(Vec<u8>, Seq)]) -> Result<(), Error> {
        for (cell, seq) in cells {
            let (_, bytes) = self.newest(shard, cell).unwrap();
            self.put(shard, &[Stored { cell: cell.clone(), seq: *seq, bytes }])?;
        }
        Ok(())
    }

    fn safe_to_cut(&self, _: ids::Shard, completed: Seq) -> Option<Seq> {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        drop(self.fast.wait_while(self.slow.lock().unwrap(), |slow| *slow).unwrap());
        Some(completed)
    }

    fn completed(&self, shard: ids::Shard) -> Option<Seq> {
        let kept = self.kept.lock().unwrap();
        let of_shard = kept.iter().filter(|((of, _), _)| *of == shard.0);
        of_shard.map(|(_, all)| if all.len() < 2 { Seq::NONE } else { all[0].seq }).min()
    }
}
