//! The parts of a node's JSON that are used, and their way into our types.
//!
//! Fields that chains add are passed over, and a transaction's type is not looked at: a new kind on some chain must not
//! make its receipts unreadable.

use alloy_primitives::{Address, B256, Bloom, Bytes, U64, U256};
use peaberry_core::mutant;
use serde::{Deserialize, Serialize};

use super::{FeeHistory, Receipt, SeenTransaction};
use crate::{Block, BlockAt, CallRequest, ChainError, Log, LogFilter, LogRange, TxId};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonBlock {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
}

impl From<JsonBlock> for Block {
    fn from(block: JsonBlock) -> Self {
        Self {
            number: block.number.to(),
            hash: block.hash,
            parent: block.parent_hash,
            timestamp_s: block.timestamp.to(),
        }
    }
}

/// Which logs a block may have, where it says so.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonBloom {
    pub(super) hash: B256,
    #[serde(default)]
    logs_bloom: Option<Bloom>,
}

impl JsonBloom {
    /// Whether the block has a log that may match; not of a block that does not say.
    pub(super) fn may_hold(&self, filter: &LogFilter) -> bool {
        let bloom = self.logs_bloom.filter(|bloom| !bloom.is_zero());
        bloom.is_some_and(|bloom| filter.may_match(&bloom))
    }
}

/// How much gas a block holds, where it says so.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonGasLimit {
    #[serde(default)]
    gas_limit: Option<U64>,
}

impl JsonGasLimit {
    pub(super) fn get(self) -> Option<u64> {
        self.gas_limit.map(|limit| limit.to())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonTransaction {
    hash: B256,
    from: Address,
    nonce: U64,
    #[serde(default)]
    block_hash: Option<B256>,
}

impl From<JsonTransaction> for SeenTransaction {
    fn from(transaction: JsonTransaction) -> Self {
        Self {
            hash: transaction.hash,
            from: transaction.from,
            nonce: transaction.nonce.to(),
            block_hash: transaction.block_hash,
        }
    }
}

/// An included transaction as the call that it made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonTransactionCall {
    from: Address,
    #[serde(default)]
    to: Option<Address>,
    value: U256,
    input: Bytes,
    gas: U64,
    #[serde(default)]
    block_number: Option<U64>,
}

/// The same call with the same gas.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JsonReplay {
    from: Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Address>,
    value: U256,
    input: Bytes,
    gas: U64,
}

impl JsonTransactionCall {
    /// The call, and the number of its block; `None` while it waits.
    pub(super) fn into_replay(self) -> Option<(JsonReplay, u64)> {
        let number = self.block_number?.to();
        let call = JsonReplay {
            from: self.from,
            to: self.to,
            value: self.value,
            input: self.input,
            gas: self.gas,
        };
        Some((call, number))
    }
}

/// How a traced call ended.
#[derive(Debug, Deserialize)]
pub(super) struct JsonTraced {
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) output: Option<Bytes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: U64,
    block_hash: B256,
    transaction_hash: B256,
    transaction_index: U64,
    log_index: U64,
}

impl From<JsonLog> for Log {
    fn from(log: JsonLog) -> Self {
        Self {
            address: log.address.into(),
            topics: log.topics,
            data: log.data,
            block_number: log.block_number.to(),
            block_hash: log.block_hash,
            transaction: TxId::Evm(log.transaction_hash),
            transaction_index: log.transaction_index.to(),
            index: log.log_index.to(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonReceipt {
    transaction_hash: B256,
    // Absent before Byzantium, where a receipt held a state root.
    #[serde(default)]
    status: Option<U64>,
    block_number: U64,
    block_hash: B256,
    transaction_index: U64,
    from: Address,
    #[serde(default)]
    to: Option<Address>,
    #[serde(default)]
    contract_address: Option<Address>,
    gas_used: U64,
    #[serde(default)]
    effective_gas_price: U256,
    logs: Vec<JsonLog>,
}

impl From<JsonReceipt> for Receipt {
    fn from(receipt: JsonReceipt) -> Self {
        Self {
            transaction: receipt.transaction_hash,
            is_success: receipt.status.is_none_or(|status| !status.is_zero()),
            block_number: receipt.block_number.to(),
            block_hash: receipt.block_hash,
            index: receipt.transaction_index.to(),
            from: receipt.from,
            to: receipt.to,
            contract: receipt.contract_address,
            gas_used: receipt.gas_used.to(),
            gas_price: receipt.effective_gas_price,
            logs: receipt.logs.into_iter().map(Log::from).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonFeeHistory {
    oldest_block: U64,
    #[serde(default)]
    base_fee_per_gas: Vec<U256>,
    #[serde(default)]
    reward: Option<Vec<Vec<U256>>>,
}

impl From<JsonFeeHistory> for FeeHistory {
    fn from(history: JsonFeeHistory) -> Self {
        Self {
            oldest_block: history.oldest_block.to(),
            base_fees: history.base_fee_per_gas,
            tips: history.reward.unwrap_or_default(),
        }
    }
}

/// A block in a request: a tag, a number, or an object with a hash (EIP-1898).
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum JsonBlockAt {
    Tag(&'static str),
    Number(U64),
    #[serde(rename_all = "camelCase")]
    Hash {
        block_hash: B256,
        require_canonical: bool,
    },
}

impl From<BlockAt> for JsonBlockAt {
    fn from(at: BlockAt) -> Self {
        match at {
            BlockAt::Latest => Self::Tag("latest"),
            BlockAt::Pending => Self::Tag("pending"),
            BlockAt::Final if mutant::is_planted("evm_safe_taken_for_final") => Self::Tag("safe"),
            BlockAt::Final => Self::Tag("finalized"),
            BlockAt::Number(number) => Self::Number(U64::from(number)),
            BlockAt::Hash(block_hash) => Self::Hash {
                block_hash,
                require_canonical: true,
            },
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct JsonCall {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Address>,
    #[serde(skip_serializing_if = "U256::is_zero")]
    value: U256,
    input: Bytes,
}

impl JsonCall {
    pub(super) const fn from(&self) -> Option<Address> {
        self.from
    }

    pub(super) fn new(request: &CallRequest, chain: crate::ChainId) -> Result<Self, ChainError> {
        let evm = |address: Option<crate::Address>| address.map(|a| a.evm_on(chain)).transpose();
        Ok(Self {
            from: evm(request.from)?,
            to: evm(request.to)?,
            value: request.value,
            input: request.data.clone(),
        })
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonLogFilter {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    address: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topics: Vec<Option<Vec<B256>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_hash: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_block: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_block: Option<U64>,
}

impl JsonLogFilter {
    pub(super) fn new(
        filter: &LogFilter,
        range: &LogRange,
        chain: crate::ChainId,
    ) -> Result<Self, ChainError> {
        let addresses = filter.addresses.iter().map(|address| address.evm_on(chain));
        let places = filter.topics.iter().rposition(|topics| !topics.is_empty());
        let topics = filter.topics.iter().take(places.map_or(0, |last| last + 1));
        let (block_hash, numbers) = match range {
            LogRange::Block(hash) => (Some(*hash), None),
            LogRange::Numbers(numbers) => (None, Some(numbers)),
        };
        Ok(Self {
            address: addresses.collect::<Result<_, _>>()?,
            topics: topics
                .map(|topics| (!topics.is_empty()).then(|| topics.clone()))
                .collect(),
            block_hash,
            from_block: numbers.map(|numbers| U64::from(*numbers.start())),
            to_block: numbers.map(|numbers| U64::from(*numbers.end())),
        })
    }
}
