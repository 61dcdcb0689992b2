//! Any bytes at all as the JSON of a key file. What would take long to stretch is passed over.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    peaberry_chain::wallet::read_any_key_file(json, "password");
});
