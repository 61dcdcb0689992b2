//! Any bytes at all as the hello of a replica, or as a piece of a delta.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    peaberry_crdt::sync::decode_any_hello(bytes);
    peaberry_crdt::sync::decode_any_piece(bytes);
});
