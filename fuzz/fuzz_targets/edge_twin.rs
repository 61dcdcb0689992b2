#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_edge::twin::receive_any_twin_bytes(bytes));
