//! Whatever a node answers, the client reads it or says what is wrong with it.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use peaberry_chain::evm::{EvmRpc, JsonRpc};
use peaberry_chain::primitives::{B256, Bytes};
use peaberry_chain::{BlockAt, LogFilter, LogRange, RpcTransport, TransportFailure};

/// A node whose every answer is these bytes, as the result of the question.
struct Babbler(Vec<u8>);

#[async_trait::async_trait]
impl RpcTransport for Babbler {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let request: serde_json::Value = serde_json::from_slice(&request).unwrap_or_default();
        let head = format!(r#"{{"jsonrpc":"2.0","id":{},"result":"#, request["id"]);
        Ok([head.as_bytes(), &self.0, b"}"].concat().into())
    }
}

fuzz_target!(|answer: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let rpc = JsonRpc::over(Arc::new(Babbler(answer.to_vec())));
        let _ = rpc.chain_id().await;
        let _ = rpc.block(BlockAt::Latest).await;
        let _ = rpc.receipt(B256::ZERO).await;
        let _ = rpc.transaction(B256::ZERO).await;
        let _ = rpc.fee_history(4, &[50]).await;
        let _ = rpc.logs(&LogFilter::default(), &LogRange::Numbers(0..=9)).await;
    });
});
