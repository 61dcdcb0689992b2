//! Any bytes at all as what a store reads from its disk.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_core::decode_any_storage_bytes(bytes));
