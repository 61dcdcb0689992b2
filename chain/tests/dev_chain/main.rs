//! What a development chain does, seen from where its users stand: what is its own, and what Anvil has another rule for.
//! What both do alike is in `evm`, whose documentation says which rule keeps each test of these from it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
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

use node::World;
use serde_json::{Value, json};

/// The whole answer to a question in JSON.
fn ask(world: &World, method: &str, params: &Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let answer = world.chain().answer(request.to_string().as_bytes());
    serde_json::from_slice(&answer).unwrap()
}

/// What a future answers that has nothing to wait for.
fn now<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(future)
}
