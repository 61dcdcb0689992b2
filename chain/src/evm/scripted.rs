//! A node that says what a test has written down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;

use super::{EvmNode, EvmRpc, FeeHistory, Receipt, SeenTransaction};
use crate::{Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, Sent};

pub(crate) const CHAIN: u64 = 4242;

/// What it knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    /// Its chain, by number.
    pub(crate) blocks: Vec<Block>,
    /// What it says instead where it is asked by number, and has by hash as well.
    pub(crate) by_number: BTreeMap<u64, Block>,
    /// The final one's number.
    pub(crate) final_number: u64,
    /// Every account's nonce, at every block that it has.
    pub(crate) nonce: u64,
    /// Another at final blocks.
    pub(crate) final_nonce: Option<u64>,
    pub(crate) transactions: BTreeMap<B256, SeenTransaction>,
    pub(crate) receipts: BTreeMap<B256, Receipt>,
    /// About these receipts it does not answer.
    pub(crate) silent_about: BTreeSet<B256>,
    /// These receipts it has thrown away.
    pub(crate) refuses_about: BTreeSet<B256>,
    /// It has no state but that of the newest block.
    pub(crate) has_no_state: bool,
    /// It has no state at all, and says so in words of its own.
    pub(crate) has_lost_states: bool,
    pub(crate) logs: Vec<Log>,
    pub(crate) gas: u64,
    pub(crate) gas_limit: Option<u64>,
    /// How often it was asked how much a block holds.
    pub(crate) limit_asked: Arc<AtomicUsize>,
    /// What gas has cost; where there is nothing, it does not answer.
    pub(crate) fee_history: Option<FeeHistory>,
}

/// A block of a fork, which stands on another.
pub(crate) fn block(number: u64, fork: u8, parent: B256) -> Block {
    Block {
        number,
        hash: keccak256([&number.to_be_bytes()[..], &[fork]].concat()),
        parent,
        timestamp_s: number,
    }
}

/// The blocks from 0 to `tip`; from `from` on they are another fork's.
pub(crate) fn chain(tip: u64, fork: u8, from: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for number in 0..=tip {
        let parent = blocks.last().map_or(B256::ZERO, |parent| parent.hash);
        let fork = if number < from { 0 } else { fork };
        blocks.push(block(number, fork, parent));
    }
    blocks
}

impl Scripted {
    fn at(&self, at: BlockAt) -> Option<Block> {
        match at {
            BlockAt::Latest | BlockAt::Pending => self.blocks.last().copied(),
            BlockAt::Final => self.at(BlockAt::Number(self.final_number)),
            BlockAt::Number(number) => self.blocks.get(usize::try_from(number).ok()?).copied(),
            BlockAt::Hash(hash) => {
                let mut all = self.blocks.iter().chain(self.by_number.values());
                all.find(|one| one.hash == hash).copied()
            }
        }
    }

    fn state<T>(&self, at: BlockAt, value: T) -> Result<T, ChainError> {
        if self.has_lost_states {
            return Err(in_words_of_its_own());
        }
        let is_kept = |block: &Block| !self.has_no_state || self.blocks.last() == Some(block);
        match self.at(at).filter(is_kept) {
            Some(_) => Ok(value),
            None => Err(ChainError::NotFound {
                what: "state".into(),
            }),
        }
    }
}

/// How a node refuses what it has thrown away, in words that are known nowhere.
pub(crate) fn in_words_of_its_own() -> ChainError {
    ChainError::Refused {
        doing: "a question",
        code: -32_000,
        message: "the archive is closed on Sundays".into(),
        sent: Sent::No,
    }
}

pub(crate) fn silence() -> ChainError {
    ChainError::TimedOut {
        doing: "a question",
        after: std::time::Duration::from_secs(1),
        sent: Sent::No,
    }
}

#[async_trait]
impl EvmRpc for Scripted {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        Ok(ChainId::evm(CHAIN))
    }

    async fn balance(&self, _account: Address, at: BlockAt) -> Result<U256, ChainError> {
        // Of each block another.
        let block = self.at(at).map(|block| block.hash).unwrap_or_default();
        self.state(at, U256::from_be_bytes(block.0))
    }

    async fn nonce(&self, _account: Address, at: BlockAt) -> Result<u64, ChainError> {
        let is_final = |block: &Block| block.number <= self.final_number;
        let of_final = self
            .final_nonce
            .filter(|_| self.at(at).is_some_and(|at| is_final(&at)));
        self.state(at, of_final.unwrap_or(self.nonce))
    }

    async fn code(&self, _address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        self.state(at, Bytes::new())
    }

    async fn call(&self, _request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        self.state(at, Bytes::new())
    }

    async fn estimate_gas(&self, _request: &CallRequest, _at: BlockAt) -> Result<u64, ChainError> {
        Ok(self.gas)
    }

    async fn block_gas_limit(&self) -> Result<Option<u64>, ChainError> {
        self.limit_asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.gas_limit)
    }

    async fn fee_history(&self, _blocks: u16, _at: &[u8]) -> Result<FeeHistory, ChainError> {
        self.fee_history.clone().ok_or_else(silence)
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        Ok(keccak256(raw))
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        Ok(self.transactions.get(&hash).copied())
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        if self.refuses_about.contains(&hash) {
            return Err(in_words_of_its_own());
        }
        if self.silent_about.contains(&hash) {
            return Err(silence());
        }
        Ok(self.receipts.get(&hash).cloned())
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        if let BlockAt::Number(number) = at
            && let Some(said) = self.by_number.get(&number)
        {
            return Ok(Some(*said));
        }
        Ok(self.at(at))
    }

    async fn logs(&self, _filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        match range {
            LogRange::Block(hash) => self.state(BlockAt::Hash(*hash), self.logs.clone()),
            LogRange::Numbers(_) => Ok(self.logs.clone()),
        }
    }
}

impl EvmNode for Scripted {}
