//! The bytes: as `FORMAT.md` says, the same for ever, and total against whatever else comes.
#![cfg(feature = "testkit")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod golden;
mod samples;
#[cfg(feature = "serde")]
mod serde;
