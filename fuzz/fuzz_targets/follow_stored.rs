//! Whatever a store holds in the place of a followed block or a change: it is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A refusal is as good as a block.
    let _ = peaberry_chain::follow::decode_any_stored(bytes);
});
