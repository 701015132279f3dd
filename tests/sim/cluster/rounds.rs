//! Snapshots that all nodes share, and the cut of the journal behind them.
//!
//! The owner of a shard takes all of its cells at once; they reach the shared store when what they contain is durable, and
//! some time later. So they are always some records behind, and those of an owner that was overtaken may still come.

use actors::address::Address;
use actors::ids::Shard;
use actors::time::Span;
use stampede::journal::Seq;
use stampede::journal::jetstream::Kind;
use stampede::runtime::follow::Following;
use stampede::runtime::{Shelf, Stored, format};

use super::{Cluster, Happening};
use crate::model::must;
use crate::site::Place;
use crate::world::{Event, Step, World};

/// All cells of a shard, each with the record up to which it is complete.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    cells: Vec<(Seq, Address, Vec<u8>)>,
}

impl Bundle {
    fn up_to(&self) -> Seq {
        self.cells.iter().map(|(seq, _, _)| *seq).max().unwrap_or(Seq::NONE)
    }
}

impl World<Cluster> {
    /// One round of snapshots of some shard.
    pub(super) fn snapshot_round(&mut self) -> Step {
        let mean = self.site.rates.every.snapshot;
        self.again(mean, Event::Site(Happening::Snapshot));
        let Some(place) = self.chance.pick(&self.site.places()).copied() else { return Ok(()) };
        let shard = Shard(self.chance.index(usize::from(self.plan.policy.shards)) as u16);
        if self.site.nodes[place.node].paused.is_some() {
            return Ok(());
        }
        let Some(hosting) = self.site.hosting(place, shard).filter(|hosting| hosting.bundle.is_none()) else {
            return Ok(());
        };
        let mut cells = Vec::new();
        let host = &mut hosting.host;
        for (address, cell) in &host.cells {
            let Some(state) = &cell.state else { return Ok(()) };
            let bytes = state.encode().map_err(|error| error.to_string())?;
            cells.push((host.log.seal(cell.last_change), address.clone(), bytes));
        }
        hosting.bundle = Some(Bundle { cells });
        self.coverage.count("snapshot rounds");
        self.bundle_durable(place, shard)
    }

    /// A bundle whose records are durable is on its way to the store.
    pub(super) fn bundle_durable(&mut self, place: Place, shard: Shard) -> Step {
        let wait = Span(if self.chance.hit(100) { self.chance.between(500, 6000) } else { self.chance.between(5, 80) });
        let Some(hosting) = self.site.hosting(place, shard) else { return Ok(()) };
        let durable = hosting.host.log.durable_seq();
        if let Some(bundle) = hosting.bundle.take_if(|bundle| bundle.up_to() <= durable) {
            self.after(wait, Event::Site(Happening::Bundled { shard, bundle }));
        }
        Ok(())
    }

    /// A bundle has come: it replaces an older one, and what two bundles contain is cut.
    pub(super) fn bundled(&mut self, shard: Shard, bundle: Bundle) -> Step {
        let newest = |address: &Address| self.site.shelf.newest(shard, &format::encode_address(address));
        let is_late =
            bundle.cells.iter().any(|(seq, address, _)| newest(address).is_some_and(|(known, _)| known >= *seq));
        if is_late {
            self.coverage.count("bundles that came too late");
            return Ok(());
        }
        let stored = |(seq, address, bytes): (Seq, Address, Vec<u8>)| Stored {
            cell: format::encode_address(&address),
            seq,
            bytes,
        };
        let cells: Vec<Stored> = bundle.cells.into_iter().map(stored).collect();
        self.site.shelf.put(shard, &cells).map_err(|error| error.to_string())?;
        let to = self.site.shelf.completed(shard).unwrap_or(Seq::NONE);
        if self.site.stream.purge(shard, to) > 0 {
            self.coverage.count("journal: records cut");
        }
        Ok(())
    }

    /// A node with an empty disk finds in snapshots and journal what is durable.
    pub(super) fn cold_start(&self) -> Step {
        for shard in (0..self.plan.policy.shards).map(Shard) {
            let last = self.truth.last(usize::from(shard.0));
            let mut following: Option<Following> = None;
            for stored in self.site.stream.read(shard, Default::default()) {
                let envelope = &stored.envelope;
                if following.is_none() {
                    let begun = Following::new(shard, envelope.before(), &self.site.shelf);
                    following = Some(begun.map_err(|error| format!("a cold start: {error}"))?);
                }
                if let (Some(following), Kind::Record(record)) = (&mut following, &envelope.kind) {
                    following.fold(envelope.seq, record).map_err(|error| format!("a cold start: {error}"))?;
                }
            }
            let following = following.ok_or_else(|| format!("shard {} was never owned", shard.0))?;
            let restored = following.finish(last).map_err(|error| format!("a cold start: {error}"))?;
            for (address, recovered) in &restored.machines {
                self.truth.compare(address, "a cold start", &recovered.machine)?;
            }
            let here = self.truth.machines.keys().filter(|address| self.shard_of(address) == shard);
            for address in here {
                must!(restored.machines.contains_key(address), "a cold start lost {address:?}");
            }
        }
        Ok(())
    }
}
