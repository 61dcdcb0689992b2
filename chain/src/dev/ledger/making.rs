//! Making blocks.

use std::sync::Arc;

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope,
    Transaction, TxReceipt,
};
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, Bloom, Bytes, U256, keccak256};
use revm::context::BlockEnv;
use revm::context::result::{ExecutionResult, Output, ResultAndState};

use super::super::execution;
use super::super::offered::Offered;
use super::super::sealed::{Failure, Included, Sealed};
use super::super::{Hardfork, Undone};
use super::Ledger;

/// What a block takes from the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Take {
    /// Whatever fits.
    All,
    Nothing,
}

/// A block in the making.
struct Draft {
    header: Header,
    included: Vec<Included>,
    logs: u64,
    // What the chain will never take, whatever waits before it.
    refused: Vec<B256>,
}

impl Ledger {
    /// Makes a block of what waits.
    pub(in super::super) fn mine(&mut self, timestamp_s: Option<u64>) -> &Sealed {
        self.make(timestamp_s, Take::All)
    }

    /// Makes a block of nothing.
    pub(in super::super) fn mine_empty(&mut self) -> &Sealed {
        self.make(None, Take::Nothing)
    }

    /// Replaces the newest `depth` blocks by as many and one more: the longer chain wins.
    pub(in super::super) fn reorganise(&mut self, depth: u64, undone: Undone) -> Vec<Arc<Offered>> {
        let depth = depth.min(self.height());
        let transactions = self.rewind(depth, undone);
        for _ in 0..=depth {
            self.mine(None);
        }
        transactions
    }

    /// Whether a block made now would hold a transaction.
    pub(super) fn has_work(&self) -> bool {
        let (base_fee, height) = (self.next_base_fee(), self.height());
        let mut queue = self
            .pool
            .queue(base_fee, |from| self.state.nonce(from, height));
        queue.pop().is_some()
    }

    /// The base fee of the block to come (EIP-1559).
    pub(in super::super) fn next_base_fee(&self) -> u64 {
        let head = &self.head().header;
        calc_next_block_base_fee(
            head.gas_used,
            head.gas_limit,
            self.head().base_fee(),
            BaseFeeParams::ethereum(),
        )
    }

    /// The block that would be made now. Its state lies above the head's until it is rewound.
    pub(super) fn assemble_pending(&mut self) -> Sealed {
        let (header, take) = (self.next_header(None), Take::All);
        self.assemble(header, take).0
    }

    /// The same without its state.
    pub(in super::super) fn pending(&mut self) -> Sealed {
        let pending = self.assemble_pending();
        self.state.rewind(self.height());
        pending
    }

    /// What the EVM is told of a block.
    pub(super) fn environment(&self, header: &Header) -> BlockEnv {
        BlockEnv {
            number: U256::from(header.number),
            beneficiary: header.beneficiary,
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or_default(),
            difficulty: U256::ZERO,
            prevrandao: Some(header.mix_hash),
            blob_excess_gas_and_price: Some(execution::blob_price()),
            slot_num: 0,
        }
    }

    pub(super) fn genesis(&mut self) -> Sealed {
        let header = self.header(
            0,
            B256::ZERO,
            self.options.genesis_timestamp_s,
            self.options.base_fee,
        );
        self.seal(Draft {
            header,
            included: Vec::new(),
            logs: 0,
            refused: Vec::new(),
        })
    }

    fn make(&mut self, timestamp_s: Option<u64>, take: Take) -> &Sealed {
        let planned = self.next_timestamp_s.take();
        let asked = timestamp_s.or(planned);
        let header = self.next_header(asked);
        let (block, refused) = self.assemble(header, take);
        for hash in refused {
            self.pool.remove(hash);
        }
        self.filters.added(&block);
        self.chain.push(block);
        self.forget_used();
        #[cfg(feature = "dev-ws")]
        self.tell_watchers();
        self.head()
    }

    fn forget_used(&mut self) {
        let height = self.height();
        let senders: Vec<_> = self.pool.senders().collect();
        for from in senders {
            let next_nonce = self.state.nonce(from, height);
            self.pool.forget_below(from, next_nonce);
        }
    }

    fn next_header(&self, timestamp_s: Option<u64>) -> Header {
        let head = self.head();
        let last = head.header.timestamp;
        let usual = last.saturating_add(self.options.block_time_s);
        let timestamp_s = timestamp_s.unwrap_or(usual).max(last.saturating_add(1));
        self.header(
            head.header.number + 1,
            head.hash,
            timestamp_s,
            self.next_base_fee(),
        )
    }

    fn header(&self, number: u64, parent_hash: B256, timestamp: u64, base_fee: u64) -> Header {
        let extra_data = match self.forks {
            0 => Bytes::new(),
            forks => Bytes::from(format!("fork {forks}").into_bytes()),
        };
        Header {
            parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: self.options.coinbase,
            number,
            gas_limit: self.options.block_gas_limit,
            timestamp,
            extra_data,
            mix_hash: keccak256(parent_hash),
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: (self.options.hardfork >= Hardfork::Prague)
                .then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }

    /// Fills a block, and says what it found unfit for any.
    fn assemble(&mut self, header: Header, take: Take) -> (Sealed, Vec<B256>) {
        let mut draft = Draft {
            header,
            included: Vec::new(),
            logs: 0,
            refused: Vec::new(),
        };
        if take == Take::All {
            self.fill(&mut draft);
        }
        let refused = std::mem::take(&mut draft.refused);
        (self.seal(draft), refused)
    }

    fn fill(&mut self, draft: &mut Draft) {
        let (height, environment) = (draft.header.number, self.environment(&draft.header));
        let nonce = |from| self.state.nonce(from, height);
        let mut queue = self.pool.queue(environment.basefee, nonce);
        while let Some(transaction) = queue.pop() {
            let gas_left = draft.header.gas_limit - draft.header.gas_used;
            if transaction.envelope.gas_limit() > gas_left {
                continue;
            }
            let transacted = execution::transact(
                self.view(height),
                &self.rules,
                &environment,
                transaction.environment(),
            );
            match transacted {
                Ok(done) => {
                    let from = transaction.from;
                    self.include(draft, transaction, done);
                    queue.push(&self.pool, from, self.state.nonce(from, height));
                }
                // What was true when it was taken into the mempool no longer is: others have spent its sender's funds.
                Err(_unfit) => draft.refused.push(transaction.hash),
            }
        }
    }

    fn include(&mut self, draft: &mut Draft, transaction: Arc<Offered>, done: ResultAndState) {
        let ResultAndState { result, state } = done;
        let gas_used = result.tx_gas_used();
        draft.header.gas_used += gas_used;
        let base_fee = draft.header.base_fee_per_gas;
        let is_success = result.is_success();
        let (contract, failure, logs) = match result {
            ExecutionResult::Success { output, logs, .. } => match output {
                Output::Create(_, contract) => (contract, None, logs),
                Output::Call(_) => (None, None, logs),
            },
            ExecutionResult::Revert { output, .. } => {
                (None, Some(Failure::Reverted(output)), Vec::new())
            }
            ExecutionResult::Halt { reason, .. } => {
                let failure = Failure::Halted(execution::halt_words(&reason));
                (None, Some(failure), Vec::new())
            }
        };
        let first_log = draft.logs;
        draft.logs += logs.len() as u64;
        let receipt = Receipt {
            status: Eip658Value::Eip658(is_success),
            cumulative_gas_used: draft.header.gas_used,
            logs,
        };
        draft.included.push(Included {
            receipt: ReceiptEnvelope::from_typed(transaction.envelope.tx_type(), receipt),
            gas_used,
            gas_price: transaction.envelope.effective_gas_price(base_fee),
            // Where it would have been is said of one that failed, too.
            contract: contract.or_else(|| {
                let is_create = transaction.envelope.is_create();
                is_create.then(|| transaction.from.create(transaction.nonce()))
            }),
            first_log,
            failure,
            transaction,
        });
        self.state.apply(state, draft.header.number);
    }

    fn seal(&mut self, mut draft: Draft) -> Sealed {
        let included = &draft.included;
        let envelopes: Vec<_> = included
            .iter()
            .map(|one| &one.transaction.envelope)
            .collect();
        let receipts: Vec<_> = included.iter().map(|one| &one.receipt).collect();
        draft.header.transactions_root = calculate_transaction_root(&envelopes);
        draft.header.receipts_root = calculate_receipt_root(&receipts);
        draft.header.logs_bloom = receipts
            .iter()
            .fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
        draft.header.state_root = self.state.root(draft.header.number);
        Sealed {
            hash: draft.header.hash_slow(),
            header: draft.header,
            included: draft.included,
        }
    }
}
