//! What a development chain is made of.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};

use crate::EvmAddress;

/// How a [`DevChain`](super::DevChain) begins and behaves. The default is a chain like Ethereum's, alone in the process.
///
/// ```
/// use peaberry_chain::EvmAddress;
/// use peaberry_chain::dev::{DevOptions, Mining};
///
/// let options = DevOptions {
///     mining: Mining::OnDemand,
///     ..DevOptions::default()
/// }
/// .fund(EvmAddress::repeat_byte(1));
/// assert_eq!(options.accounts.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevOptions {
    /// The chain's number (EIP-155); not zero. 31337 by default, as other development chains have it.
    pub chain: u64,
    /// Who has how much at the beginning, in wei.
    pub accounts: BTreeMap<EvmAddress, U256>,
    /// The rules of execution. Osaka by default.
    pub hardfork: Hardfork,
    /// When blocks are made. After each transaction by default.
    pub mining: Mining,
    /// The most gas of one block. 30 million by default.
    pub block_gas_limit: u64,
    /// The base fee of the first block, in wei a unit of gas. 1 gwei by default.
    pub base_fee: u64,
    /// The least tip that the mempool takes, in wei a unit of gas. 1 by default, as geth has it.
    pub tip_min: u128,
    /// Who gets the tips. Nobody's account by default.
    pub coinbase: EvmAddress,
    /// The time of the first block, in seconds since 1970-01-01 UTC. 2025-01-01 by default.
    pub genesis_timestamp_s: u64,
    /// How much later than its parent a block is that is made without naming a time, in seconds; not zero. 12 by default.
    pub block_time_s: u64,
    /// Under so many blocks a block has the tag `finalized`. 64 by default, which is two epochs.
    pub finalized_depth: u64,
    /// Under so many blocks a block has the tag `safe`. 32 by default.
    pub safe_depth: u64,
}

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// One for each transaction that can be included when it arrives.
    EachTransaction,
    /// When [`mine`](super::DevChain::mine) or one of its like says so.
    OnDemand,
}

/// The rules of execution. Older ones are not played any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Hardfork {
    /// March 2024.
    Cancun,
    /// May 2025: accounts may set code (EIP-7702), call data has a floor price (EIP-7623).
    Prague,
    /// December 2025: a transaction uses at most 2^24 gas (EIP-7825).
    Osaka,
}

/// What becomes of the transactions of blocks that a reorganisation undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// They wait in the mempool again, as a node has it that saw both sides.
    Return,
    /// They are lost, as if this node had never got them.
    Drop,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            chain: 31_337,
            accounts: BTreeMap::new(),
            hardfork: Hardfork::Osaka,
            mining: Mining::EachTransaction,
            block_gas_limit: 30_000_000,
            base_fee: 1_000_000_000,
            tip_min: 1,
            coinbase: Address::ZERO,
            genesis_timestamp_s: 1_735_689_600,
            block_time_s: 12,
            finalized_depth: 64,
            safe_depth: 32,
        }
    }
}

impl DevOptions {
    /// Also gives `account` 10,000 ether.
    #[must_use]
    pub fn fund(mut self, account: EvmAddress) -> Self {
        let ether = U256::from(10_u64).pow(U256::from(18));
        self.accounts.insert(account, ether * U256::from(10_000));
        self
    }
}
