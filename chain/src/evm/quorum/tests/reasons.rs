//! Why something was undone, as nodes say it: each in words of its own, or never.

use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::super::*;
use crate::evm::{EvmClient, EvmNetwork, JsonRpc};
use crate::{RpcTransport, TransportFailure};

/// A node that traces, and says so why a transaction was undone; `None`: it never says.
struct Tracing(Option<&'static str>);

#[async_trait]
impl RpcTransport for Tracing {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let request: Value = serde_json::from_slice(&request).unwrap();
        let result = match (request["method"].as_str().unwrap(), self.0) {
            ("eth_chainId", _) => json!("0x1092"),
            (_, Some(words)) => json!({"output": "0x", "error": words}),
            (_, None) => std::future::pending().await,
        };
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
        Ok(answer.to_string().into_bytes().into())
    }
}

fn node(words: Option<&'static str>) -> Arc<dyn EvmView> {
    let patience = Duration::from_secs(1 << 20);
    Arc::new(JsonRpc::over(Arc::new(Tracing(words))).with_answer_within(patience))
}

/// Where two nodes say the same, that is told; where each has its own words, none of them is.
#[test]
fn a_reasons_words_are_those_of_enough_nodes() {
    let told = |words: [&'static str; 3]| {
        let nodes = words.map(|words| (words.to_owned(), node(Some(words))));
        let rpc = QuorumRpc::new(nodes.into(), 2);
        rpc.revert_reason(B256::ZERO)
            .now_or_never()
            .unwrap()
            .unwrap()
    };
    let same = told(["send it to me", "out of gas", "out of gas"]);
    assert_eq!(same, Some(Revert::Unexplained("out of gas".into())));
    let apart = told(["send it to me", "out of gas", "OutOfGas"]);
    assert_eq!(apart, Some(Revert::Unexplained(NO_COMMON_WORDS.into())));
}

/// A node that never says why something was undone holds nothing up.
#[tokio::test]
async fn a_reason_that_never_comes_is_not_waited_for() {
    let client = EvmClient::connect(node(None), EvmNetwork::generic(0x1092)).await;
    assert_eq!(client.unwrap().reason_of(B256::ZERO).await, None);
}
