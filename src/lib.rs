//! Stampede, a ticket on-sale engine.

pub mod journal;
pub mod snapshots;
