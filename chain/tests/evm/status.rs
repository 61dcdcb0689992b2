//! What a client says became of a transaction, of one node and of two that disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use peaberry_chain::evm::{
    EvmClient, EvmNetwork, EvmNode, EvmRpc, FeeHistory, Receipt, SeenTransaction, Transaction,
};
use peaberry_chain::primitives::{B256, Bytes, U256};
use peaberry_chain::{
    Amount, Asset, Block, BlockAt, CallRequest, ChainClient, ChainError, ChainId, EvmAddress,
    Finality, FinalityPolicy, Intent, Log, LogFilter, LogRange, TransactionStatus, TxId,
};

use super::network;
use crate::node::{GWEI, World, fees, on_both};

const PATIENCE: Duration = Duration::from_secs(20);

on_both! {
    World::on =>
    what_another_has_taken_the_place_of_is_replaced
    without_a_tag_it_is_replaced_at_its_depth
}

fn by_depth(depth: u64) -> EvmNetwork {
    let finality = FinalityPolicy::Depth(depth);
    EvmNetwork {
        finality,
        ..network()
    }
}

/// A transaction whose nonce another has used can never happen, once that one is final; and not before.
async fn what_another_has_taken_the_place_of_is_replaced(world: World) {
    let client = world.client(network()).await;
    is_replaced(&world, client, 64).await;
}

async fn without_a_tag_it_is_replaced_at_its_depth(world: World) {
    let client = world.client(by_depth(3)).await;
    is_replaced(&world, client, 3).await;
}

async fn is_replaced(world: &World, client: EvmClient, depth: u64) {
    let intent = Intent::Transfer {
        from: world.address(0).into(),
        to: EvmAddress::repeat_byte(9).into(),
        asset: Asset::Native,
        amount: Amount::wei(5),
    };
    let id = client.submit(&intent).await.unwrap();
    let mut other = world.payment(1);
    let raw = client.sign(world.address(0), &other).await.unwrap();
    let id_raw = client.submit_raw(raw.raw()).await.unwrap();
    assert_eq!(client.status(id).await.unwrap(), TransactionStatus::Pending);
    // Others of the same account, sent by somebody else.
    for nonce in 0..2 {
        (other.nonce, other.fees) = (nonce, fees(90 * GWEI, 50 * GWEI));
        world.send(0, &other).await;
    }
    world.node.mine().await;
    for id in [id, id_raw] {
        let status = client.status(id).await.unwrap();
        assert_eq!(status, TransactionStatus::Unknown, "it may still return");
    }
    world.node.mine_many(depth).await;
    for id in [id, id_raw] {
        let status = client.wait(id, Finality::Final, PATIENCE).await.unwrap();
        assert_eq!(status, TransactionStatus::Replaced { by: None });
    }
    // Of what it has not sent it knows no nonce.
    let stranger = world.client(*client.network()).await;
    let status = stranger.status(id).await.unwrap();
    assert_eq!(status, TransactionStatus::Unknown);
    let never = client
        .status(TxId::Evm(B256::repeat_byte(1)))
        .await
        .unwrap();
    assert_eq!(never, TransactionStatus::Unknown);
}

/// Its nonce is used, and nodes may have forgotten by what: nobody can say then that another took its place, unless its nonce
/// was seen to be free in a final block that is young enough. Bytes that are sent now somebody may have sent long ago.
#[tokio::test]
async fn what_nodes_may_have_forgotten_is_not_replaced() {
    let world = World::dev();
    let client = world.client(network()).await;
    let [old, seen] = [0, 1].map(|key| Intent::Transfer {
        from: world.address(key).into(),
        to: EvmAddress::repeat_byte(9).into(),
        asset: Asset::Native,
        amount: Amount::wei(5),
    });
    let old = client.submit(&old).await.unwrap();
    let seen = client.submit(&seen).await.unwrap();
    forget_all(&world).await;
    world.node.mine_many(7_435).await;
    let raw = world.sign(0, &world.payment(1));
    let raw = client.submit_raw(raw.raw()).await.unwrap();
    forget_all(&world).await;
    let status = client.status(seen).await.unwrap();
    assert_eq!(status, TransactionStatus::Unknown, "its nonce is free");
    for (key, nonce) in [(0, 0), (0, 1), (1, 0)] {
        let other = Transaction {
            fees: fees(90 * GWEI, 50 * GWEI),
            ..world.payment(nonce)
        };
        world.send(key, &other).await;
    }
    world.node.mine_many(65).await;
    let replaced = TransactionStatus::Replaced { by: None };
    for (height, of_old) in [
        (7_500, replaced.clone()),
        (7_501, TransactionStatus::Unknown),
    ] {
        assert_eq!(world.height().await, height);
        for id in [old, raw] {
            assert_eq!(client.status(id).await.unwrap(), of_old);
        }
        assert_eq!(client.status(seen).await.unwrap(), replaced);
        world.node.mine().await;
    }
}

async fn forget_all(world: &World) {
    for waiting in world.node.waiting().await {
        world.node.forget(waiting).await;
    }
}

/// Two chains behind one address: receipts, and blocks by number, come from one that all others have left.
struct Forked {
    dead: World,
    alive: World,
    /// Blocks by number come from the other as soon as the newest block was asked for.
    is_found: AtomicBool,
    has_moved: AtomicBool,
    /// Receipts come from the other as well.
    is_alive: AtomicBool,
    /// Only so many blocks are there by their hash.
    by_hash: AtomicU64,
}

impl Forked {
    /// A payment that only the dead chain has, in its first block; on the other lie so many blocks.
    async fn of(blocks: u64) -> (Arc<Self>, TxId) {
        let (dead, alive) = (World::dev(), World::dev());
        let hash = dead.send(0, &dead.payment(0)).await;
        dead.node.mine_many(blocks).await;
        alive.node.mine_many(blocks).await;
        let forked = Self {
            dead,
            alive,
            is_found: AtomicBool::new(false),
            has_moved: AtomicBool::new(false),
            is_alive: AtomicBool::new(false),
            by_hash: AtomicU64::new(u64::MAX),
        };
        (Arc::new(forked), TxId::Evm(hash))
    }

    /// A payment that the living chain has, too, with the dead one gone: 40 blocks lie above it.
    async fn pay_on_both(&self) -> TxId {
        let hash = self.alive.send(0, &self.alive.payment(0)).await;
        self.alive.node.mine_many(40).await;
        self.is_alive.store(true, Ordering::SeqCst);
        self.has_moved.store(true, Ordering::SeqCst);
        TxId::Evm(hash)
    }

    async fn status(self: &Arc<Self>, network: EvmNetwork, id: TxId) -> TransactionStatus {
        let client = EvmClient::connect(self.clone(), network).await.unwrap();
        client.status(id).await.unwrap()
    }
}

#[async_trait]
impl EvmRpc for Forked {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        self.alive.chain().chain_id().await
    }

    async fn balance(&self, account: EvmAddress, at: BlockAt) -> Result<U256, ChainError> {
        EvmRpc::balance(self.alive.chain(), account, at).await
    }

    async fn nonce(&self, account: EvmAddress, at: BlockAt) -> Result<u64, ChainError> {
        self.alive.chain().nonce(account, at).await
    }

    async fn code(&self, address: EvmAddress, at: BlockAt) -> Result<Bytes, ChainError> {
        self.alive.chain().code(address, at).await
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        self.alive.chain().call(request, at).await
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        self.alive.chain().estimate_gas(request, at).await
    }

    async fn fee_history(&self, blocks: u16, percentiles: &[u8]) -> Result<FeeHistory, ChainError> {
        self.alive.chain().fee_history(blocks, percentiles).await
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        self.alive.chain().broadcast(raw).await
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        self.alive.chain().transaction(hash).await
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let world = if self.is_alive.load(Ordering::SeqCst) {
            &self.alive
        } else {
            &self.dead
        };
        world.chain().receipt(hash).await
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        match at {
            BlockAt::Number(_) if !self.has_moved.load(Ordering::SeqCst) => {
                self.dead.chain().block(at).await
            }
            BlockAt::Hash(_) => {
                let left = self.by_hash.load(Ordering::SeqCst);
                self.by_hash.store(left.saturating_sub(1), Ordering::SeqCst);
                match left {
                    0 => Ok(None),
                    _ => self.alive.chain().block(at).await,
                }
            }
            at => {
                if self.is_found.load(Ordering::SeqCst) {
                    self.has_moved.store(true, Ordering::SeqCst);
                }
                self.alive.chain().block(at).await
            }
        }
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        self.alive.chain().logs(filter, range).await
    }
}

impl EvmNode for Forked {}

/// Receipt and block of a node on a dead fork, and the final block of another: the branch of that one decides.
#[test]
fn a_receipt_of_a_dead_fork_is_never_final() {
    // Just below the final block (64 deep on this chain), some blocks below, as far as branches are followed, and at it.
    for (network, blocks) in [
        (network(), 65),
        (network(), 66),
        (network(), 80),
        (network(), 129),
        (by_depth(3), 4),
        (by_depth(3), 30),
        (by_depth(0), 1),
    ] {
        let told = async {
            let (forked, id) = Forked::of(blocks).await;
            forked.status(network, id).await
        };
        let status = told.now_or_never().expect("nothing is waited for");
        assert_eq!(status, TransactionStatus::Pending, "{blocks}");
    }
}

/// Too deep to be followed: what is final is asked before what lies at the number.
#[test]
fn a_block_that_was_left_meanwhile_is_not_final() {
    for network in [network(), by_depth(3)] {
        let told = async {
            let (forked, id) = Forked::of(300).await;
            forked.is_found.store(true, Ordering::SeqCst);
            forked.status(network, id).await
        };
        let status = told.now_or_never().expect("nothing is waited for");
        assert_eq!(status, TransactionStatus::Pending);
    }
}

/// A node that has only a part of the final branch may be on a fork that the others have left.
#[test]
fn what_lies_on_a_branch_of_which_a_node_has_a_part_is_not_final() {
    let told = async {
        let (forked, id) = Forked::of(50).await;
        forked.by_hash.store(3, Ordering::SeqCst);
        forked.status(network(), id).await
    };
    let status = told.now_or_never().expect("nothing is waited for");
    assert!(
        matches!(status, TransactionStatus::Included { block, .. } if block.number == 1),
        "{status:?}"
    );
}

/// What one question has followed the next need not.
#[test]
fn a_branch_is_followed_once() {
    let told = async {
        let (forked, _) = Forked::of(80).await;
        let id = forked.pay_on_both().await;
        let client = EvmClient::connect(forked.clone(), by_depth(30))
            .await
            .unwrap();
        let asked = || u64::MAX - forked.by_hash.load(Ordering::SeqCst);
        let mut counts = Vec::new();
        for _ in 0..3 {
            let before = asked();
            let status = client.status(id).await.unwrap();
            assert!(
                matches!(status, TransactionStatus::Final { .. }),
                "{status:?}"
            );
            counts.push(asked() - before);
        }
        counts
    };
    let counts = told.now_or_never().expect("nothing is waited for");
    assert_eq!(counts, [38, 0, 0]);
}
