//! Many chains behind one door.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Bytes;
use futures_util::stream::{self, StreamExt};
use peaberry_core::{Clock, SystemClock};

use crate::wait::wait_for;
use crate::{
    AccountId, Address, Amount, Asset, Block, BlockAt, CallRequest, ChainClient, ChainError,
    ChainId, Estimate, Finality, Intent, Log, LogFilter, LogRange, TransactionStatus, TxId,
};

// Questions on the way at once when balances are read.
const AT_ONCE: usize = 16;
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Clients by chain: each call goes to the one that the chain id names. Cheap to clone; adds no task, no queue and no
/// copy to a call.
///
/// ```
/// use peaberry_chain::{ChainError, ChainId, Finality, MultiChain};
///
/// # async fn example() {
/// let chains = MultiChain::new();
/// let head = chains.head(ChainId::POLYGON, Finality::Latest).await;
/// assert!(matches!(head, Err(ChainError::UnknownChain { .. })));
/// # }
/// ```
#[derive(Clone)]
pub struct MultiChain {
    clients: BTreeMap<ChainId, Arc<dyn ChainClient>>,
    clock: Arc<dyn Clock>,
}

/// What an account holds of one asset, or why that could not be read.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Whose, and on which chain.
    pub account: AccountId,
    /// Of what.
    pub asset: Asset,
    /// How much. One chain's failure does not hide the other chains.
    pub amount: Result<Amount, ChainError>,
}

impl Default for MultiChain {
    fn default() -> Self {
        Self::new()
    }
}

impl MultiChain {
    /// No chains yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clients: BTreeMap::new(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// The same with `client`, in the place of another for its chain.
    #[must_use]
    pub fn with(mut self, client: Arc<dyn ChainClient>) -> Self {
        self.clients.insert(client.chain_id(), client);
        self
    }

    /// Time comes from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The chains, in the order of their names.
    pub fn chains(&self) -> impl Iterator<Item = ChainId> + '_ {
        self.clients.keys().copied()
    }

    /// The client of `chain`.
    ///
    /// # Errors
    ///
    /// [`ChainError::UnknownChain`]: there is none.
    pub fn client(&self, chain: ChainId) -> Result<&Arc<dyn ChainClient>, ChainError> {
        self.clients
            .get(&chain)
            .ok_or(ChainError::UnknownChain { chain })
    }

    /// [`ChainClient::balance`].
    ///
    /// # Errors
    ///
    /// [`ChainError::UnknownChain`], and as the client's; so of all the following.
    pub async fn balance(&self, owner: AccountId, asset: Asset) -> Result<Amount, ChainError> {
        let client = self.client(owner.chain())?;
        client.balance(owner.address(), asset).await
    }

    /// [`ChainClient::call`].
    ///
    /// # Errors
    ///
    /// As [`balance`](Self::balance).
    pub async fn call(
        &self,
        chain: ChainId,
        request: &CallRequest,
        at: BlockAt,
    ) -> Result<Bytes, ChainError> {
        self.client(chain)?.call(request, at).await
    }

    /// [`ChainClient::estimate`].
    ///
    /// # Errors
    ///
    /// As [`balance`](Self::balance).
    pub async fn estimate(&self, chain: ChainId, intent: &Intent) -> Result<Estimate, ChainError> {
        self.client(chain)?.estimate(intent).await
    }

    /// [`ChainClient::submit`].
    ///
    /// # Errors
    ///
    /// As [`ChainClient::submit`], and [`ChainError::UnknownChain`].
    pub async fn submit(&self, chain: ChainId, intent: &Intent) -> Result<TxId, ChainError> {
        self.client(chain)?.submit(intent).await
    }

    /// [`ChainClient::submit_raw`].
    ///
    /// # Errors
    ///
    /// As [`ChainClient::submit_raw`], and [`ChainError::UnknownChain`].
    pub async fn submit_raw(&self, chain: ChainId, raw: &Bytes) -> Result<TxId, ChainError> {
        self.client(chain)?.submit_raw(raw).await
    }

    /// [`ChainClient::status`].
    ///
    /// # Errors
    ///
    /// As [`balance`](Self::balance).
    pub async fn status(&self, chain: ChainId, id: TxId) -> Result<TransactionStatus, ChainError> {
        self.client(chain)?.status(id).await
    }

    /// [`ChainClient::head`].
    ///
    /// # Errors
    ///
    /// As [`balance`](Self::balance).
    pub async fn head(&self, chain: ChainId, finality: Finality) -> Result<Block, ChainError> {
        self.client(chain)?.head(finality).await
    }

    /// [`ChainClient::block`].
    ///
    /// # Errors
    ///
    /// As [`balance`](Self::balance).
    pub async fn block(&self, chain: ChainId, at: BlockAt) -> Result<Option<Block>, ChainError> {
        self.client(chain)?.block(at).await
    }

    /// [`ChainClient::logs`].
    ///
    /// # Errors
    ///
    /// As [`ChainClient::logs`], and [`ChainError::UnknownChain`].
    pub async fn logs(
        &self,
        chain: ChainId,
        filter: &LogFilter,
        range: &LogRange,
    ) -> Result<Vec<Log>, ChainError> {
        self.client(chain)?.logs(filter, range).await
    }

    /// Asks for a transaction's status until it is as certain as `until` says or settled otherwise: at first every few
    /// milliseconds, then ever more rarely, at least four times a second.
    ///
    /// # Errors
    ///
    /// [`ChainError::TimedOut`] after `patience`: the transaction may still be included. Other errors are the last
    /// question's, where asking again would not help.
    pub async fn wait(
        &self,
        chain: ChainId,
        id: TxId,
        until: Finality,
        patience: Duration,
    ) -> Result<TransactionStatus, ChainError> {
        let client = self.client(chain)?;
        wait_for(&**client, &*self.clock, PAUSE_MAX, id, until, patience).await
    }

    /// What `owners` hold over all chains: the native coin of every chain of each owner's family, and of `tokens` (each
    /// a contract or mint on its chain) those of that family. Ordered by chain, owner, asset.
    pub async fn balances(&self, owners: &[Address], tokens: &[AccountId]) -> Vec<Holding> {
        let questions = self.clients.keys().flat_map(|&chain| {
            let tokens = tokens.iter().filter(move |token| token.chain() == chain);
            let assets = std::iter::once(Asset::Native)
                .chain(tokens.map(|token| Asset::Token(token.address())));
            let owners = owners.iter();
            let accounts = owners.filter_map(move |owner| AccountId::new(chain, *owner).ok());
            accounts.flat_map(move |account| assets.clone().map(move |asset| (account, asset)))
        });
        let questions: Vec<(AccountId, Asset)> = questions.collect();
        stream::iter(questions)
            .map(async |(account, asset)| Holding {
                account,
                asset,
                amount: self.balance(account, asset).await,
            })
            .buffered(AT_ONCE)
            .collect()
            .await
    }
}

impl fmt::Debug for MultiChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.clients.keys()).finish()
    }
}
