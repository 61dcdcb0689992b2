//! Any bytes at all as a message between replicas, and as an entry of the log.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_consensus::decode_any_raft_bytes(bytes));
