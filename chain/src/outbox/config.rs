//! What an outbox may use, and of which chains it takes intents.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ChainId;
use crate::evm::{EvmNetwork, RECEIPTS_KEPT};

const GWEI: u128 = 1_000_000_000;

/// Bounds of an outbox, and its chains.
#[derive(Clone, Debug)]
pub struct OutboxConfig {
    /// Intents that are not over yet, over all accounts; more are refused as
    /// [`Refusal::Full`](super::Refusal::Full). 65,536 by default.
    pub open_max: usize,
    /// Ended intents whose outcomes are remembered, oldest forgotten first. Handing one of these over again is answered
    /// by its outcome; one that is forgotten is refused as [`Refusal::Forgotten`](super::Refusal::Forgotten), because
    /// that its key was used is remembered for ever, at the cost of one key of 16 bytes in the store and in memory.
    /// 65,536 by default.
    pub ended_kept: usize,
    pub(super) chains: BTreeMap<ChainId, ChainRules>,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            open_max: 65_536,
            ended_kept: 65_536,
            chains: BTreeMap::new(),
        }
    }
}

impl OutboxConfig {
    /// The default bounds, and no chains yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes intents of `chain`.
    #[must_use]
    pub fn chain(mut self, chain: ChainId, rules: ChainRules) -> Self {
        self.chains.insert(chain, rules);
        self
    }

    /// Takes intents of an EVM network, by the rules that fit it.
    #[must_use]
    pub fn evm(self, network: &EvmNetwork) -> Self {
        self.chain(network.chain, ChainRules::of(network))
    }
}

/// How transactions of one chain are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRules {
    /// How often an account with open transactions is looked at, from the beginning of one look to the next.
    pub look_every: Duration,
    /// How long a price of gas is used before it is asked for again.
    pub fees_fresh_for: Duration,
    /// How long a broadcast that brought no answer, or an account that cannot pay, is left alone; doubled each time, up
    /// to sixteen-fold.
    pub retry_after: Duration,
    /// How many blocks a transaction may wait before its fees go one rung up.
    pub bump_after_blocks: u64,
    /// The most that is ever offered for a unit of gas, in wei, unless the intent says otherwise. A transaction at the
    /// cap waits for the market to come down; it is not dropped. 1,000 gwei by default.
    pub fee_cap: u128,
    /// Transactions of one account on their way at once: signed, and not included. 16 by default, which is what a node's
    /// mempool keeps for an account under pressure.
    pub in_flight_max: usize,
    /// For how many blocks the nodes are sure to keep receipts. That none of an intent's transactions is on the chain is
    /// concluded only for three quarters of that after the block that was final when it was signed, or a later final one at
    /// which its nonce was still free: a node that has forgotten receipts knows as little of them as of what never was, and
    /// one that is ahead has forgotten more. Later the intent waits, and says so, until a node finds a receipt or shows the
    /// nonce free. 10,000 by default: what pruned nodes of today keep.
    pub receipts_kept: u64,
    /// The least gas that a transfer of nothing to oneself is given, which fills a missing nonce or calls an intent off. More
    /// where the chain's estimate, or for calling off the intent itself, wants more. 21,000 by default, as Ethereum has it.
    pub transfer_gas: u64,
    /// How long nothing but failures may be answered until each intent that this holds up is told so, as
    /// [`Stage::Stalled`](super::Stage::Stalled). Ten blocks by default, at least half a minute and at most two minutes.
    pub stalled_after: Duration,
}

impl ChainRules {
    /// The rules for a chain with a block about every `block_time`.
    #[must_use]
    pub fn every(block_time: Duration) -> Self {
        let look_every = (block_time / 4).clamp(Duration::from_millis(20), Duration::from_secs(3));
        Self {
            look_every,
            fees_fresh_for: block_time,
            retry_after: block_time.clamp(Duration::from_millis(100), Duration::from_secs(15)),
            bump_after_blocks: 3,
            fee_cap: 1_000 * GWEI,
            in_flight_max: 16,
            receipts_kept: RECEIPTS_KEPT,
            transfer_gas: 21_000,
            stalled_after: (block_time * 10)
                .clamp(Duration::from_secs(30), Duration::from_secs(120)),
        }
    }

    /// The rules for `network`.
    #[must_use]
    pub fn of(network: &EvmNetwork) -> Self {
        Self::every(network.block_time)
    }
}
