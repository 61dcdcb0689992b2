//! Any bytes at all as what clients, replicas and the lock table say to each other and keep.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_lockd::decode_any_lockd_bytes(bytes));
