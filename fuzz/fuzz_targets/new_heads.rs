//! Any bytes at all as what a node says over a WebSocket: frames, and the messages in them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|said: &[u8]| {
    let (_news, end) = peaberry_chain::evm::hear_any_bytes(said);
    assert!(!end.may_have_been_sent());
});
