//! Counters: grow-only, positive-negative, bounded, and one that can be reset.
//!
//! A replica's total only rises, so [`GCounter`], [`PnCounter`] and [`BoundedCounter`] need no dots: a total is its own
//! version, and any part of a counter is a delta that joins in any order. A total is a checked `u64`.

mod bounded;
mod grow;
mod resettable;

pub use bounded::{BoundedCounter, BoundedError};
pub use grow::{CounterJump, GCounter, PnCounter};
pub use resettable::ResettableCounter;
