//! Nodes that serve the model: they lose answers, lag, and some lie.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::evm::{EvmNode, EvmRpc, FeeHistory, Receipt, SeenTransaction};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};
use peaberry_chain::{
    Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, Revert, Sent, TxId,
};

use super::dead_fork::DeadFork;
use super::faults::{Faults, Lie};
use super::model::{GAS_MIN, Model, REFUSAL, Rejection, TIP, Transaction, gas_for, is_undone};
use super::plight::Pruned;
use super::plot::{Plot, Story};
use super::view::{Tag, View};
use super::{lies, reached};

/// A node of the model chain.
pub(super) struct Node {
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) faults: Arc<Mutex<Faults>>,
    /// The fork that the others have left and this node has not; of a liar the one that it repeats now and then, as if its newest
    /// block were final.
    pub(super) fork: Arc<Mutex<Option<DeadFork>>>,
    /// What answers is now this node, now one that is where the others are.
    pub(super) is_mixed: bool,
    pub(super) is_liar: bool,
    /// A liar that may keep receipts back and tell the truth of everything else.
    pub(super) may_be_sly: bool,
    /// So many blocks this node has not come to, whenever it is asked; of a liar, the node for whose equal it may pass.
    pub(super) behind: Arc<Mutex<u64>>,
    /// Knows of no block by the names `safe` and `finalized`.
    pub(super) has_no_tags: bool,
    /// Without what it has thrown away of blocks that lie deeper than [`receipts_kept`].
    pub(super) pruned: Option<Pruned>,
    /// What a liar holds to.
    pub(super) plot: Arc<Mutex<Option<Plot>>>,
}

/// For so many blocks every node keeps receipts: long enough for what is proved to be in no final block to be included, and
/// final, while they are there.
pub(super) const fn receipts_kept(finality: u64) -> u64 {
    24 + 2 * finality
}

impl Node {
    /// Begins a call: the chain may move, the question may be lost, the node may lag by the number returned.
    fn begin(&self, sent: Sent) -> Result<u64, ChainError> {
        let behind = self.behind();
        let is_silent = self.tells(Story::Silence);
        let mut faults = self.faults.lock();
        if is_silent {
            faults.count(Story::Silence.name());
            return Err(timed_out(sent));
        }
        if behind > 0 && !self.is_liar {
            faults.count(reached::NODE_BEHIND);
        }
        if faults.chance(20) {
            self.model.lock().mine();
        }
        if faults.chance(5) {
            faults.count(reached::LIMITED);
            return Err(ChainError::RateLimited {
                retry_after: std::time::Duration::from_millis(faults.draw(1..=900)),
            });
        }
        if faults.chance(15) {
            faults.count(reached::QUESTION_LOST);
            // Who has asked cannot tell this from a lost answer.
            return Err(timed_out(sent));
        }
        if faults.chance(60) {
            faults.count(reached::NODE_LAGGED);
            let most = 2.min(self.model.lock().finality - 2);
            return Ok(behind + faults.draw(1..=most.max(1)));
        }
        Ok(behind)
    }

    /// So many blocks it has not come to; of a liar, it says so where that is its story.
    fn behind(&self) -> u64 {
        let is_modest = |plot: &Plot| plot.is_modest;
        let is_so = !self.is_liar || self.plot.lock().as_ref().is_some_and(is_modest);
        if is_so { *self.behind.lock() } else { 0 }
    }

    /// Ends a call: the answer may be lost.
    fn end<T>(&self, answer: T, sent: Sent) -> Result<T, ChainError> {
        let mut faults = self.faults.lock();
        if faults.chance(20) {
            faults.count(reached::ANSWER_LOST);
            return Err(timed_out(sent));
        }
        Ok(answer)
    }

    /// Whether it holds to this story.
    fn tells(&self, story: Story) -> bool {
        let plot = self.plot.lock();
        plot.as_ref().is_some_and(|plot| plot.story == story)
    }

    /// What the story is of one that holds to it, as `tell` says; `None` where it has none about that.
    fn hold_to<T>(&self, story: Story, tell: impl FnOnce(&mut Plot) -> Option<T>) -> Option<T> {
        let mut plot = self.plot.lock();
        let told = plot
            .as_mut()
            .filter(|plot| plot.story == story)
            .and_then(tell)?;
        self.faults.lock().count(story.name());
        Some(told)
    }

    /// Whether a liar repeats now what another node says that is on an orphan.
    fn echoes(&self) -> bool {
        let can_echo = self.is_liar && self.fork.lock().is_some();
        match &*self.plot.lock() {
            Some(plot) => can_echo && plot.story == Story::OnOrphan,
            None => can_echo && self.faults.lock().echoes(),
        }
    }

    /// Whether it holds to it that nobody has heard of this transaction.
    fn denies(&self, hash: B256) -> bool {
        let is_denied = |plot: &mut Plot| plot.is_about_transaction(hash).then_some(());
        self.hold_to(Story::NoReceipts, is_denied).is_some()
    }

    /// What the node has thrown away, if it has by now.
    fn pruned(&self) -> Option<Pruned> {
        self.pruned.filter(|_| self.faults.lock().is_forgetful)
    }

    /// Refuses logs that the node has thrown away.
    fn expect_logs(&self, lag: u64, range: &LogRange) -> Result<(), ChainError> {
        if self.pruned() != Some(Pruned::Refuses) {
            return Ok(());
        }
        let is_kept = self.see(reached::LIE_LOGS_OF_RANGE, lag, |view| {
            let first = match range {
                LogRange::Block(hash) => view.by_hash(*hash).map(|sealed| sealed.block.number),
                LogRange::Numbers(numbers) => Some(*numbers.start()),
            };
            first.is_none_or(|first| first >= kept_from(view))
        });
        if is_kept {
            return Ok(());
        }
        self.faults.lock().count(reached::PAST_REFUSED);
        Err(thrown_away())
    }

    /// The dice of a lie about this, if the node tells one.
    fn lie(&self, about: &'static str) -> Option<Lie> {
        let is_free = self.is_liar && self.plot.lock().is_none() && !self.echoes();
        match (is_free, self.may_be_sly) {
            (false, _) => None,
            (true, false) => self.faults.lock().lie(about),
            (true, true) => self.faults.lock().sly_lie(about),
        }
    }

    /// What a liar says instead of a receipt.
    fn lie_for_receipt(&self, lie: Lie, truth: Option<Receipt>, hash: B256) -> Option<Receipt> {
        if self.may_be_sly && self.faults.lock().is_sly() {
            return None;
        }
        lies::receipt(lie, truth, hash, &self.model.lock())
    }

    /// Whether it is the dead fork that is asked now.
    fn is_astray(&self, about: &'static str) -> bool {
        if self.is_liar {
            return self.echoes();
        }
        let Some(is_orphan) = self.fork.lock().as_ref().map(|fork| fork.is_orphan) else {
            return false;
        };
        let mut faults = self.faults.lock();
        let is_astray = !self.is_mixed || faults.is_routed(about);
        if is_astray {
            faults.count(reached::NODE_ASTRAY);
        }
        if is_astray && is_orphan {
            faults.count(reached::ORPHANED);
        }
        is_astray
    }

    /// What `look` finds, so many blocks late.
    fn see<T>(&self, about: &'static str, lag: u64, look: impl FnOnce(&View<'_>) -> T) -> T {
        let is_astray = self.is_astray(about);
        let (model, fork) = (self.model.lock(), self.fork.lock());
        look(&View {
            model: &model,
            fork: fork.as_ref().filter(|_| is_astray),
            lag,
        })
    }

    /// What a node says that refuses a transaction for good, or as long as it lasts.
    fn refusal(&self, transaction: &Transaction) -> Option<ChainError> {
        let model = self.model.lock();
        if transaction.is_refused() {
            return Some(ChainError::InvalidTransaction {
                message: REFUSAL.into(),
            });
        }
        if model.is_full {
            return Some(ChainError::Refused {
                doing: "eth_sendRawTransaction",
                code: -32000,
                message: "txpool is full".into(),
                sent: Sent::Maybe(Some(TxId::Evm(transaction.hash))),
            });
        }
        (model.broke == Some(transaction.from)).then(|| ChainError::InsufficientFunds {
            account: None,
            detail: "too little for gas and value".into(),
        })
    }

    fn submit(&self, transaction: Transaction) -> Result<(), Rejection> {
        let hash = transaction.hash;
        let taken = if self.is_astray(reached::LIE_TAKEN)
            && let Some(fork) = &mut *self.fork.lock()
        {
            fork.submit(transaction)
        } else {
            self.model.lock().submit(transaction)
        };
        if taken.is_ok() {
            self.model.lock().taken.insert(hash);
        }
        taken
    }

    /// What is final in the story of a liar that has one about that.
    fn hold_to_final(&self, truth: Option<Block>) -> Option<Block> {
        if self.echoes() {
            let is_held_to = self.hold_to(Story::OnOrphan, |_| Some(())).is_some();
            if !is_held_to {
                self.faults.lock().count(reached::ORPHAN_REPEATED);
            }
            return self.fork.lock().as_ref().and_then(DeadFork::tip);
        }
        let tell = |plot: &mut Plot| Some(plot.final_block(&self.model.lock()));
        self.hold_to(Story::OneFinalBlock, tell).or(truth)
    }

    /// The block that a tag stands for.
    pub(super) fn head(&self, tag: Tag) -> Result<Option<Block>, ChainError> {
        let lag = self.begin(Sent::No)?;
        if self.has_no_tags && tag != Tag::Latest {
            return Err(not_found());
        }
        let about = match tag {
            Tag::Latest => reached::LIE_NEWEST,
            Tag::Safe | Tag::Final => reached::LIE_FINAL,
        };
        let found = self.see(about, lag, |view| view.head(tag).map(|sealed| sealed.block));
        let found = match self.lie(about) {
            Some(lie) => lies::head(lie, found, &self.model.lock()),
            None if tag == Tag::Final => self.hold_to_final(found),
            None => found,
        };
        self.end(found, Sent::No)
    }
}

/// The first block of which a node has receipts and logs that throws its past away.
fn kept_from(view: &View<'_>) -> u64 {
    let kept = receipts_kept(view.model.finality);
    view.tip().saturating_sub(kept)
}

/// A refusal in words that nobody else uses.
fn thrown_away() -> ChainError {
    ChainError::Refused {
        doing: "a question about the past",
        code: -32000,
        message: "this was long ago, and who would want to know".into(),
        sent: Sent::No,
    }
}

fn timed_out(sent: Sent) -> ChainError {
    ChainError::TimedOut {
        doing: "a question",
        after: std::time::Duration::from_secs(1),
        sent,
    }
}

fn not_found() -> ChainError {
    ChainError::NotFound {
        what: "a block".into(),
    }
}

#[async_trait]
impl EvmRpc for Node {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        self.begin(Sent::No)?;
        if self.lie(reached::LIE_CHAIN_ID).is_some() {
            return Ok(ChainId::evm(666));
        }
        self.end(super::chain(), Sent::No)
    }

    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError> {
        let lag = self.begin(Sent::No)?;
        if let Some(mut lie) = self.lie(reached::LIE_BALANCE) {
            return Ok(U256::from(lie.u64(..)));
        }
        let balance = self.see(reached::LIE_BALANCE, lag, |view| {
            Some(view.at(at)?.balance(account))
        });
        self.end(balance.ok_or_else(not_found)?, Sent::No)
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        let lag = self.begin(Sent::No)?;
        let about = if at == BlockAt::Pending {
            reached::LIE_PENDING_NONCE
        } else {
            reached::LIE_NONCE
        };
        if let Some(lie) = self.lie(about) {
            return Ok(lies::nonce(lie, self.model.lock().nonce(account)));
        }
        let truth = self.model.lock().nonce(account);
        let tell = |plot: &mut Plot| Some(plot.nonce(account, truth));
        if let Some(told) = self.hold_to(Story::OneNonce, tell) {
            return self.end(told, Sent::No);
        }
        let nonce = self.see(about, lag, |view| {
            let pending = view.pending_nonce(account);
            if let Some(nonce) = pending.filter(|_| at == BlockAt::Pending) {
                return Some(nonce);
            }
            Some(view.at(at)?.nonce(account))
        });
        self.end(nonce.ok_or_else(not_found)?, Sent::No)
    }

    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        let lag = self.begin(Sent::No)?;
        if self.lie(reached::LIE_CODE).is_some() {
            return Ok(Bytes::from_static(b"lie"));
        }
        let code = self.see(reached::LIE_CODE, lag, |view| {
            Some(view.at(at)?.code(address))
        });
        self.end(code.ok_or_else(not_found)?, Sent::No)
    }

    async fn call(&self, _request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        let lag = self.begin(Sent::No)?;
        if let Some(mut lie) = self.lie(reached::LIE_CALL) {
            return match lie.bool() {
                true => Ok(Bytes::from_static(b"lie")),
                false => Err(lies::reverted()),
            };
        }
        let answer = self.see(reached::LIE_CALL, lag, |view| Some(view.at(at)?.called()));
        self.end(answer.ok_or_else(not_found)?, Sent::No)
    }

    async fn estimate_gas(&self, request: &CallRequest, _at: BlockAt) -> Result<u64, ChainError> {
        let _lag = self.begin(Sent::No)?;
        if let Some(lie) = self.lie(reached::LIE_GAS) {
            return lies::gas(lie);
        }
        let payload = request.value.to::<u64>();
        if is_undone(payload) {
            return Err(ChainError::Reverted(Revert::Message("no beans".into())));
        }
        self.end(gas_for(payload), Sent::No)
    }

    async fn fee_history(&self, _blocks: u16, _at: &[u8]) -> Result<FeeHistory, ChainError> {
        let _lag = self.begin(Sent::No)?;
        if let Some(lie) = self.lie(reached::LIE_FEES) {
            return Ok(lies::fees(lie));
        }
        let base_fee = U256::from(self.model.lock().base_fee);
        let history = FeeHistory {
            oldest_block: 0,
            base_fees: vec![base_fee, base_fee],
            tips: vec![vec![U256::from(TIP)]],
        };
        self.end(history, Sent::No)
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        let hash = keccak256(raw);
        let sent = Sent::Maybe(Some(TxId::Evm(hash)));
        self.begin(sent)?;
        if let Some(lie) = self.lie(reached::LIE_TAKEN) {
            return Ok(lies::taken(lie, hash));
        }
        if let Some(lie) = self.lie(reached::LIE_REFUSED) {
            return Err(lies::refusal(lie, hash));
        }
        let transaction = Transaction::decode(raw).expect("only this module's bytes are sent");
        if let Some(refusal) = self.refusal(&transaction) {
            return Err(refusal);
        }
        let taken = self.submit(transaction.clone());
        if self.faults.lock().chance(50) {
            self.faults.lock().count(reached::QUESTION_REPEATED);
            let _second = self.submit(transaction);
        }
        let answer = match taken {
            Ok(()) => Ok(hash),
            Err(Rejection::NonceTooLow) => Err(ChainError::NonceTooLow {
                transaction: Some(TxId::Evm(hash)),
            }),
            Err(Rejection::Underpriced) => Err(ChainError::ReplacementUnderpriced),
        };
        self.end(answer, sent)?
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        let lag = self.begin(Sent::No)?;
        let found = self.see(reached::LIE_TRANSACTION, lag, |view| view.transaction(hash));
        let found = match self.lie(reached::LIE_TRANSACTION) {
            Some(lie) => lies::transaction(lie, found, hash),
            None => found.filter(|_| !self.denies(hash)),
        };
        self.end(found, Sent::No)
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let lag = self.begin(Sent::No)?;
        let pruned = self.pruned();
        let receipt = self.see(reached::LIE_RECEIPT, lag, |view| {
            let Some((sealed, one)) = view.find(hash) else {
                return Ok(None);
            };
            let is_kept = sealed.block.number >= kept_from(view);
            if let Some(pruned) = pruned.filter(|_| !is_kept) {
                self.faults.lock().count(pruned.fault());
                return match pruned {
                    Pruned::SaysNothing => Ok(None),
                    Pruned::Refuses => Err(thrown_away()),
                };
            }
            let receipt = receipt(hash, sealed.block, one.from, !one.is_undone());
            Ok(Some(receipt))
        })?;
        let is_refused = |plot: &mut Plot| plot.is_about_transaction(hash).then_some(());
        if receipt.is_some() && self.hold_to(Story::Refusals, is_refused).is_some() {
            return Err(thrown_away());
        }
        let receipt = match self.lie(reached::LIE_RECEIPT) {
            Some(lie) => self.lie_for_receipt(lie, receipt, hash),
            None => receipt.filter(|_| !self.denies(hash)),
        };
        self.end(receipt, Sent::No)
    }

    async fn revert_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        let lag = self.begin(Sent::No)?;
        if let Some(lie) = self.lie(reached::LIE_REASON) {
            return Ok(lies::reason(lie));
        }
        let undone = self.see(reached::LIE_REASON, lag, |view| {
            let (_, one) = view.find(hash)?;
            one.is_undone().then(|| one.clone())
        });
        let reason = undone.map(|one| match one.reason() {
            // Nodes do not agree on how to say that there is none.
            None => Revert::Unexplained(format!("no reason {}", self.faults.lock().draw(1..=3))),
            Some(words) => Revert::Message(words),
        });
        self.end(reason, Sent::No)
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        let about = match at {
            BlockAt::Number(_) => reached::LIE_BLOCK_BY_NUMBER,
            BlockAt::Hash(_) => reached::LIE_BLOCK_BY_HASH,
            BlockAt::Latest => return self.head(Tag::Latest),
            BlockAt::Final => return self.head(Tag::Final)?.map(Some).ok_or_else(not_found),
            BlockAt::Pending => return Ok(None),
        };
        let lag = self.begin(Sent::No)?;
        let found = self.see(about, lag, |view| view.at(at).map(|sealed| sealed.block));
        let found = match self.lie(about) {
            Some(lie) => lies::block(lie, found, &self.model.lock()),
            None => {
                let is_it = |block: Block| match at {
                    BlockAt::Number(number) => block.number == number,
                    BlockAt::Hash(hash) => block.hash == hash,
                    _ => false,
                };
                let told = self.hold_to(Story::OneFinalBlock, |plot| plot.named(is_it));
                told.or(found)
            }
        };
        self.end(found, Sent::No)
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let lag = self.begin(Sent::No)?;
        if let LogRange::Numbers(numbers) = range
            && numbers.end() - numbers.start() > 12
        {
            self.faults.lock().count(reached::RANGE_TOO_WIDE);
            return Err(too_wide());
        }
        let about = match range {
            LogRange::Block(_) => reached::LIE_LOGS_OF_BLOCK,
            LogRange::Numbers(_) => reached::LIE_LOGS_OF_RANGE,
        };
        let found: Option<Vec<Log>> = self.see(about, lag, |view| match range {
            LogRange::Block(hash) => {
                let sealed = view.by_hash(*hash)?;
                (sealed.block.number <= view.tip()).then(|| sealed.logs())
            }
            LogRange::Numbers(numbers) => {
                let blocks = numbers.clone().filter_map(|number| view.sealed(number));
                Some(blocks.flat_map(|sealed| sealed.logs()).collect())
            }
        });
        let mut logs = found.ok_or_else(not_found)?;
        self.expect_logs(lag, range)?;
        logs.retain(|log| filter.matches(log));
        let is_denied = |plot: &mut Plot, log: &Log| plot.is_about_block(log.block_number);
        let has_denied = |plot: &mut Plot| {
            let before = logs.len();
            logs.retain(|log| !is_denied(plot, log));
            (logs.len() < before).then_some(())
        };
        let _told = self.hold_to(Story::NoLogs, has_denied);
        let has_refused =
            |plot: &mut Plot| logs.iter().any(|log| is_denied(plot, log)).then_some(());
        if self.hold_to(Story::Refusals, has_refused).is_some() {
            return Err(thrown_away());
        }
        if let Some(lie) = self.lie(about) {
            logs = lies::logs(lie, logs)?;
        }
        self.end(logs, Sent::No)
    }
}

#[async_trait]
impl EvmNode for Node {
    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError> {
        let newest = self.block(BlockAt::Latest).await?;
        let told = match newest.and_then(|newest| newest.number.checked_sub(depth)) {
            Some(number) => self.block(BlockAt::Number(number)).await?,
            None => None,
        };
        Ok(match self.lie(reached::LIE_FINAL) {
            Some(lie) => lies::head(lie, told, &self.model.lock()),
            None => self.hold_to_final(told),
        })
    }
}

pub(super) fn too_wide() -> ChainError {
    ChainError::RangeTooWide {
        message: "13 blocks at most".into(),
    }
}

pub(super) fn receipt(hash: B256, block: Block, from: Address, is_success: bool) -> Receipt {
    Receipt {
        transaction: hash,
        is_success,
        block_number: block.number,
        block_hash: block.hash,
        index: 0,
        from,
        to: None,
        contract: None,
        gas_used: GAS_MIN,
        gas_price: U256::from(1),
        logs: Vec::new(),
    }
}
