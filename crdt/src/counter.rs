//! Counters: grow-only, positive-negative, bounded, and one that can be reset.
//!
//! A replica's total only rises, so [`GCounter`], [`PnCounter`] and [`BoundedCounter`] need no dots: a total is its own
//! version, and any part of a counter is a delta that joins in any order. A total is a checked `u64`. Each of them is
//! [`Replicated`](crate::Replicated): hand it to a sync or a durable replica as it is. Several counters in one document, or
//! beside other things, are a map of [`ResettableCounter`]s.

mod bounded;
mod grow;
mod replicated;
mod resettable;

pub use bounded::{BoundedCounter, BoundedError};
pub use grow::{CounterJump, GCounter, PnCounter};
pub use resettable::ResettableCounter;
