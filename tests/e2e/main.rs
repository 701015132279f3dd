//! End to end: a real node, real sockets, real kills. All of it in one binary.
//!
//! [`server`] runs a node as a child process, [`client`] talks to it, [`load`] storms it, [`provider`] reads the payment
//! provider's books. One module a subject; a test tells a story.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

mod client;
mod kills;
mod load;
mod provider;
mod sale;
mod sellout;
mod server;
