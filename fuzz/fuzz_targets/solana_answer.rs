//! Whatever a Solana node answers, and three that agree, the client reads it or says what is wrong with it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    peaberry_chain::solana::read_any_answer(answer);
});
