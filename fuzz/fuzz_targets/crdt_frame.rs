//! Any bytes at all as the hello of a replica.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_crdt::sync::decode_any_hello(bytes));
