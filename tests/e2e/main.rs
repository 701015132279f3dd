//! End to end: a real node, real sockets, real kills. All of it in one binary.
//!
//! [`server`] runs a node as a child process, [`client`] talks to it, [`contract`] holds every answer against the
//! documents. One module a subject; a test tells a story.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

mod access;
mod caching;
mod cli;
mod client;
mod contract;
mod crowding;
mod documents;
mod holding;
mod idempotency;
mod live;
mod organizing;
mod panicking;
mod paying;
mod rubbish;
mod sale;
mod server;
mod socket;
mod stopping;
mod wire;
