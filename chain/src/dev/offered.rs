//! A signed transaction as it was offered to the chain.

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_eips::eip7702::RecoveredAuthorization;
use alloy_primitives::{Address, B256, U256};
use revm::context::TxEnv;
use revm::context_interface::either::Either;

use super::Rejection;

/// The largest transaction that the mempool takes, as geth has it.
pub(super) const TRANSACTION_BYTES_MAX: usize = 128 << 10;

/// A transaction that is well formed and signed.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) envelope: TxEnvelope,
    pub(super) from: Address,
    pub(super) hash: B256,
    pub(super) bytes: usize,
}

impl Offered {
    /// Reads a transaction as it goes over the wire (EIP-2718), and who signed it.
    pub(super) fn decode(raw: &[u8]) -> Result<Self, Rejection> {
        if raw.len() > TRANSACTION_BYTES_MAX {
            return Err(Rejection::TooLarge { bytes: raw.len() });
        }
        if raw.is_empty() {
            return Err(Rejection::Malformed("typed transaction too short".into()));
        }
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| Rejection::Malformed(error.to_string()))?;
        if envelope.is_eip4844() {
            return Err(Rejection::Unsupported("blob transactions"));
        }
        let from = envelope
            .recover_signer()
            .map_err(|_no_key| Rejection::InvalidSender)?;
        Ok(Self {
            hash: *envelope.tx_hash(),
            envelope,
            from,
            bytes: raw.len(),
        })
    }

    pub(super) fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    /// The most that a unit of gas may cost.
    pub(super) fn fee_max(&self) -> u128 {
        self.envelope.max_fee_per_gas()
    }

    /// The most that the block's maker may get of it; of a transaction with one price that price.
    pub(super) fn tip_max(&self) -> u128 {
        self.envelope.priority_fee_or_price()
    }

    /// What the block's maker gets for a unit of gas; `None` if it cannot pay the base fee.
    pub(super) fn tip(&self, base_fee: u64) -> Option<u128> {
        self.envelope.effective_tip_per_gas(base_fee)
    }

    /// The most that it may take from its sender.
    pub(super) fn cost_max(&self) -> U256 {
        let gas = U256::from(self.envelope.gas_limit());
        gas.saturating_mul(U256::from(self.fee_max()))
            .saturating_add(self.envelope.value())
    }

    /// What the EVM is told of it.
    pub(super) fn environment(&self) -> TxEnv {
        let transaction = &self.envelope;
        let authorizations = transaction.authorization_list().unwrap_or_default();
        TxEnv {
            tx_type: transaction.tx_type().into(),
            caller: self.from,
            gas_limit: transaction.gas_limit(),
            gas_price: self.fee_max(),
            kind: transaction.kind(),
            value: transaction.value(),
            data: transaction.input().clone(),
            nonce: transaction.nonce(),
            chain_id: transaction.chain_id(),
            access_list: transaction.access_list().cloned().unwrap_or_default(),
            gas_priority_fee: transaction.max_priority_fee_per_gas(),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: authorizations
                .iter()
                .map(|signed| Either::Right(RecoveredAuthorization::from(signed.clone())))
                .collect(),
        }
    }

    /// The bytes that it is in a block.
    pub(super) fn raw(&self) -> Vec<u8> {
        self.envelope.encoded_2718()
    }
}
