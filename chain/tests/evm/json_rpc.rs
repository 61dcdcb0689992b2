//! The wire itself: what any tool may say to a node, and hears.

use std::time::Duration;

use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::{B256, U256, hex, keccak256};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::node::{GWEI, World, on_both};

on_both! {
    World::on =>
    what_is_not_there_and_what_makes_no_sense_have_their_codes
    reverts_carry_their_reason
    blocks_and_transactions_have_all_their_fields
    whoever_hashes_a_waiting_transaction_gets_its_name
    tools_make_blocks_and_undo_them
    a_transaction_and_a_call_are_traced_by_geths_names
    a_batch_is_answered_in_its_order
    a_block_is_named_by_its_hash_alone
    a_snapshot_brings_the_chain_back
    browsers_are_let_in
    blocks_come_by_the_interval_that_is_asked_for
    what_is_null_in_a_filter_is_as_absent
    several_blocks_are_as_far_apart_as_is_asked_for
    the_block_to_come_is_looked_into
    whoever_errs_is_told_by_his_id
}

async fn ask(world: &World, method: &str, params: Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let answer = world.node.exchange(&request).await;
    assert_eq!(
        (&answer["id"], &answer["jsonrpc"]),
        (&json!(7), &json!("2.0"))
    );
    answer
}

async fn result(world: &World, method: &str, params: Value) -> Value {
    let answer = ask(world, method, params).await;
    assert!(answer["error"].is_null(), "{method}: {answer}");
    answer["result"].clone()
}

/// A block of one payment, and one payment that waits.
async fn play(world: &World) -> [B256; 2] {
    let paid = world.send(0, &world.payment(0)).await;
    world.node.mine().await;
    let waits = world.send(0, &world.payment(1)).await;
    [paid, waits]
}

async fn what_is_not_there_and_what_makes_no_sense_have_their_codes(world: World) {
    for (method, params, code) in [
        ("eth_noSuchThing", json!([]), -32601),
        ("eth_call", json!([]), -32602),
        ("eth_getBalance", json!(["0x12", "latest"]), -32602),
        ("eth_call", json!({"to": "x"}), -32602),
    ] {
        let answer = ask(&world, method, params).await;
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
        assert!(answer["error"]["message"].is_string() && answer["result"].is_null());
    }
}

/// Clients write what they do not ask for as null, or leave it out.
async fn what_is_null_in_a_filter_is_as_absent(world: World) {
    // PUSH0, PUSH0, LOG0; STOP.
    world
        .send(0, &world.creation(0, &[0x5f, 0x5f, 0xa0, 0x00]))
        .await;
    let wanted = json!({"fromBlock": "0x0", "address": null, "topics": null});
    let filter = result(&world, "eth_newFilter", json!([wanted])).await;
    world.node.mine().await;
    for (method, params) in [
        ("eth_getLogs", json!([wanted])),
        ("eth_getFilterChanges", json!([filter])),
    ] {
        let logs = result(&world, method, params).await;
        assert_eq!(logs.as_array().unwrap().len(), 1, "{method}");
    }
}

async fn several_blocks_are_as_far_apart_as_is_asked_for(world: World) {
    const FIRST: u64 = 9_000_000_000;
    // What was set before is the first one's time.
    result(&world, "evm_setNextBlockTimestamp", json!([FIRST])).await;
    result(&world, "anvil_mine", json!(["0x3", "0x64"])).await;
    let mut times = Vec::new();
    for number in ["0x1", "0x2", "0x3"] {
        let block = result(&world, "eth_getBlockByNumber", json!([number, false])).await;
        let time: U256 = serde_json::from_value(block["timestamp"].clone()).unwrap();
        times.push(time.to::<u64>());
    }
    assert_eq!(times, [FIRST, FIRST + 100, FIRST + 200]);
}

async fn the_block_to_come_is_looked_into(world: World) {
    play(&world).await;
    world.send(0, &world.payment(2)).await;
    let count = "eth_getBlockTransactionCountByNumber";
    for (at, transactions) in [("latest", "0x1"), ("pending", "0x2")] {
        assert_eq!(result(&world, count, json!([at])).await, transactions);
    }
}

async fn whoever_errs_is_told_by_his_id(world: World) {
    let versionless = json!({"id": 9, "method": "eth_chainId", "params": []});
    let answer = world.node.exchange(&versionless).await;
    assert_eq!(answer["error"]["code"], -32600);
    assert_eq!(answer["id"], 9);
}

/// A revert carries its bytes and its reason.
async fn reverts_carry_their_reason(world: World) {
    // REVERT with Error("no"): the words are put into memory and returned from there.
    let words = hex!(
        "08c379a0000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000026e6f000000000000000000000000000000000000000000000000000000000000"
    );
    let code = [&hex!("6064600c5f3960645ffd5b5b")[..], &words].concat();
    let call = json!([{"data": hex::encode_prefixed(code)}]);
    let answer = ask(&world, "eth_call", call).await;
    assert_eq!(answer["error"]["code"], 3);
    assert_eq!(answer["error"]["message"], "execution reverted: no");
    assert_eq!(answer["error"]["data"], hex::encode_prefixed(words));
}

async fn blocks_and_transactions_have_all_their_fields(world: World) {
    let [paid, _] = play(&world).await;
    let block = result(&world, "eth_getBlockByNumber", json!(["0x1", true])).await;
    assert_eq!(block["transactions"][0]["hash"], json!(paid));
    for field in [
        "stateRoot",
        "receiptsRoot",
        "logsBloom",
        "mixHash",
        "size",
        "withdrawalsRoot",
    ] {
        assert!(block[field].is_string(), "{field}");
    }
    let receipts = result(&world, "eth_getBlockReceipts", json!(["0x1"])).await;
    let base_fee: U256 = serde_json::from_value(block["baseFeePerGas"].clone()).unwrap();
    assert_eq!(
        receipts[0]["effectiveGasPrice"],
        json!(base_fee + U256::from(GWEI))
    );
    let nonce = json!([world.address(0), "pending"]);
    assert_eq!(
        result(&world, "eth_getTransactionCount", nonce).await,
        "0x2"
    );
    assert_eq!(result(&world, "net_version", json!([])).await, "31337");
    let raw = result(&world, "eth_getRawTransactionByHash", json!([paid])).await;
    let signed = world.sign(0, &world.payment(0));
    assert_eq!(raw, hex::encode_prefixed(signed.raw()));
}

async fn whoever_hashes_a_waiting_transaction_gets_its_name(world: World) {
    let [_, waits] = play(&world).await;
    let pending = result(&world, "eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!(pending["transactions"], json!([waits]));
    let raw = result(&world, "eth_getRawTransactionByHash", json!([waits])).await;
    let raw = hex::decode(raw.as_str().unwrap()).unwrap();
    assert_eq!(keccak256(raw), waits);
}

async fn tools_make_blocks_and_undo_them(world: World) {
    result(&world, "evm_setNextBlockTimestamp", json!([1_800_000_000])).await;
    result(&world, "evm_mine", json!([])).await;
    assert_eq!(world.node.head().await.timestamp_s, 1_800_000_000);
    result(&world, "anvil_mine", json!(["0x3"])).await;
    assert_eq!(result(&world, "eth_blockNumber", json!([])).await, "0x4");
    let before = world.node.head().await;
    result(&world, "anvil_reorg", json!([2, []])).await;
    let after = world.node.head().await;
    assert_eq!(after.number, before.number);
    assert_ne!(after.hash, before.hash);
    result(&world, "anvil_rollback", json!([3])).await;
    assert_eq!(result(&world, "eth_blockNumber", json!([])).await, "0x1");
}

async fn a_transaction_and_a_call_are_traced_by_geths_names(world: World) {
    let [paid, _] = play(&world).await;
    let tracer = json!({"tracer": "callTracer"});
    let traced = result(&world, "debug_traceTransaction", json!([paid, tracer])).await;
    assert_eq!(
        (&traced["type"], &traced["gasUsed"]),
        (&json!("CALL"), &json!("0x5208"))
    );
    let call = json!([{"to": EvmAddress::ZERO}, "latest", tracer]);
    assert_eq!(
        result(&world, "debug_traceCall", call).await["type"],
        "CALL"
    );
}

async fn a_batch_is_answered_in_its_order(world: World) {
    let one =
        |id: u64, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": []});
    let batch = [
        one(1, "eth_chainId"),
        one(5, "net_version"),
        one(2, "eth_blockNumber"),
    ];
    let answers = world.node.exchange(&json!(batch)).await;
    let answers = answers.as_array().unwrap();
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [1, 5, 2]);
    assert_eq!(answers[0]["result"], "0x7a69");
    assert_eq!(answers[1]["result"], "31337");
}

/// A block is named by its bare hash, too.
async fn a_block_is_named_by_its_hash_alone(world: World) {
    play(&world).await;
    let first = result(&world, "eth_getBlockByNumber", json!(["0x0", false])).await;
    let account = world.address(0);
    let at = async |at: Value| result(&world, "eth_getBalance", json!([account, at])).await;
    assert_eq!(at(first["hash"].clone()).await, at(json!("0x0")).await);
    assert_ne!(at(first["hash"].clone()).await, at(json!("latest")).await);
    let unknown = ask(&world, "eth_getBalance", json!([account, B256::ZERO])).await;
    assert!(unknown["error"].is_object(), "{unknown}");
}

/// A snapshot is a chain to go back to, once.
async fn a_snapshot_brings_the_chain_back(world: World) {
    let [paid, waits] = play(&world).await;
    let head = world.node.head().await;
    let first = result(&world, "evm_snapshot", json!([])).await;
    world.node.mine().await;
    let receipt =
        async |hash: B256| result(&world, "eth_getTransactionReceipt", json!([hash])).await;
    assert!(receipt(waits).await.is_object());
    assert_eq!(result(&world, "evm_revert", json!([first])).await, true);
    assert_eq!(world.node.head().await, head);
    assert!(receipt(paid).await.is_object());
    assert!(receipt(waits).await.is_null());
    for gone in [first, json!("0x99")] {
        let refused = ask(&world, "evm_revert", json!([gone])).await;
        assert!(refused["result"] != true, "{refused}");
        assert_eq!(world.node.head().await, head);
    }
}

/// A page in a browser may ask.
async fn browsers_are_let_in(world: World) {
    let url = world.node.url().await;
    let host = url.trim_start_matches("http://");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let length = body.len();
    let headers = "origin: http://shop.example\r\naccess-control-request-method: POST";
    for (head, body) in [
        (format!("OPTIONS / HTTP/1.1\r\n{headers}\r\n"), ""),
        (
            format!(
                "POST / HTTP/1.1\r\n{headers}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
            ),
            body,
        ),
    ] {
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        let request = format!("{head}host: {host}\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        let is_open = answer
            .to_lowercase()
            .contains("access-control-allow-origin: *");
        assert!(is_open, "{answer}");
    }
}

/// Waits for the block that holds a transaction.
async fn block_of(world: &World, transaction: B256) -> u64 {
    let waiting = async {
        loop {
            let receipt = result(world, "eth_getTransactionReceipt", json!([transaction])).await;
            if let Some(number) = receipt["blockNumber"].as_str() {
                return u64::from_str_radix(&number[2..], 16).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let number = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    number.expect("it is included")
}

/// By the clock, at each transaction, or neither: one of these at a time, as the last who asked wants it.
async fn blocks_come_by_the_interval_that_is_asked_for(world: World) {
    // The development chain has a clock where it is served.
    world.node.url().await;
    let customs = async |is_each: bool, interval_s: Option<u64>| {
        let each = result(&world, "anvil_getAutomine", json!([])).await;
        let interval = result(&world, "anvil_getIntervalMining", json!([])).await;
        assert_eq!((each, interval), (json!(is_each), json!(interval_s)));
    };
    customs(false, None).await;
    let paid = world.send(0, &world.payment(0)).await;
    // What waits already is included when each transaction gets its block.
    result(&world, "evm_setAutomine", json!([true])).await;
    customs(true, None).await;
    assert_eq!(block_of(&world, paid).await, 1);

    let answer = result(&world, "evm_setIntervalMining", json!([1])).await;
    assert_eq!(answer, Value::Null);
    customs(false, Some(1)).await;
    // That there is no block for each transaction changes nothing here.
    result(&world, "evm_setAutomine", json!([false])).await;
    customs(false, Some(1)).await;
    let paid = world.send(0, &world.payment(1)).await;
    let number = block_of(&world, paid).await;
    assert!(number >= 2);
    let late = world.send(0, &world.payment(2)).await;
    assert!(block_of(&world, late).await > number);

    result(&world, "evm_setIntervalMining", json!([0])).await;
    customs(false, None).await;
    result(&world, "evm_setIntervalMining", json!([1])).await;
    customs(false, Some(1)).await;
    result(&world, "evm_setAutomine", json!([true])).await;
    customs(true, None).await;
    let at_once = world.send(0, &world.payment(3)).await;
    block_of(&world, at_once).await;
}
