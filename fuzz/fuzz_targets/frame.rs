//! Any bytes at all as a hello, and as the frames of a connection.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peaberry_core::frame::{Hello, decode_all};

fuzz_target!(|input: (u64, &[u8])| {
    let (first, bytes) = input;
    if let Ok(hello) = Hello::decode(bytes) {
        assert!(bytes.starts_with(&hello.encode()));
    }
    let _ = decode_all(first, bytes);
});
