//! The cluster: several nodes share the shards of one deployment, over NATS.
//!
//! Owns who is there and who owns what, the way of a command to the node that owns its shard, and the way of public
//! changes to every node's board. It decides no business and makes nothing durable: whoever may write a shard is decided
//! by the journal's conditional appends ([`crate::journal`]), and nothing here can make a seat be sold twice.
//!
//! Pure, and driven by the simulation as well: [`keeper`] (roles, lease), [`placement`] (who should own what), [`feed`]
//! (numbers and gaps), [`presence`] (what nodes tell each other).

pub mod feed;
pub mod keeper;
pub mod placement;
pub mod presence;
