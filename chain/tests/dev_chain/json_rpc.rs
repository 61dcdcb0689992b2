//! The chain as other processes see it.

use std::sync::Arc;

use peaberry_chain::dev::{BATCH_MAX, DevServer, REQUEST_BYTES_MAX};
use peaberry_chain::evm::{EvmRpc, EvmView, JsonRpc, Transaction};
use peaberry_chain::primitives::{B256, U256, hex};
use peaberry_chain::{BlockAt, CallRequest, ChainError, EvmAddress, LogFilter, LogRange};
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use serde_json::{Value, json};

use super::{ask, now};
use crate::node::World;

fn result(world: &World, method: &str, params: &Value) -> Value {
    ask(world, method, params)["result"].clone()
}

fn error(world: &World, method: &str, params: &Value) -> (i64, String) {
    let answer = ask(world, method, params);
    let message = answer["error"]["message"].as_str();
    (
        answer["error"]["code"].as_i64().unwrap(),
        message.unwrap().to_owned(),
    )
}

/// A chain with a block of one payment, and one that waits.
fn played() -> (World, B256, B256) {
    let world = World::dev();
    let paid = world
        .chain()
        .submit(world.sign(0, &world.payment(0)).raw())
        .unwrap();
    world.chain().mine();
    let waits = world
        .chain()
        .submit(world.sign(0, &world.payment(1)).raw())
        .unwrap();
    (world, paid, waits)
}

/// Over JSON a client sees what it sees without.
#[test]
fn both_doors_show_the_same_chain() {
    let (world, paid, waits) = played();
    let direct: Arc<dyn EvmView> = Arc::new(world.chain().clone());
    let json: Arc<dyn EvmView> = Arc::new(JsonRpc::over(Arc::new(world.chain().clone())));
    let account = world.address(0);
    let transfer = CallRequest::new(EvmAddress::repeat_byte(9), []).from(account);
    now(async {
        assert_eq!(direct.chain_id().await?, json.chain_id().await?);
        for hash in [paid, waits, B256::ZERO] {
            assert_eq!(
                direct.transaction(hash).await?,
                json.transaction(hash).await?
            );
            assert_eq!(direct.receipt(hash).await?, json.receipt(hash).await?);
        }
        let head = direct.block(BlockAt::Latest).await?.unwrap();
        for at in [
            BlockAt::Latest,
            BlockAt::Final,
            BlockAt::Number(0),
            BlockAt::Number(9),
            BlockAt::Hash(head.hash),
        ] {
            assert_eq!(direct.block(at).await?, json.block(at).await?);
        }
        for at in [
            BlockAt::Latest,
            BlockAt::Pending,
            BlockAt::Number(0),
            BlockAt::Hash(head.hash),
        ] {
            assert_eq!(
                direct.balance(account, at).await?,
                json.balance(account, at).await?
            );
            assert_eq!(
                direct.nonce(account, at).await?,
                json.nonce(account, at).await?
            );
            assert_eq!(
                direct.code(account, at).await?,
                json.code(account, at).await?
            );
            assert_eq!(
                direct.call(&transfer, at).await?,
                json.call(&transfer, at).await?
            );
        }
        assert_eq!(
            direct.estimate_gas(&transfer, BlockAt::Latest).await?,
            json.estimate_gas(&transfer, BlockAt::Latest).await?
        );
        assert_eq!(
            direct.fee_history(5, &[50]).await?,
            json.fee_history(5, &[50]).await?
        );
        let all = (LogFilter::default(), LogRange::Numbers(0..=5));
        assert_eq!(
            direct.logs(&all.0, &all.1).await?,
            json.logs(&all.0, &all.1).await?
        );
        let gone = json.balance(account, BlockAt::Hash(B256::ZERO)).await;
        assert!(matches!(gone, Err(ChainError::NotFound { .. })), "{gone:?}");
        let raw = world.sign(0, &world.payment(0));
        for rpc in [&direct, &json] {
            let used = rpc.broadcast(raw.raw()).await;
            assert!(
                matches!(used, Err(ChainError::NonceTooLow { .. })),
                "{used:?}"
            );
        }
        Ok::<(), ChainError>(())
    })
    .unwrap();
}

#[test]
fn what_it_does_not_have_it_says() {
    let (world, ..) = played();
    assert_eq!(
        error(&world, "eth_getProof", &json!([])),
        (
            -32601,
            "the method eth_getProof does not exist/is not available".into()
        )
    );
    assert_eq!(
        error(&world, "eth_call", &json!([])),
        (-32602, "missing value for required argument 0".into())
    );
    assert_eq!(
        error(&world, "eth_getBalance", &json!(["0x12", "latest"])).0,
        -32602
    );
    assert_eq!(
        error(&world, "eth_getBalance", &json!([EvmAddress::ZERO, "0x9"])),
        (-32000, "header not found".into())
    );
    for (number, words) in [
        ("5", "hex string without 0x prefix"),
        ("0x", r#"hex string "0x""#),
        ("0x+5", "invalid hex string"),
        ("0x0g", "invalid hex string"),
        ("0x10000000000000000", "hex number > 64 bits"),
    ] {
        let (code, found) = error(&world, "eth_getBlockByNumber", &json!([number, false]));
        assert_eq!(code, -32602);
        assert_eq!(found, format!("invalid argument 0: {words}"));
    }
    assert_eq!(
        error(&world, "eth_call", &json!({"to": "x"})),
        (-32602, "non-array args".into())
    );
    let raw = hex::encode_prefixed(world.sign(0, &world.payment(0)).raw());
    assert_eq!(
        error(&world, "eth_sendRawTransaction", &json!([raw])),
        (-32000, "nonce too low: next nonce 1, tx nonce 0".into())
    );
}

/// The second block's base fee is what EIP-1559 says, and the block to come has no hash yet.
#[test]
fn base_fees_and_the_block_to_come_are_as_geth_tells_them() {
    let (world, _, waits) = played();
    let block = result(&world, "eth_getBlockByNumber", &json!(["latest", false]));
    assert_eq!(block["baseFeePerGas"], "0x342770c0");
    let receipts = result(&world, "eth_getBlockReceipts", &json!(["latest"]));
    assert_eq!(
        receipts[0]["effectiveGasPrice"],
        json!(U256::from(1_875_000_000_u64))
    );
    let pending = result(&world, "eth_getBlockByNumber", &json!(["pending", false]));
    assert_eq!(
        (&pending["transactions"][0], &pending["hash"]),
        (&json!(waits), &Value::Null)
    );
    // Nor does what lies in it name one.
    let receipts = result(&world, "eth_getBlockReceipts", &json!(["pending"]));
    assert_eq!(receipts[0]["transactionHash"], json!(waits));
    assert!(receipts[0]["blockHash"].is_null());
    let first = json!(["pending", "0x0"]);
    let first = result(&world, "eth_getTransactionByBlockNumberAndIndex", &first);
    assert_eq!(first["hash"], json!(waits));
    assert!(first["blockHash"].is_null());
    // Of no blocks nothing is told.
    let history = result(&world, "eth_feeHistory", &json!(["0x0", "latest", [50]]));
    assert_eq!(
        history,
        json!({"oldestBlock": "0x0", "baseFeePerGas": [], "gasUsedRatio": [], "reward": []})
    );
}

/// Whatever somebody logs and asks for, an answer stays below what clients read; block by block it is all there.
#[test]
fn an_answer_is_bounded_in_bytes() {
    const BLOCKS: u64 = 8;
    let world = World::dev();
    let filter = result(&world, "eth_newFilter", &json!([{}]));
    for nonce in 0..BLOCKS {
        // A mebibyte of zeros: PUSH3, PUSH0, LOG0; STOP.
        let logs = world.creation(nonce, &[0x62, 0x10, 0, 0, 0x5f, 0xa0, 0x00]);
        let logs = Transaction {
            gas_limit: 12_000_000,
            ..logs
        };
        world.chain().submit(world.sign(0, &logs).raw()).unwrap();
        world.chain().mine();
    }
    let all = json!([{"fromBlock": "0x0"}]);
    let (code, words) = error(&world, "eth_getLogs", &all);
    assert!(words.starts_with("query returned more than"), "{words}");
    assert_eq!(code, -32005);
    // A filter tells of them in several answers.
    let changes = || result(&world, "eth_getFilterChanges", &json!([filter]));
    let answers = std::iter::repeat_with(|| changes().as_array().map_or(0, Vec::len));
    let told: Vec<usize> = answers.take_while(|&count| count > 0).collect();
    assert!(told.len() > 1, "{told:?}");
    assert_eq!(told.iter().sum::<usize>() as u64, BLOCKS);
    let direct = |range| now(world.chain().logs(&LogFilter::default(), &range));
    let refused = direct(LogRange::Numbers(0..=BLOCKS)).unwrap_err();
    assert!(
        matches!(refused, ChainError::RangeTooWide { .. }),
        "{refused:?}"
    );
    for number in 1..=BLOCKS {
        let logs = direct(LogRange::Numbers(number..=number)).unwrap();
        assert_eq!(logs[0].data.len(), 1 << 20);
    }
}

#[test]
fn tools_make_blocks_and_undo_them() {
    let (world, ..) = played();
    ask(&world, "evm_setNextBlockTimestamp", &json!([1_800_000_000]));
    ask(&world, "evm_mine", &json!([]));
    assert_eq!(world.chain().head().timestamp_s, 1_800_000_000);
    ask(&world, "anvil_mine", &json!(["0x3"]));
    assert_eq!(result(&world, "eth_blockNumber", &json!([])), "0x5");
    let undone = result(&world, "peaberry_reorg", &json!([4, false]));
    assert_eq!(undone.as_array().unwrap().len(), 1);
    ask(&world, "evm_setAutomine", &json!([true]));
    world
        .chain()
        .submit(world.sign(1, &world.payment(0)).raw())
        .unwrap();
    assert_eq!(world.chain().head().number, 7);
}

/// Reorganisations by Anvil's names, and traces by geth's: what is not played is refused.
#[test]
fn other_tools_names_mean_what_they_mean_there() {
    let (world, paid, _) = played();
    let trace = |options: Value| ask(&world, "debug_traceTransaction", &json!([paid, options]));
    let traced = trace(json!({"tracer": "callTracer"}));
    assert_eq!(traced["result"]["gasUsed"], "0x5208");
    assert_eq!(trace(json!({}))["error"]["code"], -32602);
    assert_eq!(error(&world, "debug_traceBlock", &json!([])).0, -32601);
    let call = json!([{"to": EvmAddress::ZERO}, "latest", {"tracer": "callTracer"}]);
    assert_eq!(result(&world, "debug_traceCall", &call)["type"], "CALL");

    assert!(result(&world, "anvil_reorg", &json!([1, []])).is_null());
    assert_eq!(world.chain().head().number, 1);
    assert!(world.chain().transactions(1).is_empty());
    assert_eq!(
        error(&world, "anvil_reorg", &json!([1, [["0x00", 0]]])).0,
        -32602
    );
    result(&world, "anvil_rollback", &json!([]));
    assert_eq!(world.chain().head().number, 0);
}

#[test]
fn batches_are_answered_in_order_and_bounded() {
    let (world, ..) = played();
    let one = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "eth_chainId"});
    let quiet = json!({"jsonrpc": "2.0", "method": "eth_chainId"});
    let batch = |requests: &[Value]| world.chain().answer(json!(requests).to_string().as_bytes());
    let answers: Value =
        serde_json::from_slice(&batch(&[one(1), quiet.clone(), json!(5), one(2)])).unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert_eq!(
        (&answers[0]["id"], &answers[2]["id"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert!(batch(&[quiet]).is_empty());
    let too_many = batch(&vec![one(1); BATCH_MAX + 1]);
    let too_many: Value = serde_json::from_slice(&too_many).unwrap();
    assert_eq!(too_many["error"]["message"], "batch too large");
    let empty: Value = serde_json::from_slice(&batch(&[])).unwrap();
    assert_eq!(empty["error"]["message"], "empty batch");
    let large = world.chain().answer(&vec![b' '; REQUEST_BYTES_MAX + 1]);
    assert!(String::from_utf8_lossy(&large).contains("request too large"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes, the answer is JSON or nothing, and the chain stays what it was.
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), place in 0_usize..200, byte: u8) {
        let world = World::dev();
        let mut request = br#"[{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{"fromBlock":"0x0","topics":[null,["0x00"]]}]}]"#.to_vec();
        if let Some(place) = request.get_mut(place) {
            *place = byte;
        }
        for request in [bytes, request] {
            let answer = world.chain().answer(&request);
            assert!(answer.is_empty() || serde_json::from_slice::<Value>(&answer).is_ok());
        }
        assert_eq!(world.chain().head().number, 0);
    }
}

/// Over a socket it is the same chain still; what is too large is refused, and nothing but POST is spoken.
#[tokio::test]
async fn it_is_served_over_http() {
    let (world, paid, _) = played();
    let server = DevServer::start(world.chain().clone(), 0).await.unwrap();
    let rpc = JsonRpc::http(&server.url()).unwrap();
    assert_eq!(
        rpc.chain_id().await.unwrap(),
        world.chain().chain_id().await.unwrap()
    );
    assert_eq!(
        rpc.receipt(paid).await.unwrap(),
        world.chain().receipt(paid).await.unwrap()
    );
    let large = world.creation(0, &vec![0; REQUEST_BYTES_MAX]);
    let call = CallRequest {
        data: large.data,
        ..CallRequest::default()
    };
    assert!(rpc.call(&call, BlockAt::Latest).await.is_err());
    assert!(rpc.chain_id().await.is_ok());
    drop(server);
    assert!(
        rpc.with_answer_within(std::time::Duration::from_secs(2))
            .chain_id()
            .await
            .is_err()
    );
}

/// What would change the answer and is not here is refused, and not left out.
#[test]
fn what_is_not_here_is_not_left_out() {
    let (world, ..) = played();
    let call = json!({"from": world.address(0), "to": EvmAddress::repeat_byte(9)});
    let with = |field: &str, value: Value| {
        let mut call = call.clone();
        call[field] = value;
        call
    };
    let overrides = json!({(world.address(0).to_string()): {"balance": "0x0"}});
    let block = json!({"number": "0x9"});
    let list = json!([{"address": world.address(0), "storageKeys": []}]);
    for method in ["eth_call", "eth_estimateGas"] {
        for params in [
            json!([call, "latest", overrides]),
            json!([call, "latest", null, block]),
            json!([with("accessList", list.clone()), "latest"]),
            json!([
                with("authorizationList", json!([{"nonce": "0x0"}])),
                "latest"
            ]),
            json!([with("blobVersionedHashes", json!([B256::ZERO])), "latest"]),
        ] {
            assert_eq!(error(&world, method, &params).0, -32602, "{params}");
        }
        // Tools send them empty.
        let empty = json!([with("accessList", json!([])), "latest", {}]);
        assert!(result(&world, method, &empty).is_string());
    }
    let options = json!({"tracer": "callTracer", "stateOverrides": overrides});
    let traced = error(&world, "debug_traceCall", &json!([call, "latest", options]));
    assert_eq!(traced.0, -32602);
}

/// A snapshot is a chain and what waits; going back forgets it and those after it.
#[test]
fn a_snapshot_brings_everything_back() {
    let (world, paid, waits) = played();
    let ask = |method: &str, params: Value| result(&world, method, &params);
    let head = ask("eth_getBlockByNumber", json!(["latest", false]));
    let first = ask("evm_snapshot", json!([]));
    ask("evm_increaseTime", json!([3600]));
    ask("evm_mine", json!([]));
    let later = ask("eth_getBlockByNumber", json!(["latest", false]));
    let time_s = |block: &Value| {
        let text = block["timestamp"]
            .as_str()
            .unwrap()
            .trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap()
    };
    assert_eq!(time_s(&later) - time_s(&head), 12 + 3600);
    assert!(ask("eth_getTransactionReceipt", json!([waits])).is_object());
    let second = ask("evm_snapshot", json!([]));
    assert_eq!(ask("evm_revert", json!([first])), json!(true));
    assert_eq!(ask("eth_getBlockByNumber", json!(["latest", false])), head);
    assert!(ask("eth_getTransactionReceipt", json!([paid])).is_object());
    assert!(ask("eth_getTransactionReceipt", json!([waits])).is_null());
    assert_eq!(world.chain().waiting(), [waits]);
    for gone in [first, second, json!("0x99")] {
        assert_eq!(ask("evm_revert", json!([gone])), json!(false));
    }
    // Where the chain goes another way now, there is nothing to go back to.
    let third = ask("evm_snapshot", json!([]));
    ask("peaberry_reorg", json!([1]));
    let fourth = ask("evm_snapshot", json!([]));
    assert_eq!(ask("evm_revert", json!([third])), json!(false));
    assert_eq!(ask("evm_revert", json!([fourth])), json!(true));
    // The end of time is the end, and no panic.
    ask("evm_increaseTime", json!([u64::MAX]));
    ask("evm_mine", json!([]));
    ask("evm_mine", json!([]));
    let last = ask("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(time_s(&last), u64::MAX);
}
