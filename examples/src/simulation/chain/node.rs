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

use super::faults::Faults;
use super::model::{Model, REFUSAL, Rejection, TIP, Transaction, is_refused, is_undone};
use super::reached;

/// A node of the model chain.
pub(super) struct Node {
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) faults: Arc<Mutex<Faults>>,
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

    /// The number of a block as a node that lags sees it.
    fn resolve(&self, model: &Model, at: BlockAt, lag: u64) -> Option<u64> {
        let tip = model.tip().saturating_sub(lag);
        match at {
            BlockAt::Latest | BlockAt::Pending => Some(tip),
            BlockAt::Final => {
                let depth = if self.safe_is_final {
                    model.finality / 2
                } else {
                    model.finality
                };
                tip.checked_sub(depth)
            }
            BlockAt::Number(number) => (number <= tip).then_some(number),
            BlockAt::Hash(_) => None,
        }
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
        let nonce = {
            let model = self.model.lock();
            let nonces = match at {
                BlockAt::Pending if lag == 0 => return Ok(model.pending_nonce(account)),
                BlockAt::Hash(hash) => model.forks.get(&hash).map(|sealed| &sealed.nonces),
                at => self
                    .resolve(&model, at, lag)
                    .and_then(|number| model.sealed(number))
                    .map(|sealed| &sealed.nonces),
            };
            let nonces = nonces.ok_or_else(not_found)?;
            nonces.get(&account).copied().unwrap_or(0)
        };
        self.end(nonce, Sent::No)
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
        let taken = self.model.lock().submit(transaction.clone());
        if self.faults.lock().chance(50) {
            self.faults.lock().count(reached::QUESTION_REPEATED);
            let _second = self.model.lock().submit(transaction);
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
        let receipt = {
            let model = self.model.lock();
            let tip = model.tip().saturating_sub(lag);
            let forgets = self.forgets && self.faults.lock().is_storm;
            let kept_from = tip.saturating_sub(RECEIPTS_KEPT + LAG_MAX);
            let found = model
                .find(hash, tip)
                .filter(|(sealed, _)| !forgets || sealed.block.number >= kept_from)
                .map(|(sealed, one)| (sealed.block, one.from, !is_undone(one.payload)));
            let told = match (found, lies) {
                (Some(_), true) => None,
                (None, true) => model
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
        };
        self.end(receipt, Sent::No)
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        let lag = self.begin(Sent::No)?;
        let lies = self.lies();
        let block = {
            let model = self.model.lock();
            let found = match at {
                BlockAt::Hash(hash) => model.forks.get(&hash).map(|sealed| sealed.block),
                at => self
                    .resolve(&model, at, lag)
                    .and_then(|number| model.sealed(number))
                    .map(|sealed| sealed.block),
            };
            if at == BlockAt::Final && found.is_none() {
                return Err(not_found());
            }
            found.map(|block| {
                if lies {
                    let hash = keccak256(block.hash);
                    Block { hash, ..block }
                } else {
                    block
                }
            })
        };
        self.end(block, Sent::No)
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let lag = self.begin(Sent::No)?;
        let lies = self.lies();
        let mut logs: Vec<Log> = {
            let model = self.model.lock();
            match range {
                LogRange::Block(hash) => {
                    let sealed = model.forks.get(hash).ok_or_else(not_found)?;
                    if sealed.block.number + lag > model.tip() {
                        return Err(not_found());
                    }
                    sealed.logs()
                }
                LogRange::Numbers(numbers) => {
                    if numbers.end() - numbers.start() > 12 {
                        self.faults.lock().count(reached::RANGE_TOO_WIDE);
                        return Err(ChainError::RangeTooWide {
                            message: "13 blocks at most".into(),
                        });
                    }
                    let blocks = numbers.clone().filter_map(|number| model.sealed(number));
                    blocks.flat_map(|sealed| sealed.logs()).collect()
                }
            }
        };
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
