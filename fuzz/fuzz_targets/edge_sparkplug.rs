#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_edge::sparkplug::wire::decode_any_sparkplug_bytes(bytes));
