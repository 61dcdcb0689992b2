//! Whatever a store holds in the place of a spool or a collector: it is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_edge::decode_any_stored_bytes(bytes));
