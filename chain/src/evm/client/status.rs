//! What became of a transaction, as a node can tell, or several that stand behind one address.

use std::time::Duration;

use alloy_primitives::B256;
use futures_util::future::try_join;

use super::EvmClient;
use super::submitted::Claim;
use crate::deadline::within;
use crate::evm::{RECEIPTS_KEPT, Receipt, receipts_known};
use crate::{
    Block, BlockAt, ChainClient, ChainError, Finality, FinalityPolicy, Revert, TransactionStatus,
};

/// Why a transaction was undone has this long to be said.
const REASON_WITHIN: Duration = Duration::from_millis(500);
/// So far down a branch is followed, parent by parent. What lies deeper is looked for by its number.
const BRANCH_MAX: u64 = 64;

/// Where a chain ends.
struct Ends {
    latest: Option<Block>,
    /// Up to this number blocks are final.
    final_number: Option<u64>,
    /// The block whose branch is the chain: the final one, or, where depth is finality, the newest.
    tip: Option<Block>,
}

impl EvmClient {
    pub(super) async fn status_of(&self, hash: B256) -> Result<TransactionStatus, ChainError> {
        if let Some(receipt) = self.rpc.receipt(hash).await? {
            return self.included(receipt).await;
        }
        if self.rpc.transaction(hash).await?.is_some() {
            return Ok(TransactionStatus::Pending);
        }
        let claim = self.submitted.lock().claim(hash);
        Ok(match claim {
            Some(claim) if self.is_taken(hash, claim).await? => {
                TransactionStatus::Replaced { by: None }
            }
            _ => TransactionStatus::Unknown,
        })
    }

    /// Why an included transaction was undone, where its node can say soon. That it was undone is certain without, and whoever
    /// waits for that does not wait long for the reason.
    pub(crate) async fn reason_of(&self, transaction: B256) -> Option<Revert> {
        let reason = self.rpc.revert_reason(transaction);
        let reason = within(&*self.clock, REASON_WITHIN, reason).await?;
        reason.unwrap_or_default()
    }

    async fn included(&self, receipt: Receipt) -> Result<TransactionStatus, ChainError> {
        // The receipt names a block; whether the chain still has it, the chain says: after it has said what is final, since
        // a block that was found before may have been left meanwhile.
        let ends = self.ends().await?;
        let at_number = self.rpc.block(BlockAt::Number(receipt.block_number));
        let Some(block) = at_number
            .await?
            .filter(|block| block.hash == receipt.block_hash)
        else {
            return Ok(TransactionStatus::Pending);
        };
        let is_deep = ends.final_number.is_some_and(|end| end >= block.number);
        let is_final = match ends.tip.filter(|_| is_deep) {
            None => false,
            Some(tip) => match self.is_below(tip, block).await? {
                Some(false) => return Ok(TransactionStatus::Pending),
                proven => proven.is_some(),
            },
        };
        let latest = ends.latest.map_or(block.number, |latest| latest.number);
        let depth = latest.saturating_sub(block.number);
        Ok(match (receipt.is_success, is_final) {
            (true, true) => TransactionStatus::Final { block },
            (true, false) => TransactionStatus::Included { block, depth },
            (false, is_final) => TransactionStatus::Reverted {
                block,
                depth,
                is_final,
                reason: self.reason_of(receipt.transaction).await,
            },
        })
    }

    async fn ends(&self) -> Result<Ends, ChainError> {
        match self.network.finality {
            FinalityPolicy::Depth(depth) => {
                let latest = self.rpc.block(BlockAt::Latest).await?;
                Ok(Ends {
                    latest,
                    final_number: latest.and_then(|latest| latest.number.checked_sub(depth)),
                    tip: latest,
                })
            }
            FinalityPolicy::Finalized => {
                let (latest, tip) =
                    try_join(self.rpc.block(BlockAt::Latest), self.newest_final()).await?;
                Ok(Ends {
                    latest,
                    final_number: tip.map(|tip| tip.number),
                    tip,
                })
            }
        }
    }

    /// None yet, on a chain that has just begun.
    pub(super) async fn newest_final(&self) -> Result<Option<Block>, ChainError> {
        match self.head(Finality::Final).await {
            Ok(block) => Ok(Some(block)),
            Err(ChainError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `block` lies on the branch that ends in `tip`: what was found by number may come from a node on a fork that
    /// the others have left. `None` where a node does not have the whole branch: it may be the very one that is on that fork.
    /// Of a block too deep to be followed down to, the chain is what lies there for a node to which it is final.
    async fn is_below(&self, tip: Block, block: Block) -> Result<Option<bool>, ChainError> {
        if tip.number.saturating_sub(block.number) > BRANCH_MAX {
            return self.has_as_final(block).await.map(Some);
        }
        let mut child = tip;
        while child.number > block.number + 1 {
            let Some(parent) = self.parent_of(child).await? else {
                return Ok(None);
            };
            child = parent;
        }
        Ok(Some(match child.number > block.number {
            true => child.parent == block.hash,
            false => child.hash == block.hash,
        }))
    }

    async fn parent_of(&self, child: Block) -> Result<Option<Block>, ChainError> {
        let known = self.branch.lock().block(child.parent);
        let parent = match known {
            Some(parent) => Some(parent),
            None => self.rpc.block(BlockAt::Hash(child.parent)).await?,
        };
        let parent = parent.filter(|parent| parent.number + 1 == child.number);
        if let Some(parent) = parent {
            self.branch.lock().remember(parent);
        }
        Ok(parent)
    }

    async fn has_as_final(&self, block: Block) -> Result<bool, ChainError> {
        let there = self.final_block(block.number).await?;
        Ok(there.is_some_and(|there| there.hash == block.hash))
    }

    /// Whether another transaction has its nonce in a final block. It may have come into a block itself since it was looked
    /// for, so it is looked for again, at a node that has come to that block and cannot have thrown its receipt away.
    async fn is_taken(&self, hash: B256, claim: Claim) -> Result<bool, ChainError> {
        let Some((from, end)) = claim.sender.address().zip(self.newest_final().await?) else {
            return Ok(false);
        };
        match self.rpc.nonce(from, BlockAt::Hash(end.hash)).await {
            Ok(next) if next > claim.nonce => {
                let newest_max = claim.above.saturating_add(receipts_known(RECEIPTS_KEPT));
                let told = self.rpc.lacks_receipts(&[hash], end, newest_max).await;
                told.into_iter().next().unwrap_or(Ok(false))
            }
            Ok(_) => {
                self.submitted.lock().is_free_at(hash, end.number);
                Ok(false)
            }
            // A node that has no state of that block says nothing, nor does one that takes no question by hash.
            Err(ChainError::NotFound { .. } | ChainError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
