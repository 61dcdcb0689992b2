//! The client: fees, finality, and what it says of reverts.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::{TxEip4844, TxEip4844WithSidecar, transaction::RlpEcdsaEncodableTx as _};
use alloy_eips::eip4844::BlobTransactionSidecar;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{
    EvmClient, EvmNetwork, EvmRpc, FeeModel, Fees, JsonRpc, TRANSACTION_GAS_MAX, Transaction,
};
use peaberry_chain::primitives::{B256, Bytes, Signature, U256, hex};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Address, Amount, Asset, BlockAt, CallRequest, ChainClient, ChainError, ChainId, EvmAddress,
    Finality, FinalityPolicy, Intent, MultiChain, Payload, Revert, RpcTransport,
    Signature as Signed, Signer, TransactionStatus, TransportFailure, TxId,
};
use peaberry_core::simulation::SimulatedClock;
use serde_json::{Value, json};

use super::network;
use crate::node::{GWEI, NodeKind, World, on_both};

const PATIENCE: Duration = Duration::from_secs(20);

on_both! {
    World::on =>
    a_transfer_is_estimated_submitted_and_becomes_final
    a_chain_of_one_price_is_paid_one_price
    without_a_tag_depth_is_finality
    another_chain_is_refused_when_connecting
    a_plain_transfer_takes_what_it_takes
    a_revert_is_said_before_anything_is_sent
    an_included_revert_is_explained
    what_was_signed_before_is_sent_as_it_is
    blobs_are_refused_before_anything_is_sent
    a_margin_stops_at_what_one_transaction_may_use
    a_signer_that_hangs_is_not_waited_for
    what_another_key_signed_is_not_sent
    a_signature_of_the_upper_half_is_sent_as_the_lower
}

mod gas_of_a_block {
    use super::*;

    on_both! {
        std::future::ready =>
        a_margin_stops_at_what_a_block_holds
    }
}

fn transfer(world: &World, wei: u128) -> Intent {
    Intent::Transfer {
        from: world.address(0).into(),
        to: EvmAddress::repeat_byte(9).into(),
        asset: Asset::Native,
        amount: Amount::wei(wei),
    }
}

async fn a_transfer_is_estimated_submitted_and_becomes_final(world: World) {
    world.node.mine_each(true).await;
    let client = world.client(network()).await;
    let intent = transfer(&world, 5);
    let before = client
        .balance(world.address(0).into(), Asset::Native)
        .await
        .unwrap();
    let estimate = client.estimate(&intent).await.unwrap();
    assert_eq!(estimate.gas, 21_000);
    let id = client.submit(&intent).await.unwrap();
    let status = client.wait(id, Finality::Latest, PATIENCE).await.unwrap();
    assert!(matches!(status, TransactionStatus::Included { block, .. } if block.number == 1));
    let after = client
        .balance(world.address(0).into(), Asset::Native)
        .await
        .unwrap();
    let fee = before
        .checked_sub(after)
        .unwrap()
        .checked_sub(Amount::wei(5))
        .unwrap();
    assert!(!fee.is_zero() && fee.units() <= estimate.fee_max.units());
    world.node.mine_many(64).await;
    let status = client.wait(id, Finality::Final, PATIENCE).await.unwrap();
    assert!(matches!(status, TransactionStatus::Final { block } if block.number == 1));
}

/// Old transactions (EIP-155) for chains without a base fee: the node names the price.
async fn a_chain_of_one_price_is_paid_one_price(world: World) {
    world.node.mine_each(true).await;
    let fees = FeeModel::Legacy;
    let client = world.client(EvmNetwork { fees, ..network() }).await;
    let offered = client.fees().await.unwrap();
    let Fees::Legacy { gas_price } = offered else {
        panic!("{offered:?}");
    };
    assert_eq!(
        U256::from(gas_price),
        world.node.rpc.gas_price().await.unwrap()
    );
    let id = client.submit(&transfer(&world, 5)).await.unwrap();
    client.wait(id, Finality::Latest, PATIENCE).await.unwrap();
    let TxId::Evm(hash) = id else {
        panic!("{id}");
    };
    let receipt = world.node.rpc.receipt(hash).await.unwrap().unwrap();
    assert!(receipt.is_success);
    assert_eq!(receipt.gas_price, U256::from(gas_price));
}

/// A chain without the tag `finalized`: so many blocks below the head.
async fn without_a_tag_depth_is_finality(world: World) {
    world.node.mine_each(true).await;
    let finality = FinalityPolicy::Depth(3);
    let client = world
        .client(EvmNetwork {
            finality,
            ..network()
        })
        .await;
    let early = client.head(Finality::Final).await;
    assert!(
        matches!(early, Err(ChainError::NotFound { .. })),
        "{early:?}"
    );
    let id = client.submit(&transfer(&world, 5)).await.unwrap();
    let status = client.wait(id, Finality::Latest, PATIENCE).await.unwrap();
    let block = status.block().unwrap();
    world.node.mine_many(2).await;
    assert_eq!(
        client.status(id).await.unwrap(),
        TransactionStatus::Included { block, depth: 2 }
    );
    world.node.mine().await;
    assert_eq!(
        client.status(id).await.unwrap(),
        TransactionStatus::Final { block }
    );
    assert_eq!(client.head(Finality::Final).await.unwrap(), block);
    assert_eq!(client.block(BlockAt::Final).await.unwrap(), Some(block));
    // A call at what is final sees the state of then.
    let request = CallRequest::new(EvmAddress::repeat_byte(9), []);
    assert!(
        client
            .call(&request, BlockAt::Final)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn another_chain_is_refused_when_connecting(world: World) {
    let rpc = Arc::new(world.node.rpc.clone());
    let error = EvmClient::connect(rpc, EvmNetwork::polygon())
        .await
        .unwrap_err();
    let ChainError::WrongChain { expected, found } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        [*expected, *found],
        [ChainId::POLYGON, ChainId::evm(31_337)]
    );
    assert!(!error.may_have_been_sent());
}

async fn a_plain_transfer_takes_what_it_takes(world: World) {
    let request = CallRequest {
        to: Some(EvmAddress::repeat_byte(9).into()),
        value: U256::ONE,
        ..CallRequest::default()
    }
    .from(world.address(0));
    let gas = world.node.rpc.estimate_gas(&request, BlockAt::Latest).await;
    assert_eq!(gas.unwrap(), 21_000);
}

/// Creation code that reverts with these words: `Error(words)`.
fn refusing(words: &str) -> Vec<u8> {
    // Copies the hundred bytes behind it into memory, and reverts with them.
    let mut code = vec![0x60, 100, 0x60, 11, 0x5f, 0x39, 0x60, 100, 0x5f, 0xfd, 0x00];
    code.extend([0x08, 0xc3, 0x79, 0xa0]);
    code.extend(U256::from(32).to_be_bytes::<32>());
    code.extend(U256::from(words.len()).to_be_bytes::<32>());
    code.extend(words.bytes().chain(std::iter::repeat(0)).take(32));
    code
}

/// In a contract's own words, whatever nodes mean by the same ones.
const WORDS: [&str; 4] = [
    "no beans",
    "Insufficient balance",
    "Insufficient funds",
    "rate limit exceeded",
];

async fn a_revert_is_said_before_anything_is_sent(world: World) {
    let client = world.client(network()).await;
    for words in WORDS {
        let deploy = Intent::Deploy {
            from: world.address(0).into(),
            value: Amount::wei(0),
            code: refusing(words).into(),
        };
        for error in [
            client.estimate(&deploy).await.unwrap_err(),
            client.submit(&deploy).await.unwrap_err(),
        ] {
            assert!(
                matches!(&error, ChainError::Reverted(Revert::Message(why)) if why == words),
                "{error}"
            );
            assert!(!error.may_have_been_sent() && !error.is_retryable());
        }
    }
    assert_eq!(world.nonce(0, BlockAt::Pending).await, 0);
}

/// Whoever sends it all the same pays for it, and is told why: from a trace; or by its being tried again, of a node that
/// does not trace.
async fn an_included_revert_is_explained(world: World) {
    let client = world.client(network()).await;
    let mut undone = Vec::new();
    for (nonce, words) in (0..).zip(WORDS) {
        undone.push(
            world
                .send(0, &world.creation(nonce, &refusing(words)))
                .await,
        );
    }
    let well = world.send(0, &world.payment(4)).await;
    world.node.mine().await;
    let untraced = Arc::new(Untraced(world.node.transport.clone()));
    let untraced = JsonRpc::over(untraced);
    for rpc in [&world.node.rpc, &untraced] {
        let client = EvmClient::connect(Arc::new(rpc.clone()), network()).await;
        let client = client.unwrap();
        for (hash, words) in undone.iter().zip(WORDS) {
            let status = client.status(TxId::Evm(*hash)).await.unwrap();
            let TransactionStatus::Reverted { reason, .. } = status else {
                panic!("{status:?}");
            };
            assert_eq!(reason, Some(Revert::Message(words.into())));
        }
        assert_eq!(rpc.revert_reason(well).await.unwrap(), None);
        assert_eq!(rpc.revert_reason(B256::ZERO).await.unwrap(), None);
    }
    let block = world.node.head().await;
    for words in WORDS {
        let request = CallRequest {
            data: refusing(words).into(),
            ..CallRequest::default()
        }
        .from(world.address(0));
        let why = client.explain_revert(&request, block).await.unwrap();
        assert_eq!(why, Some(Revert::Message(words.into())));
    }
}

async fn what_was_signed_before_is_sent_as_it_is(world: World) {
    world.node.mine_each(true).await;
    let client = world.client(network()).await;
    let chains = MultiChain::new().with(Arc::new(client.clone()));
    let transaction = client.prepare(&transfer(&world, 5)).await.unwrap();
    let signed = client.sign(world.address(0), &transaction).await.unwrap();
    let id = chains.submit_raw(network().chain, signed.raw()).await;
    let id = id.unwrap();
    assert_eq!(id, TxId::Evm(signed.hash()));
    let status = client.wait(id, Finality::Latest, PATIENCE).await.unwrap();
    assert!(matches!(status, TransactionStatus::Included { .. }));

    // For another chain, cut off, and no transaction at all: refused before anything is sent.
    let elsewhere = Transaction {
        chain: ChainId::POLYGON,
        ..transaction
    };
    let elsewhere = client.sign(world.address(0), &elsewhere).await.unwrap();
    let error = client.submit_raw(elsewhere.raw()).await.unwrap_err();
    assert!(
        matches!(&error, ChainError::WrongChain { found, .. } if *found == ChainId::POLYGON),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
    let short = signed.raw().slice(..signed.raw().len() - 1);
    for bytes in [short, Bytes::new(), Bytes::from_static(&[0x7f; 8])] {
        let error = client.submit_raw(&bytes).await.unwrap_err();
        assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
        assert!(!error.may_have_been_sent());
    }
}

/// Neither with their sidecar nor without it: the hash of those bytes is not the transaction's.
async fn blobs_are_refused_before_anything_is_sent(world: World) {
    let client = world.client(network()).await;
    let transaction = TxEip4844 {
        chain_id: 31_337,
        gas_limit: 21_000,
        max_fee_per_gas: 10 * GWEI,
        max_priority_fee_per_gas: GWEI,
        max_fee_per_blob_gas: GWEI,
        blob_versioned_hashes: vec![B256::repeat_byte(1)],
        ..TxEip4844::default()
    };
    let signature = Signature::new(U256::ONE, U256::ONE, false);
    let sidecar = BlobTransactionSidecar::default();
    let mut bare = Vec::new();
    transaction.eip2718_encode(&signature, &mut bare);
    let mut whole = Vec::new();
    TxEip4844WithSidecar::from_tx_and_sidecar(transaction, sidecar)
        .eip2718_encode(&signature, &mut whole);
    for raw in [bare, whole] {
        let error = client.submit_raw(&raw.into()).await.unwrap_err();
        let ChainError::Malformed { reason, .. } = &error else {
            panic!("{error}");
        };
        assert!(reason.contains("EIP-4844"), "{reason}");
        assert!(reason.contains("to a node of your own"), "{reason}");
        assert!(!error.may_have_been_sent());
    }
    assert!(world.node.waiting().await.is_empty());
}

/// Creation code that goes round so often: 26 gas each time.
fn busy(rounds: u32) -> Bytes {
    let [_, high, middle, low] = rounds.to_be_bytes();
    let mut code = vec![0x62, high, middle, low, 0x5b, 0x60, 1, 0x90, 0x03, 0x80];
    code.extend([0x60, 4, 0x57, 0x00]);
    code.into()
}

fn work(world: &World, gas: u32) -> Intent {
    Intent::Deploy {
        from: world.address(0).into(),
        value: Amount::wei(0),
        code: busy((gas - 53_000) / 26),
    }
}

/// What fits without its margin is sent with less of one; what does not fit is refused before anything is sent.
async fn fits_up_to(world: &World, fits: u32, gas_max: u64, over: u32) {
    world.node.mine_each(true).await;
    let client = world.client(network()).await;
    let fitting = work(world, fits);
    let estimate = client.estimate(&fitting).await.unwrap();
    assert_eq!(estimate.gas, gas_max);
    let id = client.submit(&fitting).await.unwrap();
    let status = client.wait(id, Finality::Latest, PATIENCE).await.unwrap();
    assert!(
        matches!(status, TransactionStatus::Included { .. }),
        "{status:?}"
    );
    let error = client.submit(&work(world, over)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::GasOverLimit { .. } | ChainError::Reverted(_) | ChainError::Refused { .. }
        ),
        "{error:?}"
    );
    assert!(!error.may_have_been_sent());
    assert_eq!(world.nonce(0, BlockAt::Pending).await, 1);
}

/// EIP-7825. The node is asked, too: Anvil finds nothing wrong with more, and the client refuses it all the same.
async fn a_margin_stops_at_what_one_transaction_may_use(world: World) {
    fits_up_to(&world, 15_000_000, TRANSACTION_GAS_MAX, 18_000_000).await;
}

async fn a_margin_stops_at_what_a_block_holds(kind: NodeKind) {
    let block_gas_limit = 2_000_000;
    let change = |options| DevOptions {
        block_gas_limit,
        ..options
    };
    let world = World::with(kind, change).await;
    fits_up_to(&world, 1_800_000, block_gas_limit, 2_200_000).await;
}

/// A signer behind a service that has gone silent.
struct Silent(Address);

#[async_trait]
impl Signer for Silent {
    fn address(&self) -> Address {
        self.0
    }

    async fn sign(&self, _payload: Payload<'_>) -> Result<Signed, ChainError> {
        std::future::pending().await
    }
}

async fn a_signer_that_hangs_is_not_waited_for(world: World) {
    let clock = SimulatedClock::new();
    let patience = Duration::from_secs(30);
    let silent = Silent(world.address(0).into());
    let client = world.client(network()).await;
    let client = client.with_signer(Arc::new(silent)).unwrap();
    let client = client
        .with_clock(Arc::new(clock.clone()))
        .with_signed_within(patience);
    let transaction = world.payment(0);
    let mut signing = pin!(client.sign(world.address(0), &transaction));
    assert!(signing.as_mut().now_or_never().is_none());
    clock.advance(patience - Duration::from_secs(1));
    assert!(signing.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_secs(1));
    let error = signing.now_or_never().expect("it is late").unwrap_err();
    assert!(
        matches!(error, ChainError::TimedOut { after, .. } if after == patience),
        "{error}"
    );
    assert!(error.is_retryable() && !error.may_have_been_sent());
    // Another account's signer answers.
    let signing = client.sign(world.address(1), &transaction);
    assert!(signing.await.is_ok());
}

/// A signer far away, such as a service, that says it has the key of `address`.
struct Remote<F> {
    address: Address,
    key: EvmKey,
    /// What becomes of the key's signature on the way.
    change: F,
}

#[async_trait]
impl<F: Fn(Signature) -> Signed + Send + Sync> Signer for Remote<F> {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, payload: Payload<'_>) -> Result<Signed, ChainError> {
        let Signed::Evm(signature) = self.key.sign(payload).await? else {
            panic!("an EVM key signs as one");
        };
        Ok((self.change)(signature))
    }
}

/// A client whose signer for the first account is far away, has the key number `key`, and changes what that signs.
async fn signed_afar(
    world: &World,
    key: usize,
    change: impl Fn(Signature) -> Signed + Send + Sync + 'static,
) -> EvmClient {
    let remote = Remote {
        address: world.address(0).into(),
        key: world.keys[key].clone(),
        change,
    };
    let client = world.client(network()).await;
    client.with_signer(Arc::new(remote)).unwrap()
}

/// Nor what no key signed, or one of another family: the node is given nothing.
async fn what_another_key_signed_is_not_sent(world: World) {
    let spoiled = |signature: Signature| {
        let (r, s) = (signature.r(), signature.s() ^ U256::ONE);
        Signed::Evm(Signature::new(r, s, signature.v()))
    };
    for client in [
        signed_afar(&world, 1, Signed::Evm).await,
        signed_afar(&world, 0, spoiled).await,
        signed_afar(&world, 0, |_| Signed::Solana([7; 64])).await,
    ] {
        let error = client.submit(&transfer(&world, 5)).await.unwrap_err();
        let own = Address::from(world.address(0));
        assert!(
            matches!(&error, ChainError::Signer { address, .. } if *address == own),
            "{error:?}"
        );
        assert!(!error.may_have_been_sent());
        assert!(world.node.waiting().await.is_empty());
    }
    assert_eq!(world.nonce(0, BlockAt::Pending).await, 0);
}

/// The other of the two signatures that say the same, which nodes refuse (EIP-2): it becomes the one that a key in memory
/// gives, so that the transaction has one hash.
async fn a_signature_of_the_upper_half_is_sent_as_the_lower(world: World) {
    /// The order of secp256k1 (SEC 2).
    const ORDER: U256 = U256::from_be_bytes(hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let upper = |signature: Signature| {
        let s = ORDER - signature.s();
        assert!(s > ORDER / U256::from(2));
        Signed::Evm(Signature::new(signature.r(), s, !signature.v()))
    };
    let local = world.client(network()).await;
    let client = signed_afar(&world, 0, upper).await;
    let transaction = local.prepare(&transfer(&world, 5)).await.unwrap();
    let expected = local.sign(world.address(0), &transaction).await.unwrap();
    let signed = client.sign(world.address(0), &transaction).await.unwrap();
    assert_eq!(signed, expected);
    let id = client.submit(&transfer(&world, 5)).await.unwrap();
    assert_eq!(id, TxId::Evm(expected.hash()));
    assert_eq!(world.node.waiting().await, [expected.hash()]);
}

/// A node without traces, as most public ones are.
struct Untraced(Arc<dyn RpcTransport>);

#[async_trait]
impl RpcTransport for Untraced {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let asked: Value = serde_json::from_slice(&request).unwrap();
        if !asked["method"].as_str().unwrap().starts_with("debug_") {
            return self.0.exchange(request).await;
        }
        let error = json!({"code": -32601, "message": "method not supported on this plan"});
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "error": error});
        Ok(answer.to_string().into_bytes().into())
    }
}
