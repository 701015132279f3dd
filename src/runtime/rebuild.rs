//! Rebuilding: brings single cells back to what is durable while the node runs.
//!
//! Owns one thread that takes whatever is wanted at the moment, of all shards, and reads the journal once for all of it.
//! Used after a panic and after an append that was refused. The result goes back to the shards' threads.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use actors::address::Address;
use actors::ids::Shard;
use tracing::error;

use super::control::{Control, Life, Rebuilt};
use super::format;
use super::load::{self, StartError};
use super::recovery::{Image, RecoveryError, Restored};
use super::router::Router;
use super::shelf::Shelf;
use crate::journal::Journal;

/// A journal that is cut while it is read is read again, so often at most.
const TRIES: usize = 3;

/// Cells of one shard that must be brought back.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) shard: Shard,
    /// Of which life of the shard on this node.
    pub(super) life: Life,
    pub(super) cells: Vec<Address>,
}

/// The requests' end ends the thread.
pub(super) fn start(
    journal: Arc<dyn Journal>,
    shelf: Arc<dyn Shelf>,
    router: Router,
) -> std::io::Result<(mpsc::Sender<Request>, JoinHandle<()>)> {
    let (requests, wanted) = mpsc::channel::<Request>();
    let thread = std::thread::Builder::new().name("rebuild".to_owned()).spawn(move || {
        while let Ok(first) = wanted.recv() {
            let batch = merge(std::iter::once(first).chain(wanted.try_iter()));
            let mut results = rebuild(&*journal, &*shelf, &batch);
            for request in batch {
                let found = results.iter().position(|restored| restored.shard == request.shard);
                let restored = found.map(|at| results.swap_remove(at));
                let Request { shard, life, cells } = request;
                router.control_shard(shard, Control::Rebuilt(Rebuilt { shard, life, cells, restored }));
            }
        }
    })?;
    Ok((requests, thread))
}

/// One request a shard: nobody waits for the cells of its former life.
fn merge(requests: impl Iterator<Item = Request>) -> Vec<Request> {
    let mut merged: Vec<Request> = Vec::new();
    for request in requests {
        match merged.iter_mut().find(|known| known.shard == request.shard) {
            Some(known) if known.life == request.life => known.cells.extend(request.cells),
            Some(known) if known.life < request.life => *known = request,
            Some(_) => {}
            None => merged.push(request),
        }
    }
    merged
}

fn rebuild(journal: &dyn Journal, shelf: &dyn Shelf, batch: &[Request]) -> Vec<Restored> {
    for left in (0..TRIES).rev() {
        match try_rebuild(journal, shelf, batch) {
            Ok(results) => return results,
            Err(error) => error!(%error, tries_left = left, "cells could not be rebuilt"),
        }
    }
    if batch.len() > 1 {
        // One shard that cannot be read must not keep the others down.
        return batch.iter().flat_map(|request| rebuild(journal, shelf, std::slice::from_ref(request))).collect();
    }
    Vec::new()
}

fn try_rebuild(journal: &dyn Journal, shelf: &dyn Shelf, batch: &[Request]) -> Result<Vec<Restored>, StartError> {
    let shards: Vec<Shard> = batch.iter().map(|request| request.shard).collect();
    let bases = load::bases(journal, &shards)?;
    let mut images = Vec::new();
    for (request, base) in batch.iter().zip(&bases) {
        let mut image = Image::new(request.shard, base.1).only(request.cells.clone());
        let shard = request.shard;
        let kept = shelf.cells(shard).map_err(|source| RecoveryError::Shelf { shard, source })?;
        for cell in &request.cells {
            let name = format::encode_address(cell);
            match shelf.newest(request.shard, &name) {
                Some((seq, bytes)) => image.snapshot(cell.clone(), seq, &bytes)?,
                None if kept.contains(&name) => image.without_snapshot(cell)?,
                None => {}
            }
        }
        image.check_snapshots()?;
        images.push((request.shard, image));
    }
    let last = journal.replay(&load::names(&bases), &mut |shard, seq, record| {
        let image = images.iter_mut().find(|(of, _)| of.0 == shard.0);
        let (_, image) = image.ok_or("record of a shard that was not asked for")?;
        Ok(image.fold(seq, record)?)
    })?;
    let finished = images.into_iter().zip(last).map(|((_, image), (_, last))| image.finish(last));
    Ok(finished.collect::<Result<_, _>>()?)
}
