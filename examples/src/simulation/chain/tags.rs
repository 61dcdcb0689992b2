//! The newest and the final block, asked for by the names that they have in JSON-RPC: through the shipped client, which spells
//! them.

use std::sync::Arc;

use async_trait::async_trait;
use peaberry_chain::evm::{
    EvmNode, EvmRpc, EvmView, FeeHistory, JsonRpc, Receipt, SeenTransaction,
};
use peaberry_chain::primitives::{Address, B256, Bytes, U256};
use peaberry_chain::{
    Block, BlockAt, CallRequest, ChainError, ChainId, Log, LogFilter, LogRange, Revert,
    RpcTransport, TransportFailure,
};
use serde_json::{Value, json};

use super::node::Node;
use super::view::Tag;

/// A node that is asked for heads by JSON-RPC, if at all, and for all else directly: many questions are cheaper so.
pub(super) struct Tagged {
    node: Arc<Node>,
    heads: Arc<dyn EvmView>,
}

impl Tagged {
    pub(super) fn new(node: Node, speaks_json: bool) -> Self {
        let node = Arc::new(node);
        let heads: Arc<dyn EvmView> = match speaks_json {
            true => Arc::new(JsonRpc::over(Arc::new(Heads(node.clone())))),
            false => node.clone(),
        };
        Self { node, heads }
    }
}

/// Answers one method: `eth_getBlockByNumber` with a tag.
struct Heads(Arc<Node>);

#[async_trait]
impl RpcTransport for Heads {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let request: Value = serde_json::from_slice(&request).expect("the client writes JSON");
        let tag = match request.pointer("/params/0").and_then(Value::as_str) {
            Some("latest") => Tag::Latest,
            Some("safe") => Tag::Safe,
            Some("finalized") => Tag::Final,
            other => panic!("{other:?} is no tag that this node knows"),
        };
        let block = self.0.head(tag).map_err(|error| match error {
            ChainError::RateLimited { retry_after } => TransportFailure::RateLimited(retry_after),
            error => TransportFailure::Broken(Arc::new(error)),
        })?;
        let result = block.map(|block| {
            json!({
                "number": format!("{:#x}", block.number), "hash": block.hash, "parentHash": block.parent,
                "timestamp": format!("{:#x}", block.timestamp_s),
            })
        });
        let answer = json!({"jsonrpc": "2.0", "id": request.get("id"), "result": result});
        Ok(answer.to_string().into_bytes().into())
    }
}

#[async_trait]
impl EvmRpc for Tagged {
    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        match at {
            BlockAt::Latest | BlockAt::Final => self.heads.block(at).await,
            at => self.node.block(at).await,
        }
    }

    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        self.node.chain_id().await
    }

    async fn balance(&self, account: Address, at: BlockAt) -> Result<U256, ChainError> {
        self.node.balance(account, at).await
    }

    async fn nonce(&self, account: Address, at: BlockAt) -> Result<u64, ChainError> {
        self.node.nonce(account, at).await
    }

    async fn code(&self, address: Address, at: BlockAt) -> Result<Bytes, ChainError> {
        self.node.code(address, at).await
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        self.node.call(request, at).await
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        self.node.estimate_gas(request, at).await
    }

    async fn fee_history(&self, blocks: u16, at: &[u8]) -> Result<FeeHistory, ChainError> {
        self.node.fee_history(blocks, at).await
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        self.node.broadcast(raw).await
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        self.node.transaction(hash).await
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        self.node.receipt(hash).await
    }

    async fn revert_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        self.node.revert_reason(hash).await
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        self.node.logs(filter, range).await
    }
}

#[async_trait]
impl EvmNode for Tagged {
    async fn block_below(&self, depth: u64) -> Result<Option<Block>, ChainError> {
        EvmNode::block_below(&*self.node, depth).await
    }
}
