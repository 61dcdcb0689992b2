//! A block with what its transactions did.

use std::sync::Arc;

use alloy_consensus::{Header, ReceiptEnvelope, Transaction};
use alloy_primitives::{Address, B256, Bytes};

use super::offered::Offered;
use crate::evm::{Receipt, SeenTransaction, decode_revert};
use crate::{Block, Log, Revert, TxId};

/// A transaction in a block.
#[derive(Clone, Debug)]
pub(super) struct Included {
    pub(super) transaction: Arc<Offered>,
    pub(super) receipt: ReceiptEnvelope,
    pub(super) gas_used: u64,
    /// What a unit of gas cost.
    pub(super) gas_price: u128,
    /// The contract that it created.
    pub(super) contract: Option<Address>,
    /// The index of its first log in the block.
    pub(super) first_log: u64,
    pub(super) failure: Option<Failure>,
}

/// Why a transaction was undone.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// A contract said so, and returned this.
    Reverted(Bytes),
    /// The EVM stopped it.
    Halted(String),
}

impl Failure {
    pub(super) fn reason(&self) -> Revert {
        match self {
            Self::Reverted(output) => decode_revert(output, "execution reverted"),
            Self::Halted(words) => Revert::Unexplained(words.clone()),
        }
    }
}

/// A block of the chain, or the one to come.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) header: Header,
    pub(super) hash: B256,
    pub(super) included: Vec<Included>,
}

impl Sealed {
    pub(super) fn block(&self) -> Block {
        Block {
            number: self.header.number,
            hash: self.hash,
            parent: self.header.parent_hash,
            timestamp_s: self.header.timestamp,
        }
    }

    pub(super) fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }

    /// The logs of the transaction at `index`.
    pub(super) fn logs_of(&self, index: usize) -> Vec<Log> {
        let Some(included) = self.included.get(index) else {
            return Vec::new();
        };
        let logs = included.receipt.logs().iter().zip(included.first_log..);
        logs.map(|(log, place)| Log {
            address: log.address.into(),
            topics: log.data.topics().to_vec(),
            data: log.data.data.clone(),
            block_number: self.header.number,
            block_hash: self.hash,
            transaction: TxId::Evm(included.transaction.hash),
            transaction_index: index as u64,
            index: place,
        })
        .collect()
    }

    pub(super) fn receipt_of(&self, index: usize) -> Option<Receipt> {
        let included = self.included.get(index)?;
        let offered = &included.transaction;
        Some(Receipt {
            transaction: offered.hash,
            is_success: included.failure.is_none(),
            block_number: self.header.number,
            block_hash: self.hash,
            index: index as u64,
            from: offered.from,
            to: offered.envelope.to(),
            contract: included.contract,
            gas_used: included.gas_used,
            gas_price: alloy_primitives::U256::from(included.gas_price),
            logs: self.logs_of(index),
        })
    }

    pub(super) fn seen(&self, index: usize) -> Option<SeenTransaction> {
        let offered = &self.included.get(index)?.transaction;
        Some(SeenTransaction {
            hash: offered.hash,
            from: offered.from,
            nonce: offered.nonce(),
            block_hash: Some(self.hash),
        })
    }
}
