//! Stampede's machines: every decision of the box office, as plain data.
//!
//! No clock, no randomness, no I/O in this crate: time, chance and identity are arguments, and what has to be done in
//! the world is an [`machine::Effect`] that the host carries out once the changes are durable.
//!
//! Who there is, and who tells whom:
//!
//! ```text
//!              Configure                Bind · Sell · Return               Charge · Refund
//!  EventDesk ────────────▶ SeatBlock ◀──────────────────────▶ OrderDesk ◀────────────────▶ PaymentDesk ─▶ provider
//!            ◀────────────             Bound · Sold · Returned     │         Settled · Refunded
//!              Configured                                          │ Notify
//!                                                                  ▼
//!                                                              Notifier ─▶ letters
//! ```
//!
//! Start at [`machine`] (what a machine is, and `turn`, the one way to run it), then [`block`] and [`order`].
//! Every message is owed by the sender's state until its answer is folded in; every receiver is idempotent.

pub mod address;
pub mod block;
pub mod bytes;
pub mod event;
pub mod feed;
pub mod gateway;
pub mod ids;
pub mod keyed;
pub mod machine;
pub mod message;
pub mod money;
pub mod notice;
pub mod order;
pub mod payment;
pub mod planted;
pub mod policy;
pub mod refusal;
pub mod time;
