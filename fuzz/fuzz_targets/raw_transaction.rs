//! Any bytes at all as a signed transaction: offered to a development chain, and as Solana's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peaberry_chain::dev::{DevChain, DevOptions, offer_any_bytes};
use peaberry_chain::solana::SignedTransaction;

fuzz_target!(|raw: &[u8]| {
    // A refusal is as good as a transaction.
    let _ = offer_any_bytes(&DevChain::new(DevOptions::default()), raw);
    if let Ok(signed) = SignedTransaction::from_raw(raw.to_vec().into(), 9) {
        assert_eq!(signed.raw(), raw);
    }
});
