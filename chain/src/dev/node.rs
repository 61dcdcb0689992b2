//! The chain as the node of an [`EvmClient`](crate::evm::EvmClient), without a wire between.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;

use super::DevChain;
use super::execution::{Call, refused};
use super::ledger::At;
use super::sealed::Sealed;
use crate::evm::{Asked, EvmNode, EvmRpc, FeeHistory, NodeError, Receipt, SeenTransaction};
use crate::{
    Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, Revert, TxId,
};

/// An error of ours, read as that of any node.
fn read(error: NodeError, doing: &'static str) -> ChainError {
    error.into_chain_error(doing, Asked::Read)
}

impl DevChain {
    pub(super) fn question(&self, request: &CallRequest) -> Result<Call, ChainError> {
        let chain = ChainId::evm(self.ledger().options.chain);
        let evm = |address: Option<crate::Address>| address.map(|a| a.evm_on(chain)).transpose();
        Ok(Call {
            from: evm(request.from)?.unwrap_or_default(),
            to: evm(request.to)?,
            value: request.value,
            data: request.data.clone(),
            ..Call::default()
        })
    }

    fn height(&self, at: BlockAt, doing: &'static str) -> Result<u64, ChainError> {
        let number = self.ledger().expect_number(at.into());
        number.map_err(|error| read(error, doing))
    }
}

#[async_trait]
impl EvmRpc for DevChain {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        Ok(ChainId::evm(self.ledger().options.chain))
    }

    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError> {
        let mut ledger = self.ledger();
        let answer = ledger.at(at.into(), |state, height| state.balance(account, height));
        answer.map_err(|error| read(error, "eth_getBalance"))
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        if at == BlockAt::Pending {
            return Ok(self.ledger().pending_nonce(account));
        }
        let height = self.height(at, "eth_getTransactionCount")?;
        Ok(self.ledger().state().nonce(account, height))
    }

    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        let mut ledger = self.ledger();
        let answer = ledger.at(at.into(), |state, height| state.code(address, height));
        answer.map_err(|error| read(error, "eth_getCode"))
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        let call = self.question(request)?;
        let answer = self.ledger().call(&call, at.into());
        answer.map_err(|error| error.into_chain_error("eth_call", Asked::Try(Some(call.from))))
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        let call = self.question(request)?;
        let answer = self.ledger().estimate(&call, at.into());
        let asked = Asked::Try(Some(call.from));
        answer.map_err(|error| error.into_chain_error("eth_estimateGas", asked))
    }

    async fn fee_history(&self, blocks: u16, percentiles: &[u8]) -> Result<FeeHistory, ChainError> {
        let percentiles: Vec<f64> = percentiles.iter().copied().map(f64::from).collect();
        let ledger = self.ledger();
        let history = ledger.fee_history(blocks.into(), At::Latest, &percentiles);
        history
            .map(|(history, _)| history)
            .map_err(|error| read(error, "eth_feeHistory"))
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        let hash = keccak256(raw);
        match self.submit(raw) {
            Ok(hash) => Ok(hash),
            Err(rejection) => {
                let error = refused(rejection.to_string());
                if error.is_already_known() {
                    return Ok(hash);
                }
                let asked = Asked::Broadcast(TxId::Evm(hash));
                Err(error.into_chain_error("eth_sendRawTransaction", asked))
            }
        }
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        let ledger = self.ledger();
        if let Some((place, block, _)) = ledger.place(hash) {
            return Ok(block.seen(place.index));
        }
        Ok(ledger.pool.get(hash).map(|waiting| SeenTransaction {
            hash,
            from: waiting.from,
            nonce: waiting.nonce(),
            block_hash: None,
        }))
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let ledger = self.ledger();
        let found = ledger.place(hash);
        Ok(found.and_then(|(place, block, _)| block.receipt_of(place.index)))
    }

    async fn revert_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        Ok(Self::revert_reason(self, hash))
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        if at == BlockAt::Pending {
            return Ok(None);
        }
        Ok(self.ledger().block(at.into()).map(Sealed::block))
    }

    async fn block_gas_limit(&self) -> Result<Option<u64>, ChainError> {
        Ok(Some(self.ledger().options.block_gas_limit))
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let logs = self.ledger().logs(filter, range);
        logs.map_err(|error| error.into_chain_error("eth_getLogs", Asked::Logs))
    }
}

impl EvmNode for DevChain {}
