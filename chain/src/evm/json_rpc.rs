//! A node far away, asked by JSON-RPC through alloy's client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_json_rpc::{RpcError, RpcRecv, RpcSend};
use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportErrorKind};
use async_trait::async_trait;
use peaberry_core::{Clock, SystemClock};

use super::http::HttpTransport;
use super::json::{
    JsonBlock, JsonBlockAt, JsonCall, JsonFeeHistory, JsonGasLimit, JsonLog, JsonLogFilter,
    JsonReceipt, JsonTransaction,
};
use super::refusal::{Asked, NodeError};
use super::view::expect_block;
use super::{EvmNode, EvmRpc, FeeHistory, Receipt, SeenTransaction};
use crate::deadline::within;
use crate::http::RuntimeClock;
use crate::{
    Block, BlockAt, CallRequest, ChainError, ChainId, HttpEndpoint, HttpOptions, Log, LogFilter,
    LogRange, Revert, RpcTransport, Sent, TransportFailure, TxId,
};

/// How long a node may take to answer, unless told otherwise.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An EVM node behind JSON-RPC.
///
/// Stands on an alloy [`RpcClient`], so every alloy transport and layer serves, a scripted one too; and
/// [`client`](Self::client) hands the same connection to alloy's own providers and contracts.
#[derive(Clone)]
pub struct JsonRpc {
    client: RpcClient,
    clock: Arc<dyn Clock>,
    answer_within: Duration,
}

impl JsonRpc {
    /// The node at `url`, over our bounded HTTP. Does not connect yet.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidUrl`].
    pub fn http(url: &str) -> Result<Self, ChainError> {
        Ok(Self::endpoint(HttpEndpoint::new(
            url,
            HttpOptions::default(),
        )?))
    }

    /// The node at `endpoint`.
    #[must_use]
    pub fn endpoint(endpoint: HttpEndpoint) -> Self {
        let client = RpcClient::new(HttpTransport::new(endpoint), true);
        Self::new(client).with_clock(Arc::new(RuntimeClock::new()))
    }

    /// The node behind `transport`: one in the process, or one reached in a way of your own.
    #[must_use]
    pub fn over(transport: Arc<dyn RpcTransport>) -> Self {
        Self::new(RpcClient::new(HttpTransport::over(transport), true))
    }

    /// The node behind `client`, whatever its transport. Sizes of answers are then that transport's to bound.
    #[must_use]
    pub fn new(client: RpcClient) -> Self {
        Self {
            client,
            clock: Arc::new(SystemClock::new()),
            answer_within: ANSWER_WITHIN,
        }
    }

    /// Answers have this long; [`ANSWER_WITHIN`] by default.
    #[must_use]
    pub const fn with_answer_within(mut self, answer_within: Duration) -> Self {
        self.answer_within = answer_within;
        self
    }

    /// Time comes from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Alloy's client, for what this crate does not do.
    #[must_use]
    pub const fn client(&self) -> &RpcClient {
        &self.client
    }

    pub(super) async fn ask<P: RpcSend, R: RpcRecv>(
        &self,
        doing: &'static str,
        params: P,
        asked: Asked,
    ) -> Result<R, ChainError> {
        let call = self.client.request(doing, params);
        match within(&*self.clock, self.answer_within, call).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(self.explain(error, doing, asked)),
            None => Err(ChainError::TimedOut {
                doing,
                after: self.answer_within,
                sent: sent(asked),
            }),
        }
    }

    /// What it finds, whether it has all or not.
    pub(super) async fn found_logs(
        &self,
        filter: &LogFilter,
        range: &LogRange,
    ) -> Result<Vec<Log>, ChainError> {
        const DOING: &str = "eth_getLogs";
        let params = (JsonLogFilter::new(filter, range, any_chain())?,);
        let logs: Vec<JsonLog> = self.ask(DOING, params, Asked::Logs).await?;
        let mut logs: Vec<Log> = logs.into_iter().map(Log::from).collect();
        // A node that says one twice, as some do at the seams of what they keep, is not taken at its word.
        logs.dedup();
        let is_wanted = |log: &Log| {
            let in_range = match range {
                LogRange::Block(hash) => log.block_hash == *hash,
                LogRange::Numbers(numbers) => numbers.contains(&log.block_number),
            };
            in_range && filter.matches(log)
        };
        if !logs.iter().all(is_wanted) {
            return Err(malformed(DOING, "a log that was not asked for"));
        }
        let place = |log: &Log| (log.block_number, log.index);
        if !logs.is_sorted_by(|one, next| place(one) < place(next)) {
            return Err(malformed(DOING, "logs out of order"));
        }
        Ok(logs)
    }

    fn explain(&self, error: TransportError, doing: &'static str, asked: Asked) -> ChainError {
        let malformed = |reason: String| ChainError::Malformed {
            doing,
            reason: super::revert::cut(&reason),
            sent: sent(asked),
        };
        match error {
            RpcError::ErrorResp(payload) => {
                let error = NodeError {
                    code: payload.code,
                    data: payload.as_revert_data(),
                    message: payload.message.into_owned(),
                };
                error.into_chain_error(doing, asked)
            }
            RpcError::NullResp => malformed("null where a value belongs".into()),
            RpcError::DeserError { err, .. } => malformed(err.to_string()),
            RpcError::Transport(kind) => explain_transport(kind, doing, asked),
            // Nothing has left the process.
            error => ChainError::Refused {
                doing,
                code: 0,
                message: error.to_string(),
                sent: Sent::No,
            },
        }
    }
}

const fn sent(asked: Asked) -> Sent {
    match asked {
        Asked::Broadcast(transaction) => Sent::Maybe(Some(transaction)),
        Asked::Read | Asked::Try(_) | Asked::Logs => Sent::No,
    }
}

fn explain_transport(kind: TransportErrorKind, doing: &'static str, asked: Asked) -> ChainError {
    let connection = |source: Arc<dyn std::error::Error + Send + Sync>| ChainError::Connection {
        doing,
        sent: sent(asked),
        source,
    };
    match kind {
        TransportErrorKind::Custom(error) => match error.downcast::<TransportFailure>() {
            Ok(failure) => failure.into_chain_error(doing, sent(asked)),
            Err(error) => connection(Arc::from(error)),
        },
        TransportErrorKind::HttpErrorWithRetryAfter { error, retry_after }
            if error.status == 429 =>
        {
            ChainError::RateLimited { retry_after }
        }
        TransportErrorKind::HttpError(error) if error.status == 429 => ChainError::RateLimited {
            retry_after: Duration::from_secs(1),
        },
        kind => connection(Arc::new(kind)),
    }
}

fn malformed(doing: &'static str, reason: &str) -> ChainError {
    ChainError::Malformed {
        doing,
        reason: reason.to_owned(),
        sent: Sent::No,
    }
}

// The chain of a call's addresses has been checked by the client above: here any EVM chain will do.
fn any_chain() -> ChainId {
    ChainId::ETHEREUM
}

#[async_trait]
impl EvmRpc for JsonRpc {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        let number: U64 = self.ask("eth_chainId", (), Asked::Read).await?;
        match number.to::<u64>() {
            0 => Err(malformed("eth_chainId", "no chain has the number zero")),
            number => Ok(ChainId::evm(number)),
        }
    }

    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError> {
        let params = (account, JsonBlockAt::from(at));
        self.ask("eth_getBalance", params, Asked::Read).await
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        let params = (account, JsonBlockAt::from(at));
        let nonce: U64 = self
            .ask("eth_getTransactionCount", params, Asked::Read)
            .await?;
        Ok(nonce.to())
    }

    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        let params = (address, JsonBlockAt::from(at));
        self.ask("eth_getCode", params, Asked::Read).await
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        let call = JsonCall::new(request, any_chain())?;
        let asked = Asked::Try(call.from());
        self.ask("eth_call", (call, JsonBlockAt::from(at)), asked)
            .await
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        let call = JsonCall::new(request, any_chain())?;
        let asked = Asked::Try(call.from());
        let gas: U64 = match at {
            // Not every node takes a block here.
            BlockAt::Latest => self.ask("eth_estimateGas", (call,), asked).await?,
            at => {
                self.ask("eth_estimateGas", (call, JsonBlockAt::from(at)), asked)
                    .await?
            }
        };
        Ok(gas.to())
    }

    async fn block_gas_limit(&self) -> Result<Option<u64>, ChainError> {
        let params = ("latest", false);
        let newest: Option<JsonGasLimit> = self
            .ask("eth_getBlockByNumber", params, Asked::Read)
            .await?;
        Ok(newest.and_then(JsonGasLimit::get))
    }

    async fn fee_history(&self, blocks: u16, percentiles: &[u8]) -> Result<FeeHistory, ChainError> {
        let params = (U64::from(blocks), "latest", percentiles.to_vec());
        let history: JsonFeeHistory = self.ask("eth_feeHistory", params, Asked::Read).await?;
        Ok(history.into())
    }

    async fn gas_price(&self) -> Result<U256, ChainError> {
        self.ask("eth_gasPrice", (), Asked::Read).await
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        const DOING: &str = "eth_sendRawTransaction";
        let hash = keccak256(raw);
        let asked = Asked::Broadcast(TxId::Evm(hash));
        let params = (RawTransaction(raw.into()),);
        let call = self.client.request::<_, B256>(DOING, params);
        match within(&*self.clock, self.answer_within, call).await {
            Some(Ok(answered)) if answered == hash => Ok(hash),
            Some(Ok(answered)) => Err(ChainError::Malformed {
                doing: DOING,
                reason: format!("{answered} is not the transaction's hash"),
                sent: sent(asked),
            }),
            Some(Err(RpcError::ErrorResp(payload))) => {
                let error = NodeError {
                    code: payload.code,
                    message: payload.message.into_owned(),
                    data: None,
                };
                if error.is_already_known() {
                    Ok(hash)
                } else {
                    Err(error.into_chain_error(DOING, asked))
                }
            }
            Some(Err(error)) => Err(self.explain(error, DOING, asked)),
            None => Err(ChainError::TimedOut {
                doing: DOING,
                after: self.answer_within,
                sent: sent(asked),
            }),
        }
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        const DOING: &str = "eth_getTransactionByHash";
        let seen: Option<JsonTransaction> = self.ask(DOING, (hash,), Asked::Read).await?;
        let seen = seen.map(SeenTransaction::from);
        if seen.is_some_and(|seen| seen.hash != hash) {
            return Err(malformed(DOING, "another transaction's"));
        }
        Ok(seen)
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        const DOING: &str = "eth_getTransactionReceipt";
        let receipt: Option<JsonReceipt> = self.ask(DOING, (hash,), Asked::Read).await?;
        let receipt = receipt.map(Receipt::from);
        if receipt
            .as_ref()
            .is_some_and(|receipt| receipt.transaction != hash)
        {
            return Err(malformed(DOING, "another transaction's"));
        }
        Ok(receipt)
    }

    async fn revert_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        self.reason_of(hash).await
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        let doing = match at {
            BlockAt::Hash(_) => "eth_getBlockByHash",
            _ => "eth_getBlockByNumber",
        };
        let block: Option<JsonBlock> = match at {
            BlockAt::Pending => return Ok(None),
            BlockAt::Hash(hash) => self.ask(doing, (hash, false), Asked::Read).await?,
            at => {
                self.ask(doing, (JsonBlockAt::from(at), false), Asked::Read)
                    .await?
            }
        };
        let block = block.map(Block::from);
        let is_other = block.is_some_and(|block| match at {
            BlockAt::Hash(hash) => block.hash != hash,
            BlockAt::Number(number) => block.number != number,
            BlockAt::Latest | BlockAt::Pending | BlockAt::Final => false,
        });
        match (block, at) {
            _ if is_other => Err(malformed(doing, "another block than asked for")),
            (None, BlockAt::Final) => Err(ChainError::NotFound {
                what: "a finalized block".into(),
            }),
            _ => Ok(block),
        }
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        let logs = self.found_logs(filter, range).await?;
        if let (true, LogRange::Block(hash)) = (logs.is_empty(), range) {
            self.expect_none(filter, *hash).await?;
        }
        Ok(logs)
    }
}

#[async_trait]
impl EvmNode for JsonRpc {
    /// What it finds, if it still has logs of that time.
    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        expect_block(self, last).await?;
        let range = LogRange::Numbers(first..=last.number);
        let logs = self.logs(filter, &range).await?;
        self.expect_logs_from(first, last.number, &logs).await?;
        Ok(logs)
    }
}

/// Bytes that are written as hex; cheap to clone, as alloy's client wants.
#[derive(Clone, Debug)]
struct RawTransaction(Arc<[u8]>);

impl serde::Serialize for RawTransaction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&alloy_primitives::hex::encode_prefixed(&self.0))
    }
}

impl fmt::Debug for JsonRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonRpc")
            .field("answer_within", &self.answer_within)
            .finish_non_exhaustive()
    }
}
