//! Questions of two parts, of which one node has to say both.

use alloy_primitives::B256;
use async_trait::async_trait;
use futures_util::future::join_all;
use peaberry_core::mutant;

use super::EvmRpc;
use crate::{Block, BlockAt, ChainError, FinalityPolicy, Log, LogFilter, LogRange};

/// Receipts that one node is asked for at once.
const RECEIPTS_AT_ONCE: usize = 8;

/// What the chain looks like to one node, or to enough of several. Used as `Arc<dyn EvmView>`.
///
/// Its questions are two of one node: that it has come to a block, and what it knows there. A quorum for each part is no
/// quorum for both, as one node may have made the first and another the second. So what asks several nodes, as
/// [`QuorumRpc`](super::QuorumRpc) does, and what wraps another view, which may be one, hands each question on whole.
#[async_trait]
pub trait EvmView: EvmRpc {
    /// Of each of `hashes`, in their order, whether the node, whose chain goes through the block `at`, has no receipt of it: the
    /// transaction is then in no block up to there, unless the node has forgotten it. False also of a node that has not
    /// come to `at`, or is on another fork: that it knows of no receipt says nothing. False, too, of one whose own newest
    /// block is above `newest_max`, since it may have forgotten what the caller asks about; [`u64::MAX`] where nothing can
    /// have been forgotten.
    ///
    /// One node says all of this, or nothing follows.
    ///
    /// # Errors
    ///
    /// Of each for itself: the node could not be asked.
    async fn lacks_receipts(
        &self,
        hashes: &[B256],
        at: Block,
        newest_max: u64,
    ) -> Vec<Result<bool, ChainError>>;

    /// The block that lies `depth` below the node's newest; `None` of a chain that is shorter.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError>;

    /// The block of this number, if the node has one there that is final to it, by `policy`: there it will never have another.
    /// `None` of a node that has not come so far.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn final_block(
        &self,
        number: u64,
        policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError>;

    /// The logs of the blocks from `first` to `last` that match `filter`, in the chain's order, of a node whose chain goes through
    /// `last`: what is read by number is so bound to one history.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: the node has another block there, or none; otherwise as [`logs`](EvmRpc::logs).
    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError>;
}

/// One node of its own: what it says to the questions of a [view](EvmView) is asked part by part. `impl EvmNode for MyNode {}`
/// is enough; a node that can say more at once, or knows better, says it in its own way.
///
/// Never implement it for several nodes behind one value, such as a wrapper around a quorum.
#[async_trait]
pub trait EvmNode: EvmRpc {
    /// [`EvmView::lacks_receipts`]: the block at that number, then the receipts, then the newest block.
    ///
    /// # Errors
    ///
    /// Of each for itself: the node could not be asked.
    async fn lacks_receipts(
        &self,
        hashes: &[B256],
        at: Block,
        newest_max: u64,
    ) -> Vec<Result<bool, ChainError>> {
        // The block first: what it has come to by then it has when it looks for the receipts.
        match self.block(BlockAt::Number(at.number)).await {
            Ok(Some(there)) if there.hash == at.hash => {}
            Ok(_) => return vec![Ok(false); hashes.len()],
            Err(error) => return vec![Err(error); hashes.len()],
        }
        let mut lacking = Vec::with_capacity(hashes.len());
        for some in hashes.chunks(RECEIPTS_AT_ONCE) {
            let receipts = join_all(some.iter().map(|hash| self.receipt(*hash))).await;
            let some = receipts.into_iter();
            lacking.extend(some.map(|one| one.map(|receipt| receipt.is_none())));
        }
        if newest_max == u64::MAX {
            return lacking;
        }
        // Afterwards: what it had forgotten by then it had forgotten below a block that was no newer than this.
        match self.block(BlockAt::Latest).await {
            Ok(Some(newest))
                if newest.number <= newest_max
                    || mutant::is_planted("evm_forgetful_node_has_a_vote") =>
            {
                lacking
            }
            Ok(_) => vec![Ok(false); hashes.len()],
            Err(error) => vec![Err(error); hashes.len()],
        }
    }

    /// [`EvmView::block_below`]: the newest block, then that at the number so far below.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError> {
        let newest = self.block(BlockAt::Latest).await?;
        match newest.and_then(|newest| newest.number.checked_sub(depth)) {
            None => Ok(None),
            Some(_) if depth == 0 => Ok(newest),
            Some(number) => self.block(BlockAt::Number(number)).await,
        }
    }

    /// [`EvmView::final_block`]: the final block, then that at the number.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn final_block(
        &self,
        number: u64,
        policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError> {
        let head = match policy {
            FinalityPolicy::Finalized => self.block(BlockAt::Final).await,
            FinalityPolicy::Depth(depth) => self.block_below(depth).await,
        };
        match head {
            Ok(Some(head)) if head.number > number => self.block(BlockAt::Number(number)).await,
            Ok(head) => Ok(head.filter(|head| head.number == number)),
            // A chain that has just begun.
            Err(ChainError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// [`EvmView::logs_upto`]: the block at the number of `last`, then the logs by numbers.
    ///
    /// # Errors
    ///
    /// As [`EvmView::logs_upto`].
    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        expect_block(self, last).await?;
        let range = LogRange::Numbers(first..=last.number);
        self.logs(filter, &range).await
    }
}

#[async_trait]
impl<N: EvmNode + ?Sized> EvmView for N {
    async fn lacks_receipts(
        &self,
        hashes: &[B256],
        at: Block,
        newest_max: u64,
    ) -> Vec<Result<bool, ChainError>> {
        EvmNode::lacks_receipts(self, hashes, at, newest_max).await
    }

    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError> {
        EvmNode::block_below(self, depth).await
    }

    async fn final_block(
        &self,
        number: u64,
        policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError> {
        EvmNode::final_block(self, number, policy).await
    }

    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        EvmNode::logs_upto(self, filter, first, last).await
    }
}

/// The node has this block at its number.
pub(super) async fn expect_block(
    node: &(impl EvmRpc + ?Sized),
    block: Block,
) -> Result<(), ChainError> {
    match node.block(BlockAt::Number(block.number)).await? {
        Some(there) if there.hash == block.hash => Ok(()),
        _ => Err(ChainError::NotFound {
            what: format!("block {block}"),
        }),
    }
}
