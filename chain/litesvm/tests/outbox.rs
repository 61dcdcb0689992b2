//! The outbox on the programs that validators run.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail as loudly as the test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use peaberry_chain::outbox::{
    ChainRules, IdempotencyKey, OutboxConfig, OutboxHandle, Outcome, Performer, Stages, Submission,
};
use peaberry_chain::primitives::Bytes;
use peaberry_chain::solana::{SolanaClient, SolanaNetwork};
use peaberry_chain::wallet::{SolanaKey, Wallet};
use peaberry_chain::{
    Amount, Asset, ChainClient, Intent, RpcTransport, SolanaAddress, TransportFailure,
};
use peaberry_chain_litesvm::{GENESIS_HASH, LiteSvmNode};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, NodeThread, PeerId, SystemClock};
use tokio::task::JoinHandle;

const PHRASE: &str = "test test test test test test test test test test test junk";
const SOL: u64 = 1_000_000_000;
const SHOP: SolanaAddress = SolanaAddress([5; 32]);
const PATIENCE: Duration = Duration::from_secs(60);
/// More than after which an outbox calls off what every node says can never be.
const TRIALS: usize = 9;

/// The node, with how often it was given a transaction.
struct Counted {
    node: LiteSvmNode,
    sent: AtomicUsize,
}

impl Counted {
    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until it was given `count` more.
    async fn sees(&self, count: usize) {
        let wanted = self.sent() + count;
        let waiting = async {
            while self.sent() < wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        came.expect("the outbox tries again");
    }
}

#[async_trait]
impl RpcTransport for Counted {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let name = b"\"sendTransaction\"";
        let is_sending = request.windows(name.len()).any(|part| part == name);
        self.sent
            .fetch_add(usize::from(is_sending), Ordering::Relaxed);
        self.node.exchange(request).await
    }
}

/// A node, a key with 1 SOL, and what a process keeps.
struct World {
    node: Arc<Counted>,
    key: SolanaKey,
    storage: Arc<MemoryStorage>,
}

/// A process with an outbox, which ends when this is dropped.
struct Life {
    outbox: OutboxHandle,
    client: Arc<SolanaClient>,
    _node: NodeThread,
    driver: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl World {
    fn new() -> Self {
        let key = Wallet::from_phrase(PHRASE, "").unwrap().solana_key(0);
        let key = key.unwrap();
        let node = LiteSvmNode::new();
        node.airdrop(key.solana_address(), SOL);
        Self {
            node: Arc::new(Counted {
                node,
                sent: AtomicUsize::new(0),
            }),
            key,
            storage: Arc::new(MemoryStorage::new()),
        }
    }

    async fn live(&self) -> Life {
        let network = SolanaNetwork::local(&GENESIS_HASH);
        let client = SolanaClient::over(self.node.clone(), network).await;
        let client = client.unwrap().with_signer(Arc::new(self.key.clone()));
        let client = Arc::new(client.unwrap());
        let transport = MemoryNetwork::new().join(PeerId::new(1).unwrap());
        let clock = Arc::new(SystemClock::new());
        let mut node = Node::new(Arc::new(transport), self.storage.clone(), clock);
        let rules = ChainRules {
            retry_after: Duration::from_millis(2),
            ..ChainRules::every(Duration::from_millis(80))
        };
        let config = OutboxConfig::new().chain(ChainClient::chain_id(&*client), rules);
        let performers = [client.clone() as Arc<dyn Performer>];
        let (outbox, driver) =
            OutboxHandle::install(&mut node, 0, config, &*self.storage, performers).unwrap();
        Life {
            outbox,
            client,
            _node: node.spawn("outbox").unwrap(),
            driver: tokio::spawn(driver),
        }
    }
}

impl Life {
    async fn pay(&self, world: &World, lamports: u64) -> Stages {
        let intent = Intent::Transfer {
            from: world.key.solana_address().into(),
            to: SHOP.into(),
            asset: Asset::Native,
            amount: Amount::lamports(lamports),
        };
        let key = IdempotencyKey::new("the month's rent").unwrap();
        let submission = Submission::new(key, ChainClient::chain_id(&*self.client), intent);
        self.outbox.submit(submission).await.unwrap()
    }

    /// What the shop has, once the payment is over.
    async fn received(&self, stages: &mut Stages, node: &LiteSvmNode) -> u64 {
        let ending = async {
            loop {
                tokio::select! {
                    outcome = stages.ended() => return outcome,
                    () = tokio::time::sleep(Duration::from_millis(20)) => node.advance(8),
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, ending).await;
        let outcome = outcome.expect("it ended").expect("the outbox goes on");
        assert!(
            matches!(&outcome, Outcome::Final(inclusion) if inclusion.is_success),
            "{outcome:?}"
        );
        let held = self.client.balance(SHOP.into(), Asset::Native).await;
        held.unwrap().to_u64().unwrap()
    }
}

/// However often nodes say that the account cannot pay, and whatever becomes of the process: when money comes, it pays once.
#[tokio::test]
async fn who_cannot_pay_yet_pays_when_money_comes() {
    let world = World::new();
    let life = world.live().await;
    let before = world.node.node.included();
    drop(life.pay(&world, 2 * SOL).await);
    world.node.sees(TRIALS).await;
    drop(life);

    let life = world.live().await;
    let mut stages = life.pay(&world, 2 * SOL).await;
    world.node.sees(TRIALS).await;
    world.node.node.airdrop(world.key.solana_address(), 5 * SOL);
    let received = life.received(&mut stages, &world.node.node).await;
    assert_eq!(received, 2 * SOL);
    assert_eq!(world.node.node.included() - before, 1);
}

/// Its block hash is over before money comes: it is signed anew, and pays once.
#[tokio::test]
async fn what_expires_unpaid_is_signed_anew() {
    let world = World::new();
    let life = world.live().await;
    let before = world.node.node.included();
    let mut stages = life.pay(&world, 2 * SOL).await;
    for _ in 0..3 {
        world.node.sees(2).await;
        world.node.node.advance(200);
    }
    world.node.node.airdrop(world.key.solana_address(), 5 * SOL);
    let received = life.received(&mut stages, &world.node.node).await;
    assert_eq!(received, 2 * SOL);
    assert_eq!(world.node.node.included() - before, 1);
}
