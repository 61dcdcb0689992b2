//! Reads that carry value: several nodes asked, and believed where enough of them agree.

mod dissent;
mod heads;
mod view;

use std::fmt;
use std::mem;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};

pub use self::dissent::Dissent;
use self::dissent::{is_other, is_other_block, is_other_receipt};
use self::heads::Head;
use super::{EvmRpc, EvmView, FeeHistory, Receipt, SeenTransaction};
use crate::{
    Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, Revert, TxId,
};

/// Several nodes of one chain as one: an answer counts when `m` of them give it.
///
/// - A refusal is an answer, too: that a call is undone, an account cannot pay or a transaction is not valid is so when
///   `m` nodes say so. Only where a node could not be asked, it has no vote.
/// - The newest block is the newest that `m` nodes have, each by its own word, and so is the final one: who is behind has no
///   vote on it. Whatever is asked about the newest or the final state is asked about that very block, by its hash: honest
///   nodes then answer alike, however far ahead some are.
/// - Who says otherwise than the quorum of what a hash fixes, or has another block where the final one lies, is named to
///   [`with_report`](Self::with_report): it lies, or is on a fork that the chain has left for good. A node that knows
///   nothing, or fails, is not accused: it may just be behind. Neither is one that has another block at the tip, or the
///   transaction in another block: honest nodes are a block or a short fork apart.
/// - That there is no receipt is no answer of a node that may be behind: ask [`lacks_receipts`](EvmView::lacks_receipts), to
///   which only nodes have a vote that have come to the block from which that is to follow.
/// - It is as slow as the slowest of its nodes: give each a short
///   [`with_answer_within`](super::JsonRpc::with_answer_within). A node that does not answer in time is one that failed.
/// - Prices, estimates and mempools are no facts: of those the highest is taken that not only liars can have named. An estimate
///   is also no less than not only liars have named, so that no transaction runs out of gas for a liar and a node that is silent.
/// - Transactions are given to all nodes.
///
/// Of `k` nodes `m > k / 2` must agree, so that there are no two quorums.
pub struct QuorumRpc {
    nodes: Vec<(String, Arc<dyn EvmView>)>,
    wanted: usize,
    report: Arc<dyn Fn(&Dissent) + Send + Sync>,
}

/// Said where nodes have no reason, and each has words of its own for that.
const NO_COMMON_WORDS: &str = "no reason given, or out of gas";

impl QuorumRpc {
    /// The nodes, by the names under which they are to be reported; `wanted` of them must agree.
    ///
    /// # Panics
    ///
    /// `wanted` is not more than half of the nodes, or more than all.
    #[must_use]
    pub fn new(nodes: Vec<(String, Arc<dyn EvmView>)>, wanted: usize) -> Self {
        assert!(
            wanted * 2 > nodes.len() && wanted <= nodes.len(),
            "{wanted} of {} is no majority",
            nodes.len()
        );
        Self {
            nodes,
            wanted,
            report: Arc::new(|_| {}),
        }
    }

    /// Tells `report` of every node that contradicts the others.
    #[must_use]
    pub fn with_report(mut self, report: impl Fn(&Dissent) + Send + Sync + 'static) -> Self {
        self.report = Arc::new(report);
        self
    }

    async fn ask_all<'a, T>(
        &'a self,
        ask: impl Fn(&'a dyn EvmView) -> BoxFuture<'a, Result<T, ChainError>>,
    ) -> Vec<Result<T, ChainError>> {
        join_all(self.nodes.iter().map(|(_, node)| ask(&**node))).await
    }

    /// The answer or the refusal that enough nodes give.
    fn agreed<T: PartialEq + Clone>(
        &self,
        doing: &'static str,
        answers: &[Result<T, ChainError>],
    ) -> Result<T, ChainError> {
        let is_vote = |answer: &&Result<T, ChainError>| match answer {
            Ok(_) => true,
            Err(error) => !error.is_retryable(),
        };
        let (agreed, most) = largest_group(answers.iter().filter(is_vote), |one, other| {
            match (one, other) {
                (Ok(one), Ok(other)) => one == other,
                (Err(one), Err(other)) => is_same_refusal(one, other),
                _ => false,
            }
        });
        let answer = most.filter(|_| agreed >= self.wanted).cloned();
        answer.unwrap_or_else(|| Err(self.no_quorum(doing, agreed)))
    }

    /// The same of a question whose answers tell who lies: those of which `contradicts` says that no two honest nodes give
    /// them, first what the quorum says.
    fn agree<T: PartialEq + Clone>(
        &self,
        doing: &'static str,
        answers: &[Result<T, ChainError>],
        contradicts: impl Fn(&T, &T) -> bool,
    ) -> Result<T, ChainError> {
        let agreed = self.agreed(doing, answers);
        let is_known = |error: &ChainError| !error.is_retryable() && !is_ignorant(error);
        for ((name, _), other) in self.nodes.iter().zip(answers) {
            let is_dissent = match (&agreed, other) {
                (Ok(agreed), Ok(other)) => contradicts(agreed, other),
                (Ok(_), Err(other)) => is_known(other),
                (Err(agreed), Ok(_)) => is_known(agreed),
                (Err(agreed), Err(other)) => {
                    is_known(agreed) && is_known(other) && !is_same_refusal(agreed, other)
                }
            };
            if is_dissent {
                (self.report)(&Dissent {
                    node: name.clone(),
                    doing,
                });
            }
        }
        agreed
    }

    const fn no_quorum(&self, doing: &'static str, agreed: usize) -> ChainError {
        ChainError::NoQuorum {
            doing,
            agreed,
            asked: self.nodes.len(),
            wanted: self.wanted,
        }
    }

    /// The refusal that enough nodes give alike.
    fn refusal<'a>(
        &self,
        errors: impl Iterator<Item = &'a ChainError> + Clone,
    ) -> Option<ChainError> {
        let refusals = errors.filter(|error| !error.is_retryable());
        let (agreed, most) = largest_group(refusals, is_same_refusal);
        most.filter(|_| agreed >= self.wanted).cloned()
    }

    /// What enough nodes find in the state at `at`: of one and the same block they have one; of what waits each has its own.
    async fn in_state<'a, T: PartialEq + Clone>(
        &'a self,
        doing: &'static str,
        at: BlockAt,
        ask: impl Fn(&'a dyn EvmView, BlockAt) -> BoxFuture<'a, Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let at = match at {
            BlockAt::Latest => return self.in_state_of_head(Head::Newest, doing, ask).await,
            BlockAt::Final => return self.in_state_of_head(Head::Final, doing, ask).await,
            BlockAt::Number(number) => {
                let block = self.block(at).await?.ok_or_else(|| no_block(number))?;
                BlockAt::Hash(block.hash)
            }
            BlockAt::Hash(_) | BlockAt::Pending => at,
        };
        let answers = self.ask_all(|node| ask(node, at)).await;
        self.agree_at(doing, at, &answers)
    }

    /// What enough nodes find in the state that `at` was resolved to.
    fn agree_at<T: PartialEq + Clone>(
        &self,
        doing: &'static str,
        at: BlockAt,
        answers: &[Result<T, ChainError>],
    ) -> Result<T, ChainError> {
        match at {
            BlockAt::Hash(_) => self.agree(doing, answers, |agreed, other| agreed != other),
            _ => self.agreed(doing, answers),
        }
    }

    fn credible<T: Clone, K: Ord>(
        &self,
        doing: &'static str,
        answers: Vec<Result<T, ChainError>>,
        key: impl Fn(&T) -> K,
    ) -> Result<T, ChainError> {
        let asked = answers.len();
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(answer) => found.push(answer),
                Err(error) => errors.push(error),
            }
        }
        found.sort_by_key(key);
        let agreed = found.len();
        if agreed < self.wanted {
            let refusal = self.refusal(errors.iter());
            return Err(refusal.unwrap_or_else(|| self.no_quorum(doing, agreed)));
        }
        // So many may lie: one more than that is under no value of theirs alone.
        let liars_max = asked - self.wanted;
        let credible = found.get(agreed.saturating_sub(liars_max + 1)).cloned();
        credible.ok_or_else(|| self.no_quorum(doing, agreed))
    }

    /// What is to be said of a transaction that too few nodes have taken.
    fn refused_by(&self, errors: &[ChainError], taken: usize) -> ChainError {
        let refusal = self.refusal(errors.iter());
        let may_be_out = errors.iter().find(|error| error.may_have_been_sent());
        match (refusal, may_be_out) {
            (Some(refusal @ ChainError::InvalidTransaction { .. }), _) => refusal,
            // What may have been sent weighs more than any refusal of now.
            (_, Some(lost)) => lost.clone(),
            (Some(refusal), None) => refusal,
            (None, None) => {
                let again = errors.iter().find(|error| error.is_retryable()).cloned();
                again.unwrap_or_else(|| self.no_quorum("eth_sendRawTransaction", taken))
            }
        }
    }
}

/// The largest group of those that are the same as the first of them, and that first.
fn largest_group<'a, T>(
    votes: impl Iterator<Item = &'a T> + Clone,
    is_same: impl Fn(&T, &T) -> bool,
) -> (usize, Option<&'a T>) {
    let mut largest = (0, None);
    for vote in votes.clone() {
        let count = votes.clone().filter(|other| is_same(vote, other)).count();
        if count > largest.0 {
            largest = (count, Some(vote));
        }
    }
    largest
}

/// Whether two nodes refuse alike: for one reason, in whatever words. Of a call that is undone the reason is the
/// contract's, and must be the same.
fn is_same_refusal(one: &ChainError, other: &ChainError) -> bool {
    match (one, other) {
        (ChainError::Reverted(one), ChainError::Reverted(other)) => is_same_reason(one, other),
        (ChainError::Refused { code: one, .. }, ChainError::Refused { code: other, .. }) => {
            one == other
        }
        // Both want a higher fee.
        (
            ChainError::FeeTooLow { .. } | ChainError::ReplacementUnderpriced,
            ChainError::FeeTooLow { .. } | ChainError::ReplacementUnderpriced,
        ) => true,
        (one, other) => mem::discriminant(one) == mem::discriminant(other),
    }
}

fn is_same_reason(one: &Revert, other: &Revert) -> bool {
    match (one, other) {
        // A node's own words.
        (Revert::Unexplained(_), Revert::Unexplained(_)) => true,
        (one, other) => one == other,
    }
}

fn no_block(number: u64) -> ChainError {
    ChainError::NotFound {
        what: format!("block {number}"),
    }
}

const fn is_ignorant(error: &ChainError) -> bool {
    // That a method is not there, or an answer too large, accuses nobody either.
    matches!(
        error,
        ChainError::NotFound { .. }
            | ChainError::Refused { .. }
            | ChainError::RangeTooWide { .. }
            | ChainError::TooLarge { .. }
    )
}

#[async_trait]
impl EvmRpc for QuorumRpc {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        let answers = self.ask_all(|node| node.chain_id()).await;
        self.agree("eth_chainId", &answers, |agreed, other| agreed != other)
    }

    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError> {
        self.in_state("eth_getBalance", at, |node, at| node.balance(account, at))
            .await
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        const DOING: &str = "eth_getTransactionCount";
        if at == BlockAt::Pending {
            // Every node has a mempool of its own.
            let answers = self.ask_all(|node| node.nonce(account, at)).await;
            return self.credible(DOING, answers, |nonce| *nonce);
        }
        self.in_state(DOING, at, |node, at| node.nonce(account, at))
            .await
    }

    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        self.in_state("eth_getCode", at, |node, at| node.code(address, at))
            .await
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        self.in_state("eth_call", at, |node, at| node.call(request, at))
            .await
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        const DOING: &str = "eth_estimateGas";
        let answers = self.ask_all(|node| node.estimate_gas(request, at)).await;
        let mut found: Vec<u64> = answers.iter().flatten().copied().collect();
        found.sort_unstable();
        let credible = self.credible(DOING, answers, |gas| *gas)?;
        // Too little burns the fee for nothing. Where so few answer that what is credible may be a liar's alone, also the least
        // that is more than only liars have named counts, unless it is so much that only a liar can have named that.
        let liars_max = self.nodes.len() - self.wanted;
        match found.get(liars_max).copied() {
            Some(enough) if enough <= credible => Ok(credible),
            Some(enough) if enough / 2 <= credible => Ok(enough),
            _ => Err(self.no_quorum(DOING, 1)),
        }
    }

    async fn block_gas_limit(&self) -> Result<Option<u64>, ChainError> {
        let answers = self.ask_all(|node| node.block_gas_limit()).await;
        // Who does not say names no limit. Of what is said the lowest is taken that not only liars can have named.
        let limit = self.credible("a block's gas limit", answers, |limit| {
            std::cmp::Reverse(limit.unwrap_or(u64::MAX))
        });
        limit.map(|limit| limit.filter(|limit| *limit != u64::MAX))
    }

    async fn fee_history(&self, blocks: u16, percentiles: &[u8]) -> Result<FeeHistory, ChainError> {
        let answers = self
            .ask_all(|node| node.fee_history(blocks, percentiles))
            .await;
        self.credible("eth_feeHistory", answers, |history| {
            history.next_base_fee().saturating_add(history.median_tip())
        })
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        let answers = self.ask_all(|node| node.broadcast(raw)).await;
        // Who names another transaction has not taken this one.
        let own = keccak256(raw);
        let taken: Vec<B256> = answers
            .iter()
            .flatten()
            .copied()
            .filter(|hash| *hash == own)
            .collect();
        // So many that not all of them can be liars, who say that they have it and throw it away.
        let wanted = answers.len() - self.wanted + 1;
        // Where it is in a block already, nodes find its nonce used: that speaks for those that have taken it.
        let is_used =
            |answer: &&Result<_, _>| matches!(answer, Err(ChainError::NonceTooLow { .. }));
        let used = answers.iter().filter(is_used).count();
        if let Some(hash) = taken.first().filter(|_| taken.len() + used >= wanted) {
            return Ok(*hash);
        }
        let errors: Vec<ChainError> = answers.into_iter().filter_map(Result::err).collect();
        let error = self.refused_by(&errors, taken.len());
        let is_void = matches!(error, ChainError::InvalidTransaction { .. });
        Err(match taken.first() {
            // What enough nodes find no transaction of their chain is none, whoever says that he has it.
            Some(hash) if !is_void => ChainError::TakenByFew {
                taken: taken.len(),
                wanted,
                transaction: TxId::Evm(*hash),
                source: Arc::new(error),
            },
            _ => error,
        })
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        let mut answers = self.ask_all(|node| node.transaction(hash)).await;
        // In which block it is, if in any, nodes see a block apart; all else its hash fixes.
        let found = answers.iter_mut().flatten().flatten();
        let places: Vec<B256> = found.filter_map(|seen| seen.block_hash.take()).collect();
        let seen = self.agree("eth_getTransactionByHash", &answers, |agreed, other| {
            is_other(agreed.as_ref(), other.as_ref())
        })?;
        let (agreed, place) = largest_group(places.iter(), |one, other| one == other);
        let block_hash = place.copied().filter(|_| agreed >= self.wanted);
        Ok(seen.map(|seen| SeenTransaction { block_hash, ..seen }))
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let answers = self.ask_all(|node| node.receipt(hash)).await;
        self.agree("eth_getTransactionReceipt", &answers, |agreed, other| {
            is_other_receipt(agreed.as_ref(), other.as_ref())
        })
    }

    async fn revert_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        let answers = self.ask_all(|node| node.revert_reason(hash)).await;
        // Nodes find it out in different ways and words: who says otherwise is not accused, and too few are not believed.
        let reasons = || answers.iter().flatten().flatten();
        let (agreed, most) = largest_group(reasons(), |one, other| one == other);
        if agreed >= self.wanted {
            return Ok(most.cloned());
        }
        // What enough of them cannot explain is so; the words of one of them are not for the caller.
        let (agreed, most) = largest_group(reasons(), is_same_reason);
        let is_unexplained = most.is_some() && agreed >= self.wanted;
        Ok(is_unexplained.then(|| Revert::Unexplained(NO_COMMON_WORDS.into())))
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        match at {
            BlockAt::Pending => Ok(None),
            BlockAt::Latest => self.head(Head::Newest).await,
            BlockAt::Final => self.head(Head::Final).await,
            at => {
                let answers = self.ask_all(|node| node.block(at)).await;
                self.agree("eth_getBlockByNumber", &answers, |agreed, other| {
                    is_other_block(at, agreed.as_ref(), other.as_ref())
                })
            }
        }
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let answers = self.ask_all(|node| node.logs(filter, range)).await;
        let agreed = match range {
            LogRange::Block(hash) => self.agree_at("eth_getLogs", BlockAt::Hash(*hash), &answers),
            // Of a range a node has what it has come to, and at the tip perhaps another fork's.
            LogRange::Numbers(_) => self.agreed("eth_getLogs", &answers),
        };
        or_too_wide(agreed, &answers)
    }
}

/// What enough nodes give counts, whatever one of them finds too much. To ask for less harms nobody.
fn or_too_wide(
    agreed: Result<Vec<Log>, ChainError>,
    answers: &[Result<Vec<Log>, ChainError>],
) -> Result<Vec<Log>, ChainError> {
    let is_too_wide = |error: &&ChainError| matches!(error, ChainError::RangeTooWide { .. });
    let mut errors = answers.iter().filter_map(|answer| answer.as_ref().err());
    match (agreed, errors.find(is_too_wide)) {
        (Err(ChainError::NoQuorum { .. }), Some(too_wide)) => Err(too_wide.clone()),
        (agreed, _) => agreed,
    }
}

impl fmt::Debug for QuorumRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.nodes.iter().map(|(name, _)| name);
        f.debug_struct("QuorumRpc")
            .field("wanted", &self.wanted)
            .field("nodes", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
