//! A bucket in memory whose user dies at any step on purpose: before the step is done, or after it and before the answer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Bucket, Head, Manifest, PointError, Revision, Trouble};

/// Steps that are left to live; shared by everything that one life does.
#[derive(Clone, Debug)]
pub(in crate::snapshots) struct Fuse(Arc<Mutex<Left>>);

#[derive(Debug)]
struct Left {
    steps: usize,
    /// Whether the last step is done, and only its answer lost.
    done: bool,
}

impl Fuse {
    pub(in crate::snapshots) fn new(steps: usize, done: bool) -> Fuse {
        Fuse(Arc::new(Mutex::new(Left { steps, done })))
    }

    pub(in crate::snapshots) fn endless() -> Fuse {
        Fuse::new(usize::MAX, false)
    }

    pub(in crate::snapshots) fn is_dead(&self) -> bool {
        self.0.lock().unwrap().steps == 0
    }

    /// Does a step, unless life has ended.
    pub(in crate::snapshots) fn step<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let mut left = self.0.lock().unwrap();
        if left.steps == 0 {
            return None;
        }
        left.steps -= 1;
        if left.steps == 0 {
            if left.done {
                work();
            }
            return None;
        }
        Some(work())
    }
}

/// What survives its users.
#[derive(Clone, Default)]
pub(in crate::snapshots) struct Memory(Arc<Mutex<Content>>);

#[derive(Default)]
pub(in crate::snapshots) struct Content {
    last: u64,
    pub(in crate::snapshots) heads: BTreeMap<String, Head>,
    /// By position: name, part, bytes.
    pub(in crate::snapshots) chunks: BTreeMap<u64, (String, String, Vec<u8>)>,
}

impl Memory {
    pub(in crate::snapshots) fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    pub(in crate::snapshots) fn user(&self, fuse: Fuse) -> Arc<dyn Bucket> {
        Arc::new(User { memory: self.clone(), fuse })
    }
}

struct User {
    memory: Memory,
    fuse: Fuse,
}

impl User {
    fn step<T>(&self, work: impl FnOnce(&mut Content) -> T) -> Result<T, Trouble> {
        self.fuse.step(|| work(&mut self.memory.content())).ok_or(Trouble("no answer".to_owned()))
    }
}

impl Bucket for User {
    fn chunk_bytes_max(&self) -> usize {
        64
    }

    fn head(&self, name: &str) -> Result<Head, Trouble> {
        self.step(|content| content.heads.get(name).cloned().unwrap_or_default())
    }

    fn add_chunk(&self, name: &str, part: &str, chunk: Vec<u8>) -> Result<u64, Trouble> {
        self.step(|content| {
            content.last += 1;
            content.chunks.insert(content.last, (name.to_owned(), part.to_owned(), chunk));
            content.last
        })
    }

    fn read(&self, name: &str, manifest: &Manifest) -> Result<Vec<u8>, Trouble> {
        self.step(|content| {
            let of_part = content.chunks.values().filter(|(of, part, _)| of == name && *part == manifest.part);
            of_part.flat_map(|(_, _, bytes)| bytes.clone()).collect()
        })
    }

    fn point(&self, name: &str, expected: Revision, manifest: &Manifest) -> Result<Revision, PointError> {
        let pointed = self.step(|content| {
            let head = content.heads.entry(name.to_owned()).or_default();
            if head.revision != expected {
                return Err(PointError::Moved);
            }
            content.last += 1;
            *head = Head { revision: Revision(content.last), manifest: Some(manifest.clone()) };
            Ok(head.revision)
        });
        pointed.map_err(PointError::Trouble)?
    }

    fn sweep(&self, name: &str, before: u64) -> Result<(), Trouble> {
        self.step(|content| content.chunks.retain(|position, (of, _, _)| of != name || *position >= before))
    }
}
