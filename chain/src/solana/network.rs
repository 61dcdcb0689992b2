//! What is special about one Solana cluster.

use std::time::Duration;

use crate::ChainId;

/// A cluster's habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SolanaNetwork {
    /// The chain; a node that serves another is refused when the client connects.
    pub chain: ChainId,
    /// What is offered for being included sooner, beside 5,000 lamports a signature.
    pub priority: Option<PriorityFee>,
    /// The usual time between two slots: how often it makes sense to ask.
    pub slot_time: Duration,
}

/// What is offered for being included sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityFee {
    /// For a compute unit, in millionths of a lamport.
    pub micro_lamports_per_unit: u64,
    /// The most compute units that a transaction may take, all of which are paid. A transfer of SOL takes 450, one of
    /// tokens up to 40,000 where it makes an account.
    pub units_max: u32,
}

impl PriorityFee {
    /// What it comes to, in lamports.
    #[must_use]
    pub fn lamports(&self) -> u64 {
        let micro = u128::from(self.micro_lamports_per_unit) * u128::from(self.units_max);
        u64::try_from(micro.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

impl SolanaNetwork {
    /// Mainnet-beta.
    #[must_use]
    pub const fn mainnet() -> Self {
        Self::of(ChainId::SOLANA)
    }

    /// Devnet.
    #[must_use]
    pub const fn devnet() -> Self {
        Self::of(ChainId::SOLANA_DEVNET)
    }

    /// The cluster with this genesis hash, such as one on your own machine.
    #[must_use]
    pub fn local(genesis_hash: &[u8; 32]) -> Self {
        Self::of(ChainId::solana(genesis_hash))
    }

    const fn of(chain: ChainId) -> Self {
        Self {
            chain,
            priority: None,
            slot_time: Duration::from_millis(400),
        }
    }
}
