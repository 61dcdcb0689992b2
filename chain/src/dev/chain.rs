//! The handle that everybody holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, U256};
use futures_util::StreamExt as _;
use parking_lot::{Mutex, MutexGuard};
use peaberry_core::Clock;

use super::ledger::Ledger;
use super::{CallTrace, DevOptions, Mining, Rejection, Undone};
use crate::deadline::within;
use crate::evm::{Asked, EvmClient, EvmNetwork, FeeModel};
use crate::{Block, BlockAt, CallRequest, ChainError, ChainId, EvmAddress, FinalityPolicy, Revert};

/// A development chain. Cheap to clone: clones are the same chain. Callable concurrently.
///
/// It is an [`EvmNode`](crate::evm::EvmNode), so that an [`EvmClient`] talks to it directly, and a
/// [`RpcTransport`](crate::RpcTransport), so that anything that speaks JSON-RPC does.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use peaberry_chain::dev::{DevChain, DevOptions};
/// use peaberry_chain::wallet::EvmKey;
/// use peaberry_chain::{Amount, Asset, ChainClient, EvmAddress, Finality, Intent};
///
/// let key = EvmKey::from_bytes(&[7; 32])?;
/// let chain = DevChain::new(DevOptions::default().fund(key.evm_address()));
/// let client = chain.client().await?.with_signer(Arc::new(key.clone()))?;
///
/// let to = EvmAddress::repeat_byte(1);
/// let payment = Intent::Transfer {
///     from: key.evm_address().into(), to: to.into(), asset: Asset::Native, amount: Amount::wei(5),
/// };
/// let id = client.submit(&payment).await?;
/// client.wait(id, Finality::Latest, Duration::from_secs(1)).await?;
/// assert_eq!(client.balance(to.into(), Asset::Native).await?, Amount::wei(5));
///
/// // The block is gone, and its transaction with it.
/// chain.reorg(1, peaberry_chain::dev::Undone::Drop);
/// assert!(client.balance(to.into(), Asset::Native).await?.is_zero());
/// # Ok::<(), peaberry_chain::ChainError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct DevChain {
    ledger: Arc<Mutex<Ledger>>,
}

impl DevChain {
    /// A chain with its first block.
    ///
    /// # Panics
    ///
    /// The chain's number or the time between blocks is zero.
    #[must_use]
    pub fn new(options: DevOptions) -> Self {
        Self {
            ledger: Arc::new(Mutex::new(Ledger::new(options))),
        }
    }

    /// Its habits, as a client has to know them.
    #[must_use]
    pub fn network(&self) -> EvmNetwork {
        let ledger = self.ledger();
        EvmNetwork {
            chain: ChainId::evm(ledger.options.chain),
            finality: FinalityPolicy::Finalized,
            fees: FeeModel::Eip1559 {
                tip_min: ledger.options.tip_min,
            },
            block_time: Duration::from_secs(ledger.options.block_time_s),
            transaction_gas_max: ledger.transaction_gas_max(),
        }
    }

    /// A client that talks to it directly.
    ///
    /// # Errors
    ///
    /// None at present.
    pub async fn client(&self) -> Result<EvmClient, ChainError> {
        EvmClient::connect(Arc::new(self.clone()), self.network()).await
    }

    /// Takes a signed transaction as it goes over the wire (EIP-2718) into the mempool, and returns its hash.
    ///
    /// # Errors
    ///
    /// [`Rejection`]; nothing changed.
    pub fn submit(&self, raw: &[u8]) -> Result<B256, Rejection> {
        self.ledger().submit(raw)
    }

    /// Makes a block of what waits, [`block_time_s`](DevOptions::block_time_s) after its parent.
    pub fn mine(&self) -> Block {
        self.ledger().mine(None).block()
    }

    /// Makes a block of what waits, at this time in seconds since 1970-01-01 UTC; at the latest time before it, if that
    /// is not later than its parent's.
    pub fn mine_at(&self, timestamp_s: u64) -> Block {
        self.ledger().mine(Some(timestamp_s)).block()
    }

    /// Makes `count` blocks; the first takes what waits.
    pub fn mine_many(&self, count: u64) {
        let mut ledger = self.ledger();
        for _ in 0..count {
            ledger.mine(None);
        }
    }

    /// Makes a block that takes nothing of what waits.
    pub fn mine_empty(&self) -> Block {
        self.ledger().mine_empty().block()
    }

    /// Makes a block of what waits every `interval`, at the time of `clock`, until it is dropped: spawn it, or poll it
    /// beside what else there is to do. Missed intervals are not made up for.
    ///
    /// # Panics
    ///
    /// `interval` is zero.
    pub fn mine_every(
        &self,
        clock: Arc<dyn Clock>,
        interval: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        assert!(!interval.is_zero(), "blocks come one after the other");
        let chain = self.clone();
        async move {
            loop {
                clock.sleep_until(clock.now() + interval).await;
                chain.mine_at(clock.timestamp().as_unix_nanos() / 1_000_000_000);
            }
        }
    }

    /// Makes a block of what waits as often as `evm_setIntervalMining` says, at the time of `clock`, until it is dropped; as
    /// long as that says nothing, none. Missed intervals are not made up for. [`DevServer`](super::DevServer) does this by
    /// itself. Of several of these for one chain the latest does it, and the others end.
    pub fn mine_by_interval(
        &self,
        clock: Arc<dyn Clock>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let chain = self.clone();
        let mut changes = self.ledger().keep_interval();
        async move {
            loop {
                let interval = chain.ledger().interval();
                let changed = match interval {
                    None => changes.next().await,
                    Some(interval) => match within(&*clock, interval, changes.next()).await {
                        Some(changed) => changed,
                        None => {
                            chain.mine_at(clock.timestamp().as_unix_nanos() / 1_000_000_000);
                            continue;
                        }
                    },
                };
                if changed.is_none() {
                    return;
                }
            }
        }
    }

    /// When blocks are made from now on; no more by the interval of `evm_setIntervalMining`.
    pub fn set_mining(&self, mining: Mining) {
        self.ledger().set_mining(mining);
    }

    /// Replaces the newest `depth` blocks by as many and one more, as a node sees a reorganisation: the first of the
    /// new blocks takes what waits. The first block of the chain stays. Nothing holds it back from undoing what was
    /// final: that is what a client must notice.
    ///
    /// Returns the hashes of the transactions that were undone, in their order.
    pub fn reorg(&self, depth: u64, undone: Undone) -> Vec<B256> {
        let transactions = self.ledger().reorganise(depth, undone);
        transactions.iter().map(|undone| undone.hash).collect()
    }

    /// Undoes the newest `depth` blocks and makes none in their place yet. The blocks that will be made differ from
    /// those that were, even if they hold the same.
    ///
    /// Returns the hashes of the transactions that were undone, in their order.
    pub fn rewind(&self, depth: u64, undone: Undone) -> Vec<B256> {
        let transactions = self.ledger().rewind(depth, undone);
        transactions.iter().map(|undone| undone.hash).collect()
    }

    /// Forgets a transaction that waits. Whether there was such a one.
    pub fn forget(&self, hash: B256) -> bool {
        self.ledger().pool.remove(hash)
    }

    /// Forgets everything that waits, as a node does that starts anew.
    pub fn forget_all(&self) {
        self.ledger().pool.clear();
    }

    /// What waits, by sender and nonce.
    #[must_use]
    pub fn waiting(&self) -> Vec<B256> {
        let ledger = self.ledger();
        ledger.pool.iter().map(|waiting| waiting.hash).collect()
    }

    /// The newest block.
    #[must_use]
    pub fn head(&self) -> Block {
        self.ledger().head().block()
    }

    /// The transactions of the block `number`, in order; none if there is no such block.
    #[must_use]
    pub fn transactions(&self, number: u64) -> Vec<B256> {
        let ledger = self.ledger();
        let block = ledger.numbered(number).into_iter();
        let included = block.flat_map(|block| &block.included);
        included.map(|one| one.transaction.hash).collect()
    }

    /// Why an included transaction was undone; `None` if it was not, or is not included.
    #[must_use]
    pub fn revert_reason(&self, hash: B256) -> Option<Revert> {
        let ledger = self.ledger();
        let (_, _, included) = ledger.place(hash)?;
        Some(included.failure.as_ref()?.reason())
    }

    /// What called what in an included transaction, and why it was undone if it was; `None` if it is not included. It is
    /// played once more for this.
    #[must_use]
    pub fn trace(&self, hash: B256) -> Option<CallTrace> {
        self.ledger().trace(hash)
    }

    /// What a call at a block would call, and why it would be undone if it would. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotFound`]: there is no such block; [`ChainError::InsufficientFunds`]: the caller cannot pay for
    /// it; [`ChainError::WrongFamily`]: an address is no EVM address. Nothing was sent.
    pub fn trace_call(&self, request: &CallRequest, at: BlockAt) -> Result<CallTrace, ChainError> {
        let call = self.question(request)?;
        let traced = self.ledger().trace_call(&call, at.into());
        traced
            .map_err(|error| error.into_chain_error("debug_traceCall", Asked::Try(Some(call.from))))
    }

    /// What `account` has in the newest block, in wei.
    #[must_use]
    pub fn balance(&self, account: EvmAddress) -> U256 {
        let ledger = self.ledger();
        ledger.state().balance(account, ledger.height())
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }
}

impl fmt::Debug for DevChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.ledger();
        f.debug_struct("DevChain")
            .field("chain", &ledger.options.chain)
            .field("height", &ledger.height())
            .field("waiting", &ledger.pool.iter().count())
            .finish()
    }
}
