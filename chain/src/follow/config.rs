//! What is followed, and within which bounds.

use std::time::Duration;

use crate::evm::EvmNetwork;
use crate::{ChainId, LogFilter};

/// What is followed.
#[derive(Clone, Debug)]
pub struct FollowConfig {
    /// The chain; a client of another is refused.
    pub chain: ChainId,
    /// Which logs are wanted; change it only together with the group, for what lies behind is not read again.
    pub filter: LogFilter,
    /// Where to begin when nothing was followed yet.
    pub start: Start,
    /// The pause between two looks.
    pub poll_every: Duration,
    /// How many blocks the ring holds: more than lie between the newest and the newest final one, or it waits for
    /// finality before it goes on. 1,024 by default.
    pub ring_max: usize,
    /// Changes that wait for the application's acknowledgement; with so many it goes on no further. 1,024 by default.
    pub unacknowledged_max: usize,
    /// How many final blocks are asked for at once when far behind; halved when a node finds that too wide or answers with
    /// any other error, down to one, and raised again. 2,000 by default.
    pub range_max: u64,
    /// How long every look must fail until that is told, as [`Notice::Stalled`](super::Notice::Stalled). Ten looks by
    /// default, and at least half a minute.
    pub stalled_after: Duration,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the block of this number.
    At(u64),
    /// At the newest final block.
    Final,
}

impl FollowConfig {
    /// Logs that match `filter` on an EVM network, from its newest final block on.
    #[must_use]
    pub fn evm(network: &EvmNetwork, filter: LogFilter) -> Self {
        let poll_every =
            (network.block_time / 2).clamp(Duration::from_millis(20), Duration::from_secs(6));
        Self {
            chain: network.chain,
            filter,
            start: Start::Final,
            poll_every,
            stalled_after: (poll_every * 10).max(Duration::from_secs(30)),
            ring_max: 1024,
            unacknowledged_max: 1024,
            range_max: 2_000,
        }
    }
}
