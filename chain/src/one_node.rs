//! What a [`ChainClient`] of one node says to questions of two parts: it is asked for each part in turn.
//!
//! Never call these for a client that asks several nodes, or wraps another that may: each part would be answered for itself,
//! by whoever makes up its quorum. Those hand the whole question on.

use crate::{Block, BlockAt, ChainClient, ChainError, Finality, Log, LogFilter, LogRange};

/// What [`ChainClient::final_block`] is of one node: its final block, then that at the number.
///
/// # Errors
///
/// The node could not be asked. Nothing changed.
pub async fn final_block(
    client: &(impl ChainClient + ?Sized),
    number: u64,
) -> Result<Option<Block>, ChainError> {
    match client.head(Finality::Final).await {
        Ok(head) if head.number > number => client.block(BlockAt::Number(number)).await,
        Ok(head) => Ok((head.number == number).then_some(head)),
        // A chain that has just begun.
        Err(ChainError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What [`ChainClient::logs_upto`] is of one node: its block at the number of `last`, then the logs by numbers.
///
/// # Errors
///
/// As [`ChainClient::logs_upto`]. Nothing changed.
pub async fn logs_upto(
    client: &(impl ChainClient + ?Sized),
    filter: &LogFilter,
    first: u64,
    last: Block,
) -> Result<Vec<Log>, ChainError> {
    let there = client.block(BlockAt::Number(last.number)).await?;
    if there.is_none_or(|there| there.hash != last.hash) {
        return Err(ChainError::NotFound {
            what: format!("block {last}"),
        });
    }
    let range = LogRange::Numbers(first..=last.number);
    client.logs(filter, &range).await
}
