//! The outbox on a chain in the process: what its users see, also when processes die and nodes fail.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

mod ground;
mod life;
mod nodes;
mod refusals;
