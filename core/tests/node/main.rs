//! A node's turn, through its public door: the one safe order of effects, and what happens when something fails.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod commits;
mod failures;
mod hosts;
mod inputs;
mod order;
mod stage;
