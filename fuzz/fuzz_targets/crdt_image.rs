//! Any bytes at all as who a stored replica is.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_crdt::protocol::decode_any_identity(bytes));
