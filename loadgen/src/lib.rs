//! Stampede's load generator and auditor.
//!
//! It knows the public API and nothing of the server: no type, no constant, no file is shared, so that what it reports
//! is what any client would see. [`onsale::run`] is one run from creating the events to the verdict; the rest in
//! reading order:
//!
//! | module | owns |
//! |---|---|
//! | [`cli`] | what can be typed, and its meaning ([`plan`]) |
//! | [`profile`] | how the rate of an open loop goes over time |
//! | [`mix`] | the operations and how often each is drawn |
//! | [`stage`] | the events on sale, the customers and their tokens |
//! | [`engine`] | event loops that send, receive, retry and follow |
//! | [`http`], [`client`] | the bytes on the wire; a plain client for everything that is not load |
//! | [`journal`] | every acknowledgement, written down before it is counted |
//! | [`audit`] | what was acknowledged against what the server has |
//! | [`report`] | table, JSON, HTML, thresholds |
//! | [`floor`] | the bare server to compare a real one with |
//! | [`compare`] | servers on this machine, side by side |
//! | [`live`] | WebSocket readers and how long a change takes to them |
//! | [`proc`] | CPU time and memory of the server's process |

pub mod audit;
pub mod cli;
pub mod client;
pub mod clock;
pub mod compare;
pub mod engine;
pub mod failure;
pub mod floor;
pub mod http;
pub mod journal;
pub mod live;
pub mod mix;
pub mod onsale;
pub mod plan;
pub mod proc;
pub mod profile;
pub mod progress;
pub mod report;
pub mod stage;
pub mod token;
