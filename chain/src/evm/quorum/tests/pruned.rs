//! A node that has thrown its logs away, and says that there are none.

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::super::*;
use crate::evm::JsonRpc;
use crate::{RpcTransport, TransportFailure};

/// The only block with logs, of the first hundred.
const LOGGED: u64 = 3;

/// A node that has logs, or only their bloom.
struct Pruned(bool);

fn hash(number: u64) -> B256 {
    B256::from(U256::from(number + 1))
}

#[async_trait]
impl RpcTransport for Pruned {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let request: Value = serde_json::from_slice(&request).unwrap();
        let params = &request["params"];
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let header = |number: u64| {
            let filled = if number == LOGGED { "ff" } else { "00" };
            json!({
                "number": format!("{number:#x}"), "hash": hash(number), "parentHash": hash(number.wrapping_sub(1)),
                "timestamp": "0x1", "logsBloom": format!("0x{}", filled.repeat(256)),
            })
        };
        let log = json!({
            "address": Address::repeat_byte(2), "topics": [], "data": "0x", "blockNumber": format!("{LOGGED:#x}"),
            "blockHash": hash(LOGGED), "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0",
            "removed": false,
        });
        let result = match request["method"].as_str().unwrap() {
            "eth_getBlockByNumber" => header(number(params[0].as_str().unwrap())),
            "eth_getBlockByHash" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                header(U256::from_be_bytes(hash.0).to::<u64>() - 1)
            }
            _ => {
                let filter = &params[0];
                let is_there = match filter["blockHash"].as_str() {
                    Some(text) => text == hash(LOGGED).to_string(),
                    None => {
                        let end = |key: &str| number(filter[key].as_str().unwrap());
                        (end("fromBlock")..=end("toBlock")).contains(&LOGGED)
                    }
                };
                let is_wanted = filter["address"].is_null();
                json!(if self.0 && is_there && is_wanted {
                    vec![log]
                } else {
                    Vec::new()
                })
            }
        };
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
        Ok(answer.to_string().into_bytes().into())
    }
}

fn node(has_logs: bool) -> JsonRpc {
    JsonRpc::over(Arc::new(Pruned(has_logs)))
}

fn count(
    rpc: &dyn EvmView,
    filter: &LogFilter,
    first: u64,
    last: u64,
) -> Result<usize, ChainError> {
    let last = now(rpc.block(BlockAt::Number(last))).unwrap().unwrap();
    now(rpc.logs_upto(filter, first, last)).map(|logs| logs.len())
}

fn now<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("nothing waits")
}

/// An empty answer about blocks that have logs is none, by number and by hash; about blocks that have none it is one.
#[test]
fn who_has_thrown_logs_away_does_not_say_that_there_are_none() {
    let (full, pruned) = (node(true), node(false));
    let (all, others) = (
        LogFilter::default(),
        LogFilter::default().address(Address::repeat_byte(9)),
    );
    for filter in [&all, &others] {
        let own = usize::from(filter == &all);
        assert_eq!(count(&full, filter, 1, 40).unwrap(), own);
        assert_eq!(count(&full, filter, 4, 40).unwrap(), 0);
        let told = count(&pruned, filter, 1, 40);
        assert!(matches!(told, Err(ChainError::NotFound { .. })), "{told:?}");
        assert_eq!(count(&pruned, filter, 4, 40).unwrap(), 0);
        for number in [LOGGED, LOGGED + 1] {
            let range = LogRange::Block(hash(number));
            let told = now(pruned.logs(filter, &range));
            assert_eq!(told.is_err(), number == LOGGED, "{told:?}");
            let told = now(full.logs(filter, &range)).unwrap();
            assert_eq!(told.len(), if number == LOGGED { own } else { 0 });
        }
    }
    // Too many headers to read: a part of them is asked for.
    let told = count(&pruned, &all, 4, 99);
    assert!(
        matches!(told, Err(ChainError::RangeTooWide { .. })),
        "{told:?}"
    );
}

/// A liar that leaves logs out and a node that has thrown them away are no quorum for none.
#[test]
fn a_liar_and_a_node_without_logs_make_no_range_empty() {
    let nodes = [node(true), node(false), node(false)];
    let nodes = nodes.into_iter().enumerate().map(|(index, node)| {
        let node: Arc<dyn EvmView> = Arc::new(node);
        (index.to_string(), node)
    });
    let rpc = QuorumRpc::new(nodes.collect(), 2).with_report(|dissent| panic!("{dissent:?}"));
    let told = count(&rpc, &LogFilter::default(), 1, 40);
    assert!(told.is_err(), "{told:?}");
}
