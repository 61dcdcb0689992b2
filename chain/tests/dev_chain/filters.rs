//! Filters that stay on the node: their bounds, and blocks that go.

use peaberry_chain::dev::Undone;
use peaberry_chain::evm::Transaction;
use peaberry_chain::primitives::B256;
use serde_json::{Value, json};

use super::ask;
use crate::node::World;

fn made(world: &World, method: &str, params: &Value) -> Value {
    ask(world, method, params)["result"].clone()
}

fn changes(world: &World, filter: &Value) -> Value {
    ask(world, "eth_getFilterChanges", &json!([filter]))
}

/// A block with one log.
fn event(world: &World, nonce: u64) -> B256 {
    events(world, nonce, 1)
}

/// A block with so many logs.
fn events(world: &World, nonce: u64, count: usize) -> B256 {
    // PUSH0, PUSH0, LOG0, so often; STOP.
    let code = [[0x5f, 0x5f, 0xa0].repeat(count), vec![0x00]].concat();
    let raw = Transaction {
        gas_limit: 10_000_000,
        ..world.creation(nonce, &code)
    };
    let raw = world.sign(0, &raw);
    world.chain().submit(raw.raw()).unwrap();
    world.chain().mine().hash
}

/// What was told and is undone is told as removed; what came and went between two questions is not told at all.
#[test]
fn logs_of_undone_blocks_are_told_as_removed() {
    let world = World::dev();
    let filter = made(&world, "eth_newFilter", &json!([{}]));
    let told = |world: &World| -> Vec<(Value, Value)> {
        let logs = changes(world, &filter)["result"].clone();
        let logs = logs.as_array().unwrap().iter();
        logs.map(|log| (log["blockHash"].clone(), log["removed"].clone()))
            .collect()
    };
    let first = event(&world, 0);
    assert_eq!(told(&world), [(json!(first), json!(false))]);
    event(&world, 1);
    world.chain().rewind(2, Undone::Drop);
    let other = event(&world, 0);
    assert_eq!(
        told(&world),
        [(json!(first), json!(true)), (json!(other), json!(false))]
    );
    assert!(told(&world).is_empty());
}

/// What is more than one answer holds comes in several, each block once, whatever is undone between two of them.
#[test]
fn more_logs_than_one_answer_holds_come_in_several() {
    let world = World::dev();
    let filter = made(&world, "eth_newFilter", &json!([{}]));
    let told = |world: &World| -> Vec<(Value, Value)> {
        let answer = changes(world, &filter);
        let logs = answer["result"]
            .as_array()
            .unwrap_or_else(|| panic!("{}", answer["error"]));
        let mut blocks: Vec<_> = logs
            .iter()
            .map(|log| (log["blockHash"].clone(), log["removed"].clone()))
            .collect();
        blocks.dedup();
        blocks
    };
    // An answer holds 10,000.
    let blocks: Vec<B256> = (0..4).map(|nonce| events(&world, nonce, 4_000)).collect();
    let added = |at: usize| (json!(blocks[at]), json!(false));
    assert_eq!(told(&world), [added(0), added(1)]);
    // The third is undone before it is told, and the second afterwards.
    world.chain().rewind(3, Undone::Drop);
    let other = event(&world, 1);
    assert_eq!(
        told(&world),
        [
            (json!(blocks[1]), json!(true)),
            (json!(other), json!(false))
        ]
    );
    assert!(told(&world).is_empty());
}

/// One block of which no answer holds the logs ends the filter, which says so: it would never tell of any other.
#[test]
fn a_block_with_too_many_logs_ends_its_filter() {
    let world = World::dev();
    let filter = made(&world, "eth_newFilter", &json!([{}]));
    event(&world, 0);
    events(&world, 1, 10_001);
    let before = changes(&world, &filter);
    assert_eq!(before["result"].as_array().map(Vec::len), Some(1));
    let ended = changes(&world, &filter);
    assert_eq!(ended["error"]["code"], -32005, "{}", ended["error"]);
    let gone = changes(&world, &filter);
    assert_eq!(gone["error"]["message"], "filter not found");
}

/// A filter of no blocks would never tell anything.
#[test]
fn a_filter_whose_blocks_end_before_they_begin_is_refused() {
    let world = World::dev();
    let made = |range: Value| ask(&world, "eth_newFilter", &json!([range]));
    let refused = made(json!({"fromBlock": "0x5", "toBlock": "0x4"}));
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
    assert_eq!(refused["error"]["message"], "invalid block range params");
    for range in [
        json!({"fromBlock": "0x5", "toBlock": "0x5"}),
        json!({"fromBlock": "0x5"}),
        json!({"toBlock": "0x4"}),
    ] {
        assert!(made(range)["result"].is_string());
    }
}

/// Of many the one that nobody has asked for longest makes room.
#[test]
fn filters_are_bounded_and_the_idle_ones_go() {
    let world = World::dev();
    let make = || made(&world, "eth_newBlockFilter", &json!([]));
    let (first, second) = (make(), make());
    let mut others: Vec<_> = (2..256).map(|_| make()).collect();
    assert!(changes(&world, &first)["result"].is_array());
    others.push(make());
    let gone = changes(&world, &second);
    assert_eq!(gone["error"]["message"], "filter not found");
    assert!(changes(&world, &first)["result"].is_array());
    assert!(
        others
            .iter()
            .all(|one| changes(&world, one)["result"].is_array())
    );
}

/// One that is asked so rarely that something was forgotten in between says so, and tells no half.
#[test]
fn a_filter_that_has_missed_something_is_not_found() {
    let world = World::dev();
    let filter = made(&world, "eth_newBlockFilter", &json!([]));
    world.chain().mine_many(16_384);
    let all = changes(&world, &filter)["result"].clone();
    assert_eq!(all.as_array().unwrap().len(), 16_384);
    world.chain().mine_many(16_385);
    let gone = changes(&world, &filter);
    assert_eq!(gone["error"]["message"], "filter not found");
}
