//! The edge as strangers and attackers meet it: raw bytes on a connection, compared with what RFC 9112 says they are.
//!
//! [`framing`] is a table of odd and hostile requests, [`smuggling`] sends them straight and through a [`proxy`];
//! [`twins`] sends the same random requests to a node with the fast lane and to one without, and compares the answers;
//! [`lane`] asks of the lane what is its own: order, deadlines, and one request of every kind; [`slow`] is a thousand
//! clients that hardly move.

mod answers;
mod framing;
mod lane;
mod proxy;
mod slow;
mod smuggling;
mod stream;
mod twins;

/// Settings of the nodes that every story here is told to: with the lane and without.
const LANES: [&[&str]; 2] = [&["http.fast_lane=true"], &["http.fast_lane=false"]];

/// What an edge does with a `HEAD` when more requests came in the same packet.
///
/// actix-http 3.20 reads the heads of waiting requests before it writes answers, and remembers method, version and
/// `Connection` of the last head only. So an answer to `HEAD` may come with a body, one to `GET` without it, any answer
/// with the `Connection` of another request; and what it has read behind `Connection: close` it hands on like any request,
/// so that all we can do is to answer 400 instead of executing it (`around::Ended`). The lane gives actix-web one request
/// at a time, except for those that take the connection there for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heads {
    Kept,
    Forgotten,
}

/// How a node with these settings does.
fn heads(lane: &[&str]) -> Heads {
    if lane.contains(&"http.fast_lane=true") { Heads::Kept } else { Heads::Forgotten }
}
