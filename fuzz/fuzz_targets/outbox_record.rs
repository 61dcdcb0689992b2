//! Whatever a store holds in the place of an outbox's entry: it is read, and has one spelling, or is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(spelling) = peaberry_chain::outbox::decode_any_record(bytes) {
        assert_eq!(spelling, bytes, "one spelling for each entry");
    }
});
