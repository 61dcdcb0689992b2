//! The client of an EVM chain.

mod branch;
mod status;
mod submitted;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address as EvmAddress, Bytes, U256};
use async_trait::async_trait;
use futures_util::future::{join, try_join3};
use parking_lot::Mutex;
use peaberry_core::{Clock, SystemClock};

use self::branch::Branch;
use self::submitted::{Claim, Sender, Submitted};
use super::{EvmNetwork, EvmView, FeeModel, Fees, SignedTransaction, Transaction, erc20};
use crate::deadline::within;
use crate::wait::wait_for;
use crate::{
    Address, Amount, Asset, Block, BlockAt, CallRequest, ChainClient, ChainError, ChainId,
    Estimate, Finality, FinalityPolicy, Intent, Log, LogFilter, LogRange, Revert, Sent, Signer,
    TransactionStatus, TxId,
};

// Estimates are of the newest state; what runs later may need somewhat more.
const GAS_MARGIN_PERCENT: u64 = 20;
const FEE_BLOCKS: u16 = 10;
const TIP_PERCENTILE: u8 = 50;
const TOKENS_KNOWN_MAX: usize = 4096;
const WAIT_MIN: Duration = Duration::from_millis(25);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a signer may take, unless told otherwise: it may have to ask a person.
pub const SIGNED_WITHIN: Duration = Duration::from_secs(120);

/// A client of one EVM chain, over any [`EvmView`]: a node far away, one in the process, or several.
///
/// `submit` takes the account's pending nonce from the node and stores nothing: for many transactions at once, or for
/// any that must survive a crash, use the outbox.
///
/// `status` answers [`Replaced`](TransactionStatus::Replaced) only of what this very client or a clone of it has sent, the
/// newest 4,096: a node does not know the nonce of what it has not got. It says so when the account has used the nonce in a
/// final block and a node that has come to that block finds no receipt, and for as long as such a node is sure to have it:
/// up to 7,500 blocks above the block that was final when `submit` signed, or at which `status` found the nonce free; what
/// `submit_raw` sends may be as old as the chain until then. Later it answers [`Unknown`](TransactionStatus::Unknown). A node
/// that keeps receipts for fewer than 10,000 blocks makes it believe so wrongly, and so may several behind one address that
/// answer each question in turn: before you send another in its place, ask a node that you know to have them. The outbox
/// takes more care.
///
/// `status` answers `Final` of what lies on the final block's branch, which it follows down from there, once for all
/// questions. Of what lies more than 64 blocks below, one node to which it is final is believed.
#[derive(Clone)]
pub struct EvmClient {
    rpc: Arc<dyn EvmView>,
    network: EvmNetwork,
    clock: Arc<dyn Clock>,
    signers: BTreeMap<EvmAddress, Arc<dyn Signer>>,
    signed_within: Duration,
    // A token's decimals never change.
    decimals: Arc<Mutex<BTreeMap<EvmAddress, u8>>>,
    // As it was seen last; zero before that. It moves by a thousandth a block: what is far below needs no other look.
    block_gas_limit: Arc<AtomicU64>,
    submitted: Arc<Mutex<Submitted>>,
    branch: Arc<Mutex<Branch>>,
}

impl EvmClient {
    /// A client of `network` over `rpc`, which is asked what chain it serves.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongChain`]: it serves another; or it could not be asked. Nothing was sent.
    pub async fn connect(rpc: Arc<dyn EvmView>, network: EvmNetwork) -> Result<Self, ChainError> {
        let found = rpc.chain_id().await?;
        if found != network.chain {
            return Err(ChainError::WrongChain {
                expected: network.chain,
                found,
            });
        }
        Ok(Self {
            rpc,
            network,
            clock: Arc::new(SystemClock::new()),
            signers: BTreeMap::new(),
            signed_within: SIGNED_WITHIN,
            decimals: Arc::default(),
            block_gas_limit: Arc::default(),
            submitted: Arc::default(),
            branch: Arc::default(),
        })
    }

    /// A client of `network` over the node at `url`.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidUrl`], and as [`connect`](Self::connect).
    #[cfg(feature = "http")]
    pub async fn http(url: &str, network: EvmNetwork) -> Result<Self, ChainError> {
        Self::connect(Arc::new(super::JsonRpc::http(url)?), network).await
    }

    /// Intents of the signer's account can be submitted.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongFamily`]: it is no EVM signer.
    pub fn with_signer(mut self, signer: Arc<dyn Signer>) -> Result<Self, ChainError> {
        let address = signer.address().evm_on(self.network.chain)?;
        self.signers.insert(address, signer);
        Ok(self)
    }

    /// Time comes from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Signers have this long; [`SIGNED_WITHIN`] by default.
    #[must_use]
    pub const fn with_signed_within(mut self, signed_within: Duration) -> Self {
        self.signed_within = signed_within;
        self
    }

    /// The node.
    #[must_use]
    pub const fn rpc(&self) -> &Arc<dyn EvmView> {
        &self.rpc
    }

    /// The chain's habits.
    #[must_use]
    pub const fn network(&self) -> &EvmNetwork {
        &self.network
    }

    /// What to offer for gas now.
    ///
    /// # Errors
    ///
    /// The node could not be asked. Nothing was sent.
    pub async fn fees(&self) -> Result<Fees, ChainError> {
        match self.network.fees {
            FeeModel::Eip1559 { tip_min } => {
                let history = self.rpc.fee_history(FEE_BLOCKS, &[TIP_PERCENTILE]).await?;
                let base_fee = price(history.next_base_fee(), "eth_feeHistory")?;
                let tip_max = price(history.median_tip(), "eth_feeHistory")?.max(tip_min);
                Ok(Fees::Eip1559 {
                    fee_max: base_fee.saturating_mul(2).saturating_add(tip_max),
                    tip_max,
                })
            }
            FeeModel::Legacy => {
                let gas_price = price(self.rpc.gas_price().await?, "eth_gasPrice")?;
                Ok(Fees::Legacy { gas_price })
            }
        }
    }

    /// What `intent` is on this chain: nonce, fees and gas are the node's view of this moment. Signs nothing.
    ///
    /// # Errors
    ///
    /// As [`ChainClient::estimate`]. Nothing was sent.
    pub async fn prepare(&self, intent: &Intent) -> Result<Transaction, ChainError> {
        let request = call_of(intent, self.network.chain)?;
        let from = intent.from().evm_on(self.network.chain)?;
        let (nonce, fees, gas) = try_join3(
            self.rpc.nonce(from, BlockAt::Pending),
            self.fees(),
            self.gas_limit(&request),
        )
        .await?;
        let to = request.to.map(|to| to.evm_on(self.network.chain));
        Ok(Transaction {
            chain: self.network.chain,
            nonce,
            gas_limit: gas,
            fees,
            to: to.transpose()?,
            value: request.value,
            data: request.data,
        })
    }

    /// Has the signer of `from` sign.
    ///
    /// # Errors
    ///
    /// [`ChainError::NoSigner`], [`ChainError::Signer`]; [`ChainError::TimedOut`] when it has not answered within
    /// [`SIGNED_WITHIN`] or what [`with_signed_within`](Self::with_signed_within) says: what it answers later is not used.
    /// Nothing was sent.
    pub async fn sign(
        &self,
        from: EvmAddress,
        transaction: &Transaction,
    ) -> Result<SignedTransaction, ChainError> {
        let signer = self.signers.get(&from).ok_or(ChainError::NoSigner {
            address: from.into(),
        })?;
        let signing = transaction.sign(&**signer);
        let signed = within(&*self.clock, self.signed_within, signing).await;
        signed.unwrap_or(Err(ChainError::TimedOut {
            doing: "a request to sign",
            after: self.signed_within,
            sent: Sent::No,
        }))
    }

    /// Asks for a transaction's status until it is as certain as `until` says, reverted so, or settled otherwise;
    /// at first every few milliseconds, then ever more rarely, up to eight times a block. A failed question is asked
    /// again, in the time a rate limit leaves.
    ///
    /// # Errors
    ///
    /// [`ChainError::TimedOut`] after `patience`; the transaction may still be included. Other errors are the last
    /// question's, where asking again would not help.
    pub async fn wait(
        &self,
        id: TxId,
        until: Finality,
        patience: Duration,
    ) -> Result<TransactionStatus, ChainError> {
        let pause_max = (self.network.block_time / 8).clamp(WAIT_MIN, WAIT_MAX);
        wait_for(self, &*self.clock, pause_max, id, until, patience).await
    }

    /// What `request` takes and a margin, as far as one transaction may use so much.
    pub(crate) async fn gas_limit(&self, request: &CallRequest) -> Result<u64, ChainError> {
        let gas = self.rpc.estimate_gas(request, BlockAt::Latest).await?;
        // A plain transfer takes what it takes.
        if request.data.is_empty() && gas == 21_000 {
            return Ok(gas);
        }
        let wanted = gas.saturating_add(gas / 100 * GAS_MARGIN_PERCENT);
        let gas_max = self.gas_max(wanted).await?;
        if gas > gas_max {
            return Err(ChainError::GasOverLimit { gas, gas_max });
        }
        Ok(wanted.min(gas_max))
    }

    /// The most gas that a transaction may use which wants so much.
    async fn gas_max(&self, wanted: u64) -> Result<u64, ChainError> {
        let known = self.block_gas_limit.load(Ordering::Relaxed);
        let of_block = if wanted <= known / 2 {
            known
        } else {
            match self.rpc.block_gas_limit().await? {
                Some(found) => {
                    self.block_gas_limit.store(found, Ordering::Relaxed);
                    found
                }
                // That it does not say so now is nothing to be kept.
                None if known > 0 => known,
                None => u64::MAX,
            }
        };
        Ok(self
            .network
            .transaction_gas_max
            .map_or(of_block, |gas_max| gas_max.min(of_block)))
    }

    async fn token_decimals(&self, token: EvmAddress) -> Result<u8, ChainError> {
        if let Some(decimals) = self.decimals.lock().get(&token) {
            return Ok(*decimals);
        }
        let request = CallRequest::new(token, erc20::ask_decimals());
        let answer = self.rpc.call(&request, BlockAt::Latest).await?;
        let decimals = erc20::read_decimals(&answer, token)?;
        let mut known = self.decimals.lock();
        if known.len() >= TOKENS_KNOWN_MAX {
            known.pop_first();
        }
        known.insert(token, decimals);
        Ok(decimals)
    }
}

/// The call that carries `intent` out on `chain`.
pub(crate) fn call_of(intent: &Intent, chain: ChainId) -> Result<CallRequest, ChainError> {
    intent.expect_on(chain)?;
    let from = Some(intent.from());
    Ok(match intent {
        Intent::Transfer {
            to,
            asset: Asset::Native,
            amount,
            ..
        } => CallRequest {
            from,
            to: Some(*to),
            value: in_wei(*amount)?,
            data: Bytes::new(),
        },
        Intent::Transfer {
            to,
            asset: Asset::Token(token),
            amount,
            ..
        } => CallRequest {
            from,
            to: Some(*token),
            value: U256::ZERO,
            data: erc20::transfer(to.evm_on(chain)?, amount.units()),
        },
        Intent::Call {
            to, value, data, ..
        } => CallRequest {
            from,
            to: Some(*to),
            value: in_wei(*value)?,
            data: data.clone(),
        },
        Intent::Deploy { value, code, .. } => CallRequest {
            from,
            to: None,
            value: in_wei(*value)?,
            data: code.clone(),
        },
    })
}

fn price(price: U256, doing: &'static str) -> Result<u128, ChainError> {
    u128::try_from(price).map_err(|_too_large| ChainError::Malformed {
        doing,
        reason: "a price of more than 128 bits".into(),
        sent: Sent::No,
    })
}

fn in_wei(amount: Amount) -> Result<U256, ChainError> {
    if amount.decimals() != 18 {
        return Err(ChainError::DecimalsDiffer {
            left: 18,
            right: amount.decimals(),
        });
    }
    Ok(amount.units())
}

#[async_trait]
impl ChainClient for EvmClient {
    fn chain_id(&self) -> ChainId {
        self.network.chain
    }

    async fn balance(&self, owner: Address, asset: Asset) -> Result<Amount, ChainError> {
        let owner = owner.evm_on(self.network.chain)?;
        match asset {
            Asset::Native => Ok(Amount::new(
                self.rpc.balance(owner, BlockAt::Latest).await?,
                18,
            )),
            Asset::Token(token) => {
                let token = token.evm_on(self.network.chain)?;
                let request = CallRequest::new(token, erc20::balance_of(owner));
                let (answer, decimals) = futures_util::future::try_join(
                    self.rpc.call(&request, BlockAt::Latest),
                    self.token_decimals(token),
                )
                .await?;
                Ok(Amount::new(erc20::read_balance(&answer, token)?, decimals))
            }
        }
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        for address in [request.from, request.to].into_iter().flatten() {
            address.expect_on(self.network.chain)?;
        }
        match (at, self.network.finality) {
            (BlockAt::Final, FinalityPolicy::Depth(_)) => {
                let head = self.head(Finality::Final).await?;
                self.rpc.call(request, BlockAt::Hash(head.hash)).await
            }
            _ => self.rpc.call(request, at).await,
        }
    }

    async fn estimate(&self, intent: &Intent) -> Result<Estimate, ChainError> {
        let request = call_of(intent, self.network.chain)?;
        let (fees, gas) =
            futures_util::future::try_join(self.fees(), self.gas_limit(&request)).await?;
        let fee = U256::from(gas).saturating_mul(U256::from(fees.fee_max()));
        Ok(Estimate {
            gas,
            fee_max: Amount::new(fee, 18),
        })
    }

    async fn submit(&self, intent: &Intent) -> Result<TxId, ChainError> {
        let from = intent.from().evm_on(self.network.chain)?;
        if !self.signers.contains_key(&from) {
            return Err(ChainError::NoSigner {
                address: from.into(),
            });
        }
        // What is final before it is signed does not have it.
        let (transaction, end) = join(self.prepare(intent), self.newest_final()).await;
        let transaction = transaction?;
        let signed = self.sign(from, &transaction).await?;
        let claim = Claim {
            sender: Sender::Known(from),
            nonce: transaction.nonce,
            above: end.ok().flatten().map_or(0, |end| end.number),
        };
        self.submitted.lock().remember(signed.hash(), claim);
        self.rpc.broadcast(signed.raw()).await.map(TxId::Evm)
    }

    async fn submit_raw(&self, raw: &Bytes) -> Result<TxId, ChainError> {
        let signed = SignedTransaction::from_raw(raw.clone());
        let envelope = signed.envelope()?;
        let found = envelope.chain_id().map(ChainId::evm);
        let expected = self.network.chain;
        if let Some(found) = found.filter(|found| *found != expected) {
            return Err(ChainError::WrongChain { expected, found });
        }
        let claim = Claim {
            sender: Sender::Signed {
                signature: *envelope.signature(),
                digest: envelope.signature_hash(),
            },
            nonce: envelope.nonce(),
            // Whoever signed it may have sent it long ago.
            above: 0,
        };
        self.submitted.lock().remember(signed.hash(), claim);
        self.rpc.broadcast(raw).await.map(TxId::Evm)
    }

    async fn status(&self, id: TxId) -> Result<TransactionStatus, ChainError> {
        let TxId::Evm(hash) = id else {
            return Err(ChainError::WrongTransactionFamily {
                transaction: id,
                chain: self.network.chain,
            });
        };
        self.status_of(hash).await
    }

    async fn head(&self, finality: Finality) -> Result<Block, ChainError> {
        let depth = match (finality, self.network.finality) {
            (Finality::Latest, _) => 0,
            (Finality::Depth(depth), _) | (Finality::Final, FinalityPolicy::Depth(depth)) => depth,
            (Finality::Final, FinalityPolicy::Finalized) => {
                let block = self.rpc.block(BlockAt::Final).await?;
                return block.ok_or_else(|| not_found("a finalized block"));
            }
        };
        if depth == 0 {
            let latest = self.rpc.block(BlockAt::Latest).await?;
            return latest.ok_or_else(|| not_found("the newest block"));
        }
        let block = self.rpc.block_below(depth).await?;
        block.ok_or_else(|| not_found("a block of such depth"))
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        match (at, self.network.finality) {
            (BlockAt::Final, FinalityPolicy::Depth(_)) => {
                self.head(Finality::Final).await.map(Some)
            }
            _ => self.rpc.block(at).await,
        }
    }

    async fn final_block(&self, number: u64) -> Result<Option<Block>, ChainError> {
        self.rpc.final_block(number, self.network.finality).await
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        for address in &filter.addresses {
            address.expect_on(self.network.chain)?;
        }
        self.rpc.logs(filter, range).await
    }

    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        for address in &filter.addresses {
            address.expect_on(self.network.chain)?;
        }
        self.rpc.logs_upto(filter, first, last).await
    }
}

fn not_found(what: &str) -> ChainError {
    ChainError::NotFound { what: what.into() }
}

impl EvmClient {
    /// Why an included transaction was reverted: the same call, tried again on the block before its own.
    ///
    /// What earlier transactions of the same block did is not seen, so the answer is a good guess; `None` where the
    /// call would have gone well there.
    ///
    /// # Errors
    ///
    /// The node could not be asked, or has forgotten the state of that block. Nothing was sent.
    pub async fn explain_revert(
        &self,
        request: &CallRequest,
        block: Block,
    ) -> Result<Option<Revert>, ChainError> {
        match self.rpc.call(request, BlockAt::Hash(block.parent)).await {
            Ok(_) => Ok(None),
            Err(ChainError::Reverted(reason)) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for EvmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmClient")
            .field("network", &self.network)
            .field("signers", &self.signers.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
