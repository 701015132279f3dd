//! Stampede: a ticket on-sale engine. How a request travels:
//!
//! ```text
//!  http ──reads──▶ board (finished answers)
//!    │
//!    └─commands──▶ dispatch ──▶ runtime: cell (turn of a machine) ──▶ journal ──durable──▶ replies, messages, feed
//!                                  │                                                          │
//!                                  └──▶ snapshots                        board, live, gateway, notices ◀┘
//! ```

pub mod clock;
pub mod dispatch;
pub mod journal;
