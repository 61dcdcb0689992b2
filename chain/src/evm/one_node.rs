//! What an [`EvmRpc`] that is one node says to questions of two parts: it is asked for each part in turn.
//!
//! Never call these for several nodes behind one value, such as a [`QuorumRpc`](super::QuorumRpc) or a wrapper around one: a
//! quorum for each part is no quorum for both, as one node may have made the first and another the second. Those hand the
//! whole question on.

use alloy_primitives::B256;
use futures_util::future::join_all;

use super::EvmRpc;
use crate::{Block, BlockAt, ChainError, FinalityPolicy, Log, LogFilter, LogRange};

/// Receipts that one node is asked for at once.
const RECEIPTS_AT_ONCE: usize = 8;

/// What [`EvmRpc::lacks_receipts`] is of one node: its block at that number, then the receipts, then its newest block.
///
/// # Errors
///
/// Of each for itself: the node could not be asked.
pub async fn lacks_receipts(
    node: &(impl EvmRpc + ?Sized),
    hashes: &[B256],
    at: Block,
    newest_max: u64,
) -> Vec<Result<bool, ChainError>> {
    // The block first: what it has come to by then it has when it looks for the receipts.
    match node.block(BlockAt::Number(at.number)).await {
        Ok(Some(there)) if there.hash == at.hash => {}
        Ok(_) => return vec![Ok(false); hashes.len()],
        Err(error) => return vec![Err(error); hashes.len()],
    }
    let mut lacking = Vec::with_capacity(hashes.len());
    for some in hashes.chunks(RECEIPTS_AT_ONCE) {
        let receipts = join_all(some.iter().map(|hash| node.receipt(*hash))).await;
        let some = receipts.into_iter();
        lacking.extend(some.map(|one| one.map(|receipt| receipt.is_none())));
    }
    if newest_max == u64::MAX {
        return lacking;
    }
    // Afterwards: what it had forgotten by then it had forgotten below a block that was no newer than this.
    match node.block(BlockAt::Latest).await {
        Ok(Some(newest)) if newest.number <= newest_max => lacking,
        Ok(_) => vec![Ok(false); hashes.len()],
        Err(error) => vec![Err(error); hashes.len()],
    }
}

/// What [`EvmRpc::block_below`] is of one node: its newest block, then that at the number so far below.
///
/// # Errors
///
/// The node could not be asked.
pub async fn block_below(
    node: &(impl EvmRpc + ?Sized),
    depth: u64,
) -> Result<Option<Block>, ChainError> {
    let newest = node.block(BlockAt::Latest).await?;
    match newest.and_then(|newest| newest.number.checked_sub(depth)) {
        None => Ok(None),
        Some(_) if depth == 0 => Ok(newest),
        Some(number) => node.block(BlockAt::Number(number)).await,
    }
}

/// What [`EvmRpc::final_block`] is of one node: its final block, then that at the number.
///
/// # Errors
///
/// The node could not be asked.
pub async fn final_block(
    node: &(impl EvmRpc + ?Sized),
    number: u64,
    policy: FinalityPolicy,
) -> Result<Option<Block>, ChainError> {
    let head = match policy {
        FinalityPolicy::Finalized => node.block(BlockAt::Final).await,
        FinalityPolicy::Depth(depth) => node.block_below(depth).await,
    };
    match head {
        Ok(Some(head)) if head.number > number => node.block(BlockAt::Number(number)).await,
        Ok(head) => Ok(head.filter(|head| head.number == number)),
        // A chain that has just begun.
        Err(ChainError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What [`EvmRpc::logs_upto`] is of one node: its block at the number of `last`, then the logs by numbers.
///
/// # Errors
///
/// As [`EvmRpc::logs_upto`].
pub async fn logs_upto(
    node: &(impl EvmRpc + ?Sized),
    filter: &LogFilter,
    first: u64,
    last: Block,
) -> Result<Vec<Log>, ChainError> {
    let there = node.block(BlockAt::Number(last.number)).await?;
    if there.is_none_or(|there| there.hash != last.hash) {
        return Err(ChainError::NotFound {
            what: format!("block {last}"),
        });
    }
    let range = LogRange::Numbers(first..=last.number);
    node.logs(filter, &range).await
}
