//! Stampede: a ticket on-sale engine. How a request travels:
//!
//! ```text
//!  http ──reads──▶ board (finished answers)
//!    │
//!    └─commands──▶ dispatch ──▶ runtime: cell (turn of a machine) ──▶ journal ──durable──▶ replies, messages, feed
//!                     │            │                                                          │
//!                     │            └──▶ snapshots                   board, live, outward (provider, letters) ◀┘
//!                     └──▶ cluster: the same on the node that owns the shard, if that is another one
//! ```
//!
//! The machines that decide are in the crate [`actors`]; [`node`] puts the parts together; [`config`] says what may be set.

pub mod auth;
pub mod backup;
pub mod board;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod dispatch;
pub mod encoding;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod nats;
pub mod node;
pub mod notices;
pub mod outward;
pub mod runtime;
pub mod snapshots;
pub mod telemetry;
pub mod tickets;
