//! The snapshot store: the newest two states of every actor, so that a restart replays little of the journal.
//!
//! A cache of the journal and nothing more: it deals in bytes, never decides what is true, and may be lost as a whole
//! as long as the journal was not cut behind it. Two rules must never give. A snapshot counts only when it was read back
//! and its checksum holds; and [`Snapshots::safe_to_cut`] names nothing that a second, independent copy does not
//! cover. What sled does with the bytes, and what it does not do, is in `store.rs`; the stored form in `format.rs`. The
//! snapshots of a clustered node, which other nodes must find, are [`shared`]'s.

pub mod bucket;
pub mod bundle;
mod format;
pub mod shared;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::journal::{Seq, Shard};

use format::{Content, Meta, Place};
use store::Store;

pub use format::{ACTOR_KEY_BYTES_MAX, Fault};

/// The most bytes of one snapshot.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;
/// Verified snapshots that are kept of every actor.
const KEPT: usize = 2;

/// The snapshots of all actors of this node. See the module. Every method blocks on files; call them from a thread that
/// may wait.
pub struct Snapshots {
    store: Store,
    state: Mutex<State>,
    /// Held by whoever changes the store, so that the state is free for readers meanwhile.
    writing: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// What is stored of each actor, oldest first.
    actors: BTreeMap<(Shard, Vec<u8>), Vec<Known>>,
    next_id: u64,
}

/// A stored snapshot.
#[derive(Clone, Debug)]
struct Known {
    id: u64,
    seq: Seq,
    content: Content,
    check: Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Not read since the store was opened.
    Unread,
    Verified,
    Bad,
}

/// One snapshot to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Whose, at most [`ACTOR_KEY_BYTES_MAX`] bytes.
    pub actor: &'a [u8],
    /// The last record of the shard that the state contains.
    pub seq: Seq,
    /// The state.
    pub bytes: &'a [u8],
}

/// What [`Snapshots::newest`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The newest state that verifies, and the last record that it contains.
    pub snapshot: Option<(Seq, Vec<u8>)>,
    /// Newer ones that do not verify, newest first: their number and what is wrong.
    pub damaged: Vec<(Seq, Fault)>,
}

/// Why a snapshot was not stored or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The actor's key or the state is too long.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is taken.
        most: usize,
    },
    /// A newer snapshot is there already.
    Backwards {
        /// What was offered.
        seq: Seq,
        /// What is there.
        newest: Seq,
    },
    /// There is no verified snapshot that could be stamped anew: the state has to be put.
    NothingToTouch,
    /// What was just written reads differently; it was dropped.
    Unverified {
        /// What is wrong.
        fault: Fault,
    },
    /// The store fails; its files may need to be given up at the next start.
    Store {
        /// What it says.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TooLarge { bytes, most } => write!(f, "snapshot too large: bytes={bytes} most={most}"),
            Error::Backwards { seq, newest } => write!(f, "snapshot older than stored: seq={seq} newest={newest}"),
            Error::NothingToTouch => write!(f, "no verified snapshot to stamp anew"),
            Error::Unverified { fault } => write!(f, "snapshot reads differently than written: {fault}"),
            Error::Store { reason } => write!(f, "snapshot store failed: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl Snapshots {
    /// Opens the store in the directory `path` with a cache of `cache_bytes`. A store that cannot be read is moved aside
    /// and an empty one started: the second value says where to. Then the journal is replayed from its beginning, and if
    /// that was cut, the replay refuses with [`crate::journal::ReplayError::Cut`].
    ///
    /// # Errors
    /// When another process has the store open or the file system refuses; nothing is moved then.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<(Snapshots, Option<PathBuf>), Error> {
        let (store, found, moved) = Store::open(path, cache_bytes)?;
        let mut state = State { next_id: 1, ..State::default() };
        for (place, meta) in found {
            state.next_id = state.next_id.max(place.id + 1);
            let (seq, content, check) = match meta {
                Ok(Meta { seq, content }) => (seq, content, Check::Unread),
                Err(_) => (Seq::NONE, Content::default(), Check::Bad),
            };
            let known = Known { id: place.id, seq, content, check };
            state.actors.entry((place.shard, place.actor)).or_default().push(known);
        }
        Ok((Snapshots { store, state: Mutex::new(state), writing: Mutex::default() }, moved))
    }

    /// Stores one snapshot; see [`Snapshots::put_all`].
    ///
    /// # Errors
    /// See [`Error`].
    pub fn put(&self, shard: Shard, actor: &[u8], seq: Seq, bytes: &[u8]) -> Result<(), Error> {
        self.put_all(shard, &[Put { actor, seq, bytes }])
    }

    /// Stores a snapshot for each of several actors, made durable together and read back, and only then drops what is
    /// older than the newest two that verify.
    ///
    /// # Errors
    /// See [`Error`]. What was verified before the error counts; nothing older was dropped for the rest.
    pub fn put_all(&self, shard: Shard, puts: &[Put<'_>]) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for put in puts {
            self.check(shard, put)?;
        }
        let mut written = Vec::with_capacity(puts.len());
        for put in puts {
            let place = self.new_place(shard, put.actor);
            let content = Content::of(put.bytes);
            self.store.write(&place, put.seq, content, put.bytes)?;
            written.push((place, put.seq, content));
        }
        self.store.barrier()?;
        for (place, seq, content) in written {
            self.admit(&place, seq, content)?;
        }
        Ok(())
    }

    /// Stamps one actor's snapshot anew; see [`Snapshots::touch_all`].
    ///
    /// # Errors
    /// See [`Snapshots::touch_all`].
    pub fn touch(&self, shard: Shard, actor: &[u8], seq: Seq) -> Result<(), Error> {
        self.touch_all(shard, &[(actor, seq)])
    }

    /// Says that the newest snapshots of these actors hold at a later record too, because nothing of them has changed
    /// since. When the newest two hold the same bytes, only their stamps are written. Otherwise the newest is copied
    /// once, so that the second copy covers as much as the first: a stamp alone would leave the journal uncut for ever.
    ///
    /// # Errors
    /// [`Error::NothingToTouch`] when the newest snapshot of an actor does not verify; [`Error`] otherwise.
    pub fn touch_all(&self, shard: Shard, touches: &[(&[u8], Seq)]) -> Result<(), Error> {
        let mut copies = Vec::new();
        {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut stamped = Vec::new();
            for (actor, seq) in touches {
                match self.verified_pair(shard, actor) {
                    Some([newest, _]) if newest.seq > *seq => {
                        return Err(Error::Backwards { seq: *seq, newest: newest.seq });
                    }
                    Some([newest, second]) if newest.content == second.content => {
                        for known in [newest, second] {
                            let place = Place { shard, actor: actor.to_vec(), id: known.id };
                            self.store.stamp(&place, *seq, known.content)?;
                            stamped.push((place, *seq));
                        }
                    }
                    Some(_) | None => copies.push((*actor, *seq)),
                }
            }
            self.store.barrier()?;
            for (place, seq) in stamped {
                self.restamp(&place, seq);
            }
        }
        for (actor, seq) in copies {
            // The one before a damaged newest is older than the actor: it must not get a later number.
            let newest = self.newest(shard, actor);
            let sound = newest.snapshot.filter(|_| newest.damaged.is_empty());
            let (_, bytes) = sound.ok_or(Error::NothingToTouch)?;
            self.put(shard, actor, seq, &bytes)?;
        }
        Ok(())
    }

    /// The newest snapshot of an actor that verifies, and which newer ones do not.
    pub fn newest(&self, shard: Shard, actor: &[u8]) -> Newest {
        let mut newest = Newest::default();
        for known in self.known(shard, actor).into_iter().rev() {
            let place = Place { shard, actor: actor.to_vec(), id: known.id };
            match self.store.read(&place) {
                Ok((seq, bytes)) => {
                    self.set_check(&place, Check::Verified);
                    newest.snapshot = Some((seq, bytes));
                    break;
                }
                Err(fault) => {
                    tracing::warn!(%shard, seq = %known.seq, reason = %fault, "snapshot does not verify, taking the one before");
                    self.set_check(&place, Check::Bad);
                    newest.damaged.push((known.seq, fault));
                }
            }
        }
        newest
    }

    /// The actors of `shard` of which anything is stored, in the order of their keys.
    #[must_use]
    pub fn actors(&self, shard: Shard) -> Vec<Vec<u8>> {
        let state = self.state();
        let from = (shard, Vec::new());
        let of_shard = state.actors.range(from..).take_while(|((found, _), _)| *found == shard);
        of_shard.map(|((_, actor), _)| actor.clone()).collect()
    }

    /// The number of an actor's newest snapshot that is not known to be bad; it may not have been read yet.
    #[must_use]
    pub(crate) fn newest_seq(&self, shard: Shard, actor: &[u8]) -> Option<Seq> {
        let sound = self.known(shard, actor).into_iter().rfind(|known| known.check != Check::Bad);
        sound.map(|known| known.seq)
    }

    /// Up to which record every actor of `shard` that is stored here is complete; nothing if none is stored, or one has
    /// only bad snapshots.
    #[must_use]
    pub(crate) fn covered(&self, shard: Shard) -> Option<Seq> {
        let newest = self.actors(shard).into_iter().map(|actor| self.newest_seq(shard, &actor));
        newest.min().flatten()
    }

    /// Forgets an actor.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn remove(&self, shard: Shard, actor: &[u8]) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for known in self.known(shard, actor) {
            self.store.remove(&Place { shard, actor: actor.to_vec(), id: known.id })?;
        }
        self.state().actors.remove(&(shard, actor.to_vec()));
        self.store.barrier()
    }

    /// The journal of `shard` may be cut up to and including this record: of every actor two verified snapshots contain
    /// it. Nothing while an actor has fewer. Only actors that were ever put are known here; the caller puts every actor of
    /// the shard that has records before it asks. Reads what was not read since the store was opened.
    #[must_use]
    pub fn safe_to_cut(&self, shard: Shard) -> Option<Seq> {
        let mut safe: Option<Seq> = None;
        for actor in self.actors(shard) {
            let [_, second] = self.verified_pair(shard, &actor)?;
            safe = Some(safe.map_or(second.seq, |safe| safe.min(second.seq)));
        }
        safe
    }

    fn check(&self, shard: Shard, put: &Put<'_>) -> Result<(), Error> {
        let limits = [(put.actor.len(), ACTOR_KEY_BYTES_MAX), (put.bytes.len(), SNAPSHOT_BYTES_MAX)];
        if let Some((bytes, most)) = limits.into_iter().find(|(bytes, most)| bytes > most) {
            return Err(Error::TooLarge { bytes, most });
        }
        let newest = self.known(shard, put.actor).into_iter().rfind(|known| known.check != Check::Bad);
        match newest {
            Some(newest) if newest.seq > put.seq => Err(Error::Backwards { seq: put.seq, newest: newest.seq }),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes what was written among the known if it reads as it should, and drops what is now superfluous.
    fn admit(&self, place: &Place, seq: Seq, content: Content) -> Result<(), Error> {
        if let Err(fault) = self.store.read(place) {
            self.store.remove(place)?;
            return Err(Error::Unverified { fault });
        }
        let known = Known { id: place.id, seq, content, check: Check::Verified };
        self.state().actors.entry((place.shard, place.actor.clone())).or_default().push(known);
        let Some([_, second]) = self.verified_pair(place.shard, &place.actor) else {
            return Ok(()); // nothing is superfluous before there are two
        };
        for old in self.known(place.shard, &place.actor).into_iter().filter(|known| known.id < second.id) {
            self.store.remove(&Place { id: old.id, ..place.clone() })?;
            self.forget(place, old.id);
        }
        Ok(())
    }

    /// The newest two that verify, newest first; reads those that were not read yet.
    fn verified_pair(&self, shard: Shard, actor: &[u8]) -> Option<[Known; KEPT]> {
        let mut verified = Vec::with_capacity(KEPT);
        for mut known in self.known(shard, actor).into_iter().rev() {
            let place = Place { shard, actor: actor.to_vec(), id: known.id };
            if known.check == Check::Unread {
                known.check = if self.store.read(&place).is_ok() { Check::Verified } else { Check::Bad };
                self.set_check(&place, known.check);
            }
            if known.check == Check::Verified {
                verified.push(known);
            }
            if verified.len() == KEPT {
                break;
            }
        }
        verified.try_into().ok()
    }

    fn known(&self, shard: Shard, actor: &[u8]) -> Vec<Known> {
        self.state().actors.get(&(shard, actor.to_vec())).cloned().unwrap_or_default()
    }

    fn new_place(&self, shard: Shard, actor: &[u8]) -> Place {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        Place { shard, actor: actor.to_vec(), id }
    }

    fn set_check(&self, place: &Place, check: Check) {
        self.change(place, |known| known.check = check);
    }

    fn restamp(&self, place: &Place, seq: Seq) {
        self.change(place, |known| known.seq = seq);
    }

    fn change(&self, place: &Place, change: impl FnOnce(&mut Known)) {
        let mut state = self.state();
        let stored = state.actors.get_mut(&(place.shard, place.actor.clone()));
        if let Some(known) = stored.and_then(|stored| stored.iter_mut().find(|known| known.id == place.id)) {
            change(known);
        }
    }

    fn forget(&self, place: &Place, id: u64) {
        if let Some(stored) = self.state().actors.get_mut(&(place.shard, place.actor.clone())) {
            stored.retain(|known| known.id != id);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
