//! The journal of a cluster: a subject per shard in JetStream streams with several copies.

pub mod append;
mod envelope;

pub use append::{Position, Purpose, Tail};
pub use envelope::{Envelope, EnvelopeError, Head, Kind, Mark, Owner, seal};
