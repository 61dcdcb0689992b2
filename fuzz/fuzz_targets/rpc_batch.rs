//! Any bytes at all as what a node answers to a batch of requests.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    let _ = peaberry_chain::read_any_batch(answer);
});
