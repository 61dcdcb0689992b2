//! Any bytes at all as a message between oracles, a signed report, evidence, and an attestation.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_oracle::decode_any_oracle_bytes(bytes));
