//! Questions of two parts: each node says both, for itself.

use alloy_primitives::B256;
use async_trait::async_trait;
use futures_util::future::join_all;
use peaberry_core::mutant;

use super::heads::Head;
use super::{QuorumRpc, no_block, or_too_wide};
use crate::evm::{EvmRpc, EvmView};
use crate::{Block, BlockAt, ChainError, FinalityPolicy, Log, LogFilter, LogRange};

#[async_trait]
impl EvmView for QuorumRpc {
    /// Whether so many nodes say so, each for itself, that a quorum does: the block of one and the ignorance of another prove
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`ChainError::NoQuorum`], of each receipt for itself: those that could not be asked might have made it a quorum.
    async fn lacks_receipts(
        &self,
        hashes: &[B256],
        at: Block,
        newest_max: u64,
    ) -> Vec<Result<bool, ChainError>> {
        let asked = self.nodes.iter();
        let told = asked.map(|(_, node)| node.lacks_receipts(hashes, at, newest_max));
        let told = join_all(told).await;
        let lacks = |index: usize| {
            let answers = told.iter().map(|told| told.get(index));
            let lacking = answers.clone().filter(|one| matches!(one, Some(Ok(true))));
            let lacking = lacking.count();
            let failed = answers.filter(|one| !matches!(one, Some(Ok(_)))).count();
            match lacking {
                lacking if lacking >= self.wanted => Ok(true),
                lacking if lacking + failed >= self.wanted => {
                    Err(self.no_quorum("that there is no receipt", lacking))
                }
                _ => Ok(false),
            }
        };
        (0..hashes.len()).map(lacks).collect()
    }

    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError> {
        self.head(Head::Below(depth)).await
    }

    async fn final_block(
        &self,
        number: u64,
        policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError> {
        self.agreed_final_block(number, policy).await
    }

    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        if mutant::is_planted("evm_logs_by_two_questions") {
            let there = self.block(BlockAt::Number(last.number)).await?;
            if there.is_none_or(|there| there.hash != last.hash) {
                return Err(no_block(last.number));
            }
            let range = LogRange::Numbers(first..=last.number);
            return self.logs(filter, &range).await;
        }
        let answers = self
            .ask_all(|node| node.logs_upto(filter, first, last))
            .await;
        // Whose chain goes through one block has one history under it.
        let agreed = self.agree("eth_getLogs", &answers, |agreed, other| agreed != other);
        or_too_wide(agreed, &answers)
    }
}
