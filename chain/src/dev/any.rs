//! Any bytes at all as a signed transaction.

use alloy_primitives::keccak256;

use super::{DevChain, Rejection};
use crate::evm::SignedTransaction;

/// Offers any bytes to a chain, for fuzzing: what is taken has the name of its bytes and says of which chain it is, and what is
/// refused changes nothing.
#[doc(hidden)]
pub fn offer_any_bytes(chain: &DevChain, raw: &[u8]) -> Result<(), Rejection> {
    let signed = SignedTransaction::from_raw(raw.to_vec().into());
    let of = signed.chain();
    let before = chain.waiting();
    let offered = chain.submit(raw);
    match &offered {
        Ok(hash) => {
            assert_eq!(*hash, keccak256(raw), "one spelling for each transaction");
            assert_eq!(*hash, signed.hash());
            let own = chain.network().chain;
            assert!(
                matches!(of, Ok(of) if of.is_none_or(|of| of == own)),
                "{of:?}"
            );
        }
        Err(_) => assert_eq!(chain.waiting(), before),
    }
    offered.map(|_hash| ())
}

#[cfg(all(test, feature = "wallet"))]
mod tests {
    use alloy_primitives::{Bytes, U256};
    use futures_util::FutureExt as _;

    use super::*;
    use crate::EvmAddress;
    use crate::dev::{DevOptions, Mining};
    use crate::evm::{Fees, Transaction};
    use crate::hostile::each_spoiled;
    use crate::wallet::EvmKey;

    #[test]
    fn any_bytes_are_a_transaction_or_refused() {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let options = DevOptions {
            mining: Mining::OnDemand,
            ..DevOptions::default()
        };
        let chain = DevChain::new(options.fund(key.evm_address()));
        let (fee_max, tip_max) = (10_000_000_000, 1);
        let signed = |fees: Fees, to: Option<EvmAddress>| -> Bytes {
            let transaction = Transaction {
                chain: chain.network().chain,
                nonce: 0,
                gas_limit: 100_000,
                fees,
                to,
                value: U256::from(300),
                data: Bytes::from_static(&[0, 1, 2]),
            };
            let signed = transaction.sign(&key).now_or_never().unwrap();
            signed.unwrap().raw().clone()
        };
        let to = Some(EvmAddress::repeat_byte(9));
        let samples = [
            signed(Fees::Eip1559 { fee_max, tip_max }, to),
            signed(Fees::Legacy { gas_price: fee_max }, to),
            signed(Fees::Legacy { gas_price: fee_max }, None),
        ];
        let mut taken = 0;
        each_spoiled(&samples.each_ref().map(|raw| &raw[..]), |raw| {
            if offer_any_bytes(&chain, raw).is_ok() {
                taken += 1;
                // Each finds the chain as the first one has found it.
                chain.forget_all();
            }
        });
        assert!(taken >= samples.len(), "those that were right: {taken}");
    }

    /// A length of which only the figure is there, in each of the ways to write one.
    #[test]
    fn lengths_that_are_told_take_no_memory() {
        let chain = DevChain::new(DevOptions::default());
        for head in [
            &[0xff_u8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
            &[0x02, 0xfb, 0xff, 0xff, 0xff, 0xff],
            &[0x02, 0xf8, 0xff, 0xbf, 0x7f, 0xff, 0xff, 0xff],
            &[0x04, 0xf9, 0xff, 0xff, 0xc0],
        ] {
            assert!(offer_any_bytes(&chain, head).is_err());
        }
        let large = vec![0x02; (128 << 10) + 1];
        assert!(matches!(
            offer_any_bytes(&chain, &large),
            Err(Rejection::TooLarge { .. })
        ));
    }
}
