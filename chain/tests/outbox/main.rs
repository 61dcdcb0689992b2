//! The outbox on a chain: what its users see, also when processes die and nodes fail. Both on the development chain and on
//! Anvil; `evm` lists what Anvil is not asked.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

mod ground;
mod life;
#[path = "../node/mod.rs"]
mod node;
mod nodes;
mod refusals;
mod trouble;
