//! Whatever a store holds in the place of an order: it is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_edge::order::decode_any_order_bytes(bytes));
