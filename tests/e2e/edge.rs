//! The edge as strangers and attackers meet it: raw bytes on a connection, compared with what RFC 9112 says they are.
//!
//! [`framing`] is a table of odd and hostile requests, [`smuggling`] sends them straight and through a [`proxy`]. All of it
//! runs with the fast lane and without it, where there is one.

mod answers;
mod framing;
mod proxy;
mod smuggling;
mod stream;

/// Settings of the nodes that every story here is told to: the lane on and off. A server that knows no lane is one setting.
fn lanes() -> &'static [&'static [&'static str]] {
    match has_lane() {
        true => &[&["http.fast_lane=true"], &["http.fast_lane=false"]],
        false => &[&[]],
    }
}

/// Whether this server has a fast lane at all.
fn has_lane() -> bool {
    include_str!("../../config/default.toml").contains("\nfast_lane = ")
}

/// How an edge reads several requests of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipelining {
    /// Each answer is about its own request, and nothing is read behind one that ends the connection.
    Exact,
    /// actix-http 3.20 reads the heads of waiting requests before it writes the answers, and keeps `HEAD`, version and
    /// `Connection` of the last head it read only: an answer may have another's body or `Connection`, and a request
    /// behind `Connection: close` is executed.
    DecodesAhead,
}

/// How a node with these settings does.
fn pipelining(lane: &[&str]) -> Pipelining {
    if lane.contains(&"http.fast_lane=true") { Pipelining::Exact } else { Pipelining::DecodesAhead }
}
