//! Any bytes at all as a file of orders: every line is an order, a problem, or empty.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peaberry_examples::orders::OrderFile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = OrderFile::read(bytes) {
        let accounted = file.orders.len() as u64 + file.problem_count;
        assert!(accounted <= bytes.iter().filter(|&&byte| byte == b'\n').count() as u64);
    }
});
