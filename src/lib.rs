

pub mod auth;
pub mod board;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod encoding;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod node;
pub mod notices;
pub mod outward;
pub mod runtime;
pub mod snapshots;
pub mod telemetry;
pub mod tickets;
