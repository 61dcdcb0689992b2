//! What this crate asks of EVM nodes.

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;

use super::{FeeHistory, Receipt, SeenTransaction};
use crate::{Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, Revert};

/// The questions to an EVM node that are one request each. Callable concurrently.
///
/// Who implements it says whether it is one node ([`EvmNode`](super::EvmNode), in the process or far away) or several
/// ([`EvmView`](super::EvmView), which client, outbox and follower work on): `impl EvmNode for MyNode {}` makes a node a
/// view. There are no retries: who asks knows whether to ask again. The promises of
/// [`ChainClient`](crate::ChainClient) about time, size and errors hold here too, and further:
/// - answers may be stale, lost, or differ from one call to the next, as load-balanced nodes do; a lost answer to
///   [`broadcast`](Self::broadcast) is an error that [may have been sent](ChainError::may_have_been_sent);
/// - [`BlockAt::Final`] is what the node's tag `finalized` says, never `safe`; a node without it answers
///   [`ChainError::NotFound`].
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

    /// The logs in `range` that match `filter`, in the chain's order.
    ///
    /// # Errors
    ///
    /// [`ChainError::RangeTooWide`]: ask for less. [`ChainError::NotFound`]: the node does not have the block asked for
    /// by its hash. Otherwise it could not be asked.
    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError>;
}
