//! stub
pub mod auth;
pub mod config;
pub mod encoding;
pub mod tickets;
