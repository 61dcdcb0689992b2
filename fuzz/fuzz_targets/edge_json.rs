//! Any bytes at all as JSON that people write for devices.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_edge::payload::decode_any_json_bytes(bytes));
