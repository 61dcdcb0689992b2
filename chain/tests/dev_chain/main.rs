//! What a development chain does, seen from where its users stand: what is its own, and what Anvil has another rule for.
//! What both do alike is in `evm`, whose documentation says which rule keeps each test of these from it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

mod alloy;
mod blocks;
mod interval;
mod json_rpc;
mod mempool;
mod traces;
mod websocket;

use futures_util::FutureExt as _;
use peaberry_chain::EvmAddress;
use peaberry_chain::dev::{DevChain, DevOptions, Mining};
use peaberry_chain::evm::{Fees, SignedTransaction, Transaction};
use peaberry_chain::primitives::{Bytes, U256};
use peaberry_chain::wallet::EvmKey;

const GWEI: u128 = 1_000_000_000;

/// A chain that makes blocks on demand, and two accounts with money.
struct World {
    chain: DevChain,
    keys: [EvmKey; 2],
}

impl World {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(DevOptions) -> DevOptions) -> Self {
        let keys = [1, 2].map(|seed| EvmKey::from_bytes(&[seed; 32]).unwrap());
        let options = DevOptions {
            mining: Mining::OnDemand,
            ..DevOptions::default()
        };
        let options = keys
            .iter()
            .fold(options, |o, key| o.fund(key.evm_address()));
        Self {
            chain: DevChain::new(change(options)),
            keys,
        }
    }

    fn address(&self, key: usize) -> EvmAddress {
        self.keys.get(key).unwrap().evm_address()
    }

    /// A payment of 1 wei from the account `key` to nobody in particular.
    fn payment(&self, nonce: u64) -> Transaction {
        Transaction {
            chain: self.chain.network().chain,
            nonce,
            gas_limit: 21_000,
            fees: Fees::Eip1559 {
                fee_max: 10 * GWEI,
                tip_max: GWEI,
            },
            to: Some(EvmAddress::repeat_byte(9)),
            value: U256::ONE,
            data: Bytes::new(),
        }
    }

    /// Runs `code` as a new contract's constructor.
    fn creation(&self, nonce: u64, code: &[u8]) -> Transaction {
        Transaction {
            to: None,
            value: U256::ZERO,
            gas_limit: 1_000_000,
            data: Bytes::copy_from_slice(code),
            ..self.payment(nonce)
        }
    }

    fn sign(&self, key: usize, transaction: &Transaction) -> SignedTransaction {
        let signing = transaction.sign(self.keys.get(key).unwrap());
        signing
            .now_or_never()
            .expect("a key in memory signs at once")
            .unwrap()
    }
}

/// What a future answers that has nothing to wait for.
fn now<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(future)
}
