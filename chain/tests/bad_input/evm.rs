//! An EVM node that misbehaves.

use std::sync::Arc;

use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmClient, JsonRpc};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Amount, Asset, BlockAt, ChainClient, ChainError, EvmAddress, Intent, LogFilter, LogRange, Sent,
    TransactionStatus, TxId,
};

use crate::node::{Node, NodeKind, eventually, on_both};

use super::server::{ANSWER_WITHIN, Server, Spoiled};
use super::{WAYS, expect_patience, expect_typed, expect_typed_questions};

on_both! {
    std::future::ready =>
    a_spoiled_answer_to_a_question_is_a_typed_error_and_sends_nothing
    a_spoiled_answer_to_a_submission_names_what_may_have_been_sent
    blocks_logs_and_receipts_that_make_no_sense_are_malformed
    a_limited_rate_is_kept_without_asking_again
    without_a_connection_nothing_was_sent
}

struct World {
    node: Node,
    server: Server,
    key: EvmKey,
}

impl World {
    async fn on(kind: NodeKind) -> Self {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let options = DevOptions::default().fund(key.evm_address());
        let node = Node::of(kind, options).await;
        let server = Server::start(node.transport.clone()).await;
        Self { node, server, key }
    }

    async fn client(&self) -> EvmClient {
        let rpc = JsonRpc::endpoint(self.server.endpoint()).with_answer_within(ANSWER_WITHIN);
        let client = EvmClient::connect(Arc::new(rpc), self.node.network())
            .await
            .unwrap();
        client.with_signer(Arc::new(self.key.clone())).unwrap()
    }

    fn payment(&self) -> Intent {
        Intent::Transfer {
            from: self.key.evm_address().into(),
            to: EvmAddress::repeat_byte(1).into(),
            asset: Asset::Native,
            amount: Amount::wei(5),
        }
    }
}

async fn a_spoiled_answer_to_a_question_is_a_typed_error_and_sends_nothing(kind: NodeKind) {
    let world = World::on(kind).await;
    let owner = world.key.evm_address().into();
    expect_typed_questions(&world.server, "eth_getBalance", owner, async || {
        world.client().await
    })
    .await;
}

/// The node got the bytes: whoever asks for the transaction that the error names finds it.
async fn a_spoiled_answer_to_a_submission_names_what_may_have_been_sent(kind: NodeKind) {
    for way in WAYS {
        let world = World::on(kind).await;
        let client = world.client().await;
        world.server.spoil("eth_sendRawTransaction", way);
        let error = client.submit(&world.payment()).await.unwrap_err();
        let waiting = world.node.waiting().await;
        expect_typed(way, &error, waiting.first().copied().map(TxId::Evm));
        assert_eq!(waiting.is_empty(), way == Spoiled::RateLimited, "{way:?}");
        world.server.relent();
        if let Some(id) = error.transaction() {
            let status = client.status(id).await.unwrap();
            assert_eq!(status, TransactionStatus::Pending);
        }
    }
}

/// Null, where nothing may be there, is an answer; anything else is still none.
async fn blocks_logs_and_receipts_that_make_no_sense_are_malformed(kind: NodeKind) {
    let world = World::on(kind).await;
    let client = world.client().await;
    world
        .server
        .spoil("eth_getBlockByNumber", Spoiled::OtherType);
    let error = client.block(BlockAt::Number(0)).await.unwrap_err();
    expect_typed(Spoiled::OtherType, &error, None);
    world.server.spoil("eth_getLogs", Spoiled::OtherType);
    let all = LogRange::Numbers(0..=1);
    let error = client.logs(&LogFilter::default(), &all).await.unwrap_err();
    expect_typed(Spoiled::OtherType, &error, None);
    world
        .server
        .spoil("eth_getTransactionReceipt", Spoiled::OtherType);
    let id = TxId::Evm(peaberry_chain::primitives::B256::ZERO);
    let error = client.status(id).await.unwrap_err();
    expect_typed(Spoiled::OtherType, &error, None);
    world.server.spoil("eth_feeHistory", Spoiled::Null);
    let error = client.submit(&world.payment()).await.unwrap_err();
    expect_typed(Spoiled::Null, &error, None);
    assert!(world.node.waiting().await.is_empty());
}

async fn a_limited_rate_is_kept_without_asking_again(kind: NodeKind) {
    let world = World::on(kind).await;
    let (client, payment) = (world.client().await, world.payment());
    expect_patience(&world.server, "eth_getBlockByNumber", &client, &payment).await;
}

/// A node that is not there got nothing.
async fn without_a_connection_nothing_was_sent(kind: NodeKind) {
    let world = World::on(kind).await;
    let client = world.client().await;
    let transaction = client.prepare(&world.payment()).await.unwrap();
    let signed = client.sign(world.key.evm_address(), &transaction).await;
    let endpoint = world.server.endpoint();
    drop(world.server);
    // The port is free again once the server's task is gone.
    let broadcast = async || {
        let rpc = JsonRpc::endpoint(endpoint.clone());
        peaberry_chain::evm::EvmRpc::broadcast(&rpc, signed.as_ref().unwrap().raw()).await
    };
    let refused = eventually("nobody is there", async || match broadcast().await {
        Err(refused @ ChainError::Connection { sent: Sent::No, .. }) => Some(refused),
        _ => None,
    });
    assert!(!refused.await.may_have_been_sent());
}
