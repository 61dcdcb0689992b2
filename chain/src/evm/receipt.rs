//! What an EVM node says about transactions and fees.

use alloy_primitives::{Address, B256, U256};

use crate::Log;

/// For how many blocks nodes keep receipts: the pruned ones of today.
pub(crate) const RECEIPTS_KEPT: u64 = 10_000;

/// The most blocks from a final one in which a transaction was not up to the newest one, for a missing receipt to say that it
/// is in none since. A quarter of the time for which nodes keep receipts is left over: one that is ahead of what was seen has
/// forgotten more, and a reorganisation may bring the transaction back below.
pub(crate) const fn receipts_known(receipts_kept: u64) -> u64 {
    receipts_kept - receipts_kept / 4
}

/// A transaction as a node knows it, waiting or included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenTransaction {
    /// Keccak-256 of its signed bytes.
    pub hash: B256,
    /// Who signed it.
    pub from: Address,
    /// Its nonce.
    pub nonce: u64,
    /// The hash of its block; `None` while it waits.
    pub block_hash: Option<B256>,
}

/// What an included transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Keccak-256 of its signed bytes.
    pub transaction: B256,
    /// Whether it was carried out; otherwise everything but its fee was undone.
    pub is_success: bool,
    /// The number of its block.
    pub block_number: u64,
    /// The hash of its block: the node answers for the chain as it is now.
    pub block_hash: B256,
    /// Its index in the block.
    pub index: u64,
    /// Who signed it.
    pub from: Address,
    /// What it called; `None` when it created a contract.
    pub to: Option<Address>,
    /// The contract that it created.
    pub contract: Option<Address>,
    /// Gas used.
    pub gas_used: u64,
    /// What a unit of gas cost, in wei.
    pub gas_price: U256,
    /// What it logged, in order.
    pub logs: Vec<Log>,
}

/// What gas has cost lately (`eth_feeHistory`), in wei a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeHistory {
    /// The number of the first block.
    pub oldest_block: u64,
    /// Each block's base fee, oldest first, and one more: that of the block to come. Zeros before EIP-1559.
    pub base_fees: Vec<U256>,
    /// For each block the tips at the percentiles asked for. Empty where none were asked for.
    pub tips: Vec<Vec<U256>>,
}

impl FeeHistory {
    /// The base fee of the block to come.
    #[must_use]
    pub fn next_base_fee(&self) -> U256 {
        self.base_fees.last().copied().unwrap_or_default()
    }
    /// The median of the tips, of all blocks and percentiles together; zero where there are none.
    #[must_use]
    pub fn median_tip(&self) -> U256 {
        let mut tips: Vec<U256> = self.tips.iter().flatten().copied().collect();
        tips.sort_unstable();
        tips.get(tips.len() / 2).copied().unwrap_or_default()
    }
}
