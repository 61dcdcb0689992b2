//! What this crate asks of an EVM node.

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;

use super::{FeeHistory, Receipt, SeenTransaction};
use crate::{
    Block, BlockAt, CallRequest, ChainError, ChainId, FinalityPolicy, Log, LogFilter, LogRange,
    Revert,
};

/// An EVM node, in the process or far away. Callable concurrently; used as `Arc<dyn EvmRpc>`.
///
/// Everything above it (client, outbox, follower) works alike on all of its implementations. One question is one
/// request, without retries: who asks knows whether to ask again. The promises of
/// [`ChainClient`](crate::ChainClient) about time, size and errors hold here too, and further:
/// - answers may be stale, lost, or differ from one call to the next, as load-balanced nodes do; a lost answer to
///   [`broadcast`](Self::broadcast) is an error that [may have been sent](ChainError::may_have_been_sent);
/// - [`BlockAt::Final`] is what the node's tag `finalized` says, never `safe`; a node without it answers
///   [`ChainError::NotFound`].
///
/// Some questions are two of one node: that it has come to a block, and what it knows there. They have no bodies here,
/// since no body is right for all: a single node calls those of [`one_node`](super::one_node), and what wraps another
/// `EvmRpc`, which may be a [`QuorumRpc`](super::QuorumRpc), hands each on as it is.
#[async_trait]
pub trait EvmRpc: Send + Sync {
    /// The chain that the node serves, as it says now.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn chain_id(&self) -> Result<ChainId, ChainError>;

    /// How much of the native coin `account` has, in wei.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError>;

    /// The next nonce of `account`: at [`BlockAt::Latest`] how many of its transactions are included, at
    /// [`BlockAt::Pending`] that and those that wait without a gap.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError>;

    /// The code at `address`; empty where there is no contract.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError>;

    /// What a contract answers.
    ///
    /// # Errors
    ///
    /// [`ChainError::Reverted`] with its reason, or the node could not be asked.
    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError>;

    /// How much gas `request` would take.
    ///
    /// # Errors
    ///
    /// [`ChainError::Reverted`] and [`ChainError::InsufficientFunds`] where it would fail, or the node could not be
    /// asked.
    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError>;

    /// The most gas that a block holds now; `None` where the node does not say. Not every node can, so unless an
    /// implementation has an answer there is none.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn block_gas_limit(&self) -> Result<Option<u64>, ChainError> {
        Ok(None)
    }

    /// What gas cost in the newest `blocks` blocks (1 to 1024), and tips at `percentiles` (ascending, 0 to 100).
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn fee_history(&self, blocks: u16, percentiles: &[u8]) -> Result<FeeHistory, ChainError>;

    /// What the node would pay for a unit of gas now, in wei: for chains that know one price. Unless a node has an
    /// answer of its own, the next base fee and the median of recent tips.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn gas_price(&self) -> Result<U256, ChainError> {
        let history = self.fee_history(10, &[50]).await?;
        Ok(history.next_base_fee().saturating_add(history.median_tip()))
    }

    /// Gives the node a signed transaction to spread, and returns its hash. A node that knows it already has it: that
    /// is a success.
    ///
    /// # Errors
    ///
    /// [`NonceTooLow`](ChainError::NonceTooLow), [`ReplacementUnderpriced`](ChainError::ReplacementUnderpriced),
    /// [`FeeTooLow`](ChainError::FeeTooLow), [`InsufficientFunds`](ChainError::InsufficientFunds),
    /// [`InvalidTransaction`](ChainError::InvalidTransaction) and [`Refused`](ChainError::Refused) are the node's answers;
    /// all others mean that there was none. Ask [`may_have_been_sent`](ChainError::may_have_been_sent).
    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError>;

    /// The transaction `hash`, waiting or included; `None` if the node does not know it, which says little.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError>;

    /// What the transaction `hash` did; `None` if it is not included on the chain as the node sees it now.
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError>;

    /// Of each of `hashes`, in their order, whether the node, whose chain goes through the block `at`, has no receipt of it: the
    /// transaction is then in no block up to there, unless the node has forgotten it. False also of a node that has not
    /// come to `at`, or is on another fork: that it knows of no receipt says nothing. False, too, of one whose own newest
    /// block is above `newest_max`, since it may have forgotten what the caller asks about; [`u64::MAX`] where nothing can
    /// have been forgotten.
    ///
    /// One node says all of this, or nothing follows: what stands between a caller and several nodes must hand this on as
    /// one question. A single node calls [`one_node::lacks_receipts`](super::one_node::lacks_receipts).
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

    /// Why the included transaction `hash` was undone; `None` if it is not included or cannot be explained. Ask it only of
    /// one whose receipt says that it was undone: a node that does not trace tries the call again on the state before its
    /// block, where what earlier transactions of that block did is not seen. Of one that was undone this is a good guess; of
    /// one that was carried out it may name a reason that never was. Not every node can, so unless an implementation has
    /// an answer there is none.
    ///
    /// # Errors
    ///
    /// The node could not be asked, or has forgotten the state of that time.
    async fn revert_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        let _ = hash;
        Ok(None)
    }

    /// A block; `None` if there is none. [`BlockAt::Pending`] has none.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: the node has no tag `finalized`; or it could not be asked.
    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError>;

    /// The block that lies `depth` below the node's newest; `None` of a chain that is shorter. One node says both, as with
    /// [`lacks_receipts`](Self::lacks_receipts); a single one calls
    /// [`one_node::block_below`](super::one_node::block_below).
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError>;

    /// The block of this number, if the node has one there that is final to it, by `policy`: there it will never have another.
    /// `None` of a node that has not come so far. One node says both, as with [`lacks_receipts`](Self::lacks_receipts); a
    /// single one calls [`one_node::final_block`](super::one_node::final_block).
    ///
    /// # Errors
    ///
    /// The node could not be asked.
    async fn final_block(
        &self,
        number: u64,
        policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError>;

    /// The logs in `range` that match `filter`, in the chain's order.
    ///
    /// # Errors
    ///
    /// [`ChainError::RangeTooWide`]: ask for less. [`ChainError::NotFound`]: the node does not have the block asked for
    /// by its hash. Otherwise it could not be asked.
    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError>;

    /// The logs of the blocks from `first` to `last` that match `filter`, in the chain's order, of a node whose chain goes through
    /// `last`. One node says both, as with [`lacks_receipts`](Self::lacks_receipts): what is read by number is so bound to one
    /// history. A single node calls [`one_node::logs_upto`](super::one_node::logs_upto).
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: the node has another block there, or none; otherwise as [`logs`](Self::logs).
    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError>;
}
