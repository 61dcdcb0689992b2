//! The client of a Solana cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Bytes;
use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_core::{Clock, SystemClock};

use super::holdings::Mint;
use super::rpc::Ignorance;
use super::{
    Blockhash, Commitment, Instruction, Message, SignedTransaction, SolanaNetwork, SolanaRpc,
    VALID_BLOCKS, compute_budget,
};
use crate::deadline::within;
use crate::evm::SIGNED_WITHIN;
use crate::wait::wait_for;
use crate::{
    Address, Amount, Asset, Block, BlockAt, CallRequest, ChainClient, ChainError, ChainFamily,
    ChainId, Estimate, Finality, Intent, Log, LogFilter, LogRange, RpcTransport, Sent, Signer,
    SolanaAddress, TransactionStatus, TxId, one_node,
};

// Submissions whose last valid height is remembered, oldest forgotten first.
const SUBMITTED_MAX: usize = 4096;
// How far back a block is looked for behind empty slots.
const EMPTY_SLOTS_MAX: u64 = 1024;
const PAUSE_MIN: Duration = Duration::from_millis(25);

/// A client of one Solana cluster, over any [`RpcTransport`].
///
/// - The newest block is the newest *confirmed* one: nodes give out none before; `Final` is `finalized`.
/// - [`TransactionStatus::Dropped`] is answered only for transactions that this very client sent, or by
///   [`status_of`](Self::status_of), and only once a final block lies above the last height at which they are valid, by nodes
///   whose ledger goes back to the block that dates them.
/// - Tokens are those of the owner's associated account: what others hold for him does not count. Both token programs
///   serve; the mint says which. Tokens of Token-2022 that take a fee arrive reduced.
/// - A token account as the recipient of tokens is refused: tokens sent to an account *of* a token account are lost.
/// - There are no `call`, `logs`, calls or deployments: other programs are reached by
///   [`submit_instructions`](Self::submit_instructions).
#[derive(Clone)]
pub struct SolanaClient {
    pub(super) rpc: SolanaRpc,
    pub(super) network: SolanaNetwork,
    clock: Arc<dyn Clock>,
    signers: BTreeMap<SolanaAddress, Arc<dyn Signer>>,
    signed_within: Duration,
    pub(super) mints: Arc<Mutex<BTreeMap<SolanaAddress, Mint>>>,
    submitted: Arc<Mutex<Submitted>>,
}

/// Up to which height the transactions sent are valid.
#[derive(Default)]
struct Submitted {
    heights: BTreeMap<[u8; 64], u64>,
    order: std::collections::VecDeque<[u8; 64]>,
}

impl Submitted {
    fn remember(&mut self, transaction: &SignedTransaction) {
        if self.order.len() == SUBMITTED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.heights.remove(&oldest);
        }
        let signature = transaction.signature();
        let height = transaction.last_valid_height();
        if self.heights.insert(signature, height).is_none() {
            self.order.push_back(signature);
        }
    }
}

impl SolanaClient {
    /// A client of `network` over `rpc`, which is asked what chain it serves.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongChain`]: it serves another; or it could not be asked. Nothing was sent.
    pub async fn connect(rpc: SolanaRpc, network: SolanaNetwork) -> Result<Self, ChainError> {
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
            mints: Arc::default(),
            submitted: Arc::default(),
        })
    }

    /// A client of `network` over `transport`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn over(
        transport: Arc<dyn RpcTransport>,
        network: SolanaNetwork,
    ) -> Result<Self, ChainError> {
        Self::connect(SolanaRpc::new(transport), network).await
    }

    /// A client of `network` over the node at `url`.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidUrl`], and as [`connect`](Self::connect).
    #[cfg(feature = "http")]
    pub async fn http(url: &str, network: SolanaNetwork) -> Result<Self, ChainError> {
        Self::connect(SolanaRpc::http(url)?, network).await
    }

    /// Intents of the signer's account can be submitted.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongFamily`]: it is no Solana signer.
    pub fn with_signer(mut self, signer: Arc<dyn Signer>) -> Result<Self, ChainError> {
        let address = signer.address().solana_on(self.network.chain)?;
        self.signers.insert(address, signer);
        Ok(self)
    }

    /// Time comes from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Signers have this long, together; [`SIGNED_WITHIN`] by default.
    #[must_use]
    pub const fn with_signed_within(mut self, signed_within: Duration) -> Self {
        self.signed_within = signed_within;
        self
    }

    /// The node.
    #[must_use]
    pub const fn rpc(&self) -> &SolanaRpc {
        &self.rpc
    }

    /// The cluster's habits.
    #[must_use]
    pub const fn network(&self) -> &SolanaNetwork {
        &self.network
    }

    /// Signs what `intent` is on this chain. Sends nothing: whoever must survive a crash stores the bytes, then
    /// [`broadcast`](Self::broadcast)s them.
    ///
    /// # Errors
    ///
    /// As [`ChainClient::submit`]. Nothing was sent.
    pub async fn sign(&self, intent: &Intent) -> Result<SignedTransaction, ChainError> {
        let payer = self.payer(intent)?;
        let plan = self.plan(intent, payer).await?;
        self.sign_instructions(payer, &plan.instructions).await
    }

    /// Signs a transaction of any instructions, paid by `payer`, by this client's signers. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ChainError::NoSigner`], [`ChainError::Signer`], [`ChainError::TransactionTooLarge`]; [`ChainError::TimedOut`] when
    /// signers have not answered within [`SIGNED_WITHIN`] or what [`with_signed_within`](Self::with_signed_within) says: what
    /// they answer later is not used; or the node could not be asked for a block hash. Nothing was sent.
    pub async fn sign_instructions(
        &self,
        payer: SolanaAddress,
        instructions: &[Instruction],
    ) -> Result<SignedTransaction, ChainError> {
        let blockhash = self.rpc.latest_blockhash().await?;
        let message = self.message(payer, instructions, blockhash)?;
        let signing = SignedTransaction::sign(&message, &self.signers, blockhash.last_valid_height);
        let signed = within(&*self.clock, self.signed_within, signing).await;
        signed.unwrap_or(Err(ChainError::TimedOut {
            doing: "a request to sign",
            after: self.signed_within,
            sent: Sent::No,
        }))
    }

    /// Signs a transaction of any instructions, paid by `payer`, and sends it, once.
    ///
    /// # Errors
    ///
    /// As [`ChainClient::submit`].
    pub async fn submit_instructions(
        &self,
        payer: SolanaAddress,
        instructions: &[Instruction],
    ) -> Result<TxId, ChainError> {
        let transaction = self.sign_instructions(payer, instructions).await?;
        self.submit_signed(&transaction).await
    }

    /// Sends a signed transaction; as often as you like: it is carried out at most once.
    ///
    /// # Errors
    ///
    /// As [`SolanaRpc::send`].
    pub async fn broadcast(&self, transaction: &SignedTransaction) -> Result<TxId, ChainError> {
        self.send(transaction).await
    }

    /// What has become of a signed transaction. [`TransactionStatus::Dropped`] means that it can never be included:
    /// only then may its intent be signed anew.
    ///
    /// # Errors
    ///
    /// The node could not be asked. Nothing changed.
    pub async fn status_of(
        &self,
        transaction: &SignedTransaction,
    ) -> Result<TransactionStatus, ChainError> {
        let last_valid_height = Some(transaction.last_valid_height());
        self.status_until(transaction.signature(), last_valid_height)
            .await
    }

    /// Asks for a transaction's status until it is as certain as `until` says, reverted so, or settled otherwise.
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
        let pause_max = self.network.slot_time.max(PAUSE_MIN);
        wait_for(self, &*self.clock, pause_max, id, until, patience).await
    }

    /// Two equal intents within one block are one transaction to the chain, and shall not both be told that they went
    /// well.
    async fn submit_signed(&self, transaction: &SignedTransaction) -> Result<TxId, ChainError> {
        let is_known = self
            .submitted
            .lock()
            .heights
            .contains_key(&transaction.signature());
        if is_known {
            return Err(ChainError::AlreadySubmitted {
                transaction: transaction.id(),
            });
        }
        self.send(transaction).await
    }

    async fn send(&self, transaction: &SignedTransaction) -> Result<TxId, ChainError> {
        self.submitted.lock().remember(transaction);
        self.rpc.send(transaction).await?;
        Ok(transaction.id())
    }

    fn payer(&self, intent: &Intent) -> Result<SolanaAddress, ChainError> {
        let payer = intent.from().solana_on(self.network.chain)?;
        if !self.signers.contains_key(&payer) {
            return Err(ChainError::NoSigner {
                address: payer.into(),
            });
        }
        Ok(payer)
    }

    fn message(
        &self,
        payer: SolanaAddress,
        instructions: &[Instruction],
        blockhash: Blockhash,
    ) -> Result<Message, ChainError> {
        let Some(priority) = self.network.priority else {
            return Message::new(payer, instructions, blockhash.hash);
        };
        // Behind the others, so that errors name the caller's places.
        let mut all = instructions.to_vec();
        all.push(compute_budget::unit_limit(priority.units_max));
        all.push(compute_budget::unit_price(priority.micro_lamports_per_unit));
        Message::new(payer, &all, blockhash.hash)
    }

    async fn status_until(
        &self,
        signature: [u8; 64],
        last_valid_height: Option<u64>,
    ) -> Result<TransactionStatus, ChainError> {
        // Asked first: a status that is younger than a final block above the last valid height leaves nothing open.
        let final_at = match last_valid_height {
            Some(_) => Some(self.rpc.height(Commitment::Finalized).await?),
            None => None,
        };
        let sighting = self.rpc.sighting(&signature).await?;
        let as_of = sighting.as_of;
        let Some(status) = sighting.status else {
            let is_over = match last_valid_height.zip(final_at) {
                Some((last, at)) if at.height > last => {
                    let known = sighting.ignorance_at(at.slot);
                    self.would_know(known, last).await?
                }
                _ => false,
            };
            return Ok(if is_over {
                TransactionStatus::Dropped
            } else {
                TransactionStatus::Unknown
            });
        };
        let block = match status.commitment {
            Commitment::Processed => None,
            Commitment::Confirmed | Commitment::Finalized => self.rpc.block(status.slot).await?,
        };
        let Some(block) = block else {
            return Ok(TransactionStatus::Pending);
        };
        let depth = as_of.saturating_sub(status.slot);
        let is_final = status.commitment == Commitment::Finalized;
        Ok(match (status.failure, is_final) {
            (None, true) => TransactionStatus::Final { block },
            (None, false) => TransactionStatus::Included { block, depth },
            (reason, is_final) => TransactionStatus::Reverted {
                block,
                depth,
                is_final,
                reason,
            },
        })
    }

    /// Whether who knows nothing of a transaction would know it, had it been included while it was valid: its ledger begins no
    /// later than with the block that dates it.
    async fn would_know(
        &self,
        known: Option<Ignorance>,
        last_valid_height: u64,
    ) -> Result<bool, ChainError> {
        let since = match known {
            None => return Ok(false),
            Some(Ignorance { since: None, .. }) => self.rpc.first_slot().await?,
            Some(Ignorance {
                since: Some(since), ..
            }) => since,
        };
        let first_height = match since {
            0 => Some(0),
            // Nobody says since when.
            u64::MAX => None,
            since => self.rpc.height_of(since).await?,
        };
        let dated = first_height.map(|first| first.saturating_add(VALID_BLOCKS));
        Ok(dated.is_some_and(|dated| dated <= last_valid_height))
    }

    async fn block_at_or_before(&self, slot: u64) -> Result<Block, ChainError> {
        let first = slot.saturating_sub(EMPTY_SLOTS_MAX);
        let slots = self.rpc.slots(first, slot).await?;
        let newest = slots.into_iter().filter(|found| *found <= slot).max();
        let block = match newest {
            Some(newest) => self.rpc.block(newest).await?,
            None => None,
        };
        block.ok_or_else(|| ChainError::NotFound {
            what: format!("a block at or before slot {slot}"),
        })
    }
}

pub(super) const fn unsupported(what: &'static str) -> ChainError {
    ChainError::Unsupported {
        family: ChainFamily::Solana,
        what,
    }
}

#[async_trait]
impl ChainClient for SolanaClient {
    fn chain_id(&self) -> ChainId {
        self.network.chain
    }

    async fn balance(&self, owner: Address, asset: Asset) -> Result<Amount, ChainError> {
        let owner = owner.solana_on(self.network.chain)?;
        match asset {
            Asset::Native => Ok(Amount::lamports(self.rpc.balance(owner).await?)),
            Asset::Token(mint) => {
                let mint = mint.solana_on(self.network.chain)?;
                self.tokens(owner, mint).await
            }
        }
    }

    async fn call(&self, _request: &CallRequest, _at: BlockAt) -> Result<Bytes, ChainError> {
        Err(unsupported("a call that changes nothing"))
    }

    async fn estimate(&self, intent: &Intent) -> Result<Estimate, ChainError> {
        let payer = intent.from().solana_on(self.network.chain)?;
        let plan = self.plan(intent, payer).await?;
        let blockhash = self.rpc.latest_blockhash().await?;
        let message = self.message(payer, &plan.instructions, blockhash)?;
        // Nobody checks these signatures.
        let mut raw = vec![u8::try_from(message.signers().len()).unwrap_or(u8::MAX)];
        raw.extend(std::iter::repeat_n([0; 64], message.signers().len()).flatten());
        raw.extend(message.as_bytes());
        let simulation = self.rpc.simulate(&raw).await?;
        let fee = self.rpc.fee(message.as_bytes()).await?;
        let fee = fee.ok_or(ChainError::Expired { transaction: None })?;
        Ok(Estimate {
            gas: simulation.units,
            fee_max: Amount::lamports(fee.saturating_add(plan.rent)),
        })
    }

    async fn submit(&self, intent: &Intent) -> Result<TxId, ChainError> {
        let payer = self.payer(intent)?;
        let plan = self.plan(intent, payer).await?;
        let transaction = self.sign_instructions(payer, &plan.instructions).await?;
        self.submit_signed(&transaction).await
    }

    /// Until when it is valid the bytes do not say: its [`status`](ChainClient::status) never becomes
    /// [`Dropped`](TransactionStatus::Dropped). [`SolanaClient::broadcast`] knows.
    async fn submit_raw(&self, raw: &Bytes) -> Result<TxId, ChainError> {
        let transaction = SignedTransaction::from_raw(raw.clone(), u64::MAX)?;
        self.rpc.send(&transaction).await?;
        Ok(transaction.id())
    }

    async fn status(&self, id: TxId) -> Result<TransactionStatus, ChainError> {
        let TxId::Solana(signature) = id else {
            return Err(ChainError::WrongTransactionFamily {
                transaction: id,
                chain: self.network.chain,
            });
        };
        let last_valid_height = self.submitted.lock().heights.get(&signature).copied();
        self.status_until(signature, last_valid_height).await
    }

    async fn head(&self, finality: Finality) -> Result<Block, ChainError> {
        let commitment = match finality {
            Finality::Final => Commitment::Finalized,
            Finality::Latest | Finality::Depth(_) => Commitment::Confirmed,
        };
        let slot = self.rpc.height(commitment).await?.slot;
        let depth = match finality {
            Finality::Depth(depth) => depth,
            Finality::Latest | Finality::Final => 0,
        };
        let slot = slot.checked_sub(depth);
        let slot = slot.ok_or_else(|| ChainError::NotFound {
            what: "a block of such depth".into(),
        })?;
        self.block_at_or_before(slot).await
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        match at {
            BlockAt::Latest => self.head(Finality::Latest).await.map(Some),
            BlockAt::Final => self.head(Finality::Final).await.map(Some),
            BlockAt::Number(slot) => self.rpc.block(slot).await,
            BlockAt::Pending => Ok(None),
            BlockAt::Hash(_) => Err(unsupported("a block by its hash")),
        }
    }

    async fn logs(&self, _filter: &LogFilter, _range: &LogRange) -> Result<Vec<Log>, ChainError> {
        Err(unsupported("logs"))
    }

    /// Of several nodes, whatever most of them have there, which may be behind the final block.
    async fn final_block(&self, slot: u64) -> Result<Option<Block>, ChainError> {
        one_node::final_block(self, slot).await
    }

    async fn logs_upto(
        &self,
        _filter: &LogFilter,
        _first: u64,
        _last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        Err(unsupported("logs"))
    }
}

impl fmt::Debug for SolanaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SolanaClient")
            .field("network", &self.network)
            .field("signers", &self.signers.keys())
            .finish_non_exhaustive()
    }
}
