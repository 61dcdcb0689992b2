//! Any bytes at all as what clients, replicas and the lock table say to each other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peaberry_lockd::request::{Answer, Notice, Query, Reply, Request};

fuzz_target!(|bytes: &[u8]| {
    let _ = Request::decode(bytes);
    let _ = Reply::decode(bytes);
    let _ = Notice::decode(bytes);
    let _ = Query::decode(bytes);
    let _ = Answer::decode(bytes);
});
