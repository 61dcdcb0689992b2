//! A Solana node that misbehaves.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, poll};
use peaberry_chain::solana::{SolanaClient, SolanaNetwork, SolanaRpc};
use peaberry_chain::wallet::SolanaKey;
use peaberry_chain::{
    Address, Amount, Asset, ChainClient, ChainError, Intent, Payload, Signature, Signer,
    SolanaAddress, TransactionStatus,
};
use peaberry_chain_litesvm::{GENESIS_HASH, LiteSvmNode};
use peaberry_core::simulation::SimulatedClock;

use super::server::{ANSWER_WITHIN, Server, Spoiled};
use super::{WAYS, expect_patience, expect_typed, expect_typed_questions};

const SOL: u64 = 1_000_000_000;

struct World {
    node: Arc<LiteSvmNode>,
    server: Server,
    key: SolanaKey,
}

impl World {
    async fn new() -> Self {
        let key = SolanaKey::from_bytes(&[7; 32]);
        let node = Arc::new(LiteSvmNode::new());
        node.airdrop(key.solana_address(), 10 * SOL);
        let server = Server::start(node.clone()).await;
        Self { node, server, key }
    }

    async fn client(&self) -> SolanaClient {
        let rpc = SolanaRpc::new(Arc::new(self.server.endpoint()));
        let rpc = rpc.with_answer_within(ANSWER_WITHIN);
        let network = SolanaNetwork::local(&GENESIS_HASH);
        let client = SolanaClient::connect(rpc, network).await.unwrap();
        client.with_signer(Arc::new(self.key.clone())).unwrap()
    }

    fn payment(&self) -> Intent {
        Intent::Transfer {
            from: self.key.solana_address().into(),
            to: SolanaAddress([9; 32]).into(),
            asset: Asset::Native,
            amount: Amount::lamports(SOL),
        }
    }
}

#[tokio::test]
async fn a_spoiled_answer_to_a_question_is_a_typed_error_and_sends_nothing() {
    let world = World::new().await;
    let owner = world.key.solana_address().into();
    expect_typed_questions(&world.server, "getBalance", owner, async || {
        world.client().await
    })
    .await;
}

/// The node got the bytes: whoever asks for the transaction that the error names finds it.
#[tokio::test]
async fn a_spoiled_answer_to_a_submission_names_what_may_have_been_sent() {
    for way in WAYS {
        let world = World::new().await;
        let client = world.client().await;
        let signed = client.sign(&world.payment()).await.unwrap();
        world.server.spoil("sendTransaction", way);
        let error = client.submit(&world.payment()).await.unwrap_err();
        // Dated by the same block hash, it is the same transaction.
        expect_typed(way, &error, Some(signed.id()));
        let is_sent = world.node.included() == 1;
        assert_eq!(is_sent, way != Spoiled::RateLimited, "{way:?}");
        world.server.relent();
        if let Some(id) = error.transaction() {
            let status = client.status(id).await.unwrap();
            assert!(matches!(status, TransactionStatus::Included { .. }));
        }
    }
}

#[tokio::test]
async fn a_spoiled_block_hash_stops_a_submission_before_it_is_signed() {
    let world = World::new().await;
    let client = world.client().await;
    for way in [Spoiled::OtherType, Spoiled::Null, Spoiled::Hangs] {
        world.server.spoil("getLatestBlockhash", way);
        let error = client.submit(&world.payment()).await.unwrap_err();
        expect_typed(way, &error, None);
    }
    assert_eq!(world.node.included(), 0);
}

#[tokio::test]
async fn a_limited_rate_is_kept_without_asking_again() {
    let world = World::new().await;
    let (client, payment) = (world.client().await, world.payment());
    expect_patience(&world.server, "getEpochInfo", &client, &payment).await;
}

/// A device that asks somebody who has gone.
struct Silent {
    address: Address,
    asked: tokio::sync::Notify,
}

#[async_trait]
impl Signer for Silent {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, _payload: Payload<'_>) -> Result<Signature, ChainError> {
        self.asked.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_signer_that_hangs_is_not_waited_for() {
    let world = World::new().await;
    let clock = SimulatedClock::new();
    let patience = Duration::from_secs(30);
    let silent = Arc::new(Silent {
        address: world.key.solana_address().into(),
        asked: tokio::sync::Notify::new(),
    });
    let client = world.client().await.with_signer(silent.clone()).unwrap();
    let client = client
        .with_clock(Arc::new(clock.clone()))
        .with_signed_within(patience);
    let payment = world.payment();
    let mut signing = pin!(client.sign(&payment));
    tokio::select! {
        signed = &mut signing => panic!("{signed:?}"),
        () = silent.asked.notified() => {}
    }
    assert!(poll!(&mut signing).is_pending());
    clock.advance(patience - Duration::from_secs(1));
    assert!(poll!(&mut signing).is_pending());
    clock.advance(Duration::from_secs(1));
    let error = signing.now_or_never().expect("it is late").unwrap_err();
    assert!(
        matches!(error, ChainError::TimedOut { after, .. } if after == patience),
        "{error}"
    );
    assert!(error.is_retryable() && !error.may_have_been_sent());
    assert_eq!(world.node.included(), 0);
}
