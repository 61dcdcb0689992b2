//! Filters that stay on the node, and money out of nothing.

use peaberry_chain::primitives::{B256, U256};
use peaberry_chain::{BlockAt, EvmAddress};
use serde_json::{Value, json};

use crate::node::{World, on_both};

on_both! {
    World::on =>
    a_block_filter_tells_each_block_once
    a_filter_of_what_waits_tells_each_transaction_once
    a_log_filter_tells_what_has_come_and_what_there_is
    a_filter_that_is_not_there_is_not_found
    money_comes_out_of_nothing_and_goes_back_with_a_snapshot
}

async fn changes(world: &World, filter: &Value) -> Vec<B256> {
    world
        .node
        .ask("eth_getFilterChanges", (filter.clone(),))
        .await
}

async fn a_block_filter_tells_each_block_once(world: World) {
    world.node.mine().await;
    let filter: Value = world.node.ask("eth_newBlockFilter", ()).await;
    assert!(changes(&world, &filter).await.is_empty());
    let mut blocks = Vec::new();
    for _ in 0..3 {
        blocks.push(world.node.mine().await.hash);
    }
    assert_eq!(changes(&world, &filter).await, blocks);
    assert!(changes(&world, &filter).await.is_empty());
    let next = world.node.mine().await.hash;
    assert_eq!(changes(&world, &filter).await, [next]);
}

async fn a_filter_of_what_waits_tells_each_transaction_once(world: World) {
    let filter: Value = world.node.ask("eth_newPendingTransactionFilter", ()).await;
    let mut sent = Vec::new();
    for nonce in 0..2 {
        sent.push(world.send(0, &world.payment(nonce)).await);
    }
    assert_eq!(changes(&world, &filter).await, sent);
    world.node.mine().await;
    assert!(changes(&world, &filter).await.is_empty());
}

/// A block with an event that carries `number`; who has logged it.
async fn event(world: &World, number: u8) -> EvmAddress {
    // PUSH1 number, PUSH0, MSTORE; PUSH1 number, PUSH1 32, PUSH0, LOG1; STOP.
    let code = [
        0x60, number, 0x5f, 0x52, 0x60, number, 0x60, 0x20, 0x5f, 0xa1, 0x00,
    ];
    let nonce = world.nonce(0, BlockAt::Latest).await;
    world.send(0, &world.creation(nonce, &code)).await;
    world.node.mine().await;
    world.address(0).create(nonce)
}

async fn a_log_filter_tells_what_has_come_and_what_there_is(world: World) {
    let topic = |number: u64| B256::from(U256::from(number));
    let topics = json!([[topic(1), topic(2)]]);
    let first = event(&world, 1).await;
    let coming = json!({"topics": topics});
    let coming: Value = world.node.ask("eth_newFilter", (coming,)).await;
    let all = json!({"fromBlock": "0x0", "topics": topics});
    let all: Value = world.node.ask("eth_newFilter", (all,)).await;
    event(&world, 3).await;
    let second = event(&world, 2).await;
    let told = async |method: &'static str, filter: &Value| -> Vec<Value> {
        let logs: Vec<Value> = world.node.ask(method, (filter.clone(),)).await;
        assert!(logs.iter().all(|log| log["removed"] == false));
        logs.iter().map(|log| log["address"].clone()).collect()
    };
    const CHANGES: &str = "eth_getFilterChanges";
    assert_eq!(told(CHANGES, &coming).await, [json!(second)]);
    assert!(told(CHANGES, &coming).await.is_empty());
    assert_eq!(
        told("eth_getFilterLogs", &all).await,
        [json!(first), json!(second)]
    );
    let third = event(&world, 1).await;
    assert_eq!(told(CHANGES, &coming).await, [json!(third)]);
}

async fn a_filter_that_is_not_there_is_not_found(world: World) {
    let filter: Value = world.node.ask("eth_newBlockFilter", ()).await;
    let uninstall = async || -> bool {
        world
            .node
            .ask("eth_uninstallFilter", (filter.clone(),))
            .await
    };
    assert!(uninstall().await);
    assert!(!uninstall().await);
    let request =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getFilterChanges", "params": [filter]});
    let answer = world.node.exchange(&request).await;
    assert_eq!(answer["error"]["code"], -32000, "{answer}");
    assert_eq!(answer["error"]["message"], "filter not found");
}

async fn money_comes_out_of_nothing_and_goes_back_with_a_snapshot(world: World) {
    let poor = EvmAddress::repeat_byte(0x77);
    let set = async |balance: U256| {
        let _: Value = world.node.ask("anvil_setBalance", (poor, balance)).await;
    };
    set(U256::from(5)).await;
    assert_eq!(world.node.balance(poor).await, U256::from(5));
    world.node.mine().await;
    assert_eq!(world.node.balance(poor).await, U256::from(5));
    let snapshot: Value = world.node.ask("evm_snapshot", ()).await;
    set(U256::from(9)).await;
    set(U256::ZERO).await;
    assert_eq!(world.node.balance(poor).await, U256::ZERO);
    world.node.mine().await;
    assert_eq!(world.node.balance(poor).await, U256::ZERO);
    assert!(world.node.ask::<bool>("evm_revert", (snapshot,)).await);
    assert_eq!(world.node.balance(poor).await, U256::from(5));
    // It is money as any other.
    let all = world.balance(world.address(0), BlockAt::Latest).await;
    let more = json!(all + U256::from(1));
    let _: Value = world
        .node
        .ask("anvil_setBalance", (world.address(0), more))
        .await;
    world.send(0, &world.payment(0)).await;
    world.node.mine().await;
    let left = world.balance(world.address(0), BlockAt::Latest).await;
    assert!(left < all, "{left} of {all}");
}
