//! End to end: a real node, real sockets, real kills. All of it in one binary.
//!
//! [`server`] runs a node as a child [`process`], [`client`] talks to it, [`contract`] holds every answer against the
//! documents; [`load`] storms it, [`provider`] reads the payment provider's books. One module a subject; a test tells a
//! story.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

mod access;
mod caching;
mod cli;
mod client;
mod contract;
mod crowding;
mod disk;
mod documents;
mod edge;
mod holding;
mod idempotency;
mod kills;
mod live;
mod load;
mod measuring;
mod notices;
mod organizing;
mod panicking;
mod paying;
mod payments;
mod process;
mod provider;
mod rubbish;
mod sale;
mod sellout;
#[allow(dead_code, reason = "the cluster tests use the rest")]
mod server;
mod socket;
mod stopping;
mod wire;
