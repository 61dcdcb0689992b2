//! A chain to measure on.

use std::error::Error;

use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{EvmRpc, Fees, Transaction};
use peaberry_chain::primitives::{Address, Bytes, U256};
use peaberry_chain::wallet::EvmKey;

/// A development chain and one account that does everything.
pub(crate) struct Ground {
    pub(crate) chain: DevChain,
    pub(crate) key: EvmKey,
    nonce: u64,
}

impl Ground {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let key = EvmKey::from_bytes(&[7; 32])?;
        let chain = DevChain::new(DevOptions::default().fund(key.evm_address()));
        Ok(Self {
            chain,
            key,
            nonce: 0,
        })
    }

    pub(crate) fn owner(&self) -> Address {
        self.key.evm_address()
    }

    /// Where the contract made by `code` is.
    pub(crate) async fn deploy(&mut self, code: Bytes) -> Result<Address, Box<dyn Error>> {
        let address = self.owner().create(self.nonce);
        self.transact(None, code).await?;
        Ok(address)
    }

    /// The gas that a call took, its transaction's own included.
    pub(crate) async fn gas(&mut self, to: Address, data: Vec<u8>) -> Result<u64, Box<dyn Error>> {
        self.transact(Some(to), data.into()).await
    }

    async fn transact(&mut self, to: Option<Address>, data: Bytes) -> Result<u64, Box<dyn Error>> {
        let transaction = Transaction {
            chain: self.chain.network().chain,
            nonce: self.nonce,
            gas_limit: 16_000_000,
            fees: Fees::Eip1559 {
                fee_max: 10_000_000_000,
                tip_max: 1,
            },
            to,
            value: U256::ZERO,
            data,
        };
        let signed = transaction.sign(&self.key).await?;
        self.chain.submit(signed.raw())?;
        self.nonce += 1;
        let receipt = self.chain.receipt(signed.hash()).await?;
        let receipt = receipt.ok_or("it was not included")?;
        if !receipt.is_success {
            let reason = self.chain.revert_reason(signed.hash());
            return Err(format!("a measured call was undone: {reason:?}").into());
        }
        Ok(receipt.gas_used)
    }
}
