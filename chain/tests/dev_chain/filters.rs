//! Filters that stay on the node: their bounds, and blocks that go.

use peaberry_chain::dev::Undone;
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
    // PUSH0, PUSH0, LOG0; STOP.
    let raw = world.sign(0, &world.creation(nonce, &[0x5f, 0x5f, 0xa0, 0x00]));
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
