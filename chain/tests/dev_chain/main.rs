//! What a development chain does, seen from where its users stand: what is its own, and what Anvil has another rule for.
//! What both do alike is in `evm`, whose documentation says which rule keeps each test of these from it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers fail as loudly as the test"
)]

mod blocks;
mod filters;
mod interval;
mod json_rpc;
mod mempool;
#[path = "../node/mod.rs"]
mod node;
mod traces;
mod websocket;

/// What a future answers that has nothing to wait for.
fn now<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(future)
}
