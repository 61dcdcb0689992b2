//! The sync, over links that lose: what is too large for a frame, what is refused, and who hears of it.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod bounds;
mod counted;
mod forger;
mod greedy;
mod large;
mod limits;
mod link;
mod narrow;
