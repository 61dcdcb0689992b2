//! Blocks, and undoing them.

use peaberry_chain::evm::EvmRpc;
use peaberry_chain::primitives::U256;
use peaberry_chain::{
    BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Finality, TransactionStatus, TxId,
};

use super::network;
use crate::node::{World, on_both};

const TO: EvmAddress = EvmAddress::repeat_byte(9);

on_both! {
    World::on =>
    every_height_keeps_its_state
    tags_follow_the_head_at_their_depths
    looking_at_the_pending_state_changes_nothing
    time_is_what_was_said
    a_call_sees_the_block_it_is_asked_at
    what_a_reorganisation_undoes_is_undone_altogether
    what_was_rolled_back_can_be_sent_again
}

/// Old heights answer as they were, whatever happened since.
async fn every_height_keeps_its_state(world: World) {
    for nonce in 0..5 {
        world.send(0, &world.payment(nonce)).await;
        world.node.mine().await;
    }
    for number in 0..=5 {
        let balance = world.balance(TO, BlockAt::Number(number)).await;
        assert_eq!(balance, U256::from(number));
    }
    let gone = world.node.rpc.block(BlockAt::Number(6)).await.unwrap();
    assert_eq!(gone, None);
}

async fn tags_follow_the_head_at_their_depths(world: World) {
    let client = world.client(network()).await;
    let id = TxId::Evm(world.send(0, &world.payment(0)).await);
    assert_eq!(client.status(id).await.unwrap(), TransactionStatus::Pending);
    world.node.mine().await;
    let block = client.head(Finality::Latest).await.unwrap();
    assert_eq!(
        client.status(id).await.unwrap(),
        TransactionStatus::Included { block, depth: 0 }
    );
    assert_eq!(client.head(Finality::Final).await.unwrap().number, 0);
    world.node.mine_many(63).await;
    assert_eq!(
        client.status(id).await.unwrap(),
        TransactionStatus::Included { block, depth: 63 }
    );
    world.node.mine().await;
    assert_eq!(
        client.status(id).await.unwrap(),
        TransactionStatus::Final { block }
    );
    assert_eq!(client.head(Finality::Final).await.unwrap(), block);
    assert_eq!(client.head(Finality::Depth(64)).await.unwrap(), block);
}

/// The pending block shows what waits, and looking changes nothing.
async fn looking_at_the_pending_state_changes_nothing(world: World) {
    world.send(0, &world.payment(0)).await;
    assert_eq!(world.balance(TO, BlockAt::Pending).await, U256::ONE);
    assert_eq!(world.balance(TO, BlockAt::Latest).await, U256::ZERO);
    assert_eq!(world.height().await, 0);
    assert_eq!(world.nonce(0, BlockAt::Pending).await, 1);
    assert_eq!(world.nonce(0, BlockAt::Latest).await, 0);
}

async fn time_is_what_was_said(world: World) {
    world.node.mine_at(1_800_000_000).await;
    let head = world.node.rpc.block(BlockAt::Latest).await.unwrap();
    assert_eq!(head.unwrap().timestamp_s, 1_800_000_000);
}

/// A block's circumstances are those of the block asked at: its number, its time.
async fn a_call_sees_the_block_it_is_asked_at(world: World) {
    world.node.mine_many(3).await;
    // NUMBER and TIMESTAMP, returned as two words.
    let code = [
        0x43, 0x5f, 0x52, 0x42, 0x60, 0x20, 0x52, 0x60, 0x40, 0x5f, 0xf3,
    ];
    let request = CallRequest {
        data: code.to_vec().into(),
        ..CallRequest::default()
    };
    for at in [BlockAt::Number(2), BlockAt::Latest] {
        let block = world.node.rpc.block(at).await.unwrap().unwrap();
        let answer = world.node.rpc.call(&request, at).await.unwrap();
        assert_eq!(U256::from_be_slice(&answer[..32]), U256::from(block.number));
        assert_eq!(
            U256::from_be_slice(&answer[32..]),
            U256::from(block.timestamp_s)
        );
    }
}

/// Of each depth: the blocks are others, the payments are undone, and the node knows nothing of them any more.
async fn what_a_reorganisation_undoes_is_undone_altogether(world: World) {
    let client = world.client(network()).await;
    let mut nonce = 0;
    for depth in [1, 2, 7] {
        let mut sent = Vec::new();
        for _ in 0..depth {
            sent.push(world.send(0, &world.payment(nonce)).await);
            nonce += 1;
            world.node.mine().await;
        }
        let before = client.head(Finality::Latest).await.unwrap();
        world.node.reorg(depth).await;
        nonce -= depth;
        let after = client.head(Finality::Latest).await.unwrap();
        assert_eq!(after.number, before.number);
        assert_ne!(after.hash, before.hash);
        assert_eq!(
            client.block(BlockAt::Hash(before.hash)).await.unwrap(),
            None
        );
        for hash in sent {
            let status = client.status(TxId::Evm(hash)).await.unwrap();
            assert_eq!(status, TransactionStatus::Unknown);
        }
        assert_eq!(world.balance(TO, BlockAt::Latest).await, U256::ZERO);
        assert_eq!(world.nonce(0, BlockAt::Latest).await, nonce);
    }
}

/// The same bytes are taken again: nothing is left of their first inclusion.
async fn what_was_rolled_back_can_be_sent_again(world: World) {
    let hash = world.send(0, &world.payment(0)).await;
    world.node.mine().await;
    let late = world.offer(0, &world.payment(0)).await;
    assert!(!matches!(late, Err(ChainError::Refused { .. })), "{late:?}");
    world.node.rollback(1).await;
    assert_eq!(world.height().await, 0);
    assert_eq!(world.node.rpc.receipt(hash).await.unwrap(), None);
    assert_eq!(world.send(0, &world.payment(0)).await, hash);
    world.node.mine().await;
    assert_eq!(world.transactions(1).await, [hash]);
    assert_eq!(world.balance(TO, BlockAt::Latest).await, U256::ONE);
}
