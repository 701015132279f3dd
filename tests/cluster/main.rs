//! Clusters: real NATS servers, real nodes, and a network between them that tests cut and slow. All of it in one binary.
//!
//! [`nats`] runs the servers, [`proxy`] is the network. What a node, its clients and its load are is shared with the
//! end-to-end tests. One module a subject; a test tells a story.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

mod nats;
#[path = "../e2e/process.rs"]
mod process;
mod proxy;
mod servers;
mod wires;
