//! Snapshots that outlive their node: the local store, and two bundles of each shard in an object store.
//!
//! Owns the rule by which a cluster's journal is cut: only behind the older of two bundles that were read back and
//! verify. A bundle is a whole shard, taken from the local store after a complete round; the two of a shard are replaced
//! in turn, the older first, each on condition that nobody else has replaced it meanwhile. A bundle that does not verify
//! counts for nothing. A node with an empty, an old or a half-filled disk finds in the newest bundle what it lacks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, error, warn};

use super::bucket::{self, Bucket, GetError, Head, PutError, Revision, Trouble};
use super::bundle::{Bundle, State};
use super::{Error, Put, Snapshots};
use crate::journal::{Seq, Shard};

/// Bundles that are kept of every shard.
pub const BUNDLES: usize = 2;

/// Times bundles are read that are replaced meanwhile.
const TRIES: usize = 5;

/// The snapshots of a clustered node. Every method blocks; call them from a thread that may wait.
pub struct Shared {
    local: Snapshots,
    bucket: Arc<dyn Bucket>,
    /// Time between two bundles of a shard.
    interval: Duration,
    /// Up to where each shard is in the local store with all of its actors: after a complete round, or after a bundle was
    /// put there. Before that nothing is known: a round that was cut short leaves a store in which actors are missing.
    complete: Mutex<HashMap<Shard, Seq>>,
    /// What is known of the bundles of shards that are written here.
    written: Mutex<HashMap<Shard, Written>>,
}

struct Written {
    slots: [Slot; BUNDLES],
    /// When the last bundle was put.
    at: Option<Instant>,
}

/// One of a shard's bundles as it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Nothing there, or nothing that verifies.
    Unsound(Revision),
    Verified(Revision, Seq),
}

/// The object that holds one of a shard's bundles.
#[must_use]
pub fn object_name(shard: Shard, slot: usize) -> String {
    format!("shard-{shard}-{slot}")
}

/// Reads a shard's bundles; those that do not verify are left out.
///
/// # Errors
/// The object store does not answer.
pub fn verified_bundles(bucket: &dyn Bucket, shard: Shard) -> Result<Vec<(String, Bundle)>, Trouble> {
    let mut found = Vec::new();
    for name in (0..BUNDLES).map(|slot| object_name(shard, slot)) {
        let head = bucket.head(&name)?;
        if let Some(bundle) = read(bucket, shard, &name, &head)? {
            found.push((name, bundle));
        }
    }
    found.sort_by_key(|(_, bundle)| bundle.seq());
    Ok(found)
}

/// The bundle that a head means, if it verifies.
fn read(bucket: &dyn Bucket, shard: Shard, name: &str, head: &Head) -> Result<Option<Bundle>, Trouble> {
    let Some(manifest) = &head.manifest else { return Ok(None) };
    let fault = match bucket::get(bucket, name, manifest) {
        Ok(bytes) => match Bundle::decode(shard, &bytes) {
            Ok(bundle) => return Ok(Some(bundle)),
            Err(fault) => fault.to_string(),
        },
        Err(GetError::Fault(fault)) => fault,
        Err(GetError::Trouble(trouble)) => return Err(trouble),
    };
    warn!(%shard, name, fault, "bundle does not verify, it counts for nothing");
    Ok(None)
}

impl Shared {
    /// Snapshots in `local` and bundles in `bucket`, one of a shard each `interval`.
    #[must_use]
    pub fn new(local: Snapshots, bucket: Arc<dyn Bucket>, interval: Duration) -> Shared {
        Shared { local, bucket, interval, complete: Mutex::default(), written: Mutex::default() }
    }

    /// The actors of a shard. If the newest bundle may hold what the local store lacks, it is put there first.
    ///
    /// # Errors
    /// The object store does not answer, or the local one takes nothing: what is here may not be all.
    pub fn actors(&self, shard: Shard) -> Result<Vec<Vec<u8>>, Error> {
        let complete = self.completes().get(&shard).copied();
        self.fetch_newer(shard, complete.unwrap_or_default())?;
        // If the shard comes back to this node, others have written bundles meanwhile.
        self.writing().remove(&shard);
        Ok(self.local.actors(shard))
    }

    /// The newest state of an actor that verifies, and the last record that it contains.
    #[must_use]
    pub fn newest(&self, shard: Shard, actor: &[u8]) -> Option<(Seq, Vec<u8>)> {
        let local = self.local.newest(shard, actor);
        if local.damaged.is_empty() {
            return local.snapshot;
        }
        let than = local.snapshot.as_ref().map_or(Seq::NONE, |(seq, _)| *seq);
        match self.fetch_newer(shard, than) {
            Ok(()) => self.local.newest(shard, actor).snapshot,
            Err(error) => {
                error!(%shard, %error, "no bundle in place of a damaged snapshot");
                local.snapshot
            }
        }
    }

    /// See [`Snapshots::put_all`].
    ///
    /// # Errors
    /// See [`Snapshots::put_all`].
    pub fn put_all(&self, shard: Shard, puts: &[Put<'_>]) -> Result<(), Error> {
        self.local.put_all(shard, puts)
    }

    /// See [`Snapshots::touch_all`].
    ///
    /// # Errors
    /// See [`Snapshots::touch_all`].
    pub fn touch_all(&self, shard: Shard, touches: &[(&[u8], Seq)]) -> Result<(), Error> {
        self.local.touch_all(shard, touches)
    }

    /// A round of the shard is complete and nothing of the next was put yet: up to which record all of the shard is here.
    #[must_use]
    pub fn completed(&self, shard: Shard) -> Option<Seq> {
        let complete = self.local.covered(shard)?;
        self.completes().insert(shard, complete);
        Some(complete)
    }

    /// After a round that was complete up to `completed`: puts a bundle if one is due, and says up to where the journal may
    /// be cut, which is behind the older of two verified bundles; nothing while there are fewer. Takes as long as the
    /// object store does; later rounds may go on meanwhile.
    #[must_use]
    pub fn safe_to_cut(&self, shard: Shard, completed: Seq) -> Option<Seq> {
        let latest = self.completes().get(&shard).copied();
        let complete = latest.map_or(completed, |latest| latest.max(completed));
        let known = self.writing().remove(&shard);
        let known = match known.map_or_else(|| self.look(shard), Ok) {
            Ok(written) => written,
            Err(trouble) => {
                warn!(%shard, %trouble, "bundles cannot be read, the journal is kept");
                return None;
            }
        };
        let written = match self.put_if_due(shard, known, complete) {
            Ok(written) => written,
            // What is there has to be looked at again: nothing is known any more.
            Err(error) => {
                error!(%shard, %error, "bundle not stored, the journal is kept");
                return None;
            }
        };
        let safe = written.safe();
        self.writing().insert(shard, written);
        safe
    }

    /// The bundles as they are, each read and verified.
    fn look(&self, shard: Shard) -> Result<Written, Trouble> {
        let mut slots = [Slot::Unsound(Revision::NONE); BUNDLES];
        for (index, slot) in slots.iter_mut().enumerate() {
            let name = object_name(shard, index);
            let head = self.bucket.head(&name)?;
            let bundle = read(&*self.bucket, shard, &name, &head)?;
            *slot = bundle.map_or(Slot::Unsound(head.revision), |bundle| Slot::Verified(head.revision, bundle.seq()));
        }
        let mut written = Written { slots, at: None };
        // How old they are is not known; a shard that changes hands should not cost a bundle each time.
        written.at = written.safe().map(|_| Instant::now());
        Ok(written)
    }

    fn put_if_due(&self, shard: Shard, mut written: Written, complete: Seq) -> Result<Written, Error> {
        let is_due = written.at.is_none_or(|at| at.elapsed() >= self.interval);
        if !is_due || Some(complete) <= written.newest() {
            return Ok(written);
        }
        let bundle = self.gather(shard)?;
        // Beyond what is complete, a round is half put: an actor that is new in it may be missing.
        if bundle.seq() > complete || Some(bundle.seq()) <= written.newest() {
            return Ok(written);
        }
        let index = written.next();
        written.slots[index] = self.put_bundle(shard, index, written.slots[index].revision(), &bundle)?;
        written.at = Some(Instant::now());
        Ok(written)
    }

    /// The newest verified states of all actors.
    fn gather(&self, shard: Shard) -> Result<Bundle, Error> {
        let mut states = BTreeMap::new();
        for actor in self.local.actors(shard) {
            let reason = || Error::Store { reason: "an actor of the shard has no snapshot that verifies".to_owned() };
            let (seq, bytes) = self.local.newest(shard, &actor).snapshot.ok_or_else(reason)?;
            states.insert(actor, State { seq, bytes });
        }
        Bundle::new(shard, states).ok_or_else(|| Error::Store { reason: "the shard has no snapshot".to_owned() })
    }

    /// Replaces a bundle and reads it back.
    fn put_bundle(&self, shard: Shard, slot: usize, expected: Revision, bundle: &Bundle) -> Result<Slot, Error> {
        let name = object_name(shard, slot);
        let bytes = bundle.encode();
        let revision = bucket::put(&*self.bucket, &name, expected, bundle.seq(), &bytes)?;
        let head = self.bucket.head(&name)?;
        if head.revision != revision {
            return Err(PutError::Moved.into());
        }
        match read(&*self.bucket, shard, &name, &head)? {
            Some(found) if found == *bundle => {
                debug!(%shard, slot, seq = %bundle.seq(), bytes = bytes.len(), "bundle stored and verified");
                Ok(Slot::Verified(revision, bundle.seq()))
            }
            Some(_) | None => Ok(Slot::Unsound(revision)),
        }
    }

    /// Fetches the newest bundle that verifies, if one says that it is newer than this record. When there are such, but none
    /// verifies, nothing may go on as if there was none.
    fn fetch_newer(&self, shard: Shard, than: Seq) -> Result<(), Error> {
        for _ in 0..TRIES {
            let heads = self.heads_newer(shard, than)?;
            if heads.is_empty() {
                return Ok(());
            }
            for (name, head) in &heads {
                if let Some(bundle) = read(&*self.bucket, shard, name, head)? {
                    return self.keep(shard, &bundle);
                }
            }
            // They may have been replaced under the reader's hands.
            if self.heads_newer(shard, than)? == heads {
                break;
            }
        }
        let reason = format!(
            "no bundle of shard {shard} verifies: remove {} and {} from the bucket if local snapshots or the journal are to do",
            object_name(shard, 0),
            object_name(shard, 1)
        );
        Err(Error::Store { reason })
    }

    /// The bundles that say that they are newer than this record, the newest first.
    fn heads_newer(&self, shard: Shard, than: Seq) -> Result<Vec<(String, Head)>, Trouble> {
        let mut heads = Vec::new();
        for name in (0..BUNDLES).map(|slot| object_name(shard, slot)) {
            let head = self.bucket.head(&name)?;
            if let Some(seq) = head.manifest.as_ref().map(|manifest| manifest.seq).filter(|seq| *seq > than) {
                heads.push((seq, name, head));
            }
        }
        heads.sort_by_key(|(seq, _, _)| *seq);
        Ok(heads.into_iter().rev().map(|(_, name, head)| (name, head)).collect())
    }

    /// Puts into the local store what it does not have as new. An actor's older state must not stay its newest here: it
    /// would be stamped anew as soon as the actor says that nothing of it has changed.
    fn keep(&self, shard: Shard, bundle: &Bundle) -> Result<(), Error> {
        let is_newer = |actor: &[u8], state: &State| self.local.newest_seq(shard, actor) < Some(state.seq);
        let newer = bundle.states().filter(|(actor, state)| is_newer(actor, state));
        let puts: Vec<Put<'_>> =
            newer.map(|(actor, state)| Put { actor, seq: state.seq, bytes: &state.bytes }).collect();
        self.local.put_all(shard, &puts)?;
        debug!(%shard, seq = %bundle.seq(), states = puts.len(), "took over what a bundle has");
        let mut completes = self.completes();
        let complete = completes.entry(shard).or_default();
        *complete = bundle.seq().max(*complete);
        Ok(())
    }

    fn writing(&self) -> MutexGuard<'_, HashMap<Shard, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn completes(&self) -> MutexGuard<'_, HashMap<Shard, Seq>> {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn revision(self) -> Revision {
        match self {
            Slot::Unsound(revision) | Slot::Verified(revision, _) => revision,
        }
    }

    fn seq(self) -> Option<Seq> {
        match self {
            Slot::Unsound(_) => None,
            Slot::Verified(_, seq) => Some(seq),
        }
    }
}

impl Written {
    fn newest(&self) -> Option<Seq> {
        self.slots.iter().filter_map(|slot| slot.seq()).max()
    }

    /// The older of two.
    fn safe(&self) -> Option<Seq> {
        self.slots.iter().map(|slot| slot.seq()).min().flatten()
    }

    /// The one to be replaced: one that does not count, or else the older.
    fn next(&self) -> usize {
        let oldest = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.seq());
        oldest.map(|(index, _)| index).expect("a shard has two bundles")
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Error::Store { reason: trouble.to_string() }
    }
}

impl From<PutError> for Error {
    fn from(error: PutError) -> Self {
        Error::Store { reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
