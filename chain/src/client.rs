//! The one client of all chains.

use alloy_primitives::Bytes;
use async_trait::async_trait;

use crate::{
    Address, Amount, Asset, Block, BlockAt, CallRequest, ChainError, ChainId, Estimate, Finality,
    Intent, Log, LogFilter, LogRange, TransactionStatus, TxId,
};

/// One chain, whatever its kind. Callable concurrently; used as `Arc<dyn ChainClient>`.
///
/// An implementer promises:
/// - every method answers within a bound of its own: an RPC that hangs becomes [`ChainError::TimedOut`];
/// - answers are bounded before memory is taken for them, and what cannot be read is [`ChainError::Malformed`];
/// - [`ChainError::may_have_been_sent`] is `false` only when no node can have got a transaction of this call;
/// - addresses of another family are refused before anything is asked;
/// - a dropped future leaves the client usable. A `submit` dropped half-way may have been sent.
///
/// A method that a chain has no counterpart for answers [`ChainError::Unsupported`].
#[async_trait]
pub trait ChainClient: Send + Sync {
    /// The chain. Checked against the node when the client connected.
    fn chain_id(&self) -> ChainId;

    /// What `owner` holds of `asset` in the newest block. An account nobody has heard of holds nothing.
    ///
    /// # Errors
    ///
    /// The node could not be asked or said no. Nothing was sent.
    async fn balance(&self, owner: Address, asset: Asset) -> Result<Amount, ChainError>;

    /// What a contract answers at a block. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`ChainError::Reverted`] with the contract's reason, or the node could not be asked. Nothing was sent.
    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError>;

    /// What `intent` would take now. Signs nothing.
    ///
    /// # Errors
    ///
    /// [`ChainError::Reverted`] and [`ChainError::InsufficientFunds`] where it would fail, [`ChainError::GasOverLimit`]
    /// where it takes more than one transaction may use, or the node could not be
    /// asked. Nothing was sent.
    async fn estimate(&self, intent: &Intent) -> Result<Estimate, ChainError>;

    /// Signs `intent` and sends it, once. Nothing is stored: whoever must survive a crash here uses the outbox.
    ///
    /// Two submissions of one account at the same time may race for a nonce.
    ///
    /// # Errors
    ///
    /// Ask [`ChainError::may_have_been_sent`] before trying again; where it may, the error's
    /// [`transaction`](ChainError::transaction) says whose status to ask for.
    async fn submit(&self, intent: &Intent) -> Result<TxId, ChainError>;

    /// Sends a transaction that was signed before, by whoever had the key, as it goes over the wire; as often as you like:
    /// a chain carries it out at most once. Stores nothing.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongChain`]: it says that it is for another chain; [`ChainError::Malformed`] or
    /// [`ChainError::TransactionTooLarge`]: it is no transaction. Nothing was sent. Otherwise as
    /// [`submit`](Self::submit).
    async fn submit_raw(&self, raw: &Bytes) -> Result<TxId, ChainError>;

    /// What has become of a transaction.
    ///
    /// # Errors
    ///
    /// The node could not be asked. Nothing changed.
    async fn status(&self, id: TxId) -> Result<TransactionStatus, ChainError>;

    /// The newest block that is as certain as `finality` says.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`] while no block is; or the node could not be asked. Nothing changed.
    async fn head(&self, finality: Finality) -> Result<Block, ChainError>;

    /// A block; `None` if there is none (yet, or any more).
    ///
    /// # Errors
    ///
    /// The node could not be asked. Nothing changed.
    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError>;

    /// The block of this number, if it is final; `None` while none there is. Where several nodes are asked, only those have a
    /// vote to which it is final. A client of a single node calls [`one_node::final_block`](crate::one_node::final_block).
    ///
    /// # Errors
    ///
    /// The node could not be asked. Nothing changed.
    async fn final_block(&self, number: u64) -> Result<Option<Block>, ChainError>;

    /// The logs in `range` that match `filter`, in the chain's order.
    ///
    /// # Errors
    ///
    /// [`ChainError::RangeTooWide`]: ask for less. [`ChainError::NotFound`]: the block asked for by its hash is not
    /// there. Otherwise the node could not be asked. Nothing changed.
    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError>;

    /// The logs of the blocks from `first` to `last` that match `filter`, in the chain's order, of the chain that goes through
    /// `last`. Where several nodes are asked, only those have a vote that have come to it. A client of a single node calls
    /// [`one_node::logs_upto`](crate::one_node::logs_upto).
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: another block is there, or none; otherwise as [`logs`](Self::logs). Nothing changed.
    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError>;
}
