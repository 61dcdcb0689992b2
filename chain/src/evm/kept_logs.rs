//! Whether a node that finds no logs still has any of that time: one that has thrown them away finds none, either.
//!
//! A block's header stays and says by its bloom whether the block has logs. Nodes throw away from the oldest block on: who has
//! those of one block has those of all above it.

use alloy_primitives::{B256, U64};
use futures_util::future::try_join_all;

use super::json::JsonBloom;
use super::json_rpc::JsonRpc;
use super::refusal::Asked;
use crate::{ChainError, Log, LogFilter, LogRange};

/// So many blocks without a log are passed over until one has some. Of more the range is to be cut, or each header would be
/// read whatever the node has.
const HEADERS_MAX: u64 = 64;
const HEADERS_AT_ONCE: u64 = 8;

impl JsonRpc {
    /// That no log of the block matches is so, or the node does not have its logs.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: the node lacks the block's logs, or the block.
    pub(super) async fn expect_none(
        &self,
        filter: &LogFilter,
        block: B256,
    ) -> Result<(), ChainError> {
        let params = (block, false);
        let header: Option<JsonBloom> = self.ask("eth_getBlockByHash", params, Asked::Read).await?;
        let header = header.ok_or_else(|| not_found(block))?;
        match header.may_hold(filter) {
            true => self.expect_logs_of(block).await,
            false => Ok(()),
        }
    }

    /// Nothing was thrown away from block `first` on, of which `found` are all logs of a kind up to `last`.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: the node lacks logs of the first block that has any; [`ChainError::RangeTooWide`]: there are
    /// so many blocks without any in front that it cannot be said.
    pub(super) async fn expect_logs_from(
        &self,
        first: u64,
        last: u64,
        found: &[Log],
    ) -> Result<(), ChainError> {
        let behind = last.saturating_add(1);
        let known_from = found.first().map_or(behind, |log| log.block_number);
        let end = known_from.min(first.saturating_add(HEADERS_MAX));
        let mut next = first;
        while next < end {
            let upto = end.min(next.saturating_add(HEADERS_AT_ONCE));
            let headers = try_join_all((next..upto).map(|number| self.bloom_of(number))).await?;
            let holds_some = |header: &&JsonBloom| header.may_hold(&LogFilter::default());
            if let Some(header) = headers.iter().find(holds_some) {
                return self.expect_logs_of(header.hash).await;
            }
            next = upto;
        }
        match end < known_from {
            true => Err(ChainError::RangeTooWide {
                message: format!("{HEADERS_MAX} blocks without a log from {first} on"),
            }),
            false => Ok(()),
        }
    }

    async fn bloom_of(&self, number: u64) -> Result<JsonBloom, ChainError> {
        let params = (U64::from(number), false);
        let header: Option<JsonBloom> = self
            .ask("eth_getBlockByNumber", params, Asked::Read)
            .await?;
        header.ok_or_else(|| not_found(number))
    }

    /// The node has the logs of this block, which has some.
    async fn expect_logs_of(&self, block: B256) -> Result<(), ChainError> {
        let (all, range) = (LogFilter::default(), LogRange::Block(block));
        match self.found_logs(&all, &range).await {
            Ok(logs) if logs.is_empty() => Err(ChainError::NotFound {
                what: format!("logs of block {block}, which has some"),
            }),
            // More than one answer holds.
            Ok(_) | Err(ChainError::RangeTooWide { .. } | ChainError::TooLarge { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn not_found(block: impl std::fmt::Display) -> ChainError {
    ChainError::NotFound {
        what: format!("block {block}"),
    }
}
