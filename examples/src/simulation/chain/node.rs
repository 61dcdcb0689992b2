//! Nodes that serve the model: they lose answers, lag, and one may lie.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::evm::{
    EvmClient, EvmRpc, FeeHistory, Fees, Receipt, SeenTransaction, SignedTransaction,
};
use peaberry_chain::outbox::{Ask, Found, Performer};
use peaberry_chain::primitives::{Address, B256, Bytes, U256, keccak256};
use peaberry_chain::{
    Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, Revert, Sent, TxId,
};

use super::dead_fork::DeadFork;
use super::faults::Faults;
use super::model::{Model, REFUSAL, Rejection, TIP, Transaction, is_refused, is_undone};
use super::reached;
use super::view::View;

/// A node of the model chain.
pub(super) struct Node {
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) faults: Arc<Mutex<Faults>>,
    /// The fork that the others have left and this node has not.
    pub(super) fork: Arc<Mutex<Option<DeadFork>>>,
    /// What answers is now this node, now one that is where the others are.
    pub(super) is_mixed: bool,
    pub(super) is_liar: bool,
    /// Takes what is merely safe for final: a bug.
    pub(super) safe_is_final: bool,
    /// Forgets receipts of blocks that lie deeper than [`RECEIPTS_KEPT`].
    pub(super) forgets: bool,
}

/// For so many blocks every node keeps receipts.
pub(super) const RECEIPTS_KEPT: u64 = 24;
/// And some for longer: none of them is behind by more.
const LAG_MAX: u64 = 8;

impl Node {
    /// Begins a call: the chain may move, the question may be lost, the node may lag by the number returned.
    fn begin(&self, sent: Sent) -> Result<u64, ChainError> {
        let mut faults = self.faults.lock();
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
            return Ok(faults.draw(1..=most.max(1)));
        }
        Ok(0)
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

    fn lies(&self) -> bool {
        let mut faults = self.faults.lock();
        let lies = self.is_liar && faults.is_storm && faults.draw(0..=2) > 0;
        if lies {
            faults.count(reached::NODE_LIED);
        }
        lies
    }

    /// Whether it is the dead fork that is asked now.
    fn is_astray(&self) -> bool {
        if self.fork.lock().is_none() {
            return false;
        }
        let mut faults = self.faults.lock();
        let is_astray = !self.is_mixed || faults.draw(0..=1) == 0;
        if is_astray {
            faults.count(reached::NODE_ASTRAY);
        }
        is_astray
    }

    /// What `look` finds, so many blocks late.
    fn see<T>(&self, lag: u64, look: impl FnOnce(&View<'_>) -> T) -> T {
        let is_astray = self.is_astray();
        let (model, fork) = (self.model.lock(), self.fork.lock());
        look(&View {
            model: &model,
            fork: fork.as_ref().filter(|_| is_astray),
            lag,
            safe_is_final: self.safe_is_final,
        })
    }

    fn submit(&self, transaction: Transaction) -> Result<(), Rejection> {
        if self.is_astray()
            && let Some(fork) = &mut *self.fork.lock()
        {
            return fork.submit(transaction);
        }
        self.model.lock().submit(transaction)
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
        Ok(super::chain())
    }

    async fn balance(&self, _account: Address, _at: BlockAt) -> Result<U256, ChainError> {
        Ok(U256::MAX)
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        let lag = self.begin(Sent::No)?;
        if self.lies() {
            return Ok(self.faults.lock().draw(0..=9));
        }
        let nonce = self.see(lag, |view| {
            let pending = view.pending_nonce(account);
            if let Some(nonce) = pending.filter(|_| at == BlockAt::Pending) {
                return Some(nonce);
            }
            let nonces = &view.at(at)?.nonces;
            Some(nonces.get(&account).copied().unwrap_or(0))
        });
        self.end(nonce.ok_or_else(not_found)?, Sent::No)
    }

    async fn code(&self, _address: Address, _at: BlockAt) -> Result<Bytes, ChainError> {
        Ok(Bytes::new())
    }

    async fn call(&self, _request: &CallRequest, _at: BlockAt) -> Result<Bytes, ChainError> {
        Ok(Bytes::new())
    }

    async fn estimate_gas(&self, request: &CallRequest, _at: BlockAt) -> Result<u64, ChainError> {
        let _lag = self.begin(Sent::No)?;
        if is_undone(request.value.to::<u64>()) {
            return Err(ChainError::Reverted(Revert::Message("no beans".into())));
        }
        self.end(21_000, Sent::No)
    }

    async fn fee_history(&self, _blocks: u16, _at: &[u8]) -> Result<FeeHistory, ChainError> {
        let _lag = self.begin(Sent::No)?;
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
        if self.lies() {
            return Ok(hash);
        }
        let transaction = Transaction::decode(raw).expect("only this module's bytes are sent");
        if is_refused(transaction.payload) {
            return Err(ChainError::InvalidTransaction {
                message: REFUSAL.into(),
            });
        }
        if self.model.lock().is_full {
            return Err(ChainError::Refused {
                doing: "eth_sendRawTransaction",
                code: -32000,
                message: "txpool is full".into(),
                sent: Sent::Maybe(Some(TxId::Evm(hash))),
            });
        }
        if self.model.lock().broke == Some(transaction.from) {
            return Err(ChainError::InsufficientFunds {
                account: None,
                detail: "too little for gas and value".into(),
            });
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

    async fn transaction(&self, _hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        Ok(None)
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let lag = self.begin(Sent::No)?;
        let lies = self.lies();
        let forgets = self.forgets && self.faults.lock().is_storm;
        let receipt = self.see(lag, |view| {
            let tip = view.tip();
            let kept_from = tip.saturating_sub(RECEIPTS_KEPT + LAG_MAX);
            let found = view
                .find(hash)
                .filter(|(sealed, _)| !forgets || sealed.block.number >= kept_from)
                .map(|(sealed, one)| (sealed.block, one.from, !is_undone(one.payload)));
            let told = match (found, lies) {
                (Some(_), true) => None,
                (None, true) => view
                    .sealed(tip)
                    .map(|sealed| (sealed.block, Address::ZERO, false)),
                (found, false) => found,
            };
            told.map(|(block, from, is_success)| Receipt {
                transaction: hash,
                is_success,
                block_number: block.number,
                block_hash: block.hash,
                index: 0,
                from,
                to: None,
                contract: None,
                gas_used: 21_000,
                gas_price: U256::from(1),
                logs: Vec::new(),
            })
        });
        self.end(receipt, Sent::No)
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        let lag = self.begin(Sent::No)?;
        let lies = self.lies();
        let found = self.see(lag, |view| view.at(at).map(|sealed| sealed.block));
        if at == BlockAt::Final && found.is_none() {
            return Err(not_found());
        }
        let block = found.map(|block| {
            if lies {
                let hash = keccak256(block.hash);
                Block { hash, ..block }
            } else {
                block
            }
        });
        self.end(block, Sent::No)
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let lag = self.begin(Sent::No)?;
        let lies = self.lies();
        if let LogRange::Numbers(numbers) = range
            && numbers.end() - numbers.start() > 12
        {
            self.faults.lock().count(reached::RANGE_TOO_WIDE);
            return Err(ChainError::RangeTooWide {
                message: "13 blocks at most".into(),
            });
        }
        let found: Option<Vec<Log>> = self.see(lag, |view| match range {
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
        logs.retain(|log| filter.matches(log));
        if lies {
            logs.pop();
        }
        self.end(logs, Sent::No)
    }
}

/// Acts through the shipped client, but for the cost of real signatures.
pub(super) struct Acting {
    pub(super) client: EvmClient,
    pub(super) faults: Arc<Mutex<Faults>>,
}

#[async_trait]
impl Performer for Acting {
    fn chain_id(&self) -> ChainId {
        super::chain()
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        let Ask::Sign { from, transaction } = ask else {
            return self.client.perform(ask).await;
        };
        let Fees::Eip1559 { fee_max, tip_max } = transaction.fees else {
            panic!("the model has base fees");
        };
        let payload = if transaction.to == Some(from) {
            0
        } else {
            transaction.value.to::<u64>()
        };
        if self.faults.lock().chance(60) {
            self.faults.lock().count(reached::SIGNER_FAILED);
            return Err(ChainError::Signer {
                address: from.into(),
                reason: "nobody is there to confirm".into(),
            });
        }
        // As a remote signer's: no two signatures are alike.
        let salt = self.faults.lock().salt();
        let fees = (fee_max, tip_max);
        let raw = Transaction::encode(from, transaction.nonce, fees, payload, salt);
        Ok(Found::Signed(SignedTransaction::from_raw(raw)))
    }
}
