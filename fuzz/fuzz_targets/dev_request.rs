//! Any request to a development chain is answered by JSON or by nothing, and never by a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peaberry_chain::dev::{DevChain, DevOptions};

fuzz_target!(|request: &[u8]| {
    let chain = DevChain::new(DevOptions::default());
    let answer = chain.answer(request);
    assert!(answer.is_empty() || serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
});
