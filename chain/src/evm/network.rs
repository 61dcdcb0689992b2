//! What is special about one EVM chain.

use std::time::Duration;

use crate::{ChainId, FinalityPolicy};

const GWEI: u128 = 1_000_000_000;

/// The most gas that one transaction may use (EIP-7825): 2^24.
pub const TRANSACTION_GAS_MAX: u64 = 1 << 24;

/// An EVM chain's habits: change what differs from the preset.
///
/// ```
/// use peaberry_chain::evm::{EvmNetwork, FeeModel};
/// use peaberry_chain::FinalityPolicy;
///
/// let polygon = EvmNetwork::polygon();
/// assert_eq!(polygon.chain.to_string(), "eip155:137");
///
/// // A private chain whose nodes have no tag `finalized`.
/// let private = EvmNetwork {
///     finality: FinalityPolicy::Depth(20),
///     fees: FeeModel::Legacy,
///     ..EvmNetwork::generic(4242)
/// };
/// assert_eq!(private.chain.evm_number(), Some(4242));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvmNetwork {
    /// The chain; a node that serves another is refused when the client connects.
    pub chain: ChainId,
    /// When a block is final. Never by the tag `safe`.
    pub finality: FinalityPolicy,
    /// How gas is priced.
    pub fees: FeeModel,
    /// The usual time between two blocks: how often it makes sense to ask.
    pub block_time: Duration,
    /// The most gas that one transaction may use, whatever a block may hold; `None` where the chain has no such rule.
    /// [`TRANSACTION_GAS_MAX`] unless said otherwise.
    pub transaction_gas_max: Option<u64>,
}

/// How gas is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeeModel {
    /// EIP-1559: the median of recent tips, at least `tip_min`, on top of twice the next base fee.
    Eip1559 {
        /// The least tip that nodes of the chain take, in wei a unit of gas.
        tip_min: u128,
    },
    /// One price, the node's own (`eth_gasPrice`), in transactions of the old kind (EIP-155).
    Legacy,
}

impl EvmNetwork {
    /// Ethereum mainnet: slots of 12 s, final after two epochs, tips of at least 1 wei: nodes take none of zero.
    #[must_use]
    pub const fn ethereum() -> Self {
        Self {
            chain: ChainId::ETHEREUM,
            finality: FinalityPolicy::Finalized,
            fees: FeeModel::Eip1559 { tip_min: 1 },
            block_time: Duration::from_secs(12),
            transaction_gas_max: Some(TRANSACTION_GAS_MAX),
        }
    }

    /// Polygon PoS: blocks of 2 s, final by milestones (PIP-11), tips of at least 25 gwei.
    #[must_use]
    pub const fn polygon() -> Self {
        Self {
            chain: ChainId::POLYGON,
            finality: FinalityPolicy::Finalized,
            fees: FeeModel::Eip1559 { tip_min: 25 * GWEI },
            block_time: Duration::from_secs(2),
            transaction_gas_max: Some(TRANSACTION_GAS_MAX),
        }
    }

    /// BNB Smart Chain: blocks of less than a second, fast finality (BEP-126), no base fee, a price of at least 0.05 gwei.
    #[must_use]
    pub const fn bsc() -> Self {
        Self {
            chain: ChainId::BSC,
            finality: FinalityPolicy::Finalized,
            fees: FeeModel::Eip1559 { tip_min: GWEI / 20 },
            block_time: Duration::from_millis(750),
            transaction_gas_max: Some(TRANSACTION_GAS_MAX),
        }
    }

    /// Any other EVM chain with the tag `finalized`, EIP-1559 and EIP-7825. Tips are at least 1 wei: nodes take none of zero.
    ///
    /// # Panics
    ///
    /// `number` is zero, which is no chain.
    #[must_use]
    pub fn generic(number: u64) -> Self {
        Self {
            chain: ChainId::evm(number),
            finality: FinalityPolicy::Finalized,
            fees: FeeModel::Eip1559 { tip_min: 1 },
            block_time: Duration::from_secs(2),
            transaction_gas_max: Some(TRANSACTION_GAS_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each field of each, in figures of the test's own.
    #[test]
    fn presets_are_as_documented() {
        let presets = [
            (EvmNetwork::ethereum(), "eip155:1", 12_000, 1),
            (EvmNetwork::polygon(), "eip155:137", 2_000, 25_000_000_000),
            (EvmNetwork::bsc(), "eip155:56", 750, 50_000_000),
            (EvmNetwork::generic(4242), "eip155:4242", 2_000, 1),
        ];
        for (preset, chain, block_time_ms, tip_min) in presets {
            let expected = EvmNetwork {
                chain: chain.parse().unwrap(),
                finality: FinalityPolicy::Finalized,
                fees: FeeModel::Eip1559 { tip_min },
                block_time: Duration::from_millis(block_time_ms),
                transaction_gas_max: Some(16_777_216),
            };
            assert_eq!(preset, expected);
        }
    }
}
