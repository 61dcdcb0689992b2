//! Who knows the truth, and hears what a client is told: a minority of liars must not be believed in anything.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::evm::{EvmRpc, EvmView, FeeHistory, Receipt, SeenTransaction};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};
use peaberry_chain::{
    Block, BlockAt, CallRequest, ChainError, ChainId, FinalityPolicy, Log, LogFilter, LogRange,
    Revert,
};

use super::lies::LIE;
use super::model::{Model, Sealed, TIP, gas_for};
use super::node::receipts_kept;

/// Between a client and the node or nodes that it asks.
pub(super) struct Witness {
    pub(super) rpc: Arc<dyn EvmView>,
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) complaints: Arc<Mutex<Vec<String>>>,
    /// Of one that is asked alone what it has by number may be of a fork that was left.
    pub(super) is_quorum: bool,
}

const COMPLAINTS_MAX: usize = 8;

impl Witness {
    fn demand(&self, is_so: bool, told: impl FnOnce() -> String) {
        let mut complaints = self.complaints.lock();
        if !is_so && complaints.len() < COMPLAINTS_MAX {
            complaints.push(format!("a client was told what is not so: {}", told()));
        }
    }

    /// What is asked about a block by its hash has one answer.
    fn demand_at<T: PartialEq + std::fmt::Debug>(
        &self,
        at: BlockAt,
        told: &Result<T, ChainError>,
        truth: impl FnOnce(&Sealed) -> T,
    ) {
        let (BlockAt::Hash(hash), Ok(told)) = (at, told) else {
            return;
        };
        let truth = self.model.lock().forks.get(&hash).map(truth);
        self.demand(truth.as_ref() == Some(told), || {
            format!("{told:?} at {at:?}, and it is {truth:?}")
        });
    }

    fn demand_no_receipt(&self, hash: B256, at: Block) {
        let model = self.model.lock();
        let is_final = model.forks.get(&at.hash).map(|at| model.is_final(at));
        let known_from = model.tip().saturating_sub(receipts_kept(model.finality));
        let found = model.find(hash, at.number);
        let is_known = found.is_some_and(|(sealed, _)| sealed.block.number >= known_from);
        drop(model);
        self.demand(is_final == Some(true) && !is_known, || {
            format!("there is no receipt of {hash} up to {at}")
        });
    }

    /// All logs of final blocks, or what is told is not of final blocks.
    fn demand_logs(&self, numbers: RangeInclusive<u64>, filter: &LogFilter, told: &[Log]) {
        let model = self.model.lock();
        let sealed: Option<Vec<_>> = numbers.clone().map(|number| model.sealed(number)).collect();
        let sealed = sealed.filter(|all| all.iter().all(|one| model.is_final(one)));
        let truth = sealed.map(|all| {
            let logs = all.into_iter().flat_map(Sealed::logs);
            logs.filter(|log| filter.matches(log)).collect::<Vec<_>>()
        });
        drop(model);
        self.demand(truth.is_none_or(|truth| truth == told), || {
            format!("{} logs of {numbers:?}", told.len())
        });
    }

    fn demand_block(&self, at: BlockAt, block: Block) {
        let model = self.model.lock();
        let sealed = model.forks.get(&block.hash);
        let is_there = sealed.is_some_and(|sealed| sealed.block == block);
        let is_asked_for = match at {
            BlockAt::Hash(hash) => block.hash == hash,
            BlockAt::Number(number) => block.number == number,
            BlockAt::Final => sealed.is_some_and(|sealed| model.is_final(sealed)),
            BlockAt::Latest | BlockAt::Pending => true,
        };
        drop(model);
        self.demand(is_there && is_asked_for, || format!("{block} is {at:?}"));
    }
}

#[async_trait]
impl EvmRpc for Witness {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        let told = self.rpc.chain_id().await;
        self.demand(
            told.as_ref().is_ok_and(|told| *told == super::chain()) || told.is_err(),
            || format!("the chain is {told:?}"),
        );
        told
    }

    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError> {
        let told = self.rpc.balance(account, at).await;
        self.demand_at(at, &told, |sealed| sealed.balance(account));
        // At the newest block it is that of some block.
        let is_some =
            |told: &U256| *told <= U256::from(1_000_000_000) && *told > U256::from(999_000_000);
        self.demand(told.as_ref().map_or(true, is_some), || {
            format!("a balance of {told:?}")
        });
        told
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        let told = self.rpc.nonce(account, at).await;
        self.demand_at(at, &told, |sealed| sealed.nonce(account));
        told
    }

    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        let told = self.rpc.code(address, at).await;
        self.demand_at(at, &told, |sealed| sealed.code(address));
        told
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        let told = self.rpc.call(request, at).await;
        self.demand_at(at, &told, Sealed::called);
        let is_undone = matches!(told, Err(ChainError::Reverted(_)));
        self.demand(!is_undone, || "a call is undone".into());
        told
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        let told = self.rpc.estimate_gas(request, at).await;
        if let Ok(told) = told {
            let truth = gas_for(request.value.to::<u64>());
            self.demand((truth..=2 * truth).contains(&told), || {
                format!("{told} gas where {truth} is needed")
            });
        }
        told
    }

    async fn fee_history(&self, blocks: u16, at: &[u8]) -> Result<FeeHistory, ChainError> {
        let told = self.rpc.fee_history(blocks, at).await;
        if let Ok(told) = &told {
            let price = told.next_base_fee().saturating_add(told.median_tip());
            let dearest = self.model.lock().base_fee_max + TIP;
            self.demand(price <= U256::from(dearest), || {
                format!("a price of {price}")
            });
        }
        told
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        let hash = keccak256(raw);
        let was_taken = self.model.lock().taken.remove(&hash);
        let told = self.rpc.broadcast(raw).await;
        let is_taken = self.model.lock().taken.contains(&hash);
        match &told {
            Ok(told) => self.demand(*told == hash, || format!("{told} was taken for {hash}")),
            Err(error) => self.demand(!is_taken || error.may_have_been_sent(), || {
                format!("nothing was sent, and a node has it: {error}")
            }),
        }
        if was_taken {
            self.model.lock().taken.insert(hash);
        }
        told
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        let told = self.rpc.transaction(hash).await;
        if let Ok(Some(told)) = &told {
            let model = self.model.lock();
            let waiting = model.pool.values().find(|one| one.hash == hash);
            let truth = model.was_included.get(&hash).or(waiting);
            let is_so = truth.is_some_and(|one| one.from == told.from && one.nonce == told.nonce);
            drop(model);
            self.demand(is_so && told.hash == hash, || format!("{told:?}"));
        }
        told
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let told = self.rpc.receipt(hash).await;
        if let Ok(Some(told)) = &told {
            let model = self.model.lock();
            let sealed = model.forks.get(&told.block_hash);
            let is_so = sealed.is_some_and(|sealed| {
                let mut there = sealed.transactions.iter();
                sealed.block.number == told.block_number
                    && there.any(|one| one.hash == hash && one.is_undone() != told.is_success)
            });
            drop(model);
            self.demand(is_so, || format!("{told:?}"));
        }
        told
    }

    async fn revert_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        let told = self.rpc.revert_reason(hash).await;
        if let Ok(Some(told)) = &told {
            let model = self.model.lock();
            let undone = model.was_included.get(&hash).filter(|one| one.is_undone());
            let is_so = undone.is_some_and(|one| match (told, one.reason()) {
                (Revert::Message(told), Some(truth)) => *told == truth,
                (Revert::Unexplained(words), None) => words != LIE,
                _ => false,
            });
            drop(model);
            self.demand(is_so, || format!("{hash} was undone: {told}"));
        }
        told
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        let told = self.rpc.block(at).await;
        if let Ok(Some(block)) = told {
            self.demand_block(at, block);
        }
        told
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let told = self.rpc.logs(filter, range).await;
        let all = |sealed: &Sealed| {
            let mut logs = sealed.logs();
            logs.retain(|log| filter.matches(log));
            logs
        };
        match range {
            LogRange::Block(hash) => self.demand_at(BlockAt::Hash(*hash), &told, all),
            LogRange::Numbers(numbers) => {
                if let (true, Ok(told)) = (self.is_quorum, &told) {
                    self.demand_logs(numbers.clone(), filter, told);
                }
            }
        }
        told
    }
}

#[async_trait]
impl EvmView for Witness {
    async fn lacks_receipts(
        &self,
        hashes: &[B256],
        at: Block,
        newest_max: u64,
    ) -> Vec<Result<bool, ChainError>> {
        let told = self.rpc.lacks_receipts(hashes, at, newest_max).await;
        for (hash, told) in hashes.iter().zip(&told) {
            if self.is_quorum && matches!(told, Ok(true)) {
                self.demand_no_receipt(*hash, at);
            }
        }
        told
    }

    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError> {
        let told = self.rpc.block_below(depth).await;
        let is_final = depth >= self.model.lock().finality;
        if let (true, true, Ok(Some(block))) = (self.is_quorum, is_final, &told) {
            self.demand_block(BlockAt::Final, *block);
        }
        told
    }

    async fn final_block(
        &self,
        number: u64,
        policy: FinalityPolicy,
    ) -> Result<Option<Block>, ChainError> {
        let told = self.rpc.final_block(number, policy).await;
        if let Ok(Some(block)) = told {
            self.demand(block.number == number, || format!("{block} for {number}"));
            if self.is_quorum {
                self.demand_block(BlockAt::Final, block);
            }
        }
        told
    }

    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        let told = self.rpc.logs_upto(filter, first, last).await;
        if let (true, Ok(told)) = (self.is_quorum, &told) {
            self.demand_logs(first..=last.number, filter, told);
        }
        told
    }
}
