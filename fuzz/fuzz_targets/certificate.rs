//! Any bytes at all as the certificate of a peer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_core::mesh::decode_any_certificate(bytes));
