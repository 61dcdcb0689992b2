//! Any bytes at all as a source's JSON with a pointer into it, as a price, and as a file of prices.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_oracle::source::decode_any_source_bytes(bytes));
