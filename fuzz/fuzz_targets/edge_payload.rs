//! Any bytes at all as records, commands, acknowledgements and topics of devices.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_edge::payload::decode_any_payload_bytes(bytes));
