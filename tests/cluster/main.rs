//! Clusters: real NATS servers, real nodes, and a network between them that tests cut and slow. All of it in one binary.
//!
//! [`nats`] runs the servers, [`nodes`] the nodes, [`proxy`] is the network, [`sale`] what goes on meanwhile and must come out
//! right, [`prober`] somebody who wants a place on every shard, [`journals`] reads past the nodes what was written. A node, its
//! clients and its load are those of the end-to-end tests. One module a subject; a test tells a story.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

mod alone;
mod backups;
mod clocks;
mod configuration;
mod copies;
mod cuts;
mod emptied;
mod joining;
mod journal;
mod journals;
mod killing;
mod nats;
mod nodes;
mod outages;
mod owner;
mod prober;
mod proxy;
mod rolling;
mod sale;
mod secured;
mod servers;
mod snapshots;
mod watching;
mod wires;
mod zombies;

use e2e::{client, contract, load, process, provider, server, socket};

#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e"]
mod e2e {
    pub(crate) mod client;
    pub(crate) mod contract;
    pub(crate) mod load;
    pub(crate) mod process;
    pub(crate) mod provider;
    pub(crate) mod server;
    pub(crate) mod socket;
}
