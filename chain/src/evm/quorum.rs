//! Reads that carry value: several nodes asked, and believed where enough of them agree.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};

use super::{EvmRpc, FeeHistory, Receipt, SeenTransaction};
use crate::{Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, TxId};

/// Several nodes of one chain as one: an answer counts when `m` of them give it.
///
/// - The newest block is the newest that `m` nodes have, and whatever is asked about the newest or the final state is
///   asked about that very block, by its hash: honest nodes then answer alike, however far ahead some are.
/// - Who says otherwise than the quorum is named to [`with_report`](Self::with_report). A node that knows nothing, or
///   fails, is not accused: it may just be behind.
/// - It is as slow as the slowest of its nodes: give each a short
///   [`with_answer_within`](super::JsonRpc::with_answer_within). A node that does not answer in time is one that failed.
/// - Prices, estimates and mempools are no facts: of those the highest is taken that not only liars can have named.
///   Transactions are given to all nodes.
///
/// Of `k` nodes `m > k / 2` must agree, so that there are no two quorums.
pub struct QuorumRpc {
    nodes: Vec<(String, Arc<dyn EvmRpc>)>,
    wanted: usize,
    report: Arc<dyn Fn(&Dissent) + Send + Sync>,
}

/// A node that contradicts a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dissent {
    /// The name under which the node was added.
    pub node: String,
    /// The question.
    pub doing: &'static str,
}

impl QuorumRpc {
    /// The nodes, by the names under which they are to be reported; `wanted` of them must agree.
    ///
    /// # Panics
    ///
    /// `wanted` is not more than half of the nodes, or more than all.
    #[must_use]
    pub fn new(nodes: Vec<(String, Arc<dyn EvmRpc>)>, wanted: usize) -> Self {
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
        ask: impl Fn(&'a dyn EvmRpc) -> BoxFuture<'a, Result<T, ChainError>>,
    ) -> Vec<Result<T, ChainError>> {
        join_all(self.nodes.iter().map(|(_, node)| ask(&**node))).await
    }

    /// The answer that enough nodes give to a question that has one answer.
    fn agree<T: PartialEq + Clone>(
        &self,
        doing: &'static str,
        answers: Vec<Result<T, ChainError>>,
        is_ignorance: impl Fn(&T) -> bool,
    ) -> Result<T, ChainError> {
        let mut best: Option<(usize, &T)> = None;
        for answer in answers.iter().flatten() {
            let same = |other: &&Result<T, ChainError>| other.as_ref().ok() == Some(answer);
            let count = answers.iter().filter(same).count();
            if best.is_none_or(|(most, _)| count > most) {
                best = Some((count, answer));
            }
        }
        let agreed = best.map_or(0, |(count, _)| count);
        if let Some((_, answer)) = best.filter(|_| agreed >= self.wanted) {
            let answer = answer.clone();
            if !is_ignorance(&answer) {
                for ((name, _), other) in self.nodes.iter().zip(&answers) {
                    if let Ok(other) = other
                        && *other != answer
                        && !is_ignorance(other)
                    {
                        (self.report)(&Dissent {
                            node: name.clone(),
                            doing,
                        });
                    }
                }
            }
            return Ok(answer);
        }
        // Where all fail alike, that is the answer.
        if agreed == 0
            && let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err())
            && !error.is_retryable()
        {
            return Err(error.clone());
        }
        Err(ChainError::NoQuorum {
            doing,
            agreed,
            asked: self.nodes.len(),
            wanted: self.wanted,
        })
    }

    /// The newest block that enough nodes have, or the newest that enough find final.
    async fn head(&self, at: BlockAt) -> Result<Block, ChainError> {
        const DOING: &str = "the newest block";
        let heads = self.ask_all(|node| node.block(at)).await;
        let mut numbers: Vec<u64> = heads
            .iter()
            .filter_map(|head| head.as_ref().ok().copied().flatten())
            .map(|block| block.number)
            .collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let Some(&number) = numbers.get(self.wanted - 1) else {
            let missing = heads.into_iter().find_map(Result::err);
            return Err(match missing {
                Some(error @ ChainError::NotFound { .. }) => error,
                _ => ChainError::NoQuorum {
                    doing: DOING,
                    agreed: numbers.len(),
                    asked: self.nodes.len(),
                    wanted: self.wanted,
                },
            });
        };
        let answers = self
            .ask_all(|node| node.block(BlockAt::Number(number)))
            .await;
        let found = self.agree(DOING, answers, Option::is_none)?;
        found.ok_or_else(|| ChainError::NotFound {
            what: format!("block {number}"),
        })
    }

    /// One and the same block for all nodes.
    async fn resolve(&self, at: BlockAt) -> Result<BlockAt, ChainError> {
        match at {
            BlockAt::Latest | BlockAt::Final => Ok(BlockAt::Hash(self.head(at).await?.hash)),
            other => Ok(other),
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
            // A revert is what a majority says, not a failure to answer.
            return match errors.into_iter().find(|error| !error.is_retryable()) {
                Some(error) if agreed == 0 => Err(error),
                _ => Err(ChainError::NoQuorum {
                    doing,
                    agreed,
                    asked,
                    wanted: self.wanted,
                }),
            };
        }
        // So many may lie: one more than that is under no value of theirs alone.
        let liars_max = asked - self.wanted;
        let credible = found.get(agreed.saturating_sub(liars_max + 1)).cloned();
        credible.ok_or(ChainError::NoQuorum {
            doing,
            agreed,
            asked,
            wanted: self.wanted,
        })
    }
}

#[async_trait]
impl EvmRpc for QuorumRpc {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        let answers = self.ask_all(|node| node.chain_id()).await;
        self.agree("eth_chainId", answers, |_| false)
    }

    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError> {
        let at = self.resolve(at).await?;
        let answers = self.ask_all(|node| node.balance(account, at)).await;
        self.agree("eth_getBalance", answers, |_| false)
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        let answers = match at {
            // Every node has a mempool of its own.
            BlockAt::Pending => {
                let answers = self.ask_all(|node| node.nonce(account, at)).await;
                return self.credible("eth_getTransactionCount", answers, |nonce| *nonce);
            }
            at => {
                let at = self.resolve(at).await?;
                self.ask_all(|node| node.nonce(account, at)).await
            }
        };
        self.agree("eth_getTransactionCount", answers, |_| false)
    }

    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        let at = self.resolve(at).await?;
        let answers = self.ask_all(|node| node.code(address, at)).await;
        self.agree("eth_getCode", answers, |_| false)
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        let at = self.resolve(at).await?;
        let answers = self.ask_all(|node| node.call(request, at)).await;
        self.agree("eth_call", answers, |_| false)
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        let answers = self.ask_all(|node| node.estimate_gas(request, at)).await;
        self.credible("eth_estimateGas", answers, |gas| *gas)
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
        let taken: Vec<B256> = answers.iter().flatten().copied().collect();
        // So many that not all of them can be liars, who say that they have it and throw it away.
        let wanted = answers.len() - self.wanted + 1;
        // Where it is in a block already, nodes find its nonce used: that speaks for those that have taken it.
        let is_used =
            |answer: &&Result<_, _>| matches!(answer, Err(ChainError::NonceTooLow { .. }));
        let used = answers.iter().filter(is_used).count();
        if let Some(hash) = taken.first().filter(|_| taken.len() + used >= wanted) {
            return Ok(*hash);
        }
        let mut worst: Option<ChainError> = None;
        for answer in answers {
            match answer {
                Ok(_) => {}
                // What may have been sent weighs more than any refusal.
                Err(error)
                    if worst
                        .as_ref()
                        .is_none_or(|known| !known.may_have_been_sent()) =>
                {
                    worst = Some(error);
                }
                Err(_) => {}
            }
        }
        let error = worst.unwrap_or(ChainError::NoQuorum {
            doing: "eth_sendRawTransaction",
            agreed: taken.len(),
            asked: self.nodes.len(),
            wanted,
        });
        Err(match taken.first() {
            Some(hash) => ChainError::TakenByFew {
                taken: taken.len(),
                wanted,
                transaction: TxId::Evm(*hash),
                source: Arc::new(error),
            },
            None => error,
        })
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        let answers = self.ask_all(|node| node.transaction(hash)).await;
        self.agree("eth_getTransactionByHash", answers, Option::is_none)
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let answers = self.ask_all(|node| node.receipt(hash)).await;
        self.agree("eth_getTransactionReceipt", answers, Option::is_none)
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        match at {
            BlockAt::Pending => Ok(None),
            BlockAt::Latest | BlockAt::Final => self.head(at).await.map(Some),
            at => {
                let answers = self.ask_all(|node| node.block(at)).await;
                self.agree("eth_getBlockByNumber", answers, Option::is_none)
            }
        }
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let answers = self.ask_all(|node| node.logs(filter, range)).await;
        let too_wide = answers.iter().find_map(|answer| match answer {
            Err(error @ ChainError::RangeTooWide { .. }) => Some(error.clone()),
            _ => None,
        });
        // What enough nodes give counts, whatever one of them finds too much.
        match (self.agree("eth_getLogs", answers, |_| false), too_wide) {
            (Err(_), Some(too_wide)) => Err(too_wide),
            (agreed, _) => agreed,
        }
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
